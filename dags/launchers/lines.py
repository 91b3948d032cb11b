"""The level that a line of a job's log carries into the task log."""

from __future__ import annotations

import json
import logging

_LEVELS = {"warning": logging.WARNING, "error": logging.ERROR, "critical": logging.ERROR}


def level(line: str) -> int:
    """The level that a job's JSON line names; INFO for any other line."""
    if not line.startswith("{"):
        return logging.INFO
    try:
        return _LEVELS.get(json.loads(line).get("level", ""), logging.INFO)
    except ValueError:
        return logging.INFO
