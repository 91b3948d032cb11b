"""What Spark's tasks do: read a share of bronze, hand each row to the task that owns its key, make that owner's parts.

A task reads and writes the lake itself, by pyarrow. It holds its owner's rows and the products of some event dates.
Any task can be done twice, also at the same time: each attempt writes files of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa

from jobs.common.contract import CARDS
from jobs.common.formulas import DAY_US
from jobs.common.lake import event_partition, ingest_partition
from jobs.common.products import (
    ACCOUNT_DAILY,
    CARD_DAILY,
    CARD_LAST_STATE,
    HISTORY,
    MCC_DAILY,
    MERCHANT_DAILY,
    TX_FEATURES,
    Product,
)
from jobs.common.workplace import Workplace
from jobs.features import bronze, daily
from jobs.features.arrow import Targets, date_of, to_numpy, whole_keys
from jobs.features.bronze import IDS_SCHEMA, BronzeFile
from jobs.features.card import INPUT_SCHEMA, Cards, card_states, in_order, tx_features
from jobs.features.duplicates import Hashes, among, repeats
from jobs.features.exchange import Piece, in_bulk, split, unpack
from jobs.features.parts import Part, write_part
from jobs.features.windows import Ints

ROWS_AT_ONCE = 20_000
"""About so many rows of a product are made together."""


@dataclass(frozen=True)
class FindDuplicates:
    """Finds the repeated lines of ingest days, as partitions of a dataset.

    Attributes:
        wanted: the ingest days, days since 1970, ascending.
    """

    place: Workplace
    dataset: str
    wanted: tuple[int, ...]
    owners: int

    def spread(self, sought: Hashes | None, files: Sequence[BronzeFile]) -> Iterator[Piece]:
        """The lines' ids on their way to their owners.

        Args:
            sought: see ``duplicates.id_hashes``; None lets every id through.
        """
        for table in in_bulk(among(bronze.ids(self.place.lake, files), sought), self.owners):
            yield from split(table, "transaction_id", self.owners)

    def make(self, owner: int, pieces: Iterable[Piece]) -> Iterator[Part]:
        found = repeats(unpack(pieces, IDS_SCHEMA), self.wanted, HISTORY.days)
        day = to_numpy(found.column("day"))
        for wanted in self.wanted:
            first, end = np.searchsorted(day, [wanted, wanted + 1]).tolist()
            rows = found.select(["transaction_id"]).slice(first, end - first)
            yield from write_part(self.place, self.dataset, ingest_partition(date_of(wanted)), owner, rows)


@dataclass(frozen=True)
class MakeProducts:
    """Makes every product of the target dates.

    Attributes:
        repeated: dataset of the repeated lines, by ingest date.
        cards: how many owners share the cards.
        others: how many share the accounts, and how many the merchants. One has all merchant categories.
    """

    place: Workplace
    targets: Targets
    repeated: str
    cards: int
    others: int

    @property
    def owners(self) -> int:
        """Owners in all: of cards, of accounts, of merchants, of categories."""
        return self.cards + 2 * self.others + 1

    def spread(self, reports: pa.Table, files: Sequence[BronzeFile]) -> Iterator[Piece]:
        """The rows of some files, on their way to their owners.

        Args:
            reports: REPORTS_SCHEMA.
        """
        lake, accounts_from = self.place.lake, self.cards
        of_cards = [f for f in files if f.dataset == CARDS.bronze]
        for versions in in_bulk(bronze.card_versions(lake, of_cards), self.cards):
            yield from split(versions.drop_columns("issued_us"), "card_id", self.cards)
            yield from split(bronze.issued_cards(versions), "account_id", self.others, accounts_from)
        old_accounts, old_merchants = daily.old_accounts(self.targets), daily.old_merchants(self.targets)
        merchants_from = accounts_from + self.others
        of_transactions = [f for f in files if f.dataset != CARDS.bronze]
        for rows in in_bulk(
            bronze.transactions(lake, of_transactions, self.targets.span_us, self.repeated), self.cards
        ):
            for part in bronze.narrowed(rows, self.targets):
                yield from split(part, "card_id", self.cards)
            accounts, merchants, categories = bronze.tiles(rows, reports)
            yield from split(old_accounts.kept_back(accounts), "account_id", self.others, accounts_from)
            yield from split(old_merchants.kept_back(merchants), "merchant_id", self.others, merchants_from)
            yield from split(categories, "mcc", 1, self.owners - 1)
        yield from split(old_accounts.tiles(), "account_id", self.others, accounts_from)
        yield from split(old_merchants.tiles(), "merchant_id", self.others, merchants_from)

    def make(self, owner: int, pieces: Iterable[Piece]) -> Iterator[Part]:
        """The parts of one owner, from all its rows."""
        if owner < self.cards:
            yield from self._card_products(owner, in_order(unpack(pieces, INPUT_SCHEMA)))
        elif owner < self.cards + self.others:
            rows = daily.counted(unpack(pieces, daily.ACCOUNT_SCHEMA), "account_id", "day")
            yield from self._midnights(ACCOUNT_DAILY, owner, daily.account_daily(rows, self.targets))
        elif owner < self.owners - 1:
            rows = daily.counted(unpack(pieces, daily.MERCHANT_SCHEMA), "merchant_id", "hour")
            yield from self._midnights(MERCHANT_DAILY, owner, daily.merchant_daily(rows, self.targets))
        else:
            rows = unpack(pieces, daily.MCC_SCHEMA)
            yield from self._midnights(MCC_DAILY, owner, daily.mcc_daily(rows, self.targets))

    def _midnights(self, product: Product, owner: int, tables: Iterable[pa.Table]) -> Iterator[Part]:
        for day, table in zip(self.targets.days.tolist(), tables, strict=True):
            yield from write_part(self.place, product.name, event_partition(date_of(day)), owner, table)

    def _card_products(self, owner: int, rows: pa.Table) -> Iterator[Part]:
        room = self.targets.axis.keys // 2  # so many rows are not more cards than an axis holds
        chunks = [Cards(chunk, self.targets) for chunk in whole_keys(rows.to_batches(room), "card_id", room)]
        del rows
        if not chunks:
            return  # fewer cards than owners
        transactions = sum(chunk.transactions.num_rows for chunk in chunks)
        for day, table in self._by_day(chunks, tx_features, transactions // self.targets.days.size, 0):
            yield from write_part(self.place, TX_FEATURES.name, event_partition(day), owner, table)
        cards = sum(len(chunk.card_dictionary.dictionary) for chunk in chunks)
        for day, table in self._by_day(chunks, card_states, cards, 1):
            for product in (CARD_DAILY, CARD_LAST_STATE):
                columns = table.select(product.schema.names)
                yield from write_part(self.place, product.name, event_partition(day), owner, columns)

    def _by_day(
        self, chunks: Sequence[Cards], kernel: Callable[[Cards, Ints], pa.Table], a_day: int, ends_day: int
    ) -> Iterator[tuple[date, pa.Table]]:
        """A kernel's rows day after day, made some days at a time, so that memory does not grow with their number.

        Args:
            a_day: about how many rows a day has.
            ends_day: 1 where a row's time is the midnight that ends its day, 0 where it lies in its day.
        """
        at_once = max(1, ROWS_AT_ONCE // max(1, a_day))
        for first in range(0, self.targets.days.size, at_once):
            days = self.targets.days[first : first + at_once]
            made = pa.concat_tables([kernel(chunk, days) for chunk in chunks])
            day = to_numpy(made.column("event_timestamp").cast(pa.int64())) // DAY_US - ends_day
            if len(chunks) > 1:
                order = np.argsort(day, kind="stable")
                made, day = made.take(pa.array(order)), day[order]
            for one in days.tolist():
                start, end = np.searchsorted(day, [one, one + 1]).tolist()
                yield date_of(one), made.slice(start, end - start)
