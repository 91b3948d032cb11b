"""Request-time features against a computation from raw events, in plain Python."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from feast import FeatureStore

from feature_repo.request_time import request_features
from jobs.common.lake import Lake
from jobs.common.products import (
    ACCOUNT_DAILY,
    CARD_DAILY,
    CARD_LAST_STATE,
    MCC_DAILY,
    MERCHANT_DAILY,
    RECENT_DECLINES,
    RECENT_EVENTS,
    RECENT_MERCHANTS,
    REQUEST_FEATURES,
)
from jobs.online.reader import OnlineReader, Status
from tests.online.silver import MIDNIGHT, micros, publish_day, row

SECOND, MINUTE, HOUR, DAY = 10**6, 60 * 10**6, 3600 * 10**6, 86400 * 10**6
NOON = micros(MIDNIGHT) + 12 * HOUR
NAMES = [feature.name for feature in REQUEST_FEATURES]


@dataclass(frozen=True)
class Event:
    time: int
    amount: int = 1000
    merchant: str = "m"
    approved: bool = True
    present: bool = False
    place: tuple[float, float] | None = None
    country: str = "GB"


def state_of(events: Sequence[Event], **dates: int | None) -> dict[str, Any]:
    """The last state that the features job would write for these events."""
    approved = sorted((e for e in events if e.approved), key=lambda e: e.time)
    declined = sorted(e.time for e in events if not e.approved)
    present = [e for e in approved if e.present]
    visits = sorted({e.merchant: e.time for e in approved}.items(), key=lambda visit: visit[1])[-RECENT_MERCHANTS:]
    last = present[-1] if present else None
    return {
        "last_time_us": approved[-1].time if approved else None,
        "last_cp_time_us": last.time if last else None,
        "last_cp_latitude": last.place[0] if last and last.place else None,
        "last_cp_longitude": last.place[1] if last and last.place else None,
        "last_cp_country": last.country if last else None,
        "recent_time_us": [e.time for e in approved[-RECENT_EVENTS:]],
        "recent_amount_cents": [e.amount for e in approved[-RECENT_EVENTS:]],
        "declined_time_us": declined[-RECENT_DECLINES:],
        "merchant_ids": [merchant for merchant, _ in visits],
        "merchant_time_us": [time for _, time in visits],
        "issued_day": None,
        "expires_day": None,
        **dates,
    }


DAILY = {
    "avg_30d": 1200.0,
    "std_30d": 300.5,
    "max_30d": 5000,
    "hour_sin_mean_30d": 0.6,
    "hour_cos_mean_30d": -0.8,
    "mcc_avg_90d": 2345.25,
}
UNKNOWN = dict.fromkeys((*state_of([]), *DAILY))


def request(time: int = NOON, **changed: Any) -> dict[str, Any]:
    return {
        "event_time_us": time,
        "amount_cents": 1000,
        "merchant_id": "m",
        "card_present": True,
        "merchant_country": "GB",
        "latitude": 51.5,
        "longitude": -0.1,
        "utc_offset_minutes": 60,
        **changed,
    }


def compute(tx: Mapping[str, Any], events: Sequence[Event] = (), **state: Any) -> dict[str, Any]:
    """The features of one transaction after these events."""
    inputs = {**(state_of(events) if events else UNKNOWN), **DAILY, **state, **tx}
    features = request_features({name: [value] for name, value in inputs.items()})
    return {name: values[0] for name, values in features.items()}


def brute_force(tx: Mapping[str, Any], events: Sequence[Event], state: Mapping[str, Any]) -> dict[str, Any]:
    """The definition, from all events and by another road than the code's."""
    t = tx["event_time_us"]
    before = [e for e in events if t - 90 * DAY <= e.time < t]
    approved = [e for e in before if e.approved]
    within = {w: [e for e in approved if e.time >= t - us] for w, us in (("10m", 10 * MINUTE), ("1h", HOUR))}
    last_cp = (
        max((e for e in approved if e.present), key=lambda e: e.time, default=None) if tx["card_present"] else None
    )
    km = None
    if last_cp and last_cp.place and tx["latitude"] is not None and tx["longitude"] is not None:
        a, b = map(math.radians, (last_cp.place[0], tx["latitude"]))
        dlon = math.radians(tx["longitude"] - last_cp.place[1])
        h = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(dlon / 2) ** 2
        km = 2 * 6371.0 * math.asin(math.sqrt(min(1.0, h)))
    angle = 2 * math.pi * ((t + tx["utc_offset_minutes"] * MINUTE) % DAY) / DAY
    sin, cos = state["hour_sin_mean_30d"], state["hour_cos_mean_30d"]
    std, top, mcc = state["std_30d"], state["max_30d"], state["mcc_avg_90d"]
    today = t // DAY
    return {
        "secs_since_last": (t - max(e.time for e in approved)) / 1e6 if approved else None,
        "km_since_last_cp": km,
        "speed_kmh": None if km is None else km / (max((t - last_cp.time) / 1e6, 60) / 3600),
        "country_changed_2h": None
        if last_cp is None
        else t - last_cp.time < 2 * HOUR and last_cp.country != tx["merchant_country"],
        "cnt_10m": len(within["10m"]),
        "cnt_1h": len(within["1h"]),
        "amt_10m": sum(e.amount for e in within["10m"]),
        "amt_1h": sum(e.amount for e in within["1h"]),
        "amt_z_30d": (tx["amount_cents"] - state["avg_30d"]) / std if std else None,
        "amt_to_max_30d": tx["amount_cents"] / top if top else None,
        "is_new_merchant_90d": all(e.merchant != tx["merchant_id"] for e in approved),
        "hour_sin": math.sin(angle),
        "hour_cos": math.cos(angle),
        "hour_dev_30d": None if sin is None else 1 - (math.sin(angle) * sin + math.cos(angle) * cos),
        "small_cnt_1h": sum(e.amount < 500 for e in within["1h"]),
        "declines_1h": sum(not e.approved and e.time >= t - HOUR for e in before),
        "days_to_expiry": None if state["expires_day"] is None else state["expires_day"] - today,
        "card_age_days": None if state["issued_day"] is None else today - state["issued_day"],
        "mcc_amt_ratio_90d": tx["amount_cents"] / mcc if mcc else None,
    }


