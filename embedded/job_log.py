"""Reads the lines that a job writes: JSON events, or the trace of a bug."""

from __future__ import annotations

import json
from typing import Any

_FRAME = frozenset({"event", "job", "level", "timestamp", "exit_code"})


def parse(line: str) -> dict[str, Any] | None:
    """The event in a job's line; None for a line that is not one."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def words(event: dict[str, Any]) -> str:
    """``wrote partition rows=12 seconds=0.3``."""
    fields = " ".join(f"{name}={_value(value)}" for name, value in event.items() if name not in _FRAME)
    return f"{event['event']} {fields}".strip()


def _value(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
