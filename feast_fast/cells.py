"""Arrow columns to the bytes that Feast stores, a whole column at a time.

A column of cells is an Arrow ``large_binary`` array without nulls: one buffer and its offsets. NumPy makes the cells,
Arrow's own kernel puts them side by side (``joined``); no value becomes a Python object. Nothing here imports Feast,
but for the types that only Feast's own converter knows.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feast_fast.names import key_prefix

BYTES, STRING, INT32, INT64, DOUBLE, FLOAT, BOOL, UNIX_TIMESTAMP = range(1, 9)
"""``feast.types.ValueType.Enum``. Up to DECIMAL_LIST the number is the value's field in ``feast.types.Value``, too."""
PDF_BYTES, IMAGE_BYTES, UUID, TIME_UUID, DECIMAL = 30, 31, 36, 37, 44
_LIST_OF = {
    **{kind + 10: kind for kind in range(BYTES, UNIX_TIMESTAMP + 1)},
    38: UUID,
    39: TIME_UUID,
    45: DECIMAL,
}
_TEXT = (STRING, UUID, TIME_UUID, DECIMAL)
_BINARY = (BYTES, PDF_BYTES, IMAGE_BYTES)
_FIXED = {DOUBLE: ("<f8", 1), FLOAT: ("<f4", 5)}  # NumPy type, protobuf wire type
_VARINT = (INT32, INT64, BOOL, UNIX_TIMESTAMP)

_KEY_NAMES = {BYTES: "BYTES", STRING: "STRING", INT32: "INT32", INT64: "INT64", UNIX_TIMESTAMP: "UNIX_TIMESTAMP"}
KEY_KINDS = tuple(_KEY_NAMES)
"""The types that Feast accepts in an entity key."""

NULL_TIME = np.iinfo(np.int64).min
"""What Feast writes for a null UNIX_TIMESTAMP."""
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_WIDEST_TABLE = 1 << 16

Array = Any  # pa.Array; PyArrow has no types of its own
Part = bytes | Array


def joined(parts: Sequence[Part], rows: int) -> Array:
    """Cells side by side, row by row; bytes stand for the same cell in every row."""
    merged: list[Any] = []
    for part in parts:
        if not isinstance(part, bytes):
            merged.append(part)
        elif merged and isinstance(merged[-1], bytes):
            merged[-1] += part
        elif part:
            merged.append(part)
    if all(isinstance(part, bytes) for part in merged):
        return constant(b"".join(merged), rows)
    if len(merged) == 1:
        return merged[0]
    arguments = [pa.scalar(part, pa.large_binary()) if isinstance(part, bytes) else part for part in merged]
    return pc.binary_join_element_wise(*arguments, pa.scalar(b"", pa.large_binary()))


def constant(cell: bytes, rows: int) -> Array:
    return cells(np.tile(np.frombuffer(cell, np.uint8), rows), np.arange(rows + 1) * len(cell))


def cells(data: Any, offsets: np.ndarray) -> Array:
    """An array over a buffer; ``offsets`` has one number more than there are cells."""
    flat = np.ascontiguousarray(data).view(np.uint8).reshape(-1) if isinstance(data, np.ndarray) else data
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(flat)])


def offsets_of(column: Array) -> np.ndarray:
    return np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1]


def lengths_of(column: Array) -> np.ndarray:
    return np.diff(offsets_of(column))


def whole_buffer(column: Array) -> memoryview:
    """The bytes of all cells, one after another."""
    if not len(column):
        return memoryview(b"")
    offsets = offsets_of(column)
    data = column.buffers()[2]
    return memoryview(data)[offsets[0] : offsets[-1]] if data is not None else memoryview(b"")


def by_length(lengths: np.ndarray, made_of: Callable[[int], bytes]) -> Part:
    """A cell that depends on a length alone, such as a header; the same bytes for all where all lengths are one."""
    if not len(lengths):
        return b""
    longest = int(lengths.max())
    if longest == lengths.min():
        return made_of(longest)
    if longest < _WIDEST_TABLE:
        seen = np.bincount(lengths)
        table = [made_of(length) if count else b"" for length, count in enumerate(seen.tolist())]
        return pa.array(table, pa.large_binary()).take(pa.array(lengths))
    unique, row = np.unique(lengths, return_inverse=True)
    return pa.array([made_of(length) for length in unique.tolist()], pa.large_binary()).take(pa.array(row))