def assert_same(found: Mapping[str, Any], wanted: Mapping[str, Any], context: Any = "") -> None:
    assert set(found) >= set(wanted)
    for name, value in wanted.items():
        assert type(found[name]) is type(value), (name, found[name], value, context)
        if isinstance(value, float):
            assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-9), (name, context)
        else:
            assert found[name] == value, (name, context)


def made_up_case(rng: random.Random) -> tuple[dict[str, Any], list[Event], dict[str, Any]]:
    """A transaction, events at and around every edge of its windows, and what the daily views say."""
    t = NOON + rng.randrange(DAY)
    edges = (0, 1, 9 * MINUTE, 10 * MINUTE, HOUR, 2 * HOUR, 3 * DAY, 89 * DAY, 90 * DAY)
    times = {
        t - max(0, rng.choice(edges) + rng.choice((-1, 0, 1, rng.randrange(MINUTE)))) for _ in range(rng.randrange(12))
    }
    events = []
    for time in sorted(times):
        at_t = time == t  # what happens at t itself may be a decline only: it would hide what came before
        events.append(
            Event(
                time,
                amount=rng.choice((1, 499, 500, rng.randrange(1, 10**6))),
                merchant=rng.choice("mnopq"),
                approved=not at_t and rng.random() < 0.8,
                present=rng.random() < 0.6,
                place=rng.choice((None, (rng.uniform(-90, 90), rng.uniform(-180, 180)))),
                country=rng.choice(("GB", "FR")),
            )
        )
    if not any(e.approved for e in events):
        events = []
    tx = request(
        t,
        amount_cents=rng.randrange(1, 10**6),
        merchant_id=rng.choice("mnx"),
        card_present=rng.random() < 0.8,
        latitude=rng.choice((None, rng.uniform(-90, 90))),
        longitude=rng.uniform(-180, 180),
        utc_offset_minutes=rng.choice((-720, -60, 0, 330, 840)),
    )
    known = {
        "avg_30d": rng.uniform(1, 1e5),
        "std_30d": rng.choice((None, 0.0, rng.uniform(1, 1e4))),
        "max_30d": rng.choice((None, rng.randrange(1, 10**6))),
        "mcc_avg_90d": rng.uniform(1, 1e5),
        **dict(zip(("hour_sin_mean_30d", "hour_cos_mean_30d"), rng.choice(((None, None), (0.6, 0.8))), strict=True)),
        **rng.choice(({"issued_day": None, "expires_day": None}, {"issued_day": 19000, "expires_day": 20600})),
    }
    return tx, events, known


