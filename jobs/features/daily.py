"""Midnight states of accounts, merchants and merchant categories, from tiles: counts per key and hour or day.

Pure functions from Arrow tables to Arrow tables, over whole keys. All windows end at a UTC midnight, so
whole hours and days make them up exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.common.formulas import DAY_US, ratio, z_score
from jobs.common.products import ACCOUNT_DAILY, HISTORY, MCC_DAILY, MERCHANT_DAILY
from jobs.features.arrow import Targets, timestamps, to_numpy, to_table
from jobs.features.windows import Axis, Events, Ints, Window, running_sum, sample_std

HISTORY_DAYS = HISTORY.days
NEW_CARD_DAYS = 30
CHARGEBACK_DAYS = (37, 7)
HOURS_30D = 720

ACCOUNT_SCHEMA = pa.schema(
    {
        "account_id": pa.string(),
        "day": pa.int64(),  # days since 1970 of a tile; null in a row that stands for a card
        "n": pa.int64(),  # approved transactions of that day
        "card_id": pa.string(),  # a card of the account; null in a tile
        "issued_us": pa.int64(),
        "known_us": pa.int64(),  # valid_from of the first row that says so
    }
)
MERCHANT_SCHEMA = pa.schema(
    {
        "merchant_id": pa.string(),
        "hour": pa.int64(),  # hours since 1970 of a tile; null in a row that stands for a chargeback
        "n": pa.int64(),  # approved transactions of that hour
        "charged_back_day": pa.int64(),  # day of the transaction that was charged back; null in a tile
        "reported_us": pa.int64(),  # when it was first reported
    }
)
MCC_SCHEMA = pa.schema({"mcc": pa.int64(), "day": pa.int64(), "n": pa.int64(), "amount_cents": pa.int64()})


def counted(rows: pa.Table, key: str, unit: str) -> pa.Table:
    """One row a tile, ``n``, in place of one a transaction. Rows without a unit stay as they are."""
    is_tile = rows.column(unit).is_valid()
    counts = rows.filter(is_tile).group_by([key, unit], use_threads=False).aggregate([([], "count_all")])
    tiles = [counts.rename_columns([key, unit, "n"]), rows.filter(pc.invert(is_tile))]
    return pa.concat_tables([rows.schema.empty_table(), *tiles], promote_options="default").combine_chunks()


class OldTiles:
    """Tiles that no window counts any more. A key's last one stands for all: it says how long the key is active."""

    def __init__(self, key: str, unit: str, before: int) -> None:
        self._key, self._unit, self._before = key, unit, before
        self._kept: list[pa.Table] = []

    def kept_back(self, rows: pa.Table) -> pa.Table:
        """The rows without the old tiles."""
        is_old = pc.fill_null(pc.less(rows.column(self._unit), self._before), False)
        if not pc.any(is_old).as_py():
            return rows
        self._kept.append(rows.filter(is_old).select([self._key, self._unit]))
        return rows.filter(pc.invert(is_old))

    def tiles(self) -> pa.Table:
        """One row a key of what was kept back."""
        if not self._kept:
            return pa.table({self._key: pa.array([], pa.string()), self._unit: pa.array([], pa.int64())})
        rows = pa.concat_tables(self._kept).group_by(self._key, use_threads=False).aggregate([(self._unit, "max")])
        return rows.rename_columns([self._key, self._unit])


def old_accounts(targets: Targets) -> OldTiles:
    """Keeps back what is older than the first target's day."""
    return OldTiles("account_id", "day", int(targets.days[0]))


def old_merchants(targets: Targets) -> OldTiles:
    """Keeps back what is older than the chargebacks that the first target counts."""
    return OldTiles("merchant_id", "hour", (int(targets.days[0]) + 1 - CHARGEBACK_DAYS[0]) * 24)


class Tiles:
    """Counts per key and time unit, sorted, and the windows of whole units that end before a given unit."""

    def __init__(self, table: pa.Table, key: str, unit: str, reach: int, span: tuple[int, int]) -> None:
        order = table.sort_by([(key, "ascending"), (unit, "ascending")])
        encoded = order.column(key).combine_chunks().dictionary_encode()
        self.table = order
        self.keys = encoded.dictionary
        self.axis = Axis(*span, reach)
        self.axis.require_room(len(self.keys))
        self.events = Events(self.axis.place(to_numpy(encoded.indices).astype(np.int64), to_numpy(order.column(unit))))

    def window(self, before: int, units: int, offset: int = 0) -> Window:
        """For each key the tiles of ``[before - offset - units, before - offset)``."""
        everyone = np.arange(len(self.keys), dtype=np.int64)
        end = self.axis.place(everyone, np.full(everyone.size, before - offset))
        return Window(self.events.before(end - units), self.events.before(end))

    def running(self, column: str, power: int = 1) -> Ints:
        return running_sum(to_numpy(self.table.column(column)) ** power)


def _span(targets: Targets, units_a_day: int) -> tuple[int, int]:
    start_us, end_us = targets.span_us
    return start_us // DAY_US * units_a_day, end_us // DAY_US * units_a_day


