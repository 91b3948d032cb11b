"""One cluster for all these tests; they run in the order of their files and go on from what the ones before left."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.airflow_api import Airflow
from tests.e2e.kind_cluster.pipeline import DAYS, FIRST
from tests.e2e.kind_cluster.platform import AIRFLOW, Platform
from tests.e2e.reference import demo_digests

_report: list[str] = []


@pytest.fixture(scope="session")
def report() -> list[str]:
    """Lines for the end of the run: what was measured."""
    return _report


@pytest.fixture(scope="session")
def platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    """From no cluster to the working platform; gone in the end, however that came."""
    platform = Platform()
    platform.kind("down")  # what an interrupted run left
    try:
        yield platform
    finally:
        if request.session.testsfailed:
            _report.append(platform.kind("doctor", check=False))
        platform.kind("down", check=False)


@pytest.fixture(scope="session")
def up(platform: Platform) -> dict[str, Any]:
    """What ``kind up --json`` says."""
    began = time.monotonic()
    said = json.loads(platform.kind("up", "--json"))
    _report.append(f"kind-up, no cluster before: {time.monotonic() - began:.0f} s, {said['seconds']}")
    os.environ["AWS_ACCESS_KEY_ID"] = platform.secret("fti-minio-auth", "root-user")
    os.environ["AWS_SECRET_ACCESS_KEY"] = platform.secret("fti-minio-auth", "root-password")
    return said


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of the pipeline's days without a cluster."""
    home = tmp_path_factory.mktemp("demo") / "home"
    return demo_digests(home, "--days", str(DAYS), "--start", str(FIRST))


@pytest.fixture(scope="session")
def airflow(platform: Platform, up: dict[str, Any]) -> Airflow:
    return Airflow(AIRFLOW, "airflow", platform.secret("fti-airflow-admin", "password"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("measured")
    for line in _report:
        terminalreporter.line(line)
