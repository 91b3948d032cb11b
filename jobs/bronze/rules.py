"""The contract's rules for one line: which rule its texts break first, and what they mean as bronze values."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from functools import cache
from typing import Any

import pyarrow as pa

from jobs.common.contract import Column, Kind, LandingDataset

MAX_VALUE = 80
"""Characters of a bad value that a reason quotes."""
TIME = pa.timestamp("us", "UTC")
_EPOCH = date(1970, 1, 1).toordinal()
_DAY = 86_400_000_000
_CYCLE = 146_097
"""Days in 400 years, after which the calendar repeats."""
_FIRST, _LAST = (1 - _EPOCH) * _DAY, (date.max.toordinal() + 1 - _EPOCH) * _DAY - 1
"""The UTC times that both Python and Spark can hold: years 1 to 9999."""


class BrokenRule(Exception):
    """A line that breaks a rule. ``rule`` is the same text for all such lines, ``reason`` quotes this one's value."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(rule, reason)
        self.rule = rule
        self.reason = reason


def typed_schema(dataset: LandingDataset) -> pa.Schema:
    """The bronze columns that a line's texts become."""
    return pa.schema([field for column in dataset.columns for field in _fields(column)])


def typed_values(dataset: LandingDataset, texts: Sequence[str | None]) -> list[Any]:
    """What a line's texts mean, a value for each column of ``typed_schema``; times as microseconds since 1970.

    Args:
        texts: by contract column; None where there is none, never blank.

    Raises:
        BrokenRule: for the first column that breaks one.
    """
    values: list[Any] = []
    for column, text in zip(dataset.columns, texts, strict=True):
        if text is None:
            if column.required:
                missing = f"{column.name} is missing"
                raise BrokenRule(missing, missing)
            values += [column.default] * len(_fields(column))
        else:
            try:
                value = _value(column.kind, text)
            except ValueError:
                expected = f"expected {column.kind.words}"
                raise BrokenRule(
                    f"{column.name}: {expected}", f'{column.name} "{_shortened(text)}": {expected}'
                ) from None
            if column.kind is Kind.TIME:
                values += value[: len(_fields(column))]
            else:
                values.append(value)
    return values


@cache
def _fields(column: Column) -> tuple[pa.Field, ...]:
    match column.kind:
        case Kind.TIME if column.name == "event_time":
            return pa.field(column.name, TIME), pa.field("utc_offset_minutes", pa.int32())
        case Kind.TIME:
            return (pa.field(column.name, TIME),)
        case Kind.MCC:
            return (pa.field(column.name, pa.int32()),)
        case Kind.AMOUNT:
            return (pa.field("amount_cents", pa.int64()),)
        case Kind.BOOLEAN:
            return (pa.field(column.name, pa.bool_()),)
        case Kind.LATITUDE | Kind.LONGITUDE:
            return (pa.field(column.name, pa.float64()),)
    return (pa.field(column.name, pa.string()),)


def _value(kind: Kind, text: str) -> Any:
    """The value of a text that keeps the kind's rule; a ValueError for one that does not."""
    if kind is not Kind.TEXT and not _matcher(kind)(text):
        raise ValueError(text)
    match kind:
        case Kind.TIME:
            return _time(text)
        case Kind.MCC:
            return int(text)
        case Kind.AMOUNT:
            return _above_zero(_cents(text))
        case Kind.BOOLEAN:
            return text.lower() == "true"
        case Kind.LATITUDE:
            return _within(90, float(text))
        case Kind.LONGITUDE:
            return _within(180, float(text))
    return text


@cache
def _matcher(kind: Kind) -> Callable[[str], re.Match[str] | None]:
    return re.compile(kind.pattern, re.ASCII).fullmatch


def _time(text: str) -> tuple[int, int]:
    """Microseconds since 1970 and the offset in minutes, of a text of the right form."""
    year, month, day, hour, minute, second = (
        int(text[at : at + size]) for at, size in ((0, 4), (5, 2), (8, 2), (11, 2), (14, 2), (17, 2))
    )
    offset = 0
    clock = text[19:].rstrip("Zz")
    if clock != text[19:]:
        fraction = clock
    else:
        fraction, sign, hours, minutes = clock[:-6], clock[-6], int(clock[-5:-3]), int(clock[-2:])
        offset = (hours * 60 + minutes) * (-1 if sign == "-" else 1)
        if minutes > 59 or abs(offset) > 18 * 60:
            raise ValueError(text)
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(text)
    # Python has no year 0, of which an offset can make the year 1.
    days = date(year or 400, month, day).toordinal() - _EPOCH - (0 if year else _CYCLE)
    seconds = hour * 3600 + (minute - offset) * 60 + second
    instant = days * _DAY + seconds * 1_000_000 + int(fraction[1:].ljust(6, "0"))
    if not _FIRST <= instant <= _LAST:
        raise ValueError(text)
    return instant, offset


def _cents(text: str) -> int:
    """Exact: never a double."""
    whole, _, fraction = text.partition(".")
    return int(whole) * 100 + int(fraction.ljust(2, "0"))


def _above_zero(cents: int) -> int:
    if cents <= 0:
        raise ValueError(cents)
    return cents


def _within(limit: float, degrees: float) -> float:
    if not -limit <= degrees <= limit:
        raise ValueError(degrees)
    return degrees


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"
