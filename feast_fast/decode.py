"""Serialized ``feast.types.Value`` bytes to Python values, without a protobuf object for each value.

A value is what Feast's own ``feast_value_type_to_python_type`` makes of the same bytes. Scalars and lists are
decoded here; sets, maps, structs, JSON, nested and zoned values by protobuf and Feast's own function. Nothing of Feast
is imported before the first of those.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np

Decoder = Callable[[bytes], Any]

NULL_TIMESTAMP = -9223372036854775808
"""What Feast stores for NaT."""
_VECTOR_BYTES = 96
"""Packed integers of more bytes than this are decoded by NumPy, whose calls cost more than a short loop."""
_DOUBLE = struct.Struct("<d").unpack_from
_FLOAT = struct.Struct("<f").unpack_from


def value(data: bytes | None, feature_type: Any = None) -> Any:
    """The Python value of one serialized Value; None for none, and for an empty one, which is a null.

    Args:
        feature_type: Feast's ``ValueType`` of the feature, needed only where it says more than the bytes do: a UUID that
            an old Feast stored as text.

    Raises:
        DecodeError: protobuf's, for bytes that are no Value.
    """
    if not data:
        return None
    if feature_type is not None:
        return _by_feast(data, feature_type)
    try:
        return _DECODERS[data[0]](data)
    except (IndexError, struct.error, UnicodeDecodeError, _NotCanonicalError):
        return _by_feast(data)


def column(cells: Sequence[bytes | None], feature_type: Any = None) -> list[Any]:
    """``value`` of each cell."""
    if feature_type is not None:
        return [value(cell, feature_type) for cell in cells]
    decoders = _DECODERS
    try:
        return [decoders[cell[0]](cell) if cell else None for cell in cells]
    except (IndexError, struct.error, UnicodeDecodeError, _NotCanonicalError):
        return [value(cell) for cell in cells]


def columns(cells: Sequence[Sequence[bytes | None]], types: Sequence[Any] = ()) -> list[list[Any]]:
    """``column`` of each.

    Args:
        types: of each, what ``column`` takes; none where no column needs any.
    """
    if types:
        return list(map(column, cells, types))
    if not cells or len(cells[0]) > 1:
        return list(map(column, cells))
    decoders = _DECODERS
    try:  # of the most frequent length, without the cost of a call for each
        return [[decoders[cell[0]](cell) if cell else None] for (cell,) in cells]
    except (IndexError, struct.error, UnicodeDecodeError, _NotCanonicalError):
        return list(map(column, cells))


def timestamp(data: bytes | None) -> tuple[int, int] | None:
    """Seconds since 1970 UTC and nanoseconds of a serialized ``google.protobuf.Timestamp``; None for none."""
    if data is None:
        return None
    fields, at = {0x08: 0, 0x10: 0}, 0
    while at < len(data):
        tag = data[at]
        fields[tag], at = _varint(data, at + 1)
    return _signed(fields[0x08]), fields[0x10]


class _NotCanonicalError(Exception):
    """Bytes that are fine and that no protobuf library writes in this order."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned variable-length integer, and where the next field begins."""
    byte = data[at]
    if byte < 128:
        return byte, at + 1
    number, shift = byte & 127, 7
    while True:
        at += 1
        byte = data[at]
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at + 1
        shift += 7


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _double(data: bytes) -> float:
    return _DOUBLE(data, 1)[0]


def _float(data: bytes) -> float:
    return _FLOAT(data, 1)[0]


def _bool(data: bytes) -> bool:
    return data[1] != 0


def _integer(data: bytes) -> int:
    size = len(data)
    if size == 2:
        return data[1]
    if size == 3:
        return data[1] & 127 | data[2] << 7
    if size == 4:
        return data[1] & 127 | (data[2] & 127) << 7 | data[3] << 14
    return _signed(_varint(data, 1)[0])


def _instant(data: bytes) -> datetime | None:
    return _datetime(_integer(data))


def _datetime(seconds: int) -> datetime | None:
    return None if seconds == NULL_TIMESTAMP else datetime.fromtimestamp(seconds, UTC)


def _bytes(data: bytes) -> bytes:
    if data[1] < 128:
        return data[2:]
    return data[_varint(data, 1)[1] :]


def _text(data: bytes) -> str:
    if data[1] < 128:
        return data[2:].decode()
    return data[_varint(data, 1)[1] :].decode()


def _body(data: bytes, tag_size: int) -> bytes:
    """The message inside a message field that is all of the data."""
    length, start = _varint(data, tag_size)
    if start + length != len(data):
        raise _NotCanonicalError
    return data[start:]


