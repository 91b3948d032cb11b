"""Lines that repeat a transaction_id of a lower ingest day."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from jobs.common.digest import hash_values
from jobs.features.arrow import to_numpy

Hashes = NDArray[np.uint64]


def id_hashes(tables: Iterable[pa.Table]) -> Hashes:
    """The hashes of the transaction_ids of some tables, ascending: few bytes to know most other ids by."""
    hashes = [hash_values(table.column("transaction_id").combine_chunks()) for table in tables]
    return np.unique(np.concatenate([np.empty(0, np.uint64), *hashes]))


def among(tables: Iterable[pa.Table], sought: Hashes | None) -> Iterator[pa.Table]:
    """The rows whose id has one of the sought hashes: all that are sought, and hardly another. All rows for None."""
    for table in tables:
        if sought is None:
            yield table
        elif sought.size:
            hashes = hash_values(table.column("transaction_id").combine_chunks())
            place = np.minimum(np.searchsorted(sought, hashes), sought.size - 1)
            yield table.filter(pa.array(sought[place] == hashes))


def repeats(ids: pa.Table, wanted: ArrayLike, within_days: int) -> pa.Table:
    """The wanted lines whose id has a line of a lower ingest day within reach, by day and id.

    Args:
        ids: transaction_id and day (ingest day, days since 1970) of every line, whole ids.
        wanted: ingest days to judge.
        within_days: how many ingest days back the nearest earlier line may lie.
    """
    code = to_numpy(ids.column("transaction_id").combine_chunks().dictionary_encode().indices).astype(np.int64)
    day = to_numpy(ids.column("day"))
    order = np.lexsort((day, code))
    code, day = code[order], day[order]
    gap = day[1:] - day[:-1]
    again = (code[1:] == code[:-1]) & (gap > 0) & (gap <= within_days) & np.isin(day[1:], wanted)
    return ids.take(pa.array(order[1:][again])).sort_by([("day", "ascending"), ("transaction_id", "ascending")])
