"""A view of 20 features over cards: its Parquet file, its Feast store, and the bytes that Feast keeps of it in Redis."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench import ours

PROJECT, VIEW, KEY = "bench", "card_features", "card_id"
FLOATS = [f"f{i:02d}_amount_sum" for i in range(12)]
INTS = [f"i{i:02d}_txn_count" for i in range(8)]
FEATURES = FLOATS + INTS
REFERENCES = [f"{VIEW}:{name}" for name in FEATURES]
START = datetime(2026, 11, 1, tzinfo=UTC)
END = START + timedelta(days=1)
WORDS = "cards × 20 features (12 doubles, 8 integers), one row a card, one Parquet file"


def card(number: int) -> str:
    return f"card_{number:09d}"


def write_parquet(folder: Path, cards: int) -> Path:
    """The view's file; made once."""
    path = folder / "card_features.parquet"
    if path.exists():
        return path
    rng = np.random.default_rng(7)
    times = np.datetime64("2026-11-01T00:00:00", "us") + rng.integers(60, 86_000, cards).astype("timedelta64[s]")
    columns: dict[str, Any] = {KEY: pa.array([card(i) for i in range(cards)])}
    columns |= {name: np.round(rng.gamma(2.0, 40.0, cards), 2) for name in FLOATS}
    columns |= {name: rng.poisson(30, cards).astype(np.int64) for name in INTS}
    columns["event_timestamp"] = pa.array(times).cast(pa.timestamp("us", tz="UTC"))
    partial = path.with_suffix(".partial")
    pq.write_table(pa.table(columns), partial, row_group_size=100_000, compression="zstd")
    partial.rename(path)
    return path


def open_store(source: Path, registry: Path, **config: Any) -> Any:
    """A Feast store of the one view, applied to a registry file of its own. DuckDB is Feast's quickest offline store."""
    os.environ.setdefault("FEAST_USAGE", "False")
    warnings.simplefilter("ignore")
    from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64, Int64, String

    store = FeatureStore(
        config=RepoConfig(
            repo_path=registry.parent,
            project=PROJECT,
            provider="local",
            registry=str(registry),
            entity_key_serialization_version=3,
            offline_store={"type": "duckdb"},
            **config,
        )
    )
    entity = Entity(name="card", join_keys=[KEY], value_type=ValueType.STRING)
    view = FeatureView(
        name=VIEW,
        entities=[entity],
        ttl=timedelta(0),
        source=FileSource(name="cards", path=str(source), timestamp_field="event_timestamp"),
        schema=[
            Field(name=KEY, dtype=String),
            *(Field(name=name, dtype=Float64) for name in FLOATS),
            *(Field(name=name, dtype=Int64) for name in INTS),
        ],
    )
    store.apply([entity, view, FeatureService(name="all", features=[view])])
    return store


STOCK_AT_ITS_BEST = {"materialization": {"online_write_batch_size": 10_000, "pull_latest_features": True}}


def stock_config(redis_url: str) -> dict[str, Any]:
    return {"online_store": {"type": "redis", "connection_string": ours.address(redis_url)}, **STOCK_AT_ITS_BEST}


# -- the bytes -----------------------------------------------------------------------------------------------


def hashes(table: pa.Table, view: str, key: str, project: str) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """Redis key and fields of each row as Feast lays them out, by Feast's own serialisers, value by value."""
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.infra.online_stores.helpers import _mmh3
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from google.protobuf.timestamp_pb2 import Timestamp

    kinds = {pa.float64(): "double_val", pa.int64(): "int64_val", pa.string(): "string_val"}
    names = [field.name for field in table.schema if field.name not in (key, "event_timestamp")]
    fields = [(_mmh3(f"{view}:{name}"), kinds[table.schema.field(name).type]) for name in names]
    stamp = f"_ts:{view}".encode()
    for batch in table.to_batches(50_000):
        columns = [batch.column(name).to_pylist() for name in names]
        seconds = batch.column("event_timestamp").cast(pa.int64()).to_numpy() // 1_000_000
        for identity, second, *values in zip(batch.column(key).to_pylist(), seconds.tolist(), *columns, strict=True):
            entity = EntityKey(join_keys=[key], entity_values=[Value(string_val=identity)])
            row = {
                name: Value(**{kind: value}).SerializeToString() if value is not None else b""
                for (name, kind), value in zip(fields, values, strict=True)
            }
            row[stamp] = Timestamp(seconds=second).SerializeToString()
            yield serialize_entity_key(entity, 3) + project.encode(), row


def command(words: Sequence[bytes]) -> bytes:
    """A Redis command on the wire."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def write_commands(folder: Path, table: pa.Table, view: str = VIEW, key: str = KEY, project: str = PROJECT) -> Path:
    """The HSET commands that load a table, as ``redis-cli --pipe`` takes them; made once."""
    path = folder / f"{view}.resp"
    if not path.exists():
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            for redis_key, row in hashes(table, view, key, project):
                file.write(command([b"HSET", redis_key, *(word for pair in row.items() for word in pair)]))
        partial.rename(path)
    return path


def send(redis_url: str, commands: Path) -> None:
    """Loads a file of commands into an emptied server."""
    import redis

    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        for mapping in batches(commands, 1000):
            with client.pipeline(transaction=False) as pipe:
                for key, row in mapping:
                    pipe.hset(key, mapping=row)
                pipe.execute()


def batches(commands: Path, size: int) -> Iterator[list[tuple[bytes, dict[bytes, bytes]]]]:
    """The same file as redis-py takes it: keys and mappings, ``size`` at a time."""
    import hiredis

    reader, held = hiredis.Reader(), []
    with commands.open("rb") as file:
        while chunk := file.read(1 << 20):
            reader.feed(chunk)
            while (words := reader.gets()) is not False:
                held.append((words[1], dict(zip(words[2::2], words[3::2], strict=True))))
                if len(held) == size:
                    yield held
                    held = []
    if held:
        yield held


def stored(redis_url: str, at_most: int = 2000) -> dict[str, Any]:
    """How many hashes a server holds, and the content of some of them: equal servers give equal answers."""
    import redis

    with redis.Redis.from_url(redis_url) as client:
        keys = sorted(client.scan_iter(count=10_000, _type="hash"))
        step = max(1, len(keys) // at_most)
        chosen = keys[::step]
        with client.pipeline(transaction=False) as pipe:
            for key in chosen:
                pipe.hgetall(key)
            rows = pipe.execute()
    content = {
        key.hex(): {name.hex(): value.hex() for name, value in sorted(row.items())}
        for key, row in zip(chosen, rows, strict=True)
    }
    return {"keys": len(keys), **content}
