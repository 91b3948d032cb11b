"""The plug-in's bytes are stock's: every type, by property, against stock's converter and stock's writer."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
import redis
from feast import RepoConfig
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    FeastType,
    Float32,
    Float64,
    ImageBytes,
    Int32,
    Int64,
    Json,
    Map,
    PdfBytes,
    Set,
    String,
    TimeUuid,
    UnixTimestamp,
    Uuid,
)
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from feast_fast.views import layout_of, why_not
from feast_fast.write import Rules, Writer
from tests.feast_fast.conftest import hashes, view_of, write_stock

TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
INT32 = st.integers(-(2**31), 2**31 - 1) | st.sampled_from([0, 1, -1, 127, 128])
INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, -1, 2**53 + 1, 127, 128, 2**63 - 1, -(2**63)])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
LONG = st.integers(60, 5_000).map(lambda size: "x" * size)
FLOAT32 = st.floats(width=32, allow_nan=False)
DOUBLE = st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 5e-324, 1e300])
BINARY = st.binary(max_size=80) | st.sampled_from([b"\r\n", b"$-1\r\n", b"\x00" * 70])
UUIDS = st.uuids().map(str)
NUMBERS = st.decimals(allow_nan=False, allow_infinity=False).map(str)

SCALARS: dict[str, tuple[FeastType, pa.DataType, st.SearchStrategy[Any]]] = {
    "bytes": (Bytes, pa.binary(), BINARY),
    "pdf": (PdfBytes, pa.large_binary(), BINARY),
    "image": (ImageBytes, pa.binary(), BINARY),
    "string": (String, pa.string(), TEXT | LONG),
    "int32": (Int32, pa.int32(), INT32),
    "int64": (Int64, pa.int64(), INT64),
    "small": (Int64, pa.int16(), st.integers(-300, 300)),
    "double": (Float64, pa.float64(), DOUBLE),
    "float": (Float32, pa.float32(), FLOAT32),
    "narrowed": (Float32, pa.float64(), FLOAT32),
    "bool": (Bool, pa.bool_(), st.booleans()),
    "time": (UnixTimestamp, pa.timestamp("us", "UTC"), TIMES),
    "millis": (UnixTimestamp, pa.timestamp("ms"), TIMES.map(lambda t: t.replace(microsecond=0, tzinfo=None))),
    "uuid": (Uuid, pa.string(), UUIDS),
    "time_uuid": (TimeUuid, pa.string(), UUIDS),
    "decimal": (Decimal, pa.string(), NUMBERS),
}
_LISTED = ("bytes", "string", "int32", "int64", "double", "float", "bool", "time", "uuid", "time_uuid", "decimal")
LISTS = {
    **{
        name: (Array(dtype), pa.list_(arrow), st.lists(values, max_size=8))
        for name, (dtype, arrow, values) in SCALARS.items()
        if name in _LISTED
    },
    "large": (Array(Int64), pa.large_list(pa.int64()), st.lists(INT64, max_size=100)),
}
OTHERS: dict[str, tuple[FeastType, pa.DataType, st.SearchStrategy[Any]]] = {
    "json": (Json, pa.string(), st.sampled_from(['{"a": 1}', "[]"])),
    "map": (Map, pa.string(), st.just('{"a": "b"}')),
    "set": (Set(Int64), pa.list_(pa.int64()), st.lists(INT64, max_size=1)),
    "text of a number": (String, pa.int64(), st.integers(0, 9)),
    "number of a text": (Int64, pa.string(), st.integers(0, 9).map(str)),
    "nanos": (UnixTimestamp, pa.timestamp("ns", "UTC"), TIMES),
    "nanos list": (Array(UnixTimestamp), pa.list_(pa.timestamp("ns", "UTC")), st.lists(TIMES, min_size=1, max_size=3)),
    "list with nulls": (Array(String), pa.list_(pa.string()), st.lists(TEXT | st.none(), min_size=1, max_size=3)),
}
_BROKEN_NULLS = ("int32", "int64", "small", "bool", "set", "number of a text", "text of a number")
"""Where stock itself makes doubles of integers beside a null, or fails."""
CONFIG = RepoConfig(project="lab", registry="unused.db", provider="local", entity_key_serialization_version=3)


def load(client: redis.Redis, view: Any, table: pa.Table, rules: Rules | None = None, whole: bool = False) -> None:
    assert why_not(view, CONFIG) is None
    writer = Writer(client, layout_of(view, CONFIG), rules)
    (writer.replace if whole else writer.write)(table.to_batches())


def seconds_of(stamp: bytes) -> tuple[int, int]:
    time = Timestamp.FromString(stamp)
    return time.seconds, time.nanos


def same_as_stock(client: redis.Redis, url: str, view: Any, table: pa.Table) -> None:
    """All ways to write it: a new key whole, over it field by field, by compare and set, and as an owner."""
    client.flushall()
    write_stock(url, view, table, skip_dedup=True)
    wanted = hashes(client)
    assert len(wanted) == table.num_rows
    for key in wanted:  # older, so that compare and set has to write
        client.delete(key)
        client.hset(key, f"_ts:{view.name}", b"\x08\x01")
    load(client, view, table)
    # What is not newer than that second stays; stock takes what is there for none where its own time is before 1970.
    newer = {key: row for key, row in wanted.items() if seconds_of(row[f"_ts:{view.name}".encode()]) > (1, 0)}
    assert {key: row for key, row in hashes(client).items() if key in newer} == newer
    load(client, view, table, Rules(only_newer=False))
    assert hashes(client) == wanted
    for whole in (False, True):
        client.flushall()
        load(client, view, table, whole=whole)
        assert hashes(client) == wanted


@pytest.mark.parametrize("kind", ["scalars", "lists", "others"])
def test_every_type(kind: str, redis_server: str) -> None:
    client = redis.Redis.from_url(redis_server)
    cases = {"scalars": SCALARS, "lists": LISTS, "others": OTHERS}[kind]
    view = view_of("v", {"card": String}, {name: dtype for name, (dtype, _, _) in cases.items()})

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        keys = data.draw(st.lists(TEXT | LONG, min_size=1, max_size=5, unique=True))
        rows = {"min_size": len(keys), "max_size": len(keys)}
        columns = {}
        for name, (_, arrow, values) in cases.items():
            column = data.draw(st.lists(values if name in _BROKEN_NULLS else values | st.none(), **rows))
            if arrow in (
                pa.binary(),
                pa.large_binary(),
            ):  # stock takes a batch of nothing but empty bytes for one of nulls
                column[0] = b"not empty"
            columns[name] = pa.array(column, arrow)
        times = pa.array(data.draw(st.lists(TIMES, **rows)), pa.timestamp("us", "UTC"))
        same_as_stock(client, redis_server, view, pa.table({"card": keys, **columns, "event_timestamp": times}))

    check()


COMPOSITE = st.tuples(TEXT, INT64, INT32, st.binary(min_size=1, max_size=80), TIMES)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.lists(COMPOSITE, min_size=1, max_size=8, unique=True))
@example([("", 0, 0, b"0", datetime(1970, 1, 1, tzinfo=UTC))])
def test_composite_keys(redis_server: str, rows: list[Any]) -> None:
    client = redis.Redis.from_url(redis_server)
    kinds = {"text": String, "number": Int64, "small": Int32, "binary": Bytes, "time": UnixTimestamp}
    arrow = [pa.string(), pa.int64(), pa.int32(), pa.binary(), pa.timestamp("us", "UTC")]
    columns = [pa.array(list(values), kind) for values, kind in zip(zip(*rows, strict=True), arrow, strict=True)]
    table = pa.table(
        {
            **dict(zip(kinds, columns, strict=True)),
            "f": pa.array(range(len(rows))),
            "event_timestamp": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * len(rows), pa.timestamp("us", "UTC")),
        }
    )
    view = view_of("v", kinds, {"f": Int64})
    seconds = {(*row[:4], int(row[4].timestamp() // 1)) for row in rows}
    if len(seconds) == len(rows):  # times within one second are one key
        same_as_stock(client, redis_server, view, table)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_event_times_of_every_unit(unit: str, redis_url: str, client: redis.Redis) -> None:
    moments = [datetime(2026, 1, 1, 1, 2, 3, 456789 if unit in ("us", "ns") else 0), datetime(1969, 12, 31, 23, 59, 58)]
    moments += [datetime(1970, 1, 1), datetime(1970, 1, 1, 0, 0, 1)]
    table = pa.table(
        {
            "card": [str(at) for at in range(len(moments))],
            "f": list(range(len(moments))),
            "event_timestamp": pa.array(moments, pa.timestamp(unit)),
        }
    )
    same_as_stock(client, redis_url, view_of("v", {"card": String}, {"f": Int64}), table)


def test_integers_stay_exact_beside_nulls(client: redis.Redis) -> None:
    """Which stock, that takes them through doubles, does not do."""
    numbers = [2**53 + 1, None, -(2**63), 2**63 - 1]
    table = pa.table(
        {
            "card": ["a", "b", "c", "d"],
            "f": pa.array(numbers, pa.int64()),
            "event_timestamp": pa.array([datetime(2026, 1, 1)] * 4, pa.timestamp("us")),
        }
    )
    view = view_of("v", {"card": String}, {"f": Int64})
    load(client, view, table)
    from feast.protos.feast.types.Value_pb2 import Value

    (field,) = layout_of(view, CONFIG).features
    stored = {key[len(key) - 4 : -3]: Value.FromString(row[field.field]) for key, row in hashes(client).items()}
    for card, number in zip(b"abcd", numbers, strict=True):
        value = stored[bytes([card])]
        assert (value.int64_val if value.WhichOneof("val") else None) == number


def test_a_long_hash_and_a_wide_one(redis_url: str, client: redis.Redis) -> None:
    """More fields than the server keeps in a listpack, and lengths that need every kind of header."""
    lengths = [0, 1, 60, 61, 62, 120, 4080, 4090, 16_380, 70_000]
    features = {f"f{at}": String for at in range(520)}
    columns = {
        name: [("x" * lengths[(at + row) % len(lengths)] if at < 20 else "y") for row in range(len(lengths))]
        for at, name in enumerate(features)
    }
    table = pa.table(
        {
            "card": [str(row) for row in range(len(lengths))],
            **columns,
            "event_timestamp": pa.array([datetime(2026, 1, 1)] * len(lengths), pa.timestamp("us")),
        }
    )
    same_as_stock(client, redis_url, view_of("v", {"card": String}, features), table)


def test_sliced_and_dictionary_columns(redis_url: str, client: redis.Redis) -> None:
    table = pa.table(
        {
            "card": [f"c{at}" for at in range(50)],
            "f": pa.array([f"t{at % 3}" for at in range(50)]),
            "l": pa.array([None if at % 7 == 0 else list(range(at % 5)) for at in range(50)], pa.list_(pa.int64())),
            "event_timestamp": pa.array([datetime(2026, 1, 1)] * 50, pa.timestamp("us")),
        }
    )
    view = view_of("v", {"card": String}, {"f": String, "l": Array(Int64)})
    write_stock(redis_url, view, table.slice(13, 20))
    wanted = hashes(client)
    client.flushall()
    coded = table.set_column(1, "f", table.column("f").dictionary_encode())
    load(client, view, coded.slice(13, 20))
    assert hashes(client) == wanted


@pytest.mark.parametrize("column", ["card", "event_timestamp"])
def test_a_row_without_key_or_time_is_refused(column: str, client: redis.Redis) -> None:
    table = pa.table(
        {
            "card": ["a", "b"],
            "f": [1, 2],
            "event_timestamp": pa.array([datetime(2026, 1, 1)] * 2, pa.timestamp("us")),
        }
    )
    at = table.schema.get_field_index(column)
    table = table.set_column(at, column, pa.array([None, table.column(at)[1].as_py()], table.schema.field(at).type))
    with pytest.raises(ValueError, match="A row has no"):
        load(client, view_of("v", {"card": String}, {"f": Int64}), table)


def test_the_checksum_is_redis_own(client: redis.Redis) -> None:
    """Over lengths that are odd, even, and differ widely."""
    import numpy as np

    from feast_fast.crc64 import crc64

    rows = [b"", b"1", b"123456789", b"x" * 1_000, bytes(range(256)) * 40]
    assert hex(int(crc64(pa.array(rows, pa.large_binary()))[2])) == "0xe9c6d914c4b8d9ca"  # Redis' own self-test
    client.config_set("rdbcompression", "no")
    dumps = []
    for row in rows:
        client.set("k", b"v" + row)
        dumps.append(client.dump("k"))
    client.config_set("rdbcompression", "yes")
    found = crc64(pa.array([dump[:-8] for dump in dumps], pa.large_binary()))
    assert found.tolist() == [struct.unpack("<Q", dump[-8:])[0] for dump in dumps]
    assert found.dtype == np.dtype("<u8")
