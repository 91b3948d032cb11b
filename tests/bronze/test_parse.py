"""Bytes to records of text: no Spark here."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from jobs.bronze.landing import LandedFile, Scan, header_names, is_csv, scan
from jobs.bronze.lines import MAX_LINE, blocks, chunks
from jobs.bronze.parse import MAX_UNKNOWN, OTHERS, LineReader
from jobs.common.contract import MERCHANTS
from jobs.common.lake import Lake
from tests.bronze.conftest import DAY, land

GOOD = b'{"merchant_id": "m", "mcc": "5411", "country": "DE"}'


def parsed(lake: Lake, content: bytes, name: str = "f.jsonl") -> list[dict[str, object]]:
    """What the careful reader makes of each line of a file."""
    land(lake, DAY, {name: content}, "merchants")
    lines = [
        line
        for block in blocks(chunks(lake, f"landing/merchants/ingest_date={DAY}/{name}"))
        for line in block.split(b"\n")[:-1]
    ]
    header = header_names(lines.pop(0)) if lines and is_csv(name) else None
    read = LineReader(MERCHANTS, header).read(lines)
    nothing = (None, None)
    return [
        dict(zip((c.name for c in MERCHANTS.columns), values, strict=True))
        | {"line": i + (2 if header else 1), "unknown": read.unknown[i]}
        | dict(zip(("fault", "detail"), read.faults.get(i, nothing), strict=True))
        for i, values in enumerate(zip(*(column.to_pylist() for column in read.columns), strict=True))
    ]


def scanned(lake: Lake, content: bytes, name: str = "f.jsonl") -> Scan:
    land(lake, DAY, {name: content}, "merchants")
    return scan(lake, MERCHANTS, LandedFile(f"landing/merchants/ingest_date={DAY}/{name}", name, 0, ""))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (GOOD, None),
        (b"  " + GOOD + b" \r", None),
        (b'{"merchant_id": "m", "merchant_id": "n"}', "JSON key given twice: merchant_id"),
        (GOOD + b" x", "broken JSON: text after the object at character 53"),
        (GOOD.replace(b'"', b"'"), "broken JSON: Expecting property name enclosed in double quotes at character 2"),
        (b'{"mcc": NaN}', "broken JSON: NaN is no JSON value"),
        (b'{"mcc": Infinity}', "broken JSON: Infinity is no JSON value"),
        (b'{"mcc": ["5411"]}', "nested value: mcc"),
        (b'{"mcc": {"code": 1}}', "nested value: mcc"),
        (b'{"extra": {"code": 1}, "merchant_id": "m"}', None),
        (b'{"merchant_id": "\\ud800"}', "half a surrogate pair: merchant_id"),
        (b'["m"]', "not a JSON object"),
        (b"5411", "not a JSON object"),
        (b"{}", None),
        (b"nonsense", "broken JSON: a value is expected at character 1"),
        (b"[" * 50_000, "broken JSON"),
        (b"   ", "empty line"),
        (b"", "empty line"),
        (b'{"merchant_id": "\xff"}', "not UTF-8: byte 18"),
        (b'{"merchant_id": "' + b"m" * MAX_LINE + b'"}', "line too long"),
    ],
)
def test_fault_of_a_json_line(lake: Lake, line: bytes, fault: str | None) -> None:
    before, row, after = parsed(lake, GOOD + b"\n" + line + b"\n" + GOOD)
    found = ": ".join(filter(None, (row["fault"], row["detail"])))  # type: ignore[arg-type]
    assert found.startswith(fault) if fault else row["fault"] is None, found
    assert (before["fault"], after["fault"], row["line"]) == (None, None, 2)


def test_numbers_keep_their_text_and_blank_is_missing(lake: Lake) -> None:
    line = b'{"latitude": 12.340, "longitude": 1E2, "mcc": 742, "merchant_id": " \xc2\xa0", "country": ""}'
    (row,) = parsed(lake, line)
    columns = [row[c.name] for c in MERCHANTS.columns]
    assert columns == [None, "742", None, "12.340", "1E2"]


def test_csv_has_its_columns_in_any_order(lake: Lake) -> None:
    text = '\ufeffcountry,extra,mcc,merchant_id\r\nDE,1,"0742","a, ""b"""\r\nDE,1,5411\r\n\r\nDE,1,5411,"m\r\n'
    found = parsed(lake, text.encode(), "f.csv")
    assert [row["line"] for row in found] == [2, 3, 4, 5]
    assert [row["fault"] for row in found] == [
        None,
        "another number of fields than the header",
        "empty line",
        "broken CSV",
    ]
    assert (found[0]["merchant_id"], found[0]["mcc"], found[0]["unknown"]) == ('a, "b"', "0742", ("extra",))


