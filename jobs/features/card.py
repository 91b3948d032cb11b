"""The card kernel: a card's transactions in time order → its training rows and its midnight states.

Pure functions from Arrow tables to Arrow tables. A chunk holds whole cards, sorted by
(card_id, kind, time_us, order_key); Spark brings it about, the tests call it directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.common.formulas import (
    COUNTRY_CHANGE_US,
    DAY_US,
    HISTORY_US,
    HOUR_US,
    NIGHT_ENDS_US,
    SMALL_AMOUNT_CENTS,
    haversine_km,
    hour_angle,
    hour_deviation,
    local_time_of_day_us,
    ratio,
    speed_kmh,
    z_score,
)
from jobs.common.products import (
    CARD_DAILY,
    CARD_LAST_STATE,
    RECENT_DECLINES,
    RECENT_EVENTS,
    RECENT_MERCHANTS,
    TX_FEATURES,
)
from jobs.features.arrow import Targets, timestamps, to_numpy, to_table, whole_numbers
from jobs.features.windows import (
    Axis,
    Doubles,
    Events,
    Ints,
    Maxima,
    UnitSum,
    Window,
    distinct_ends,
    running_sum,
    sample_std,
)

TRANSACTION, CARD_VERSION = 0, 1
WINDOWS_US = {"10m": 600_000_000, "1h": HOUR_US, "1d": DAY_US, "7d": 7 * DAY_US, "30d": 30 * DAY_US}
MEAN_HOUR_LEAST = 1e-9
"""Length of the mean of an hour's unit vectors below which it has no direction: a million times what rounding adds to it."""

INPUT_SCHEMA = pa.schema(
    {
        "card_id": pa.string(),
        "kind": pa.int32(),  # TRANSACTION, or CARD_VERSION: a row of the cards table
        "time_us": pa.int64(),  # event_time, or valid_from
        "order_key": pa.string(),  # transaction_id, or the version's place in its file: the last of equals stands
        "country": pa.string(),  # of the merchant, or of the issuer
        "account_id": pa.string(),
        "merchant_id": pa.string(),
        "mcc": pa.int64(),
        "amount_cents": pa.int64(),
        "channel": pa.string(),
        "card_present": pa.bool_(),
        "latitude": pa.float64(),
        "longitude": pa.float64(),
        "utc_offset_minutes": pa.int64(),
        "status": pa.string(),
        "issued_day": pa.int64(),  # days since 1970, of a version
        "expires_day": pa.int64(),
    }
)
STATE_SCHEMA = pa.schema([*CARD_DAILY.schema, *(pa.field(f.name, f.type) for f in CARD_LAST_STATE.features)])
"""card_daily and card_last_state side by side: they have the same rows."""