def varint(number: int) -> bytes:
    """A protobuf varint of a number that is not negative."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def varints(numbers: np.ndarray, tag: bytes = b"", absent: np.ndarray | None = None) -> Array:
    """Protobuf varints of 64-bit integers, each after a tag; empty where a mask says absent."""
    left = numbers.astype(np.int64, copy=False).view(np.uint64)
    widest = max(1, (int(left.max()).bit_length() + 6) // 7) if len(left) else 1
    matrix = np.empty((len(left), len(tag) + widest), np.uint8)
    matrix[:, : len(tag)] = np.frombuffer(tag, np.uint8)
    width = np.full(len(left), len(tag) + 1)
    for at in range(len(tag), len(tag) + widest):
        matrix[:, at] = left & np.uint64(0x7F)
        left = left >> np.uint64(7)
        more = left != 0
        matrix[:, at] |= more.view(np.uint8) << 7
        width += more
    if absent is not None:
        width[absent] = 0
    return _compact(matrix, width)


def _compact(matrix: np.ndarray, width: np.ndarray) -> Array:
    offsets = np.zeros(len(width) + 1, np.int64)
    np.cumsum(width, out=offsets[1:])
    if offsets[-1] == matrix.size:
        return cells(matrix, offsets)
    return cells(matrix[np.arange(matrix.shape[1]) < width[:, None]], offsets)


def _tag(field: int, wire: int) -> bytes:
    return varint(field << 3 | wire)


def value_cells(column: Array, kind: int) -> Array:
    """A column as serialized ``feast.types.Value`` messages, as stock Feast makes them; a null is the empty message.

    Integers stay exact beside nulls, where stock turns the column into doubles.

    Args:
        column: any Arrow array.
        kind: Feast's ``ValueType`` number.

    Raises:
        pa.ArrowInvalid: a number does not fit its type.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if kind in _LIST_OF and _is_list(column.type):
        elements = column.flatten()
        exact = (
            not pa.types.is_timestamp(elements.type) or elements.type.unit != "ns"
        )  # stock takes their number for seconds
        if elements.null_count == 0 and exact and _fits(elements.type, _LIST_OF[kind]):
            return _lists(column, elements, kind)
    elif kind not in _LIST_OF and _fits(column.type, kind):
        return _scalars(column, kind)
    return _stock_cells(column, kind)


def _stock_cells(column: Array, kind: int) -> Array:
    """Feast's own converter, value by value: maps, sets, JSON and whatever is not of its declared type."""
    from feast.type_map import python_values_to_proto_values
    from feast.value_type import ValueType

    values = python_values_to_proto_values(column.to_numpy(zero_copy_only=False), ValueType(kind))
    return pa.array([value.SerializeToString() for value in values], pa.large_binary())


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _fits(held: pa.DataType, kind: int) -> bool:
    """Whether an Arrow type holds what the Feast type means, so that no value needs a second look."""
    if kind in _TEXT:
        return pa.types.is_string(held) or pa.types.is_large_string(held)
    if kind in _BINARY:
        return pa.types.is_binary(held) or pa.types.is_large_binary(held) or pa.types.is_fixed_size_binary(held)
    if kind in _FIXED:
        return pa.types.is_float64(held) or pa.types.is_float32(held)
    if kind == BOOL:
        return pa.types.is_boolean(held)
    if kind == UNIX_TIMESTAMP and pa.types.is_timestamp(held):
        return True
    return kind in _VARINT and pa.types.is_integer(held)


def _scalars(column: Array, kind: int) -> Array:
    if kind in _FIXED:
        return _fixed(column, kind)
    if kind in _VARINT:
        absent = _nulls(column) if kind != UNIX_TIMESTAMP or pa.types.is_integer(column.type) else None
        return varints(_integers(column, kind), _tag(kind, 0), absent)
    body = binary(column)
    head = varints(lengths_of(body), _tag(BYTES if kind in _BINARY else kind, 2), _nulls(column))
    return joined([head, body], len(column))


def _fixed(column: Array, kind: int) -> Array:
    """Doubles and floats. A NaN is a null to Feast."""
    held, wire = _FIXED[kind]
    numbers = column.to_numpy(zero_copy_only=False).astype(held)
    absent = np.isnan(numbers)
    if column.null_count:
        absent |= _nulls(column)
    kept = np.ascontiguousarray(numbers[~absent] if absent.any() else numbers)
    tag = _tag(kind, wire)
    matrix = np.empty((len(kept), len(tag) + kept.itemsize), np.uint8)
    matrix[:, : len(tag)] = np.frombuffer(tag, np.uint8)
    matrix[:, len(tag) :] = kept.view(np.uint8).reshape(len(kept), kept.itemsize)
    offsets = np.zeros(len(numbers) + 1, np.int64)
    np.cumsum(~absent * matrix.shape[1], out=offsets[1:])
    return cells(matrix, offsets)


