"""One stack for all these tests; they run in the order of their files and go on from what the ones before left."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from compose import stack as checks
from tests.e2e.airflow_api import Airflow
from tests.e2e.compose_stack.stack import Stack

os.environ |= {"AWS_ACCESS_KEY_ID": "minioadmin", "AWS_SECRET_ACCESS_KEY": "minioadmin"}  # of MinIO, from this side
_report: list[str] = []


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack, booted by Phase 1's four commands."""
    checks.check_engine()
    stack = Stack()
    stack.down()  # what an interrupted run left
    checks.check_ports(checks.PORTS, [])
    well = False
    try:
        began = time.monotonic()
        stack.boot()
        _report.append(f"boot by the four commands: {time.monotonic() - began:.0f} s")
        yield stack
        well = not request.session.testsfailed
    finally:
        if not well:
            _report.append(f"What the stack said until then: {stack.bundle()}")
        stack.memory.stop()
        _report.extend(_memory(stack))
        stack.down()


@pytest.fixture(scope="session")
def airflow(stack: Stack) -> Airflow:
    return Airflow()


@pytest.fixture(scope="session")
def report() -> list[str]:
    """Lines for the end of the run: what was measured."""
    return _report


def _memory(stack: Stack) -> list[str]:
    memory = stack.memory
    names = sorted(memory.idle | memory.peak)
    return [
        f"memory, MiB: {name:<22} idle {memory.idle.get(name, 0):5.0f}  peak {memory.peak.get(name, 0):5.0f}"
        for name in names
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("measured")
    for line in _report:
        terminalreporter.line(line)
