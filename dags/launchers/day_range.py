"""Which days a DAG run works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from airflow.sdk.exceptions import AirflowFailException


@dataclass(frozen=True)
class DayRange:
    """Half-open: ``end`` is the day after the last."""

    start: date
    end: date


def day_range(params: Mapping[str, Any], partition_key: str | None, run_after: datetime) -> DayRange:
    """The days that the run's params ask for; without them its partition; without one, yesterday (UTC).

    Raises:
        AirflowFailException: the params make no range. Not retried.
    """
    start, end = _day(params, "start"), _day(params, "end")
    if start is None and end is not None:
        raise AirflowFailException(f"Param end is {end} but start is empty: give both, or start alone for one day.")
    if start is None:
        start = date.fromisoformat(partition_key) if partition_key else run_after.astimezone(UTC).date() - timedelta(1)
    end = end or start + timedelta(days=1)
    if end <= start:
        raise AirflowFailException(
            f"Param end {end} must be after start {start}: the range is half-open, one day is start {start}, end {start + timedelta(days=1)}."
        )
    return DayRange(start, end)


def _day(params: Mapping[str, Any], name: str) -> date | None:
    value = params.get(name)
    try:
        return date.fromisoformat(value) if value else None
    except ValueError:
        raise AirflowFailException(f"Param {name} is {value!r}: write a day such as 2026-01-31.") from None