def _lists(column: Array, elements: Array, kind: int) -> Array:
    """``Value{field: List{1: …}}``: numbers packed, texts one by one; an empty list is an empty inner message."""
    inner = _LIST_OF[kind]
    absent = _nulls(column)
    counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    starts = np.zeros(len(column) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    if inner in _FIXED:
        held = np.ascontiguousarray(elements.to_numpy(zero_copy_only=False).astype(_FIXED[inner][0]))
        body, packed = cells(held, starts * held.itemsize), True
    elif inner in _VARINT:
        numbers = _integers(elements, inner)
        if pa.types.is_timestamp(elements.type):  # in lists stock cuts off the fraction, alone it rounds down
            numbers += (numbers < 0) & (elements.cast(pa.int64()).to_numpy() % _PER_SECOND[elements.type.unit] != 0)
        body, packed = varints(numbers), True
    else:
        texts = binary(elements)
        body, packed = joined([varints(lengths_of(texts), _tag(1, 2)), texts], len(texts)), False
    if inner not in _FIXED:  # the cells of a row's elements are one after another: a row is one larger cell
        body = cells(whole_buffer(body), (offsets_of(body) - offsets_of(body)[0])[starts])
    sizes = lengths_of(body)
    parts: list[Part] = [body]
    if packed:
        parts.insert(0, varints(sizes, _tag(1, 2), sizes == 0))
        sizes = sizes + lengths_of(parts[0])
    parts.insert(0, varints(sizes, _tag(kind, 2), absent))
    return joined(parts, len(column))


def _nulls(column: Array) -> np.ndarray | None:
    return column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None


def binary(column: Array) -> Array:
    """Texts or bytes as cells; a null is an empty one."""
    if not pa.types.is_large_binary(column.type):
        column = column.cast(pa.large_binary())
    return column.fill_null(b"") if column.null_count else column


def _integers(column: Array, kind: int) -> np.ndarray:
    """64-bit numbers; a null is 0, of a timestamp Feast's own null."""
    if pa.types.is_timestamp(column.type):
        numbers = column.cast(pa.int64())
        seconds = pc.fill_null(numbers, 0).to_numpy(zero_copy_only=False) // _PER_SECOND[column.type.unit]
        nulls = _nulls(column)
        return seconds if nulls is None else np.where(nulls, NULL_TIME, seconds)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    elif kind == INT32:
        column = column.cast(pa.int32())
    column = column.cast(pa.int64())
    return (pc.fill_null(column, 0) if column.null_count else column).to_numpy(zero_copy_only=False)


def stamp_cells(column: Array) -> Array:
    """Times as ``google.protobuf.Timestamp`` messages of whole microseconds, as Feast's datetimes are."""
    micros = stamps(column)
    seconds, rest = micros // 10**6, micros % 10**6 * 1000
    late, broken = seconds != 0, rest != 0
    parts: list[Part] = [varints(seconds, b"\x08", None if late.all() else ~late)]
    if broken.any():
        parts.append(varints(rest, b"\x10", ~broken))
    return joined(parts, len(column))


def stamps(column: Array) -> np.ndarray:
    """Times in µs since 1970.

    Raises:
        ValueError: one is null.
    """
    if column.null_count:
        raise ValueError("A row has no event timestamp.")
    if pa.types.is_date(column.type):  # its midnight
        column = column.cast(pa.timestamp("us"))
    numbers = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    unit = _PER_SECOND[column.type.unit]
    return numbers * (10**6 // unit) if unit <= 10**6 else numbers // (unit // 10**6)


def key_cells(columns: Sequence[tuple[str, int, Array]], project: str) -> Array:
    """The Redis keys of rows: Feast's entity key (serialization version 3) and the project.

    Args:
        columns: name, Feast type and values of each join key.

    Raises:
        ValueError: a key is null, or Feast cannot make it what is declared.
    """
    columns = sorted(columns, key=lambda column: column[0])
    rows = len(columns[0][2])
    parts: list[Part] = [key_prefix([name for name, _, _ in columns])]
    for name, kind, column in columns:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if not column.null_count and not _fits(column.type, kind):
            column = _stock_keys(name, column, kind)
        if column.null_count:
            raise ValueError(f"A row has no {name}, which is a join key.")
        if kind in (STRING, BYTES):
            body = binary(column)
        else:
            numbers = _integers(column, kind).astype("<i4" if kind == INT32 else "<i8")
            body = cells(numbers, np.arange(rows + 1) * numbers.itemsize)
        parts += [struct.pack("<I", kind), by_length(lengths_of(body), lambda size: struct.pack("<I", size)), body]
    return joined([*parts, project.encode()], rows)


def _stock_keys(name: str, column: Array, kind: int) -> Array:
    """A join key's column that is not of its declared type, by Feast's own converter; what it takes for none is null."""
    from feast.type_map import python_values_to_proto_values
    from feast.value_type import ValueType

    declared = _KEY_NAMES[kind]
    try:
        values = python_values_to_proto_values(column.to_numpy(zero_copy_only=False), ValueType(kind))
    except Exception as error:  # whatever a conversion raises
        raise ValueError(
            f"The join key {name} is declared as {declared} to Feast, which cannot make that of its column of {column.type}: {error}"
        ) from error
    field = f"{declared.lower()}_val"
    return pa.array([getattr(value, field) if value.WhichOneof("val") == field else None for value in values])
