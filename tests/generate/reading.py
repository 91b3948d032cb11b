"""A reader of landed lines that knows the landing contract and nothing of the generator."""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import cache, lru_cache

from jobs.common.contract import Column, Kind, LandingDataset


class WrongLine(ValueError):
    """A line that breaks the contract."""


_BOUNDS = {Kind.LATITUDE: 90, Kind.LONGITUDE: 180}


@cache
def _pattern(kind: Kind) -> re.Pattern[str]:
    return re.compile(kind.pattern)


def check(line: str, dataset: LandingDataset, header: list[str] | None = None) -> dict[str, str | None]:
    """The values of a line, as text.

    Args:
        header: the columns of a CSV line; None for a JSON line.

    Raises:
        WrongLine: the line is no record, a required value is missing, or a value breaks its column's rule.
    """
    values = _csv(line, header) if header else _json(line)
    for column in dataset.columns:
        value = values.get(column.name)
        if value:
            _check_value(column, value)
        elif column.required:
            raise WrongLine(f"{column.name} is missing")
        else:
            values[column.name] = None
    return values


def _json(line: str) -> dict[str, str | None]:
    try:
        parsed = json.loads(line, parse_float=str, parse_int=str)
    except ValueError as error:
        raise WrongLine(str(error)) from None
    return {k: str(v).lower() if isinstance(v, bool) else v for k, v in parsed.items()}


def _csv(line: str, header: list[str]) -> dict[str, str | None]:
    cells: list[str | None] = list(line.split(","))
    if len(cells) != len(header):
        raise WrongLine(f"{len(cells)} fields")
    return dict(zip(header, cells, strict=True))


def _check_value(column: Column, value: str) -> None:
    # Identifiers and times hardly recur, all else does.
    judge = _is_sound if column.kind in (Kind.TEXT, Kind.TIME) else _is_sound_again
    if not judge(column.kind, value):
        raise WrongLine(f"{column.name} is {value}")


def _is_sound(kind: Kind, value: str) -> bool:
    if not _pattern(kind).fullmatch(value):
        return False
    if kind is Kind.TIME:
        return _is_time(value)
    if kind is Kind.AMOUNT:
        return float(value) > 0
    return kind not in _BOUNDS or abs(float(value)) <= _BOUNDS[kind]


_is_sound_again = lru_cache(maxsize=1 << 17)(_is_sound)


def _is_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True
