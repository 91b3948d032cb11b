"""A second reading of the landing contract, in plain Python: slow, simple, and sharing no code with the job.

It knows the contract's table of columns, and judges one line at a time with ``json``, ``csv``, ``Decimal``
and ``datetime``.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from jobs.common.contract import Kind, LandingDataset

TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:([Zz])|([+-])(\d\d):(\d\d))", re.A)


@dataclass
class Reading:
    """What one dataset and day should come to. Places are (file, line)."""

    lines: int = 0
    duplicates: int = 0
    valid: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    bad: set[tuple[str, int]] = field(default_factory=set)


def read_day(dataset: LandingDataset, files: Mapping[str, bytes]) -> Reading:
    reading = Reading()
    keys = set()
    for name in sorted(files):
        for number, texts in _texts(name, files[name]):
            reading.lines += 1
            try:
                row = _typed(dataset, texts)
            except (ValueError, OverflowError, ArithmeticError):
                reading.bad.add((name, number))
                continue
            key = tuple(row[c] for c in dataset.key)
            if key in keys:
                reading.duplicates += 1
            else:
                keys.add(key)
                reading.valid[name, number] = row
    return reading


def _texts(name: str, content: bytes) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Line number and the texts of a line's columns; None for a line that is no record."""
    if name.endswith(".gz"):
        content = gzip.decompress(content)
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    header: list[str] | None = None
    for number, line in enumerate(lines, start=1):
        try:
            text = line.removesuffix(b"\r").decode()
            if ".csv" in name:
                fields = next(csv.reader([text], strict=True), [])
                if header is None:
                    header = fields
                    continue
                yield number, dict(zip(header, fields, strict=True))
            else:
                yield number, _flat(_json(text))
        except (ValueError, RecursionError, csv.Error):
            yield number, None


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once, parse_float=str, parse_int=str, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("key given twice")
    return dict(pairs)


def _flat(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _typed(dataset: LandingDataset, texts: dict[str, Any] | None) -> dict[str, Any]:
    if texts is None:
        raise ValueError("no record")
    row: dict[str, Any] = {}
    for column in dataset.columns:
        value = texts.get(column.name)
        if isinstance(value, bool):
            value = str(value).lower()
        if isinstance(value, dict | list):
            raise ValueError("nested")
        if value is not None:
            value.encode()  # half a surrogate pair is no text
        if value is None or not value.strip():
            if column.required:
                raise ValueError("missing")
            row[column.name] = column.default
            continue
        if not re.fullmatch(column.kind.pattern, value, re.A):
            raise ValueError("pattern")
        match column.kind:
            case Kind.TIME:
                row[column.name], offset = _time(value)
                if column.name == "event_time":
                    row["utc_offset_minutes"] = offset
            case Kind.MCC:
                row[column.name] = int(value)
            case Kind.AMOUNT:
                row["amount_cents"] = int(Decimal(value) * 100)
                if row["amount_cents"] <= 0:
                    raise ValueError("not above 0")
            case Kind.BOOLEAN:
                row[column.name] = value.lower() == "true"
            case Kind.LATITUDE | Kind.LONGITUDE:
                row[column.name] = float(value)
                if abs(row[column.name]) > (90 if column.kind is Kind.LATITUDE else 180):
                    raise ValueError("range")
            case _:
                row[column.name] = value
    return row


def _time(text: str) -> tuple[datetime, int]:
    match = TIME.fullmatch(text)
    if match is None:
        raise ValueError("time")
    *parts, fraction, _, sign, hours, minutes = match.groups()
    offset = 0
    if sign:
        offset = (int(hours) * 60 + int(minutes)) * (-1 if sign == "-" else 1)
        if int(minutes) > 59 or abs(offset) > 18 * 60:
            raise ValueError("offset")
    zone = timezone(timedelta(minutes=offset))
    return datetime(*map(int, parts), int((fraction or "").ljust(6, "0")), zone).astimezone(UTC), offset  # type: ignore[misc]