def test_a_line_break_within_quotes_is_refused(lake: Lake) -> None:
    text = 'merchant_id,mcc,country\nm1,5411,DE\nm2,"54\n11",DE\nm3,5411,DE\n'
    found = parsed(lake, text.encode(), "f.csv")
    fields = "another number of fields than the header"
    assert [row["fault"] for row in found] == [None, "broken CSV", fields, None]


def test_unknown_columns_are_told_apart_up_to_a_limit(lake: Lake) -> None:
    found = parsed(lake, b"".join(b'{"x%d": 1}\n' % i for i in range(MAX_UNKNOWN + 5)))
    assert [row["unknown"] for row in found[-6:]] == [(f"x{MAX_UNKNOWN - 1}",), *[(OTHERS,)] * 5]


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("f.jsonl", b"", 0),
        ("f.jsonl", b"\xef\xbb\xbf", 0),
        ("f.jsonl", b"\n", 1),
        ("f.jsonl", b"a\nb", 2),
        ("f.jsonl", b"a\r\nb\r\n", 2),
        ("f.csv", b"", 0),
        ("f.csv", b"merchant_id,mcc,country", 0),
        ("f.csv", b"merchant_id,mcc,country\nm,1,DE", 1),
        ("f.CSV", b"merchant_id,mcc,country\nm,1,DE", 1),
        ("f.Jsonl.GZ", gzip.compress(b"a\n", mtime=0), 1),
        ("f.jsonl.gz", b"", 0),
        ("f.jsonl.gz", gzip.compress(b"a\n", mtime=0) + gzip.compress(b"b\n", mtime=0), 2),
    ],
)
def test_scan_counts_what_parse_reads(lake: Lake, name: str, content: bytes, lines: int) -> None:
    assert scanned(lake, content, name) == Scan(lines)
    assert len(parsed(lake, content, name)) == lines


WHOLE = gzip.compress(GOOD * 1000, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("f.jsonl.gz", WHOLE[:-1], "cut short or corrupt"),
        ("f.jsonl.gz", WHOLE[:40], "cut short or corrupt"),
        ("f.jsonl.gz", WHOLE[:-6] + b"\0\0" + WHOLE[-4:], "cut short or corrupt"),
        ("f.jsonl.gz", GOOD, "cut short or corrupt"),
        ("f.csv", b"merchant_id,country\nm,DE\n", "its header lacks mcc"),
        ("f.csv", b"mcc,merchant_id,country,mcc\n", "its header names mcc twice"),
        ("f.csv", b"\xff\n", "its header is no CSV"),
        ("f.csv", b"\nmerchant_id,mcc,country\n", "its header"),
        ("f.ndjson", GOOD, "unknown ending: .ndjson, expected one of .jsonl"),
        ("f.ndjson.gz", WHOLE, "unknown ending: .ndjson.gz,"),
        ("f.2026.Parquet", b"PAR1", "unknown ending: .Parquet,"),
        ("csv", GOOD, "unknown ending: none,"),
    ],
)
def test_a_file_that_cannot_serve_is_set_aside(lake: Lake, name: str, content: bytes, problem: str) -> None:
    found = scanned(lake, content, name)
    assert found.lines == 0
    assert found.problem is not None
    assert problem in found.problem


def test_memory_stays_flat_over_a_line_without_end() -> None:
    tracemalloc.start()
    (block,) = blocks(b"x" * (1 << 20) for _ in range(200))
    assert len(block) == MAX_LINE + 2  # it shows that it is too long, and ends with a newline
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
