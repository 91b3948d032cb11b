"""Decoding gives what Feast's own conversion gives of the same bytes."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from feast.protos.feast.types import Value_pb2
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type
from feast.value_type import ValueType
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feast_fast import decode

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-300, 70_000), st.just(2**53 + 1))
SECONDS = st.one_of(st.integers(-60_000_000_000, 250_000_000_000), st.just(decode.NULL_TIMESTAMP))
DOUBLE = st.floats()
FLOAT = st.floats(width=32)
TEXT = st.one_of(st.text(), st.text(min_size=120, max_size=140))
BYTES = st.one_of(st.binary(), st.binary(min_size=126, max_size=130))
UUID = st.uuids().map(str)
DECIMAL = st.decimals(allow_nan=False).map(str)
ONE = {
    "bytes_val": BYTES,
    "string_val": TEXT,
    "int32_val": INT32,
    "int64_val": INT64,
    "double_val": DOUBLE,
    "float_val": FLOAT,
    "bool_val": st.booleans(),
    "unix_timestamp_val": SECONDS,
    "uuid_val": UUID,
    "time_uuid_val": UUID,
    "decimal_val": DECIMAL,
    "json_val": st.sampled_from(['{"a": [1, null]}', "no json"]),
    "null_val": st.just(0),
}
MANY = {
    "bytes_list_val": ("BytesList", BYTES),
    "string_list_val": ("StringList", TEXT),
    "int32_list_val": ("Int32List", INT32),
    "int64_list_val": ("Int64List", INT64),
    "double_list_val": ("DoubleList", DOUBLE),
    "float_list_val": ("FloatList", FLOAT),
    "bool_list_val": ("BoolList", st.booleans()),
    "unix_timestamp_list_val": ("Int64List", SECONDS),
    "uuid_list_val": ("StringList", UUID),
    "time_uuid_list_val": ("StringList", UUID),
    "decimal_list_val": ("StringList", DECIMAL),
    "json_list_val": ("StringList", st.just("[1]")),
    "int64_set_val": ("Int64Set", INT64),
    "string_set_val": ("StringSet", TEXT),
}


def _many(name: str) -> st.SearchStrategy[Value]:
    message, items = MANY[name]
    # Two examples are long on purpose: NumPy takes over from 96 bytes on.
    lists = st.one_of(st.lists(items, max_size=6), st.lists(items, min_size=20, max_size=70))
    return lists.map(lambda values: Value(**{name: getattr(Value_pb2, message)(val=values)}))


VALUES = st.one_of(
    *(strategy.map(lambda value, name=name: Value(**{name: value})) for name, strategy in ONE.items()),
    *(_many(name) for name in MANY),
)


def same(ours: Any, feasts: Any) -> bool:
    return repr(ours) == repr(feasts)


@settings(deadline=None)
@given(VALUES)
def test_a_value_is_what_feast_makes_of_it(value: Value) -> None:
    assert same(decode.value(value.SerializeToString()), feast_value_type_to_python_type(value))


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), VALUES), max_size=12))
def test_a_column_may_hold_anything(values: list[Value | None]) -> None:
    cells = [None if value is None else value.SerializeToString() for value in values]
    wanted = [None if value is None else feast_value_type_to_python_type(value) for value in values]
    assert same(decode.column(cells), wanted)


@pytest.mark.parametrize("name", [*ONE, *MANY])
def test_every_field_is_tried(name: str) -> None:
    """The property tests pick at random among so many."""
    values = [strategy_example(name, n) for n in range(3)]
    for value in values:
        assert same(decode.value(value.SerializeToString()), feast_value_type_to_python_type(value))


def strategy_example(name: str, n: int) -> Value:
    texts = ["", "é\N{CREDIT CARD}", "x" * 200]
    uuids = [f"{n:08d}-0000-4000-8000-000000000000"]
    by_kind: dict[str, Any] = {
        "bytes": [b"", b"\0\xff", b"y" * 128],
        "string": texts,
        "int32": [0, -1, 2**31 - 1],
        "int64": [-(2**63), 2**63 - 1, 300],
        "double": [-0.0, float("inf"), 5e-324],
        "float": [1.5, float("-inf"), 1e-45],
        "bool": [False, True, False],
        "unix_timestamp": [0, -1, decode.NULL_TIMESTAMP],
        "uuid": uuids * 3,
        "time_uuid": uuids * 3,
        "decimal": ["1.10", "-0", "1E+9"],
        "json": ["1", "{}", "["],
        "null": [0, 0, 0],
    }
    kind = name.removesuffix("_val").removesuffix("_list").removesuffix("_set")
    if name in ONE:
        return Value(**{name: by_kind[kind][n]})
    return Value(**{name: getattr(Value_pb2, MANY[name][0])(val=by_kind[kind][: n + 1] * (20 if n == 2 else 1))})


def test_the_fields_of_value_are_those_that_were_looked_at() -> None:
    """A new kind of value in another Feast is decoded by Feast; that it exists should be known here."""
    fields = {field.name for field in Value.DESCRIPTOR.fields}
    sets = {name for name in fields if name.endswith("_set_val")}
    maps = {"map_val", "map_list_val", "struct_val", "struct_list_val", "scalar_map_val"}
    assert fields == {*ONE, *MANY, *sets, *maps, "list_val", "set_val", "zoned_timestamp_val"}


def test_none_and_empty_are_null() -> None:
    assert decode.column([None, b""]) == [None, None]


def test_a_type_that_says_more_than_the_bytes() -> None:
    text = "12345678-0000-4000-8000-000000000000"
    data = Value(string_val=text)
    found = decode.column([data.SerializeToString(), None], ValueType.UUID)
    assert found == [feast_value_type_to_python_type(data, ValueType.UUID), None]


@pytest.mark.parametrize("data", [b"\x29\0", b"\x12\x05ab\xff", b"\xff\xff", b"\x72\x03\x0a\x05\x01", b"\x20"])
def test_bytes_that_are_no_value(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode.value(data)
    with pytest.raises(DecodeError):
        decode.column([data])


def test_numbers_that_are_not_packed_are_read_too() -> None:
    """No protobuf library writes them so; every one reads them."""
    data = b"\x72\x04\x08\x05\x08\x06"
    assert Value.FromString(data).int64_list_val.val == [5, 6]
    assert decode.value(data) == [5, 6]


@settings(deadline=None)
@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)))
@example(datetime(1970, 1, 1))
def test_a_timestamp(moment: datetime) -> None:
    stamp = Timestamp()
    stamp.FromDatetime(moment.replace(tzinfo=UTC))
    assert decode.timestamp(stamp.SerializeToString()) == (stamp.seconds, stamp.nanos)


def test_decoding_imports_no_feast() -> None:
    code = "import sys, feast_fast.plan, feast_fast.decode as d; d.column([b'\\x20\\x05']); assert 'feast' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