def account_daily(table: pa.Table, targets: Targets) -> Iterator[pa.Table]:
    """Rows of ``account_daily``, a table a target, from whole accounts of ACCOUNT_SCHEMA."""
    is_tile = table.column("day").is_valid()
    tiles = Tiles(table.filter(is_tile), "account_id", "day", HISTORY_DAYS, _span(targets, 1))
    n = tiles.running("n")
    issued = _IssuedCards(table.filter(table.column("day").is_null()), tiles.keys)
    for day, created in zip(targets.days, targets.created, strict=True):
        active = tiles.window(int(day) + 1, HISTORY_DAYS).sum(n) > 0
        columns = {
            "account_cnt_1d": tiles.window(int(day) + 1, 1).sum(n),
            "account_new_cards_30d": issued.count((int(day) + 1) * DAY_US),
        }
        yield _midnight_rows(ACCOUNT_DAILY.schema, "account_id", tiles.keys, active, columns, int(day), int(created))


class _IssuedCards:
    """When the cards of each account were issued."""

    def __init__(self, rows: pa.Table, accounts: pa.Array) -> None:
        account = pc.index_in(rows.column("account_id"), accounts)
        owned = account.is_valid()
        self.size = len(accounts)
        account_of = to_numpy(account.filter(owned)).astype(np.int64)
        rows = rows.filter(owned)
        cards = rows.column("card_id").combine_chunks().dictionary_encode()
        self.pair = account_of * len(cards.dictionary) + to_numpy(cards.indices)
        self.cards = max(1, len(cards.dictionary))
        self.issued, self.known = to_numpy(rows.column("issued_us")), to_numpy(rows.column("known_us"))

    def count(self, midnight: int) -> Ints:
        """Different cards of each account issued in the 30 days before midnight and known by then."""
        new = (self.issued >= midnight - NEW_CARD_DAYS * DAY_US) & (self.issued < midnight) & (self.known <= midnight)
        return np.bincount(np.unique(self.pair[new]) // self.cards, minlength=self.size)


def merchant_daily(table: pa.Table, targets: Targets) -> Iterator[pa.Table]:
    """Rows of ``merchant_daily``, a table a target, from whole merchants of MERCHANT_SCHEMA."""
    is_tile = table.column("hour").is_valid()
    tiles = Tiles(table.filter(is_tile), "merchant_id", "hour", 24 * HISTORY_DAYS, _span(targets, 24))
    n, squares = tiles.running("n"), tiles.running("n", power=2)
    reports = table.filter(table.column("hour").is_null())
    merchant = to_numpy(pc.index_in(reports.column("merchant_id"), tiles.keys).cast(pa.float64()))
    tx_day, reported = to_numpy(reports.column("charged_back_day")), to_numpy(reports.column("reported_us"))
    oldest, newest = CHARGEBACK_DAYS
    for day, created in zip(targets.days, targets.created, strict=True):
        midnight_hour, today = (int(day) + 1) * 24, int(day) + 1
        active = tiles.window(midnight_hour, 24 * HISTORY_DAYS).sum(n) > 0
        month = tiles.window(midnight_hour, HOURS_30D)
        total, hours = month.sum(n), np.full(len(tiles.keys), HOURS_30D)
        mean, std = total / HOURS_30D, sample_std(hours, total, month.sum(squares))
        last_hour = tiles.window(midnight_hour, 1).sum(n)
        counted = (
            (tx_day >= today - oldest) & (tx_day < today - newest) & (reported < today * DAY_US) & ~np.isnan(merchant)
        )
        charged_back = np.bincount(merchant[counted].astype(np.int64), minlength=len(tiles.keys))
        settled = tiles.window(midnight_hour, 24 * (oldest - newest), offset=24 * newest).sum(n)
        columns = {
            "merchant_cnt_1h": last_hour,
            "merchant_hourly_mean_30d": mean,
            "merchant_hourly_std_30d": std,
            "merchant_cnt_1h_z": z_score(last_hour, mean, std),
            "merchant_cb_rate_30d": (charged_back + 1) / (settled + 200),
        }
        yield _midnight_rows(MERCHANT_DAILY.schema, "merchant_id", tiles.keys, active, columns, int(day), int(created))


def mcc_daily(table: pa.Table, targets: Targets) -> Iterator[pa.Table]:
    """Rows of ``mcc_daily``, a table a target, from the whole of MCC_SCHEMA."""
    tiles = Tiles(table, "mcc", "day", HISTORY_DAYS, _span(targets, 1))
    n, amount = tiles.running("n"), tiles.running("amount_cents")
    for day, created in zip(targets.days, targets.created, strict=True):
        window = tiles.window(int(day) + 1, HISTORY_DAYS)
        count, spend = window.sum(n), window.sum(amount)
        columns = {"mcc_cnt_90d": count, "mcc_amt_90d": spend, "mcc_avg_90d": ratio(spend, count)}
        yield _midnight_rows(MCC_DAILY.schema, "mcc", tiles.keys, count > 0, columns, int(day), int(created))


def _midnight_rows(
    schema: pa.Schema,
    key: str,
    keys: pa.Array,
    active: Any,
    columns: Mapping[str, Any],
    day: int,
    created: int,
) -> pa.Table:
    rows = {name: values[active] for name, values in columns.items()}
    size = int(active.sum())
    stamps = {
        "event_timestamp": timestamps(np.full(size, (day + 1) * DAY_US)),
        "created_timestamp": timestamps(np.full(size, created)),
    }
    return to_table({key: keys.filter(pa.array(active)), **stamps, **rows}, schema)
