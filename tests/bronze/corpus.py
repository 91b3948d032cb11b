"""Random landing files: mostly good records, some with one value spoiled, some with the line spoiled."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from typing import Any

from jobs.common.contract import DATASETS, Kind, LandingDataset

VALUES: dict[Kind, tuple[list[Any], list[Any]]] = {  # by kind: good, nasty (good or bad is for two readers to say)
    Kind.TEXT: (["a1", "ключ", "x y", "日本", 17], ["", "  ", None, "\u00a0", "\u2003", ["x"], {"a": 1}, True, "é\u0000", "\ud800"]),
    Kind.TIME: (
        ["2026-01-05T10:00:00Z", "2026-01-05T23:59:59.123456+05:30", "2026-01-04 00:00:00.5-03:00", "2026-01-05t01:02:03z"],
        ["2026-02-30T10:00:00Z", "2026-01-05T25:00:00Z", "2026-01-05T10:00:00", "2026-01-05T10:00:60Z", "2026-01-05", "",
         "2026-01-05T10:00:00+18:00", "2026-01-05T10:00:00+18:01", "2026-01-05T10:00:00-00:00", "2024-02-29T00:00:00Z",
         "2026-01-05T10:00:00+05:75", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00Z",
         "2026-01-05T10:00:00.1234567Z", "2026-01-05T24:00:00Z", "2026-13-01T00:00:00Z", "1850-06-01T00:00:00.000001Z",
         "2026-01-05T10:00:00Z\n", " 2026-01-05T10:00:00Z", "٢٠٢٦-01-05T10:00:00Z", 1767600000],
    ),
    Kind.MCC: (["5411", "0742", 5999], ["541", "54111", "abcd", "-541", "54 1", "٥٤١١", 5411.0, None]),
    Kind.AMOUNT: (
        ["12.34", "0.01", 7, "1000000", "12.3"],
        ["12.345", "12.340", "1e2", "-5", "0.00", "0", "+1", "1,5", ".5", "5.", "NaN", "9999999999999.99", "99999999999999", "00012.30", " 1", -3],
    ),
    Kind.CURRENCY: (["EUR", "USD"], ["eur", "EU", "EURO", "ÄÖÜ", None]),
    Kind.COUNTRY: (["DE", "XX"], ["de", "D", "DEU", ""]),
    Kind.CHANNEL: (["pos", "atm", "ecom", "moto", "recurring"], ["POS", "web", "pos ", None]),
    Kind.STATUS: (["approved", "declined", None, ""], ["Approved", "pending", "approved\n"]),
    Kind.BOOLEAN: ([True, False, "true", "FALSE"], ["yes", 1, 0, "", None, "falſe", "xtrue", "truex"]),
    Kind.LATITUDE: (["48.137154", "-90", "90.0", None, "-0.0", "1e1"], ["90.0000001", "-91", "NaN", "91", "1e5", "Infinity", "0x1p3", "12.", "1e-09"]),
    Kind.LONGITUDE: (["11.576124", "-180", "180", None, ""], ["180.1", "-181", "nan", "1_0", "1d", "1f"]),
}  # fmt: skip


def good_record(dataset: LandingDataset, rng: random.Random, number: int) -> dict[str, Any]:
    record = {c.name: rng.choice(VALUES[c.kind][0]) for c in dataset.columns}
    return record | {dataset.key[0]: f"{dataset.name}-{number}"}


def records(dataset: LandingDataset, rng: random.Random, count: int, spoiled: float = 0.4) -> list[dict[str, Any]]:
    """Records of which a share has one nasty value, and some have the key of an earlier one."""
    made = []
    for number in range(count):
        record = good_record(dataset, rng, number if rng.random() > 0.05 else rng.randrange(number + 1))
        if rng.random() < spoiled:
            column = rng.choice(dataset.columns)
            record[column.name] = rng.choice(VALUES[column.kind][1])
        if rng.random() < 0.2:
            record[rng.choice(["extra", "Ünbekannt"])] = rng.choice([1, None, "x", [1], {"a": {}}])
        made.append(record)
    return made


def jsonl(rows: list[dict[str, Any]], rng: random.Random) -> bytes:
    """Lines with keys in any order, some broken."""
    lines = []
    for row in rows:
        items = list(row.items())
        rng.shuffle(items)
        line = json.dumps(dict(items), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
        if rng.random() < 0.15:
            line = rng.choice(SPOILERS)(line)
        lines.append(line)
    return b"".join(line + rng.choice([b"\n", b"\n", b"\r\n"]) for line in lines)


SPOILERS = (
    lambda line: line + b" x",
    lambda line: line + line,
    lambda line: line[: len(line) // 2],
    lambda line: line.replace(b'"', b"'"),
    lambda line: b"[" + line + b"]",
    lambda line: b"",
    lambda line: b"   ",
    lambda line: b"\t" + line + b"  ",
    lambda line: line.replace(b"e", b"\xff", 1),
    lambda line: line.replace(b"}", b', "extra": NaN}'),
    lambda line: line.replace(b"{", b'{"mcc": "5411", ', 1),
    lambda line: b"null",
    lambda line: b"[" * 5000,
)


def csv_file(dataset: LandingDataset, rows: list[dict[str, Any]], rng: random.Random) -> bytes:
    """A header in any order with an unknown column, quotes where needed, some lines broken."""
    names = [*(c.name for c in dataset.columns), "extra"]
    rng.shuffle(names)
    lines = [",".join(names).encode()]
    for row in rows:
        out = io.StringIO()
        values = [_csv_value(row.get(name)) for name in names]
        csv.writer(out, lineterminator="", quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])).writerow(values)
        line = out.getvalue().encode("utf-8", "surrogatepass")
        if rng.random() < 0.1:
            line = rng.choice([line + b",", line[: len(line) // 2], line + b'"', b"", b'"' + line, b"\xff" + line])
        lines.append(line)
    return b"\n".join(lines)


def _csv_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value).replace("\n", " ")


def random_day(seed: int, count: int) -> dict[str, dict[str, bytes]]:
    """Files of one day by dataset, plain and compressed, JSONL and CSV, with keys that meet across files."""
    rng = random.Random(seed)
    day = {}
    for dataset in DATASETS:
        n = count if dataset.name == "transactions" else count // 10
        rows = records(dataset, rng, n)
        half, most = n // 2, n * 3 // 4
        day[dataset.name] = {
            "b.jsonl": jsonl(rows[:half], rng),
            "a.jsonl.gz": gzip.compress(jsonl(rows[half - 20 : most], rng)),
            "d.csv": b"\xef\xbb\xbf" + csv_file(dataset, rows[most - 20 :], rng),
            "c.csv.gz": gzip.compress(csv_file(dataset, rows[most:], rng)),
        }
    return day