@dataclass(frozen=True)
class Cards:
    """One chunk as arrays: a code and an axis position for every row, the approved events, what is summed of them."""

    table: pa.Table
    targets: Targets

    # -- rows ----------------------------------------------------------------------------------------------

    def column(self, name: str) -> Any:
        """A transaction column as NumPy; null becomes NaN in doubles."""
        return to_numpy(self.transactions.column(name))

    @cached_property
    def is_version(self) -> Any:
        return to_numpy(self.table.column("kind")) == CARD_VERSION

    @cached_property
    def codes(self) -> Ints:
        """Card code of every row of the table, ascending."""
        return to_numpy(self.card_dictionary.indices).astype(np.int64)

    @cached_property
    def card_dictionary(self) -> pa.DictionaryArray:
        return self.table.column("card_id").combine_chunks().dictionary_encode()

    @cached_property
    def transactions(self) -> pa.Table:
        return self.table.filter(pa.array(~self.is_version))

    @cached_property
    def card(self) -> Ints:
        return self.codes[~self.is_version]

    @cached_property
    def time(self) -> Ints:
        return self.column("time_us")

    @cached_property
    def axis(self) -> Axis:
        axis = self.targets.axis
        axis.require_room(len(self.card_dictionary.dictionary))
        return axis

    @cached_property
    def position(self) -> Ints:
        return self.axis.place(self.card, self.time)

    @cached_property
    def approved(self) -> Any:
        """Index of every approved transaction: the history that the windows see."""
        return np.flatnonzero(to_numpy(pc.equal(self.transactions.column("status"), "approved")))

    @cached_property
    def history(self) -> Events:
        return Events(self.position[self.approved])

    @cached_property
    def declined(self) -> Events:
        return Events(np.delete(self.position, self.approved))

    @cached_property
    def card_present_events(self) -> Any:
        """Index of every approved card-present transaction."""
        return self.approved[self.column("card_present")[self.approved]]

    @cached_property
    def time_of_day(self) -> Ints:
        return local_time_of_day_us(self.time, self.column("utc_offset_minutes"))

    @cached_property
    def countries(self) -> Ints:
        """Country code of every row of the table; -1 for none."""
        encoded = self.table.column("country").combine_chunks().dictionary_encode()
        return to_numpy(pc.fill_null(encoded.indices, -1)).astype(np.int64)

    @cached_property
    def country(self) -> Ints:
        return self.countries[~self.is_version]

    @cached_property
    def merchant(self) -> Ints:
        return to_numpy(self.merchant_dictionary.indices).astype(np.int64)

    @cached_property
    def merchant_dictionary(self) -> pa.DictionaryArray:
        return self.transactions.column("merchant_id").combine_chunks().dictionary_encode()

    # -- card versions -------------------------------------------------------------------------------------

    @cached_property
    def _versions(self) -> Events:
        start, end = self.targets.span_us
        # The axis holds one microsecond more on either side: in force from the first, or not even at the last midnight.
        valid_from = np.clip(to_numpy(self.table.column("time_us"))[self.is_version], start - 1, end + 1)
        return Events(self.axis.place(self.codes[self.is_version], valid_from))

    def version_at(self, card: Ints, position: Ints) -> Ints:
        """Index of the card's version in force at each position (latest valid_from <= t), -1 for none."""
        index = self._versions.before(position + 1) - 1
        owner = self.codes[self.is_version]
        known = (index >= 0) & (owner[index] == card) if owner.size else np.zeros(card.size, bool)
        return np.where(known, index, -1)

    def version_days(self, name: str, version: Ints) -> Doubles:
        """``issued_day`` or ``expires_day`` of each version, NaN for none."""
        days = to_numpy(self.table.column(name).filter(pa.array(self.is_version))).astype(np.float64)
        return np.append(days, np.nan)[version]

    # -- running sums over the approved events ---------------------------------------------------------------

    @cached_property
    def amount(self) -> Ints:
        return self.column("amount_cents")[self.approved]

    @cached_property
    def amount_sum(self) -> Ints:
        return running_sum(self.amount)

    @cached_property
    def amount_maxima(self) -> Maxima:
        return Maxima(self.amount)

    @cached_property
    def square_sum(self) -> Any:
        """Running sum of squares: modulo 2^64 where every window fits, in Python's integers where amounts are absurd."""
        largest = int(self.amount.max(initial=0))
        if largest**2 * len(self.history) < 2**62:
            return running_sum(self.amount**2)
        return np.concatenate([[0], np.cumsum(self.amount.astype(object) ** 2)])

    @cached_property
    def small_sum(self) -> Ints:
        return running_sum(self.amount < SMALL_AMOUNT_CENTS)

    @cached_property
    def cnp_sum(self) -> Ints:
        return running_sum(~self.column("card_present")[self.approved])

    @cached_property
    def night_sum(self) -> Ints:
        return running_sum(self.time_of_day[self.approved] < NIGHT_ENDS_US)

    @cached_property
    def foreign_sum(self) -> Ints:
        card, position, country = (a[self.approved] for a in (self.card, self.position, self.country))
        version = self.version_at(card, position)
        issuer = np.append(self.countries[self.is_version], -1)[version]
        return running_sum((issuer >= 0) & (country != issuer))

    @cached_property
    def hour_sums(self) -> tuple[UnitSum, UnitSum]:
        angle = hour_angle(self.time_of_day[self.approved])
        return UnitSum.of(np.sin(angle)), UnitSum.of(np.cos(angle))

    # -- visits of a card to a merchant ----------------------------------------------------------------------

    @cached_property
    def _by_merchant(self) -> Any:
        """Order of all transactions by (card, merchant, time, transaction_id)."""
        # The rows of a card are in the order of time already, and a stable sort leaves them so.
        return np.argsort(self.card * len(self.merchant_dictionary.dictionary) + self.merchant, kind="stable")

    @cached_property
    def _visits_in_order(self) -> Any:
        approved = np.zeros(self.card.size, bool)
        approved[self.approved] = True
        return approved[self._by_merchant]

    @cached_property
    def following_visit(self) -> Ints:
        """For each approved event, the index among them of the card's next visit to the merchant, or a huge number."""
        visits = self._by_merchant[self._visits_in_order]
        same = (self.card[visits][1:] == self.card[visits][:-1]) & (
            self.merchant[visits][1:] == self.merchant[visits][:-1]
        )
        rank = np.empty(self.card.size, np.int64)
        rank[self.approved] = np.arange(self.approved.size)
        following = np.full(self.approved.size, 2**62, np.int64)
        following[rank[visits[:-1][same]]] = rank[visits[1:][same]]
        return following

    @cached_property
    def merchant_ends(self) -> Events:
        known = self.following_visit < 2**62
        at = np.full(self.approved.size, 2**62, np.int64)
        at[known] = self.history.position[self.following_visit[known]]
        return Events(distinct_ends(self.history.position, at, WINDOWS_US["7d"]))

    def is_new_merchant(self) -> Any:
        """For each transaction: no approved visit of the card to its merchant in ``[t - 90 d, t)``."""
        order = self._by_merchant
        card, merchant, time = self.card[order], self.merchant[order], self.time[order]
        place = np.arange(order.size)
        last_visit = np.maximum.accumulate(np.where(self._visits_in_order, place, -1))
        new_instant = np.ones(order.size, bool)
        new_instant[1:] = (card[1:] != card[:-1]) | (merchant[1:] != merchant[:-1]) | (time[1:] != time[:-1])
        instant = np.maximum.accumulate(np.where(new_instant, place, 0))
        earlier = np.where(instant > 0, last_visit[instant - 1], -1)
        seen = (
            (earlier >= 0)
            & (card[earlier] == card)
            & (merchant[earlier] == merchant)
            & (time - time[earlier] <= HISTORY_US)
        )
        result = np.empty(order.size, bool)
        result[order] = ~seen
        return result

    # -- windows -------------------------------------------------------------------------------------------

    def windows(self, query: Ints) -> dict[str, Window]:
        """The windows of the approved history that end at each query position, by name, and ``history``."""
        high = self.history.before(query)
        spans = {**WINDOWS_US, "history": HISTORY_US}
        return {name: Window(self.history.before(query - span), high) for name, span in spans.items()}

    def declines(self, query: Ints, span_us: int) -> Window:
        return Window(self.declined.before(query - span_us), self.declined.before(query))

    def long_features(self, query: Ints, windows: Mapping[str, Window]) -> dict[str, Any]:
        """What ``tx_features`` and ``card_daily`` share: counts, sums and shares over a day and more."""
        month, n = windows["30d"], windows["30d"].count
        columns: dict[str, Any] = {f"cnt_{w}": windows[w].count for w in ("1d", "7d", "30d")}
        columns |= {f"amt_{w}": windows[w].sum(self.amount_sum) for w in ("1d", "7d", "30d")}
        largest = month.maximum(self.amount_maxima, empty=-1)
        columns |= {
            "avg_30d": ratio(columns["amt_30d"], n),
            "std_30d": sample_std(n, columns["amt_30d"], month.sum(self.square_sum)),
            "max_30d": pa.array(largest, mask=largest < 0),
            "spend_accel": ratio(columns["amt_1d"], columns["amt_30d"] / 30),
            "cnp_share_30d": ratio(month.sum(self.cnp_sum), n),
            "foreign_share_30d": ratio(month.sum(self.foreign_sum), n),
            "night_share_30d": ratio(month.sum(self.night_sum), n),
            "distinct_merchants_7d": self.history.before(query) - self.merchant_ends.before(query),
            "declines_1d": self.declines(query, DAY_US).count,
        }
        return columns

    def mean_hour(self, month: Window) -> tuple[Doubles, Doubles]:
        """Sine and cosine of the circular mean local time of day of each window; NaN where there is none.

        Times that cancel have none: a sum that is no longer than MEAN_HOUR_LEAST an event would tell of rounding.
        """
        sin, cos = (s.over(month) for s in self.hour_sums)
        length = np.hypot(sin, cos)
        length = np.where(length < MEAN_HOUR_LEAST * month.count, np.nan, length)
        return ratio(sin, length), ratio(cos, length)


