"""Lines that are read together come to what each comes to when it is read with care."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.bronze import check
from jobs.bronze.check import Tally, check_blocks
from jobs.bronze.lines import MAX_LINE
from jobs.bronze.templates import csv_template, json_template
from jobs.common.contract import DATASETS, MERCHANTS, TRANSACTIONS, Kind, LandingDataset
from tests.bronze.corpus import SPOILERS, VALUES
from tests.bronze.second_reading import read_day

DIGITS = st.text("0123456789", min_size=1, max_size=4)
NEAR: dict[Kind, st.SearchStrategy[Any]] = {  # texts at the edge of what is plain, and beyond
    Kind.TEXT: st.text(max_size=6) | st.text(st.characters(max_codepoint=0x7F), max_size=6) | st.text('", \t\\é\u00a0', max_size=4),
    Kind.TIME: st.builds(
        "{}-{}-{}{}{}:{}:{}{}{}".format,
        st.sampled_from(["2026", "2024", "1000", "2999", "0999", "3000", "0000", "9999"]),
        st.sampled_from(["01", "02", "04", "12", "00", "13"]),
        st.sampled_from(["01", "28", "29", "30", "31", "00", "32"]),
        st.sampled_from("TTt "),
        st.sampled_from(["00", "19", "23", "24"]),
        st.sampled_from(["00", "59", "60"]),
        st.sampled_from(["00", "59", "60"]),
        st.just("") | DIGITS.map(".{}".format) | st.sampled_from([".123456", ".000001", ".1234567", "."]),
        st.sampled_from(["Z", "z", "", "+00:00", "-00:30", "+17:59", "+18:00", "-18:00", "+18:01", "+05:60"]),
    ),
    Kind.AMOUNT: st.builds("{}{}".format, DIGITS | st.sampled_from(["9999999999999", "99999999999999"]), st.just("") | DIGITS.map(".{}".format))
    | st.decimals(0, 10**13, places=2).map(str)
    | st.integers(0, 200)
    | st.floats(0, 1000).map(lambda x: round(x, 2)),
    Kind.MCC: DIGITS | st.integers(0, 99999),
    Kind.BOOLEAN: st.sampled_from([True, False, "true", "false", "True", 1]),
    Kind.LATITUDE: st.floats(-91, 91) | st.integers(-91, 91) | st.floats(-91, 91).map(repr) | st.sampled_from(["-0", "90", "90.0", "012", "+1", "1e1", "1.", ".5", "null", "0.12345678901234567"]),
    Kind.LONGITUDE: st.floats(-181, 181) | st.integers(-181, 181) | st.sampled_from(["-0.0", "180", "179.99999999999999999", "1e-9"]),
}  # fmt: skip


def value(kind: Kind) -> st.SearchStrategy[Any]:
    good, nasty = VALUES[kind]
    return st.sampled_from(good) | NEAR.get(kind, st.sampled_from(good)) | st.sampled_from(nasty)


@st.composite
def files(draw: st.DrawFn) -> tuple[LandingDataset, str, bytes]:
    """A file of lines that are mostly alike: a record, and others with one value of another kind or form."""
    dataset = draw(st.sampled_from(DATASETS))
    rng = draw(st.randoms(use_true_random=False))
    base = {c.name: draw(st.sampled_from(VALUES[c.kind][0])) for c in dataset.columns}
    base |= draw(st.sampled_from([{}, {"extra": 1}, {"an, other": "x\\u00e9", "extra": "y"}]))  # type: ignore[arg-type]
    changes = draw(
        st.lists(
            st.sampled_from(dataset.columns).flatmap(lambda c: st.tuples(st.just(c.name), value(c.kind))), max_size=30
        )
    )
    records = [base | {dataset.key[0]: f"k{i}"} | dict([change]) for i, change in enumerate(changes)] + [base]
    keys = rng.sample(list(base), len(base))
    if draw(st.booleans()):
        return dataset, "f.jsonl", draw(json_lines(records, keys, rng))
    return dataset, "f.csv", draw(csv_lines(records, keys, rng))


@st.composite
def json_lines(draw: st.DrawFn, records: list[dict[str, Any]], keys: list[str], rng: random.Random) -> bytes:
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :  ")]))
    ascii_only, spoiled = draw(st.booleans()), draw(st.sampled_from([0, 0.2]))
    lines = []
    for record in records:
        line = json.dumps({k: record[k] for k in keys}, ensure_ascii=ascii_only, separators=separators)
        raw = line.encode("utf-8", "surrogatepass")
        lines.append(rng.choice(SPOILERS)(raw) if rng.random() < spoiled else raw)
    return ended(lines, draw(st.sampled_from([b"\n", b"\r\n"])), draw(st.booleans()))


@st.composite
def csv_lines(draw: st.DrawFn, records: list[dict[str, Any]], keys: list[str], rng: random.Random) -> bytes:
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    spoiled = draw(st.sampled_from([0, 0.2]))
    lines = []
    for row in [keys, *([csv_value(record[key]) for key in keys] for record in records)]:
        out = io.StringIO()
        csv.writer(out, lineterminator="", quoting=quoting).writerow(row)
        raw = out.getvalue().encode("utf-8", "surrogatepass")
        if lines and rng.random() < spoiled:
            raw = rng.choice(
                [raw + b",", raw[: len(raw) // 2], raw + b'"', b"", b'"' + raw, b"\xff" + raw, raw + b"\x00"]
            )
        lines.append(raw)
    return ended(lines, draw(st.sampled_from([b"\n", b"\r\n"])), draw(st.booleans()))


def csv_value(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\n", " ").replace("\r", " ")
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def ended(lines: list[bytes], end: bytes, last: bool) -> bytes:
    return end.join(lines) + (end if last else b"")


def outcome(dataset: LandingDataset, name: str, content: bytes) -> tuple[list[Any], list[Any], Tally]:
    """Accepted rows and refused lines in the order of lines, and the counts."""
    accepted, refused, tally = [], [], Tally()
    for checked in check_blocks(dataset, name, name.endswith(".csv"), in_blocks(content)):
        accepted += [row for batch in checked.accepted for row in batch.to_pylist()]
        refused += checked.refused
        tally.add(checked.tally)
    return sorted(accepted, key=lambda row: row["source_line"]), refused, tally


def in_blocks(content: bytes) -> Iterator[bytes]:
    """Two blocks, so that the second finds the templates of the first."""
    lines = content.split(b"\n")
    lines = [line + b"\n" for line in (lines if lines[-1] else lines[:-1])]
    half = len(lines) // 2
    yield from filter(None, (b"".join(lines[:half]), b"".join(lines[half:])))


@settings(deadline=None, max_examples=150)
@given(files())
def test_what_is_read_together_is_what_is_read_with_care(file: tuple[LandingDataset, str, bytes]) -> None:
    dataset, name, content = file
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "WORTH_A_TEMPLATE", 1)
        together = outcome(dataset, name, content)
        patch.setattr(check, "WORTH_A_TEMPLATE", 10**9)
        with_care = outcome(dataset, name, content)
    assert together == with_care
    expected = read_day(dataset, {name: content})
    assert {refused.number for refused in together[1]} == {line for _, line in expected.bad}
    rows = {row.pop("source_line"): row for row in together[0]}
    assert {line: rows[line] for _, line in expected.valid} == {line: row for (_, line), row in expected.valid.items()}


EDGES: dict[Kind, list[Any]] = {
    Kind.TIME: [
        *(f"{y}-{m:02}-{d:02}T00:00:00Z" for y in (2023, 2024) for m in range(14) for d in (0, 1, 28, 29, 30, 31, 32)),
        *(f"{y}-06-15 23:59:59+01:30" for y in ("0000", "0001", "0999", "1000", "2999", "3000", "9999")),
        *(f"2026-01-05T{clock}-02:00" for clock in ("23:59:59", "24:00:00", "19:60:00", "20:00:60")),
        *(f"2026-01-05T10:00:00{'.' * (n > 0)}{'123456789'[:n]}Z" for n in range(9)),
        *(f"2026-01-05T10:00:00{sign}{h:02}:{m:02}" for sign in "+-" for h in range(20) for m in (0, 1, 59, 60)),
    ],
    Kind.AMOUNT: [*range(-1, 12), "0.1", "0.0", "0.10", "0.01", "0.001", "00.5", "9999999999999.99", "99999999999999", 1e2]
    + [round(n / 100, 2) for n in range(1, 400)],
    Kind.LATITUDE: [f"{sign}{n}{rest}" for sign in ("", "-", "+") for n in range(101) for rest in ("", ".0", ".25", ".")],
    Kind.LONGITUDE: [n + rest for n in range(-190, 191) for rest in (0, 0.5)],
}  # fmt: skip


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda d: d.name)
def test_edges_of_every_kind(dataset: LandingDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    base = {c.name: VALUES[c.kind][0][0] for c in dataset.columns}
    records = [
        base | {dataset.key[0]: f"{c.name}{i}", c.name: edge}
        for c in dataset.columns
        for i, edge in enumerate([*EDGES.get(c.kind, []), *VALUES[c.kind][0], *VALUES[c.kind][1]])
    ]
    rng = random.Random(1)
    lines = [json.dumps(record).encode() for record in records]
    texts = [[csv_value(v) for v in record.values()] for record in records]
    rows = [",".join(map(str, row)).encode("utf-8", "surrogatepass") for row in (list(base), *texts)]
    for name, found in (("f.jsonl", rng.sample(lines, len(lines))), ("f.csv", rows)):
        content = ended(found, b"\n", True)
        monkeypatch.setattr(check, "WORTH_A_TEMPLATE", 1)
        together = outcome(dataset, name, content)
        monkeypatch.setattr(check, "WORTH_A_TEMPLATE", 10**9)
        assert together == outcome(dataset, name, content)


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda d: d.name)
def test_usual_lines_have_a_template(dataset: LandingDataset) -> None:
    usual = {Kind.TEXT: "a1", Kind.TIME: "2026-01-05T23:59:59.123456+05:30", Kind.MCC: 5411, Kind.AMOUNT: 12.34}
    usual |= {Kind.BOOLEAN: True, Kind.LATITUDE: -8.5, Kind.LONGITUDE: 0.25}
    record = {c.name: usual.get(c.kind, VALUES[c.kind][0][0]) for c in dataset.columns}
    texts = [str(v).lower() if v is True else str(v) for v in record.values()]
    assert json_template(dataset, json.dumps(record | {"more": "ü"}).encode() + b"\r\n")
    assert csv_template(dataset, list(record), ",".join(texts).encode() + b"\n")
    assert csv_template(dataset, list(record), ",".join(f'"{t}"' for t in texts).encode() + b"\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b'{"merchant_id":"m","mcc":"5411","country":"DE"} x',
        b'{"merchant_id":"m","mcc":"5411","country":"DE",}',
        b'{"merchant_id":"m","mcc":"5411","country":"DE","mcc":"5411"}',
        b'{"merchant_id":"m","mcc":"5411","country":"DE","x":[1]}',
        b'{"merchant_id":"m","mcc":"5411","country":"DE","x":NaN}',
        b'{"merchant_id":"m","mcc":"5411","country":"DE","x":01}',
        b'{"merchant_id":"m","mcc":"5411","country":"DE","x":"\\""}',
        b'{"merchant_id":"m","mcc":0742,"country":"DE"}',
        b'{"merchant_id":"\xed\xa0\x80","mcc":"5411","country":"DE"}',
        b'{"merchant_id":"m\xff","mcc":"5411","country":"DE"}',
        b'{"merchant_id":" ","mcc":"5411","country":"DE"}',
        b'{"merchant_id":"m\\u0020","mcc":"5411","country":"DE"}',
        b'{"merchant_id":"m","mcc":"5411"}',
        b'{"merchant_id":"m","mcc":"5411","country":"DE",' + b",".join(b'"%d":1' % i for i in range(5000)) + b"}",
        b'{"merchant_id":"' + b"m" * MAX_LINE + b'","mcc":"5411","country":"DE"}',
    ],
)
def test_a_line_that_needs_care_has_none(line: bytes) -> None:
    assert json_template(MERCHANTS, line + b"\n") is None


def test_a_day_that_is_no_day_is_not_plain() -> None:
    record = {c.name: VALUES[c.kind][0][0] for c in TRANSACTIONS.columns}
    for day in ("02-29", "02-30", "04-31", "00-01", "01-00", "13-01", "01-32"):
        line = json.dumps(record | {"event_time": f"2025-{day}T00:00:00Z"}).encode() + b"\n"
        assert json_template(TRANSACTIONS, line) is None
