"""Lines that repeat a transaction_id of a lower ingest day."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from jobs.features.arrow import to_numpy


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
