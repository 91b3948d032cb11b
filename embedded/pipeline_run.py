"""Starts ``embedded.run_dag`` as a child process, shows and logs what it reports, and leaves no process behind."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dags.launchers.exit_codes import killed_by, meaning
from embedded import job_log
from embedded.errors import EmbeddedError
from embedded.home import REPOSITORY
from embedded.progress import StepDisplay

STOP_SECONDS = 25
SHOWN_COUNTS = 5


@dataclass
class StepFailure:
    """Which step failed, and how."""

    step: str
    message: str
    exit_code: int


@dataclass
class RunRecord:
    """What a run reported."""

    seconds: dict[str, float] = field(default_factory=dict)
    failure: StepFailure | None = None
    errors: dict[str, str] = field(default_factory=dict)
    """Each job's last error event, which is its own word on why it failed."""
    last_lines: dict[str, str] = field(default_factory=dict)
    """Each job's last line that is no event: of a trace, what was raised."""
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Each job's last event, which carries its counts."""


def run(
    dag_id: str, conf: Mapping[str, Any], environment: Mapping[str, str], log: Path, display: StepDisplay
) -> RunRecord:
    """Runs a DAG to its end.

    Raises:
        EmbeddedError: a step failed, or the DAG did not run at all. The message names the step and the log.
    """
    record, began = RunRecord(), {"airflow": time.monotonic()}
    display.start("airflow")
    with log.open("wb") as log_file, _child(dag_id, conf, environment, log_file) as process:
        for line in process.stdout or ():
            event = json.loads(line)
            if "line" in event:
                _take_line(record, display, event["step"], event["line"])
            elif "state" in event:
                _take_state(record, display, began, event)
            else:
                record.failure = StepFailure("airflow", event["error"], 1)
        code = process.wait()
    display.close()
    if record.failure:
        raise EmbeddedError(_sentence(record, record.failure, log), record.failure.exit_code)
    if code:
        raise EmbeddedError(f"Airflow stopped with exit code {code} before the run ended. Its log: {log}")
    return record


def _take_line(record: RunRecord, display: StepDisplay, step: str, line: str) -> None:
    event = job_log.parse(line)
    if event is None:
        if _tells(line):
            record.last_lines[step] = line.strip()
        return
    if event.get("level") in ("error", "critical"):
        record.errors[step] = str(event["event"])
    elif event["event"] == "done":
        record.results[step] = event
    else:
        display.update(step, job_log.words(event))


def _tells(line: str) -> bool:
    """Whether a line can be a reason: the indented ones are the frames of a trace, Python's or Java's."""
    return bool(line.strip()) and not line[0].isspace() and not line.startswith("Traceback (most recent call last)")


def _take_state(record: RunRecord, display: StepDisplay, began: dict[str, float], event: dict[str, Any]) -> None:
    step, now = event["step"], time.monotonic()
    if event["state"] == "running":
        if "airflow" in began:
            display.end("airflow", "success", now - began.pop("airflow"), "ready")
        began[step] = now
        display.start(step)
        return
    record.seconds[step] = round(now - began.pop(step, now), 1)
    if event["state"] == "failed":
        record.failure = StepFailure(step, event.get("error", "failed"), event.get("exit_code", 1))
    text = _counts(record.results.get(step, {})) if event["state"] == "success" else event.get("error", "")
    display.end(step, event["state"], record.seconds[step], text)


def _counts(result: Mapping[str, Any]) -> str:
    """The first few of a job's counts; the log has all."""
    numbers = {name: value for name, value in result.items() if isinstance(value, int) and name != "exit_code"}
    return job_log.words({"event": "", **dict(list(numbers.items())[:SHOWN_COUNTS])})


def _sentence(record: RunRecord, failure: StepFailure, log: Path) -> str:
    reason = _reason(record, failure).rstrip(".")
    return f"Step {failure.step} failed with exit code {failure.exit_code}: {reason}. The whole log: {log}"


def _reason(record: RunRecord, failure: StepFailure) -> str:
    if killed_by(failure.exit_code):  # a job that was killed said nothing of it: its last line is about something else
        return meaning(failure.exit_code)
    return record.errors.get(failure.step) or record.last_lines.get(failure.step) or failure.message


@contextlib.contextmanager
def _child(
    dag_id: str, conf: Mapping[str, Any], environment: Mapping[str, str], log: Any
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "embedded.run_dag", dag_id, json.dumps(conf)],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.PIPE,  # never written to: its end tells the child that we are gone
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the others in order
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()  # its running task takes the job along
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
