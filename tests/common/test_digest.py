"""Digests: equal for equal rows in any order and any files, different for any other data."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.common import digest as digests
from jobs.common.digest import Digest, hash_values, table_digest

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "n": pa.int64(),
        "x": pa.float64(),
        "ok": pa.bool_(),
        "at": pa.timestamp("us", tz="UTC"),
        "list": pa.list_(pa.int64()),
        "names": pa.list_(pa.string()),
    }
)
ROW = st.fixed_dictionaries(
    {
        "id": st.none() | st.text(max_size=40),
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "x": st.none() | st.floats(allow_nan=False),
        "ok": st.none() | st.booleans(),
        "at": st.none()
        | st.datetimes(min_value=datetime(1700, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)),
        "list": st.none() | st.lists(st.integers(-5, 5), max_size=4),
        "names": st.none() | st.lists(st.text(max_size=3), max_size=3),
    }
)


def digest(rows: list[dict[str, Any]], chunk: int = 10**6) -> str:
    return table_digest(pa.Table.from_pylist(rows, SCHEMA).to_batches(max_chunksize=chunk)).hexdigest()


@settings(deadline=None)  # a busy machine is no error
@given(st.lists(ROW, min_size=1, max_size=20), st.randoms(), st.integers(1, 5))
def test_order_and_chunks_do_not_matter(rows: list[dict[str, Any]], random: Any, chunk: int) -> None:
    shuffled = random.sample(rows, len(rows))
    assert digest(rows) == digest(shuffled, chunk)


@settings(deadline=None)  # a busy machine is no error
@given(st.lists(ROW, min_size=1, max_size=20), st.integers(0, 20))
def test_digests_of_parts_add_up(rows: list[dict[str, Any]], cut: int) -> None:
    whole = pa.Table.from_pylist(rows, SCHEMA)
    added = Digest()
    for part in (whole.slice(0, cut), whole.slice(cut)):
        added.merge(table_digest(part.to_batches()))
    assert added == table_digest(whole.to_batches())


def test_a_dictionary_is_its_values() -> None:
    rows: list[dict[str, Any]] = [{"id": i, "names": n} for i, n in (("a", ["x", None, "y"]), (None, []), ("a", None))]
    plain = pa.Table.from_pylist(rows, pa.schema({"id": pa.string(), "names": pa.list_(pa.string())}))
    names = plain.column("names").combine_chunks()
    encoded = pa.ListArray.from_arrays(names.offsets, names.values.dictionary_encode(), mask=names.is_null())
    short = pa.table({"id": plain.column("id").dictionary_encode(), "names": encoded})
    for table in (short, short.slice(1)):
        expected = plain.slice(plain.num_rows - table.num_rows)
        assert table_digest(table.combine_chunks().to_batches()) == table_digest(expected.to_batches())


@pytest.mark.parametrize("mixed", [False, True])
def test_texts_are_hashed_in_slices(monkeypatch: pytest.MonkeyPatch, mixed: bool) -> None:
    texts = pa.array([f"{i:05d}" * (1 + (i % 3) * mixed) for i in range(100)] + [""] * mixed).slice(1)
    expected = [int(hash_values(pa.array([text]))[0]) for text in texts.to_pylist()]
    for at_once in (1, 7, 10**6):
        monkeypatch.setattr(digests, "_TEXT_AT_ONCE", at_once)
        assert hash_values(texts).tolist() == expected


def test_long_texts_take_little_memory() -> None:
    """As in the quarantine, where one length stands among others."""
    texts = pa.array([*("x" * 65_536 for _ in range(999)), "y"])
    tracemalloc.start()
    hash_values(texts)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


@settings(deadline=None)  # a busy machine is no error
@given(st.lists(ROW, min_size=1, max_size=8), ROW)
def test_any_other_rows_differ(rows: list[dict[str, Any]], other: dict[str, Any]) -> None:
    assert digest(rows) != digest([*rows, other])
    assert digest(rows) != digest([*rows, rows[0]]), "a row twice is not a row once"
    if other != rows[0]:
        assert digest(rows) != digest([other, *rows[1:]])


@pytest.mark.parametrize(
    ("name", "one", "two"),
    [
        ("id", "", None),
        ("id", "a", "a\0"),
        ("n", 0, None),
        ("n", 2**53, 2**53 + 1),
        ("x", 0.1, np.nextafter(0.1, 1)),
        ("ok", False, None),
        ("list", [], None),
        ("list", [1, 2], [2, 1]),
        ("list", [0], []),
        ("names", ["ab"], ["a", "b"]),
        ("names", [""], []),
    ],
)
def test_values_that_are_easily_confused(name: str, one: Any, two: Any) -> None:
    row = dict.fromkeys(SCHEMA.names)
    assert digest([row | {name: one}]) != digest([row | {name: two}])


def test_values_do_not_wander_between_columns_or_rows() -> None:
    schema = pa.schema({"a": pa.int64(), "b": pa.int64()})

    def of(rows: list[tuple[int, int]]) -> str:
        return table_digest(pa.Table.from_pylist([{"a": a, "b": b} for a, b in rows], schema).to_batches()).hexdigest()

    assert of([(1, 2)]) != of([(2, 1)])
    assert of([(1, 2), (3, 4)]) != of([(1, 4), (3, 2)])


def test_minus_zero_and_the_width_of_strings_are_no_difference() -> None:
    small, large = (
        pa.table({"s": pa.array(["a"]), "x": [0.0]}),
        pa.table({"s": pa.array(["a"], pa.large_string()), "x": [-0.0]}),
    )
    assert table_digest(small.to_batches()).hexdigest() == table_digest(large.to_batches()).hexdigest()


def test_schemas_do_not_mix() -> None:
    with pytest.raises(ValueError, match="Cannot add"):
        table_digest([pa.record_batch({"a": [1]}), pa.record_batch({"b": [1]})])


@settings(deadline=None)  # a busy machine is no error
@given(st.lists(ROW, min_size=1, max_size=20), st.integers(0, 20))
def test_dictionaries_and_digests_that_are_merged_count_as_their_rows(rows: list[dict[str, Any]], cut: int) -> None:
    table = pa.Table.from_pylist(rows, SCHEMA)
    encoded = table.set_column(0, "id", table.column("id").dictionary_encode())
    first, second = table_digest(encoded[:cut].to_batches()), table_digest(encoded[cut:].to_batches())
    first.merge(second)
    assert first.hexdigest() == digest(rows)