def test_features_equal_a_computation_from_the_raw_events() -> None:
    rng = random.Random(7)
    for _ in range(500):
        tx, events, known = made_up_case(rng)
        assert_same(compute(tx, events, **known), brute_force(tx, events, known), (tx, events))


def test_the_same_features_come_from_both_ways_of_retrieval(
    lake: Lake, store: FeatureStore, reader: OnlineReader
) -> None:
    rng = random.Random(11)
    cases = []
    while len(cases) < 25:  # a card with a state, each with a moment at most 2 days after midnight
        tx, events, known = made_up_case(rng)
        if events:
            cases.append((tx, events, known))
    cards = [f"card-{i}" for i in range(len(cases))]
    _publish_cases(lake, cards, cases)
    store.materialize(MIDNIGHT, MIDNIGHT)
    rows = [{"card_id": card, "mcc": 5411, **tx} for card, (tx, _, _) in zip(cards, cases, strict=True)]
    rows.append({"card_id": "unknown", "mcc": 1, **request()})
    wanted = [f"request_features:{name}" for name in NAMES]

    offline = store.get_historical_features(
        pd.DataFrame(rows).assign(event_timestamp=[_moment(row["event_time_us"]) for row in rows]), wanted
    ).to_arrow()
    by_card = {found["card_id"]: found for found in offline.to_pylist()}
    for row_, case in zip(rows, [*cases, None], strict=True):
        columns = reader.read(wanted, [row_], _moment(row_["event_time_us"]))
        online = {name: columns[name].values[0] for name in NAMES}
        historical = {name: by_card[row_["card_id"]][name] for name in NAMES}
        assert online == historical, row_
        if case is not None:
            tx, events, known = case
            assert_same(online, brute_force(tx, events, {**known, "mcc_avg_90d": 2345.25}), (tx, events))
    assert {f.name: offline.schema.field(f.name).type for f in REQUEST_FEATURES} == {
        f.name: f.type for f in REQUEST_FEATURES
    }


def _publish_cases(lake: Lake, cards: Sequence[str], cases: Sequence[Any]) -> None:
    from tests.online.silver import publish

    publish_day(lake)
    dates = ("issued_day", "expires_day")
    states, daily = [], []
    for card, (_, events, known) in zip(cards, cases, strict=True):
        states.append(row(CARD_LAST_STATE, card, **state_of(events, **{name: known[name] for name in dates})))
        own = {name: value for name, value in known.items() if name not in (*dates, "mcc_avg_90d")}
        daily.append(row(CARD_DAILY, card, **own))
    publish(lake, CARD_LAST_STATE, states)
    publish(lake, CARD_DAILY, daily)
    publish(lake, MCC_DAILY, [row(MCC_DAILY, 5411, mcc_avg_90d=2345.25)])


