"""The features that need the transaction itself, from a card's last state and the request. No Feast in here.

One function over columns serves both ways of retrieval: online a list has one value or a few, offline as
many as the training set has rows. Null is None outside and NaN inside. Every window is ``[t - w, t)``: what
happened at t or later is not looked at, and neither is what is older than ``HISTORY``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jobs.common.formulas import (
    COUNTRY_CHANGE_US,
    DAY_US,
    HISTORY_US,
    HOUR_US,
    SMALL_AMOUNT_CENTS,
    Doubles,
    haversine_km,
    hour_angle,
    hour_deviation,
    local_time_of_day_us,
    ratio,
    speed_kmh,
    z_score,
)

TEN_MINUTES_US = HOUR_US // 6
Column = Sequence[Any]


def request_features(inputs: Mapping[str, Column]) -> dict[str, list[Any]]:
    """The columns of ``products.REQUEST_FEATURES``, in the order of the input rows.

    Args:
        inputs: equally long columns: the request (``event_time_us``, ``amount_cents``, ``merchant_id``,
            ``card_present``, ``merchant_country``, ``latitude``, ``longitude``, ``utc_offset_minutes``), the
            features of ``card_last_state``, and of ``card_daily`` and ``mcc_daily`` those that are named below.
            A card that is unknown, or whose state is too old to serve, has None in all of its columns.
    """
    time = np.asarray(inputs["event_time_us"], np.int64)
    amount = np.asarray(inputs["amount_cents"], np.float64)
    return {
        **_since_last(inputs),
        **_since_last_card_present(inputs, time),
        **_velocities(inputs),
        "amt_z_30d": _nullable(z_score(amount, _doubles(inputs["avg_30d"]), _doubles(inputs["std_30d"]))),
        "amt_to_max_30d": _nullable(ratio(amount, _doubles(inputs["max_30d"]))),
        "is_new_merchant_90d": _new_merchant(inputs),
        **_hour_of_day(inputs, time),
        **_card_dates(inputs),
        "mcc_amt_ratio_90d": _nullable(ratio(amount, _doubles(inputs["mcc_avg_90d"]))),
    }


def _since_last(inputs: Mapping[str, Column]) -> dict[str, list[Any]]:
    """Seconds since the newest event before t."""
    seconds = []
    for t, last, recent in _rows(inputs, "event_time_us", "last_time_us", "recent_time_us"):
        earlier = bisect_left(recent or (), t)
        if earlier:  # the last state may be newer than t, so its own last event does not decide
            last = recent[earlier - 1]
        seconds.append((t - last) / 1e6 if _in_history(last, t) else None)
    return {"secs_since_last": seconds}


def _since_last_card_present(inputs: Mapping[str, Column], time: np.ndarray) -> dict[str, list[Any]]:
    """Distance, speed and change of country since the last card-present event; null unless this one is, too."""
    comparable = [
        bool(present) and _in_history(last, t)
        for t, present, last in _rows(inputs, "event_time_us", "card_present", "last_cp_time_us")
    ]
    gap_us = [
        t - last if ok else None
        for ok, t, last in zip(comparable, time.tolist(), inputs["last_cp_time_us"], strict=True)
    ]
    km = haversine_km(
        _doubles(inputs["last_cp_latitude"]),
        _doubles(inputs["last_cp_longitude"]),
        _doubles(inputs["latitude"]),
        _doubles(inputs["longitude"]),
    )
    km = np.where(comparable, km, np.nan)
    seconds = np.divide(_doubles(gap_us), 1e6)
    changed = [
        None if gap is None else bool(gap < COUNTRY_CHANGE_US and country != last_country)
        for gap, country, last_country in zip(
            gap_us, inputs["merchant_country"], inputs["last_cp_country"], strict=True
        )
    ]
    return {
        "km_since_last_cp": _nullable(km),
        "speed_kmh": _nullable(speed_kmh(km, seconds)),
        "country_changed_2h": changed,
    }


def _velocities(inputs: Mapping[str, Column]) -> dict[str, list[int]]:
    """Counts and sums over the last 10 minutes and the last hour, exact for up to ``RECENT_EVENTS`` events."""
    columns: dict[str, list[int]] = {
        name: [] for name in ("cnt_10m", "cnt_1h", "amt_10m", "amt_1h", "small_cnt_1h", "declines_1h")
    }
    for t, times, amounts, declined in _rows(
        inputs, "event_time_us", "recent_time_us", "recent_amount_cents", "declined_time_us"
    ):
        times, amounts, declined = times or (), amounts or (), declined or ()
        end = bisect_left(times, t)
        last_10m = amounts[bisect_left(times, t - TEN_MINUTES_US) : end]
        last_hour = amounts[bisect_left(times, t - HOUR_US) : end]
        columns["cnt_10m"].append(len(last_10m))
        columns["cnt_1h"].append(len(last_hour))
        columns["amt_10m"].append(sum(last_10m))
        columns["amt_1h"].append(sum(last_hour))
        columns["small_cnt_1h"].append(sum(amount < SMALL_AMOUNT_CENTS for amount in last_hour))
        columns["declines_1h"].append(bisect_left(declined, t) - bisect_left(declined, t - HOUR_US))
    return columns


def _new_merchant(inputs: Mapping[str, Column]) -> list[bool]:
    """Whether the card was not at this merchant in the history before t. A visit at t itself does not count."""
    is_new = []
    for t, merchant, known, visits in _rows(inputs, "event_time_us", "merchant_id", "merchant_ids", "merchant_time_us"):
        last_visit = visits[known.index(merchant)] if known and merchant in known else None
        is_new.append(not _in_history(last_visit, t))
    return is_new


def _hour_of_day(inputs: Mapping[str, Column], time: np.ndarray) -> dict[str, list[Any]]:
    """The local time of day on the circle, and how far it is from the card's usual one."""
    angle = hour_angle(local_time_of_day_us(time, np.asarray(inputs["utc_offset_minutes"], np.int64)))
    sin, cos = np.sin(angle), np.cos(angle)
    usual = _doubles(inputs["hour_sin_mean_30d"]), _doubles(inputs["hour_cos_mean_30d"])
    return {
        "hour_sin": sin.tolist(),
        "hour_cos": cos.tolist(),
        "hour_dev_30d": _nullable(hour_deviation(sin, cos, *usual)),
    }


def _card_dates(inputs: Mapping[str, Column]) -> dict[str, list[int | None]]:
    """Differences of UTC dates."""
    to_expiry, age = [], []
    for t, issued, expires in _rows(inputs, "event_time_us", "issued_day", "expires_day"):
        today = t // DAY_US
        to_expiry.append(None if expires is None else expires - today)
        age.append(None if issued is None else today - issued)
    return {"days_to_expiry": to_expiry, "card_age_days": age}


def _in_history(time_us: int | None, t: int) -> bool:
    return time_us is not None and t - HISTORY_US <= time_us < t


def _rows(inputs: Mapping[str, Column], *names: str) -> zip[Any]:
    return zip(*(inputs[name] for name in names), strict=True)


def _doubles(column: Column) -> Doubles:
    return np.array([np.nan if value is None else value for value in column], np.float64)


def _nullable(values: Doubles) -> list[float | None]:
    return [None if value != value else value for value in np.atleast_1d(values).tolist()]
