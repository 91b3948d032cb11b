"""The names under which Feast's Redis store keeps things: one hash an entity, shared by all views of that entity.

A key is (entity key serialization version 3)::

    u32 n | n × (u32 STRING, u32 length, join key) | n × (u32 type, u32 length, value) | project

with a field for each feature and one for each view's event time.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_STRING = 2  # feast.types.ValueType.Enum


def key_prefix(join_keys: Sequence[str]) -> bytes:
    """What all keys of an entity begin with."""
    names = [name.encode() for name in sorted(join_keys)]
    return struct.pack("<I", len(names)) + b"".join(struct.pack("<II", _STRING, len(name)) + name for name in names)


def feature_field(view: str, feature: str) -> bytes:
    """The hash field of one feature: a murmur3 hash."""
    import mmh3  # which a Spark worker need not have

    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def timestamp_field(view: str) -> bytes:
    """The hash field of a view's event time: there when the view was ever written."""
    return f"_ts:{view}".encode()
