"""Between Arrow and NumPy, and the event dates that a run computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.common.formulas import DAY_US, HISTORY_US
from jobs.common.products import TIMESTAMP
from jobs.features.windows import Axis, Doubles, Ints

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Targets:
    """The event dates to compute, each with the time at which its inputs were known.

    Attributes:
        created_us: event date → created_timestamp, µs since 1970.
    """

    created_us: Mapping[date, int]

    @cached_property
    def days(self) -> Ints:
        """Event dates as sorted days since 1970."""
        return np.array(sorted((d - EPOCH).days for d in self.created_us), np.int64)

    @cached_property
    def created(self) -> Ints:
        """created_timestamp of each of ``days``, µs."""
        return np.array([self.created_us[d] for d in sorted(self.created_us)], np.int64)

    @property
    def span_us(self) -> tuple[int, int]:
        """Times that can matter to any target: ``[first day - HISTORY, last day + 1)``."""
        return int(self.days[0]) * DAY_US - HISTORY_US, (int(self.days[-1]) + 1) * DAY_US

    @property
    def axis(self) -> Axis:
        """Holds the span of every card, and the longest window before it."""
        return Axis(*self.span_us, HISTORY_US)

    def created_at(self, days: Ints) -> pa.Array:
        """created_timestamp of rows of the given event dates."""
        return timestamps(self.created[np.searchsorted(self.days, days)])


def whole_keys(batches: Iterable[pa.RecordBatch], key: str, rows: int) -> Iterator[pa.Table]:
    """Cuts a stream sorted by a key into tables that hold whole keys, with about ``rows`` rows each.

    A key with more rows than that comes as one larger table.
    """
    held: list[pa.RecordBatch] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        if sum(b.num_rows for b in held) + batch.num_rows < rows:
            held.append(batch)
            continue
        keys = batch.column(key)
        if held and held[-1].column(key)[-1] == keys[0] == keys[-1]:
            held.append(batch)  # one key goes on through the whole batch
            continue
        first_of_last = pc.index(keys, keys[-1]).as_py()
        if first_of_last or held:
            yield pa.Table.from_batches([*held, batch.slice(0, first_of_last)])
        held = [batch.slice(first_of_last)]
    if held:
        yield pa.Table.from_batches(held)


def midnight_us(day: date) -> int:
    """The UTC midnight that begins a day, µs since 1970."""
    return (day - EPOCH).days * DAY_US


def date_of(day: int) -> date:
    """The inverse of days since 1970."""
    return EPOCH + timedelta(days=day)


def to_numpy(column: pa.Array | pa.ChunkedArray) -> Any:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.to_numpy(zero_copy_only=False)


def whole_numbers(days: Doubles) -> pa.Array:
    """Whole numbers held as doubles because of their NaN → int64 with nulls."""
    missing = np.isnan(days)
    return pa.array(np.where(missing, 0, days).astype(np.int64), mask=missing)


def timestamps(us: Ints) -> pa.Array:
    return pa.array(us, pa.timestamp("us")).cast(TIMESTAMP)


def to_table(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """Columns in the order and types of the schema; NaN becomes null."""

    def arrow(name: str, kind: pa.DataType) -> Any:
        column = columns[name]
        if isinstance(column, np.ndarray):
            return pa.array(column, from_pandas=True).cast(kind)
        if pa.types.is_list(kind) and pa.types.is_dictionary(column.type.value_type):
            return column  # it stays short until it is in the file
        return column.cast(kind)

    return pa.table([arrow(f.name, f.type) for f in schema], names=schema.names)
