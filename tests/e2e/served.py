"""What is served against what the lake says, with nothing of the project's own reading: boto3, DuckDB, stock Feast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import boto3
import duckdb
from feast import RepoConfig
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type

from feature_repo import definitions


@contextmanager
def card_daily(endpoint: str, day: date, folder: Path) -> Iterator[duckdb.DuckDBPyRelation]:
    """The product's partition of the day, fetched from the bucket ``lake`` into the folder."""
    store = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    prefix = f"silver/features/card_daily/event_date={day}/"
    for number, entry in enumerate(store.list_objects_v2(Bucket="lake", Prefix=prefix)["Contents"]):
        store.download_file("lake", entry["Key"], str(folder / f"{number}.parquet"))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection.read_parquet(f"{folder}/*.parquet")


def compare(lake: duckdb.DuckDBPyRelation, cards: int, redis: str) -> int:
    """Reads that many cards from Redis and compares each value.

    Args:
        redis: as Feast has it: ``host:port,password=…``.

    Returns:
        How many values were compared; all were equal.
    """
    view = definitions.card_daily
    names = [field.name for field in view.features]
    rows: list[dict[str, Any]] = lake.order("hash(card_id)").limit(cards).fetchdf().astype(object).to_dict("records")
    assert len(rows) == cards
    config = RepoConfig(
        project="fti",
        provider="local",
        registry="unused.db",
        entity_key_serialization_version=3,
        online_store=RedisOnlineStoreConfig(connection_string=redis),
    )
    keys = [EntityKey(join_keys=["card_id"], entity_values=[Value(string_val=row["card_id"])]) for row in rows]
    served = RedisOnlineStore().online_read(config, view, keys, [*names])  # it adds to the list
    for row, (_, values) in zip(rows, served, strict=True):
        assert values is not None, row["card_id"]
        for name in names:
            online = feast_value_type_to_python_type(values[name])
            offline = None if row[name] is None or row[name] != row[name] else row[name]
            assert online == offline, (row["card_id"], name)
    return cards * len(names)