def in_order(rows: pa.Table) -> pa.Table:
    """The rows of INPUT_SCHEMA as ``Cards`` takes them: by card_id, kind, time_us and order_key."""
    encoded = rows.column("card_id").combine_chunks().dictionary_encode()
    rank = np.empty(len(encoded.dictionary), np.int64)
    rank[to_numpy(pc.sort_indices(encoded.dictionary))] = np.arange(rank.size)
    line = rank[to_numpy(encoded.indices)] * 2 + to_numpy(rows.column("kind"))
    time = to_numpy(rows.column("time_us"))
    order = _by_line_and_time(line, time)
    tied = (np.diff(line[order]) == 0) & (np.diff(time[order]) == 0)
    if tied.any():  # few are, and order_key is a text
        among = np.unique(np.concatenate([order[:-1][tied], order[1:][tied]]))
        place = np.zeros(order.size, np.int64)
        place[among[to_numpy(pc.sort_indices(rows.column("order_key").take(pa.array(among))))]] = np.arange(among.size)
        order = np.lexsort((place, time, line))
    return rows.take(pa.array(order)).combine_chunks()


def _by_line_and_time(line: Ints, time: Ints) -> Ints:
    """Order by line, then time; of equals any way."""
    if not time.size:
        return np.empty(0, np.int64)
    earliest = time.min()
    span = int(time.max()) - int(earliest) + 1
    if (int(line.max()) + 1) * span < 2**63:  # one sort of one number is several times faster
        return np.argsort(line * span + (time - earliest))
    return np.lexsort((time, line))


