"""A small Feast repo with a feature of every type, and two stores over it: stock's and ours."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, RequestSource
from feast import types as feast_types
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.types import Array, Float64, Int64, String
from feast.value_type import ValueType

from feast_fast.reads import FastReads

PROJECT = "proj\N{LATIN SMALL LETTER E WITH ACUTE}ct"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCALARS = ("Bytes", "String", "Int32", "Int64", "Float64", "Float32", "Bool", "UnixTimestamp", "Uuid", "Decimal")
LISTS = tuple(f"{name} list" for name in SCALARS)
RARE = {"int set": feast_types.Set(Int64), "json": feast_types.Json, "map": feast_types.Map}
TYPES: dict[str, Any] = {
    **{name: getattr(feast_types, name) for name in SCALARS},
    **{f"{name} list": Array(getattr(feast_types, name)) for name in SCALARS},
    **RARE,
}


class FastStore(FastReads, RedisOnlineStore):
    """The reads under test over stock's writes."""


def _source(name: str) -> FileSource:
    return FileSource(name=name, path="nowhere.parquet", timestamp_field="event_timestamp")


def _view(name: str, entities: list[Entity], schema: Mapping[str, Any], ttl: timedelta = timedelta(0)) -> FeatureView:
    keys = [Field(name=e.join_key, dtype=String if e.value_type == ValueType.STRING else Int64) for e in entities]
    fields = [*keys, *(Field(name=column, dtype=kind) for column, kind in schema.items())]
    return FeatureView(name=name, entities=entities, schema=fields, ttl=ttl, source=_source(f"{name}_source"))


card = Entity(name="card", join_keys=["card_id"], value_type=ValueType.STRING)
shop = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.INT64)
typed = _view("typed", [card], TYPES)
aged = _view("aged", [card], {"age_a": Int64, "age_b": Float64}, ttl=timedelta(hours=1))
shops = _view("shops", [shop], {"shop_n": Int64, "shop_x": Float64})
pairs = _view("pairs", [shop, card], {"pair_n": Int64, "pair_s": String})
VIEWS = (typed, aged, shops, pairs)
asked = RequestSource(name="asked", schema=[Field(name="amount", dtype=Float64), Field(name="word", dtype=String)])


@on_demand_feature_view(
    sources=[aged, asked],
    schema=[Field(name="share", dtype=Float64), Field(name="words", dtype=Array(String)), Field(name="n", dtype=Int64)],
    mode="python",
)
def made(inputs: dict) -> dict:
    rows = list(zip(inputs["amount"], inputs["age_b"], inputs["word"], strict=True))
    return {
        "share": [float("nan") if None in (a, b) else a + b for a, b, _ in rows],
        "words": [[word or "", "x"] for _, _, word in rows],
        "n": [int("shop_n" in inputs)] * len(rows),  # no declared source, so it must not be seen
    }


@on_demand_feature_view(
    sources=[typed[["Int64", "Int64 list"]]], schema=[Field(name="edited", dtype=Int64)], mode="python"
)
def editor(inputs: dict) -> dict:
    inputs["Int64"][0] += 1  # its columns and what is in them, as nobody should
    for column in ("Int64 list", "map", "int set"):
        if column in inputs and inputs[column][0]:
            inputs[column][0].clear()
    return {"edited": inputs["Int64"].copy()}


@on_demand_feature_view(
    sources=[typed[["Int64", "Int64 list"]]], schema=[Field(name="edited_too", dtype=Int64)], mode="python"
)
def editor_too(inputs: dict) -> dict:
    inputs["Int64"][0] += 1  # its columns and what is in them, as nobody should
    for column in ("Int64 list", "map", "int set"):
        if column in inputs and inputs[column][0]:
            inputs[column][0].clear()
    return {"edited_too": inputs["Int64"].copy()}


@on_demand_feature_view(sources=[aged], schema=[Field(name="doubled", dtype=Float64)], mode="pandas")
def in_pandas(inputs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"doubled": inputs["age_b"].astype("float64") * 2})


service = FeatureService(name="all_of_it", features=[typed, aged[["age_a"]], shops, pairs, made])
renamed = FeatureService(name="renamed", features=[shops.with_name("stores"), aged])
REPO = (card, shop, *VIEWS, made, editor, editor_too, in_pandas, service, renamed)
assert isinstance(made, OnDemandFeatureView)


def open_repo(folder: Path, redis_port: int) -> FeatureStore:
    """The repo, applied to a registry of its own."""
    config = RepoConfig(
        project=PROJECT,
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "redis", "connection_string": f"127.0.0.1:{redis_port}"},
        offline_store={"type": "dask"},
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    store = FeatureStore(config=config)
    store.apply(list(REPO))
    return store


def write(
    store: FeatureStore, view: FeatureView, key: Mapping[str, Any], values: Mapping[str, Any], at: datetime
) -> None:
    """Stores one row by stock's writer.

    Args:
        values: Python values, or serialized ones.
    """
    types = {field.name: field.dtype.to_value_type() for field in view.features}
    protos = {
        name: Value.FromString(value)
        if isinstance(value, Serialized)
        else python_values_to_proto_values([value], types[name])[0]
        for name, value in values.items()
    }
    entity = EntityKey(
        join_keys=list(key),
        entity_values=[Value(string_val=v) if isinstance(v, str) else Value(int64_val=v) for v in key.values()],
    )
    RedisOnlineStore().online_write_batch(store.config, view, [(entity, protos, at, None)], None)


class Serialized(bytes):
    """A value as bytes, for what Feast's own conversion would not make."""


def ask(
    reader: Any, store: FeatureStore, features: Any, rows: Sequence[Mapping[str, Any]] | Mapping[str, Any], **more: Any
) -> Any:
    """One read by a store's class, stock's or ours."""
    rows = [dict(row) for row in rows] if isinstance(rows, list) else rows
    return reader.get_online_features(store.config, features, rows, store.registry, store.project, **more)