def _packed(data: bytes, tag_size: int) -> bytes:
    """The packed numbers of a list."""
    body = _body(data, tag_size)
    if not body:
        return body
    if body[0] != 0x0A:
        raise _NotCanonicalError
    return _body(body, 1)


def _doubles(data: bytes, tag_size: int) -> list[float]:
    packed = _packed(data, tag_size)
    return list(struct.unpack(f"<{len(packed) // 8}d", packed))


def _floats(data: bytes, tag_size: int) -> list[float]:
    packed = _packed(data, tag_size)
    return list(struct.unpack(f"<{len(packed) // 4}f", packed))


def _integers(data: bytes, tag_size: int) -> list[int]:
    return _unpack_integers(_packed(data, tag_size))


def _unpack_integers(packed: bytes) -> list[int]:
    if len(packed) > _VECTOR_BYTES:
        return _unpack_many(packed)
    numbers, at, end = [], 0, len(packed)
    while at < end:
        number, at = _varint(packed, at)
        numbers.append(number - (1 << 64) if number >> 63 else number)
    return numbers


def _unpack_many(packed: bytes) -> list[int]:
    """The same by NumPy: a sum of shifted seven-bit groups for each integer."""
    groups = np.frombuffer(packed, np.uint8)
    ends = np.flatnonzero(groups < 128)
    if ends[-1] + 1 != len(groups):
        raise _NotCanonicalError
    starts = np.concatenate(([0], ends[:-1] + 1))
    places = np.arange(len(groups)) - np.repeat(starts, ends - starts + 1)
    shifted = (groups & 127).astype(np.uint64) << (7 * places).astype(np.uint64)
    return np.bitwise_or.reduceat(shifted, starts).view(np.int64).tolist()


def _bools(data: bytes, tag_size: int) -> list[bool]:
    return [byte != 0 for byte in _packed(data, tag_size)]


def _instants(data: bytes, tag_size: int) -> list[datetime | None]:
    return [_datetime(seconds) for seconds in _integers(data, tag_size)]


def _byte_strings(data: bytes, tag_size: int) -> list[bytes]:
    body = _body(data, tag_size)
    found, at, end = [], 0, len(body)
    while at < end:
        if body[at] != 0x0A:
            raise _NotCanonicalError
        length, start = _varint(body, at + 1)
        at = start + length
        if at > end:
            raise _NotCanonicalError
        found.append(body[start:at])
    return found


def _texts(data: bytes, tag_size: int) -> list[str]:
    return [part.decode() for part in _byte_strings(data, tag_size)]


def _by_feast(data: bytes, feature_type: Any = None) -> Any:
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.type_map import feast_value_type_to_python_type

    return feast_value_type_to_python_type(Value.FromString(data), feature_type)


def _two_byte_tag(data: bytes) -> Any:
    """Fields of Value from 16 on have a tag of two bytes."""
    number = (data[0] & 0x7F | data[1] << 7) >> 3
    return _LATER_FIELDS.get(number, _by_feast)(data)


def _of_text(make: Callable[[str], Any]) -> Decoder:
    return lambda data: make(data[_varint(data, 2)[1] :].decode())


def _of_texts(make: Callable[[str], Any]) -> Decoder:
    return lambda data: [make(text) for text in _texts(data, 2)]


_LATER_FIELDS: dict[int, Decoder] = {
    16: partial(_floats, tag_size=2),
    17: partial(_bools, tag_size=2),
    18: partial(_instants, tag_size=2),
    36: _of_text(UUID),
    37: _of_text(UUID),
    38: _of_texts(UUID),
    39: _of_texts(UUID),
    44: _of_text(Decimal),
    45: _of_texts(Decimal),
}
_FIRST_FIELDS: dict[int, Decoder] = {
    0x0A: _bytes,
    0x12: _text,
    0x18: _integer,
    0x20: _integer,
    0x29: _double,
    0x35: _float,
    0x38: _bool,
    0x40: _instant,
    0x5A: partial(_byte_strings, tag_size=1),
    0x62: partial(_texts, tag_size=1),
    0x6A: partial(_integers, tag_size=1),
    0x72: partial(_integers, tag_size=1),
    0x7A: partial(_doubles, tag_size=1),
}
_DECODERS: list[Decoder] = [_FIRST_FIELDS.get(tag, _two_byte_tag if tag >= 128 else _by_feast) for tag in range(256)]
"""By a Value's first byte: the number of its field, times 8, plus how the field is written."""