# -- training rows -------------------------------------------------------------------------------------------


def tx_features(cards: Cards, days: Ints) -> pa.Table:
    """The rows of ``tx_features``: one per transaction of the given UTC dates, its features just before it.

    Args:
        days: some of the targets' days, ascending.

    Returns:
        Rows by day, card and time.
    """
    day = cards.time // DAY_US
    rows = np.flatnonzero(np.isin(day, days))
    rows = rows[np.argsort(day[rows], kind="stable")]
    position, time, amount = cards.position[rows], cards.time[rows], cards.column("amount_cents")[rows]
    windows = cards.windows(position)
    columns = cards.long_features(position, windows)
    columns |= {f"cnt_{w}": windows[w].count for w in ("10m", "1h")}
    columns |= {f"amt_{w}": windows[w].sum(cards.amount_sum) for w in ("10m", "1h")}
    columns["small_cnt_1h"] = windows["1h"].sum(cards.small_sum)
    columns["declines_1h"] = cards.declines(position, HOUR_US).count

    history = windows["history"]
    last = cards.time[cards.approved][history.high - 1] if len(cards.history) else time
    columns["secs_since_last"] = np.where(history.count > 0, (time - last) / 1e6, np.nan)
    columns |= _travel(cards, rows)

    columns["amt_z_30d"] = z_score(amount, columns["avg_30d"], columns["std_30d"])
    columns["amt_to_max_30d"] = ratio(amount, to_numpy(columns["max_30d"].cast(pa.float64())))
    columns["is_new_merchant_90d"] = cards.is_new_merchant()[rows]
    angle = hour_angle(cards.time_of_day[rows])
    columns["hour_sin"], columns["hour_cos"] = np.sin(angle), np.cos(angle)
    columns["hour_dev_30d"] = hour_deviation(columns["hour_sin"], columns["hour_cos"], *cards.mean_hour(windows["30d"]))

    version = cards.version_at(cards.card[rows], position)
    columns["days_to_expiry"] = whole_numbers(cards.version_days("expires_day", version) - day[rows])
    columns["card_age_days"] = whole_numbers(day[rows] - cards.version_days("issued_day", version))

    carried = cards.transactions.take(pa.array(rows))
    columns |= {f.name: carried.column(f.name) for f in TX_FEATURES.carried if f.name != "merchant_country"}
    columns["merchant_country"] = carried.column("country")
    columns["transaction_id"] = carried.column("order_key")
    columns["event_timestamp"] = timestamps(time)
    columns["created_timestamp"] = cards.targets.created_at(day[rows])
    return to_table(columns, TX_FEATURES.schema)


