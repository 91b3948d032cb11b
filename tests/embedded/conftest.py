"""A home of its own and stub jobs: what is tested here is how the pieces hold together, not the jobs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

STUB = """
import json, os, sys, time
def main(job):
    def log(event, level="info", **fields):
        print(json.dumps({"event": event, "level": level, "job": job, **fields}), file=sys.stderr, flush=True)
    log("called", argv=sys.argv[1:], pid=os.getpid())
    time.sleep(float(os.environ.get("STUB_SECONDS_" + job.upper(), "0")))
    code = int(os.environ.get("STUB_EXIT_" + job.upper(), "0"))
    if code:
        log("The stub was told to fail.", level="error", exit_code=code)
        sys.exit(code)
    log("done", rows_in=2, rows_out=1, seconds=0.0)
"""
JOBS = ("generate", "bronze", "features", "materialize", "verify")


@pytest.fixture
def stub_jobs(tmp_path: Path) -> Path:
    """A folder with a package ``jobs`` whose jobs say how they were called, and wait or fail as the environment says."""
    package = tmp_path / "stub" / "jobs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(STUB)
    for job in JOBS:
        (package / f"{job}.py").write_text(f"from jobs import main\nmain({job!r})\n")
    return package.parent


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One Airflow database for all runs: making it costs seconds."""
    return tmp_path_factory.mktemp("airflow home")  # with a space, as a user's path may have


@pytest.fixture
def clean_environment() -> dict[str, str]:
    """This process's environment without what would steer Airflow, the launchers or the jobs."""
    steering = ("AIRFLOW", "FTI_", "REDIS_URL", "LAKE_URI", "FEAST_", "AWS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(steering)}
