"""Where Feast's Redis store keeps things, by Feast's own functions."""

from __future__ import annotations

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import _mmh3
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value


def entity_key(project: str, join_key: str, value: str | int) -> bytes:
    """The Redis key of one entity."""
    held = Value(int64_val=value) if isinstance(value, int) else Value(string_val=value)
    return serialize_entity_key(EntityKey(join_keys=[join_key], entity_values=[held]), 3) + project.encode()


def feature_field(view: str, feature: str) -> bytes:
    return _mmh3(f"{view}:{feature}")


def timestamp_field(view: str) -> bytes:
    return f"_ts:{view}".encode()