def _travel(cards: Cards, rows: Any) -> dict[str, Any]:
    """Distance, speed and change of country since the last card-present transaction, for card-present ones."""
    events = Events(cards.position[cards.card_present_events])
    window = Window(events.before(cards.position[rows] - HISTORY_US), events.before(cards.position[rows]))
    present = cards.column("card_present")[rows] & (window.count > 0)
    if not present.any():
        nothing = np.full(rows.size, np.nan)
        return {
            "km_since_last_cp": nothing,
            "speed_kmh": nothing,
            "country_changed_2h": pa.nulls(rows.size, pa.bool_()),
        }
    last = cards.card_present_events[window.high - 1]
    latitude, longitude = cards.column("latitude"), cards.column("longitude")
    km = haversine_km(latitude[last], longitude[last], latitude[rows], longitude[rows])
    km = np.where(present, km, np.nan)
    gap_us = cards.time[rows] - cards.time[last]
    changed = (cards.country[rows] != cards.country[last]) & (gap_us < COUNTRY_CHANGE_US)
    return {
        "km_since_last_cp": km,
        "speed_kmh": speed_kmh(km, gap_us / 1e6),
        "country_changed_2h": pa.array(changed, mask=~present),
    }


# -- midnight states -----------------------------------------------------------------------------------------


