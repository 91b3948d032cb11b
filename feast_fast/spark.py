"""The same writer inside Spark's ``mapInArrow``: a connection a partition, and no Feast on the workers.

layout = layout_of(store.get_feature_view("card_daily"), store.config)
write_frame(frame, layout, partial(redis.Redis, host="redis"), Rules(ttl_seconds=86_400))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from feast_fast.layout import Layout
from feast_fast.write import Rules, Writer, Written

_OUTCOME = pa.schema([("rows", pa.int64()), ("written", pa.int64())])


def write_frame(
    frame: Any, layout: Layout, connect: Callable[[], Any], rules: Rules | None = None, whole: bool = False
) -> Written:
    """Writes a data frame's rows, one of each key, from the executors.

    Args:
        frame: a ``pyspark.sql.DataFrame`` with the layout's columns.
        connect: makes the Redis client; it travels to the workers, so it must be picklable.
        whole: the rows are all that their keys hold, and replace what is there.

    Raises:
        Exception: Spark's, when a partition failed for good. It is safe to run the same again.
    """

    def over(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        writer = Writer(connect(), layout, rules)
        done = (writer.replace if whole else writer.write)(batches)
        yield pa.RecordBatch.from_pydict({"rows": [done.rows], "written": [done.written]}, _OUTCOME)

    outcome = frame.select(*layout.columns).mapInArrow(over, "rows long, written long").collect()
    return Written(sum(part.rows for part in outcome), sum(part.written for part in outcome))
