"""Rows on the way to their owners, and which lines repeat others: against plain Python."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.features import exchange
from jobs.features.bronze import IDS_SCHEMA, shares
from jobs.features.duplicates import among, id_hashes, repeats
from jobs.features.exchange import in_bulk, split, unpack
from jobs.features.plan import BronzeDay

SCHEMA = pa.schema({"card": pa.string(), "n": pa.int64(), "absent": pa.float64()})


@pytest.mark.parametrize("owners", [1, 2, 7, 300])
def test_every_row_reaches_one_owner_and_a_key_has_no_two(owners: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "ROWS_IN_BULK", 600)
    monkeypatch.setattr(exchange, "ROWS_A_PIECE", 5)
    rng = random.Random(owners)
    cards = [f"card-{rng.randrange(400)}" for _ in range(3000)]
    table = pa.table({"card": cards, "n": range(len(cards))})
    pieces = defaultdict(list)
    for part in in_bulk((table.slice(i, 250) for i in range(0, 3000, 250)), owners):
        assert part.num_rows == (750 if owners < 300 else 1500), "more owners, more rows at once"
        for owner, piece in split(part, "card", owners, first_owner=5):
            pieces[owner].append((owner, piece))
    assert set(pieces) <= set(range(5, 5 + owners))
    assert len(pieces) > 0.6 * owners, "the hash does not spread"
    arrived = {owner: unpack(some, SCHEMA) for owner, some in pieces.items()}
    rows = [
        row for some in arrived.values() for row in zip(*some.select(["card", "n"]).to_pydict().values(), strict=True)
    ]
    assert sorted(rows) == sorted(zip(cards, range(3000), strict=True))
    seen = [set(some.column("card").to_pylist()) for some in arrived.values()]
    assert sum(map(len, seen)) == len(set(cards))
    assert all(some.schema == SCHEMA and some.column("absent").null_count == some.num_rows for some in arrived.values())


def test_nobody_gets_an_empty_piece() -> None:
    table = pa.table({"card": pa.array([], pa.string()), "n": pa.array([], pa.int64())})
    assert list(split(table, "card", 3)) == []
    assert unpack([], SCHEMA).num_rows == 0


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 12)), unique=True, max_size=40),
    st.sets(st.integers(0, 12)),
    st.integers(1, 6),
)
def test_which_lines_repeat_an_earlier_one(lines: list[tuple[str, int]], wanted: set[int], within: int) -> None:
    table = pa.table([[i for i, _ in lines], [d for _, d in lines]], schema=IDS_SCHEMA)
    expected = [
        (day, name)
        for name, day in lines
        if day in wanted and any(n == name and day - within <= d < day for n, d in lines)
    ]
    judged = [table.filter(pc.equal(table.column("day"), day)) for day in sorted(wanted)]
    for sought in (None, id_hashes(judged)):
        rows = pa.concat_tables([IDS_SCHEMA.empty_table(), *among([table], sought)])
        found = repeats(rows, sorted(wanted), within).to_pydict()
        assert list(zip(found["day"], found["transaction_id"], strict=True)) == sorted(expected)
    others = {name for name, _ in lines} - {name for name, day in lines if day in wanted}
    assert not others & set(rows.column("transaction_id").to_pylist())


def test_work_is_shared_by_rows() -> None:
    days = [
        BronzeDay("b", date(2026, 1, d), "x", rows, (), ("0", "1")) for d, rows in ((1, 100), (2, 0), (3, 900), (4, 10))
    ]
    for rows, at_least in ((10**6, 2), (200, 2), (1, 1)):
        groups = shares(days, rows, at_least)
        assert [f.path for group in groups for f in group] == [
            f"b/ingest_date={d.day}/{name}" for d in days for name in d.files
        ]
        assert len(groups) >= at_least
        assert all(group for group in groups)
        assert all(sum(f.rows for f in group[:-1]) < rows for group in groups)
    assert shares([], 5) == []
