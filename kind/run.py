"""A day's pipeline for a person: ``make run DATE=2026-01-01``."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

from compose.stack import MachineError, StackError
from kind.airflow import ENDED, Airflow
from kind.commands import Say

DAG = "feature_pipeline"
_SYMBOL = {"running": "·", "success": "✓", "failed": "✗", "upstream_failed": "✗", "up_for_retry": "↻", "skipped": "-"}
"""The states that a person is told."""
_LATE = 10
"""Seconds by which the log of a failed try may come into the store after its state."""


def days(first: str, last: str | None) -> tuple[date, date]:
    """The half-open range: one day where no end is given.

    Raises:
        MachineError: one of them is no date, or the end is not behind the start.
    """
    try:
        start = date.fromisoformat(first)
        end = date.fromisoformat(last) if last else start + timedelta(days=1)
    except ValueError:
        raise MachineError(f"DATE and END are days such as 2026-01-01, not {first!r} and {last or ''!r}.") from None
    if end <= start:
        raise MachineError(f"END is the day after the last: {end} is not behind {start}.")
    return start, end


def run(airflow: Airflow, start: date, end: date, conf: dict[str, Any], say: Say) -> int:
    """Triggers the pipeline and shows its tasks until it ended.

    Args:
        conf: further parameters of the DAG.

    Returns:
        0 when it succeeded, 1 when it failed.
    """
    conf = {"start": str(start), "end": str(end), **conf}
    if conf.get("generate", True) and "snapshot" not in conf and not _worked_before(airflow):
        conf["snapshot"] = str(start)
        say(f"The lake is fresh: {start} also lands the full card and merchant tables.")
    if airflow.get(f"dags/{DAG}")["is_paused"]:
        airflow.patch(f"dags/{DAG}", {"is_paused": False})
    name = f"{start}_{datetime.now(UTC):%Y%m%dT%H%M%S}"
    airflow.post(f"dags/{DAG}/dagRuns", {"logical_date": None, "dag_run_id": name, "conf": conf})
    say(f"Run {name} of {DAG}: {airflow.url}/dags/{DAG}/runs/{name}")
    return _follow(airflow, name, say)


def _worked_before(airflow: Airflow) -> bool:
    return bool(airflow.get(f"dags/{DAG}/dagRuns?state=success&limit=1")["dag_runs"])


def _follow(airflow: Airflow, name: str, say: Say) -> int:
    began = time.monotonic()
    shown: set[tuple[str, str, int]] = set()
    waits = ""
    while True:
        state = airflow.get(f"dags/{DAG}/dagRuns/{name}")["state"]
        for task in airflow.tasks(DAG, name):
            now = (task["task_id"], _state(task), task["try_number"])
            if now[1] in _SYMBOL and now not in shown:
                shown.add(now)
                say(f"  {time.monotonic() - began:5.0f} s  {_line(task)}")
        if state == "queued" and not waits:
            waits = _before(airflow, name)
            if waits:
                say(f"  It waits for the end of run {waits}.")
        if state in ENDED:
            break
        time.sleep(1)
    took = f"{time.monotonic() - began:.0f} s"
    if state == "success":
        say(f"The run succeeded after {took}. Read a card's features back: `make card`, or `make card CARD=...`.")
        return 0
    failed = next((task for task in airflow.tasks(DAG, name) if task["state"] == "failed"), None)
    if failed is None:
        raise StackError(
            f"The run failed after {took}, none of its tasks did: see {airflow.url}/dags/{DAG}/runs/{name}."
        )
    raise StackError(
        f"The run failed after {took}, in {failed['task_id']}: {_reason(airflow, name, failed)}\nMore: `make logs JOB={failed['task_id']}`, or {airflow.url}/dags/{DAG}/runs/{name}."
    )


def _reason(airflow: Airflow, name: str, task: dict[str, Any]) -> str:
    """The last line of a try's log: its launcher's, which begins with the job; until that is there, another is the last."""
    deadline = time.monotonic() + _LATE
    while True:
        line = airflow.last_line(DAG, name, task["task_id"], task["try_number"])
        if line.startswith(f"Job {task['task_id']}") or time.monotonic() > deadline:
            return line
        time.sleep(1)


def _state(task: dict[str, Any]) -> str:
    """A task that sleeps while its pod works runs, for a person."""
    return "running" if task["state"] == "deferred" else str(task["state"])


def _line(task: dict[str, Any]) -> str:
    state = _state(task)
    seconds = f" after {task['duration']:.0f} s" if state in ("success", "failed") and task.get("duration") else ""
    again = f", try {task['try_number']}" if task["try_number"] > 1 else ""
    return f"{_SYMBOL[state]} {task['task_id']:<12} {state.replace('_', ' ')}{seconds}{again}"


def _before(airflow: Airflow, name: str) -> str:
    """The run that runs now: there is one at a time."""
    running = airflow.get(f"dags/{DAG}/dagRuns?state=running&limit=1")["dag_runs"]
    return str(running[0]["dag_run_id"]) if running and running[0]["dag_run_id"] != name else ""
