"""The one sentence about a failed step gives the reason, whatever else the job wrote."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from embedded import pipeline_run
from embedded.pipeline_run import RunRecord, StepFailure
from embedded.progress import StepDisplay

TRACE = [
    "Traceback (most recent call last):",
    '  File "job.py", line 1, in run',
    "    crash()",
    "ValueError: no such day",
]
JAVA = [
    "py4j.protocol.Py4JJavaError: An error occurred while calling o1.count.",
    "Caused by: java.lang.OutOfMemoryError: Java heap space",
    "\tat java.base/java.lang.Thread.run(Thread.java:1)",
    "\t... 1 more",
    "",
]
ERROR = json.dumps({"event": "Missing partition.", "level": "error", "exit_code": 2})


@pytest.mark.parametrize(
    ("lines", "code", "reason"),
    [
        (["WARN Spark says something", *TRACE], 1, "ValueError: no such day"),
        (TRACE[:1], 1, "the task's own sentence"),
        ([*TRACE, *JAVA], 1, "Caused by: java.lang.OutOfMemoryError: Java heap space"),
        (["WARN before", ERROR], 2, "Missing partition"),
        ([ERROR, "WARN the JVM could not delete a folder"], 2, "Missing partition"),
        (["WARN Spark says something"], -9, "killed by SIGKILL (often out of memory)"),
        ([ERROR], 137, "killed by SIGKILL (often out of memory)"),
        ([json.dumps({"event": "Interrupted.", "level": "error"})], 130, "Interrupted"),
        ([], 77, "the task's own sentence"),
    ],
)
def test_reason_of_a_failed_step(lines: list[str], code: int, reason: str) -> None:
    record, display = RunRecord(), StepDisplay(Console(file=StringIO()))
    for line in lines:
        pipeline_run._take_line(record, display, "bronze", line)
    said = pipeline_run._sentence(record, StepFailure("bronze", "the task's own sentence.", code), Path("run.log"))
    assert said == f"Step bronze failed with exit code {code}: {reason}. The whole log: run.log"
