"""The keys of Feast's Redis layout: written down here so that a job can look for them without importing Feast.

A key is one hash an entity, shared by all views of that entity (entity key serialization version 3)::

    u32 1 | u32 STRING | u32 length | join key | u32 type | u32 length | value | project
"""

from __future__ import annotations

import struct

import mmh3

from feast_fast.absent import key_prefix

_STRING, _INT64 = 2, 4  # feast.types.ValueType.Enum


def entity_key(project: str, join_key: str, value: str | int) -> bytes:
    """The Redis key of one entity."""
    kind, data = (_INT64, struct.pack("<q", value)) if isinstance(value, int) else (_STRING, value.encode())
    return key_prefix([join_key]) + struct.pack("<II", kind, len(data)) + data + project.encode()


def feature_field(view: str, feature: str) -> bytes:
    """The hash field of one feature."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def timestamp_field(view: str) -> bytes:
    """The hash field of a view's event timestamp: there when the view was ever written."""
    return f"_ts:{view}".encode()