def _moment(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def test_an_unknown_card_has_no_past() -> None:
    found = compute(request(), **dict.fromkeys(DAILY))
    assert {name for name, value in found.items() if value is not None} == {
        *("cnt_10m", "cnt_1h", "amt_10m", "amt_1h", "small_cnt_1h", "declines_1h"),
        *("is_new_merchant_90d", "hour_sin", "hour_cos"),
    }
    assert found["is_new_merchant_90d"] is True
    assert found["cnt_1h"] == found["amt_1h"] == found["declines_1h"] == 0


def test_a_visit_at_the_same_microsecond_is_not_an_earlier_one() -> None:
    assert compute(request(), [Event(NOON)])["is_new_merchant_90d"] is True
    assert compute(request(), [Event(NOON - 1)])["is_new_merchant_90d"] is False


def test_a_visit_90_days_ago_counts_and_one_before_does_not() -> None:
    assert compute(request(), [Event(NOON - 90 * DAY)])["is_new_merchant_90d"] is False
    assert compute(request(), [Event(NOON - 90 * DAY - 1)])["is_new_merchant_90d"] is True


def test_what_happened_later_is_not_looked_at() -> None:
    later = [Event(NOON - HOUR), Event(NOON), Event(NOON + MINUTE, present=True, place=(0.0, 0.0), country="FR")]
    found = compute(request(), later)
    assert (found["cnt_1h"], found["secs_since_last"]) == (1, 3600.0)
    assert found["km_since_last_cp"] is None
    assert found["country_changed_2h"] is None


def test_country_change_counts_below_two_hours() -> None:
    abroad = {"present": True, "country": "FR"}
    assert compute(request(), [Event(NOON - 2 * HOUR + 1, **abroad)])["country_changed_2h"] is True
    assert compute(request(), [Event(NOON - 2 * HOUR, **abroad)])["country_changed_2h"] is False
    assert compute(request(card_present=False), [Event(NOON - HOUR, **abroad)])["country_changed_2h"] is None


def test_fraud_v1_is_read_by_its_name_both_ways(lake: Lake, store: FeatureStore, reader: OnlineReader) -> None:
    """Everything that a model sees of one transaction: stored and computed, of its card, account, merchant, category."""
    publish_day(lake)
    store.materialize(MIDNIGHT, MIDNIGHT)
    keys = {"card_id": "card-1", "account_id": "account-1", "merchant_id": "merchant-1", "mcc": 5411}
    rows = [{**keys, **request(merchant_id="merchant-1")}, {**keys, **request(merchant_id="?"), "card_id": "?"}]
    online = reader.read("fraud_v1", rows, _moment(NOON))
    assert {f.name for p in (CARD_DAILY, ACCOUNT_DAILY, MERCHANT_DAILY, MCC_DAILY) for f in p.features} <= online.keys()
    assert set(NAMES) <= online.keys()

    entities = pd.DataFrame(rows).assign(event_timestamp=_moment(NOON), at=range(len(rows)))
    found = store.get_historical_features(entities, store.get_feature_service("fraud_v1")).to_arrow()
    offline = found.sort_by("at").to_pylist()
    for at, row_ in enumerate(offline):
        assert {name: column.values[at] for name, column in online.items()} == {name: row_[name] for name in online}
    assert online["merchant_cnt_1h"].statuses == [Status.PRESENT, Status.NOT_FOUND]
    assert online["account_cnt_1d"].statuses == [Status.PRESENT, Status.PRESENT]


def test_a_stale_state_is_a_missing_one(lake: Lake, store: FeatureStore, reader: OnlineReader) -> None:
    """The cards' state lives 90 days, the daily values 2: past each, on-demand features see nothing of it."""
    _publish_cases(
        lake,
        ["card-1"],
        [(None, [Event(micros(MIDNIGHT) - HOUR)], {**DAILY, **dict.fromkeys(("issued_day", "expires_day"), 19000)})],
    )
    store.materialize(MIDNIGHT, MIDNIGHT)
    names = ["secs_since_last", "amt_z_30d", "card_age_days"]

    def read(after: timedelta) -> list[Status]:
        moment = MIDNIGHT + after
        tx = {"card_id": "card-1", "mcc": 5411, **request(micros(moment))}
        columns = reader.read([f"request_features:{name}" for name in names], [tx], moment)
        return [columns[name].statuses[0] for name in names]

    assert read(timedelta(days=2)) == [Status.PRESENT] * 3
    assert read(timedelta(days=2, seconds=1)) == [Status.PRESENT, Status.NULL, Status.PRESENT]
    assert read(timedelta(days=90, seconds=1)) == [Status.NULL] * 3