def card_states(cards: Cards, days: Ints) -> pa.Table:
    """The state at the midnight that ends each day of every card active in the 90 days before.

    Args:
        days: some of the targets' days, ascending.

    Returns:
        STATE_SCHEMA, by day and card.
    """
    number = len(cards.card_dictionary.dictionary)
    card, day = np.tile(np.arange(number, dtype=np.int64), days.size), np.repeat(days, number)
    query = cards.axis.place(card, (day + 1) * DAY_US)
    active = np.flatnonzero(cards.history.before(query) > cards.history.before(query - HISTORY_US))
    card, day, query = card[active], day[active], query[active]
    windows = cards.windows(query)
    columns = cards.long_features(query, windows)
    columns["hour_sin_mean_30d"], columns["hour_cos_mean_30d"] = cards.mean_hour(windows["30d"])

    history = windows["history"]
    time = cards.time[cards.approved]
    columns["last_time_us"] = time[history.high - 1]
    columns |= _last_card_present(cards, query)
    recent = Window(np.maximum(history.low, history.high - RECENT_EVENTS), history.high)
    columns["recent_time_us"] = _lists(recent, time)
    columns["recent_amount_cents"] = _lists(recent, cards.amount)
    declines = cards.declines(query, HISTORY_US)
    declined = np.delete(np.arange(cards.time.size), cards.approved)
    newest = Window(np.maximum(declines.low, declines.high - RECENT_DECLINES), declines.high)
    columns["declined_time_us"] = _lists(newest, cards.time[declined])
    columns["merchant_ids"], columns["merchant_time_us"] = _merchants(cards, days)

    version = cards.version_at(card, query)
    for name in ("issued_day", "expires_day"):
        columns[name] = whole_numbers(cards.version_days(name, version))
    columns["card_id"] = cards.card_dictionary.dictionary.take(pa.array(card))
    columns["event_timestamp"] = timestamps((day + 1) * DAY_US)
    columns["created_timestamp"] = cards.targets.created_at(day)
    return to_table(columns, STATE_SCHEMA)


def _last_card_present(cards: Cards, query: Ints) -> dict[str, Any]:
    events = cards.card_present_events
    places = Events(cards.position[events])
    window = Window(places.before(query - HISTORY_US), places.before(query))
    last = pa.array(np.append(events, 0)[window.high - 1], mask=window.count == 0)
    names = {
        "time_us": "last_cp_time_us",
        "latitude": "last_cp_latitude",
        "longitude": "last_cp_longitude",
        "country": "last_cp_country",
    }
    return {new: cards.transactions.column(old).take(last) for old, new in names.items()}


def _merchants(cards: Cards, days: Ints) -> tuple[pa.Array, pa.Array]:
    """The merchants that each active card visited in the 90 days before each midnight, by last visit, and its time.

    A visit is a merchant's last from the midnight after it until the next visit, or for 90 days: what is made here is
    as much as the lists hold, however dense a card is.
    """
    time, card = cards.time[cards.approved], cards.card[cards.approved]
    has_next = cards.following_visit < 2**62
    until = time + HISTORY_US
    until[has_next] = np.minimum(until[has_next], time[cards.following_visit[has_next]])
    first = np.searchsorted(days, time // DAY_US)
    number = np.maximum(np.searchsorted(days, until // DAY_US) - first, 0)
    index, _ = _flat(Window(first, first + number))
    visit = np.repeat(np.arange(time.size), number)
    order = np.argsort(index.astype(np.int16 if days.size < 2**15 else np.int64), kind="stable")
    index, visit = index[order], visit[order]
    row_begins = np.flatnonzero((np.diff(index, prepend=-1) != 0) | (np.diff(card[visit], prepend=-1) != 0))
    ends = np.append(row_begins[1:], visit.size) if row_begins.size else row_begins
    newest = Window(np.maximum(row_begins, ends - RECENT_MERCHANTS), ends)
    if (newest.low > row_begins).any():
        visit = visit[_flat(newest)[0]]
    merchants = pa.DictionaryArray.from_arrays(
        pa.array(cards.merchant[cards.approved][visit].astype(np.int32)), cards.merchant_dictionary.dictionary
    )
    offsets = _offsets(newest)
    return pa.ListArray.from_arrays(offsets, merchants), pa.ListArray.from_arrays(offsets, pa.array(time[visit]))


def _lists(window: Window, values: Ints) -> pa.Array:
    index, _ = _flat(window)
    return pa.ListArray.from_arrays(_offsets(window), pa.array(values[index]))


def _flat(window: Window) -> tuple[Ints, Ints]:
    """The events of all windows one after another, and the length of each window."""
    lengths = window.count
    starts = np.repeat(window.low - (np.cumsum(lengths) - lengths), lengths)
    return starts + np.arange(int(lengths.sum())), lengths


def _offsets(window: Window) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(window.count)]), pa.int32())
