"""The lines of a job's log: their level in the task log, and which of a pod's are still to be told."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator
from datetime import datetime

_LEVELS = {"warning": logging.WARNING, "error": logging.ERROR, "critical": logging.ERROR}


def level(line: str) -> int:
    """The level that a job's JSON line names; INFO for any other line."""
    if not line.startswith("{"):
        return logging.INFO
    try:
        return _LEVELS.get(json.loads(line).get("level", ""), logging.INFO)
    except ValueError:
        return logging.INFO


def untold(stamped: Iterable[str], told: str) -> Iterator[tuple[str, str]]:
    """Time and text of each line that is later than the last one told.

    Args:
        stamped: lines that begin with their time, as Kubernetes writes it: in nanoseconds, all of one length.
        told: the time of the last line that was told; empty if there is none.
    """
    for line in stamped:
        stamp, _, text = line.rstrip("\r\n").partition(" ")
        if stamp > told:
            yield stamp, text


def seconds_since(told: str) -> int | None:
    """How far back to ask Kubernetes for lines, from the last one told; it counts in whole seconds, by another clock."""
    if not told:
        return None
    return max(0, int(time.time() - datetime.fromisoformat(told).timestamp())) + 5
