"""A reader of landed lines that knows the landing contract and nothing of the generator."""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import cache

from jobs.common.contract import Column, Kind, LandingDataset


class WrongLine(ValueError):
    """A line that breaks the contract."""


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
        value = values.setdefault(column.name, None)
        if value is None or value == "":
            values[column.name] = None
            if column.required:
                raise WrongLine(f"{column.name} is missing")
        else:
            _check_value(column, value)
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
    if not _pattern(column.kind).fullmatch(value):
        raise WrongLine(f"{column.name} is {value}")
    if column.kind is Kind.AMOUNT and float(value) <= 0:
        raise WrongLine(f"{column.name} is {value}")
    if column.kind is Kind.TIME:
        try:
            datetime.fromisoformat(value)
        except ValueError as error:
            raise WrongLine(str(error)) from None
    bound = {Kind.LATITUDE: 90, Kind.LONGITUDE: 180}.get(column.kind)
    if bound and abs(float(value)) > bound:
        raise WrongLine(f"{column.name} is {value}")
