"""Feast's layout in Redis, read with no Feast: what is left is what any Python client must do."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import mmh3

_DOUBLE, _INT = 0x29, 0x20
_read_double = struct.Struct("<d").unpack_from


def entity_key(name: str, value: str, project: str) -> bytes:
    key, data = name.encode(), value.encode()
    return struct.pack("<III", 1, 2, len(key)) + key + struct.pack("<II", 2, len(data)) + data + project.encode()


def fields(view: str, features: Sequence[str]) -> list[bytes]:
    """The hash fields of the features, and that of the view's timestamp."""
    hashes = [struct.pack("<I", mmh3.hash(f"{view}:{name}", signed=False)) for name in features]
    return [*hashes, f"_ts:{view}".encode()]


def decode(data: bytes | None) -> float | int | None:
    """A double or an integer of Feast's ``Value`` message."""
    if not data:
        return None
    if data[0] == _DOUBLE:
        return float(_read_double(data, 1)[0])
    if data[0] != _INT:
        raise ValueError(f"a value of another type: {data.hex()}")
    number = shift = 0
    for byte in data[1:]:
        number |= (byte & 127) << shift
        shift += 7
    return number - (1 << 64) if number >> 63 else number
