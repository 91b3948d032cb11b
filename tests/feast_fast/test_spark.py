"""The writer inside Spark: the same bytes, from workers that never import Feast."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import redis
from feast import RepoConfig
from feast.types import Array, Float64, Int64, String
from pyspark.sql import SparkSession

from feast_fast.spark import write_frame
from feast_fast.views import layout_of
from feast_fast.write import Rules, Written
from jobs.common.lake import Lake
from jobs.common.settings import Settings
from jobs.common.spark import spark_context
from tests.feast_fast.conftest import NOON, hashes, view_of, write_stock

CONFIG = RepoConfig(project="lab", registry="unused.db", provider="local", entity_key_serialization_version=3)


def test_a_frame_is_written_by_its_partitions(lake: Lake, client: redis.Redis, redis_url: str) -> None:
    port = urlsplit(redis_url).port or 0

    def connect() -> Any:  # in here, so that a worker needs no import of this file
        import sys

        assert "feast" not in sys.modules
        return redis.Redis(port=port)

    view = view_of("v", {"card": String}, {"n": Int64, "x": Float64, "l": Array(Int64)})
    table = pa.table(
        {
            "card": [f"c{at}" for at in range(100)],
            "n": [at * 10**15 for at in range(100)],
            "x": [None if at % 3 else at / 7 for at in range(100)],
            "l": [list(range(at % 4)) for at in range(100)],
            "event_timestamp": pa.array([NOON] * 100, pa.timestamp("us", "UTC")),
        }
    )
    write_stock(redis_url, view, table)
    wanted = hashes(client)
    client.flushall()
    layout = layout_of(view, CONFIG)
    with spark_context(Settings(), lake, "feast_fast"), SparkSession.builder.getOrCreate() as spark:
        frame = spark.createDataFrame(table).repartition(3)
        assert write_frame(frame, layout, connect) == Written(100, 100)
        assert hashes(client) == wanted
        assert write_frame(frame, layout, connect) == Written(100, 0)
        client.flushall()
        assert write_frame(frame, layout, connect, Rules(ttl_seconds=900), whole=True) == Written(100, 100)
        assert hashes(client) == wanted
