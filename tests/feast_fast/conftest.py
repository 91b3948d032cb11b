"""A small Feast repo of one's own, loaded by stock Feast and by the plug-in, on a real server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.types import FeastType
from feast.utils import _convert_arrow_to_proto

START = datetime(2026, 3, 1, tzinfo=UTC)
END = datetime(2026, 3, 2, tzinfo=UTC)
NOON = START + timedelta(hours=12)
FAST_STORE = "feast_fast.store.FastRedisOnlineStore"
FAST_ENGINE = "feast_fast.engine.FastComputeEngine"

Hashes = dict[bytes, dict[bytes, bytes]]


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


def hashes(client: redis.Redis) -> Hashes:
    return {key: client.hgetall(key) for key in client.scan_iter()}


def address(redis_url: str) -> str:
    return f"127.0.0.1:{urlsplit(redis_url).port}"


def view_of(
    name: str,
    keys: Mapping[str, FeastType],
    features: Mapping[str, FeastType],
    path: str = "unused.parquet",
    **more: Any,
) -> FeatureView:
    """A view over a Parquet file with the columns ``event_timestamp`` and ``created``."""
    entities = []
    for key, dtype in keys.items():
        entities.append(Entity(name=key, join_keys=[key], value_type=ValueType[dtype.to_value_type().name]))
    created = more.pop("created", None)
    source = FileSource(
        name=f"{name}_source", path=path, timestamp_field="event_timestamp", created_timestamp_column=created
    )
    schema = [Field(name=column, dtype=dtype) for column, dtype in (*keys.items(), *features.items())]
    return FeatureView(name=name, entities=entities, schema=schema, source=source, ttl=timedelta(0), **more)


def write_stock(client_url: str, view: FeatureView, table: pa.Table, **settings: Any) -> None:
    """Stock's own writer, from Arrow by stock's own converter."""
    config = RepoConfig(
        project="lab",
        registry="unused.db",
        provider="local",
        entity_key_serialization_version=3,
        online_store=RedisOnlineStoreConfig(connection_string=address(client_url), **settings),
    )
    keys = {field.name: field.dtype.to_value_type() for field in view.entity_columns}
    RedisOnlineStore().online_write_batch(config, view, _convert_arrow_to_proto(table, view, keys), None)


OpenRepo = Callable[..., FeatureStore]


@pytest.fixture
def open_repo(tmp_path: Path, redis_url: str) -> OpenRepo:
    """``open_repo(views, engine={…}, online={…})``: an applied repo; with the plug-in, unless something else is said.

    What else is applied goes into ``others``. Every repo has a registry of its own, unless one is given.
    """
    opened: list[int] = []

    def open_it(
        views: Sequence[Any],
        engine: Any = None,
        online: Mapping[str, Any] | None = None,
        offline: str = "duckdb",
        registry: Any = None,
        others: Sequence[Any] = (),
    ) -> FeatureStore:
        opened.append(1)
        config = RepoConfig(
            project="lab",
            provider="local",
            registry=registry or str(tmp_path / f"registry-{len(opened)}.db"),
            entity_key_serialization_version=3,
            online_store={"type": FAST_STORE, "connection_string": address(redis_url), **(online or {})},
            offline_store={"type": offline},
            batch_engine=engine or {"type": FAST_ENGINE},
            repo_path=tmp_path,
        )
        store = FeatureStore(config=config)
        store.apply([entity for view in views for entity in _entities(view)] + [*views, *others])
        return store

    return open_it


def _entities(view: Any) -> list[Entity]:
    return [
        Entity(name=field.name, join_keys=[field.name], value_type=ValueType[field.dtype.to_value_type().name])
        for field in view.entity_columns
    ]


def cards(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema | None = None) -> str:
    """A Parquet file of rows; ``event_timestamp`` is noon unless a row says otherwise."""
    table = pa.Table.from_pylist([{"event_timestamp": NOON, **row} for row in rows], schema)
    at = table.schema.get_field_index("event_timestamp")
    table = table.set_column(at, "event_timestamp", table.column(at).cast(pa.timestamp("us", "UTC")))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return str(path)
