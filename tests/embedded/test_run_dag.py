"""Whole DAG runs by ``dag.test()`` in a child process, as the demo does them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from embedded import pipeline_run
from embedded.errors import EmbeddedError
from embedded.home import Home
from embedded.progress import StepDisplay

JOBS = ("generate", "bronze", "features", "materialize", "verify")


class ReadyEndpoint(BaseHTTPRequestHandler):
    """Stands in for MinIO: answers its readiness endpoint and nothing else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/minio/health/ready" else 404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def minio_stand_in() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), ReadyEndpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def run(airflow_home: Path, clean_environment: dict[str, str], tmp_path: Path) -> Any:
    """Runs a DAG; its record or error, what was displayed, and the log."""

    def start(dag_id: str, conf: dict[str, Any], **extra: str) -> tuple[Any, str, str]:
        home = Home.at(airflow_home)
        home.make_folders()
        environment = home.airflow_environment(clean_environment, extra.get("REDIS_URL", "redis://localhost:1")) | extra
        log, shown = tmp_path / "run.log", StringIO()
        display = StepDisplay(Console(file=shown, width=200, highlight=False))
        try:
            record: Any = pipeline_run.run(dag_id, conf, environment, log, display)
        except EmbeddedError as error:
            record = error
        return record, shown.getvalue(), log.read_text()

    return start


def argv_by_job(log: str) -> dict[str, list[str]]:
    called = [
        json.loads(line[line.index("{") : line.rindex("}") + 1]) for line in log.splitlines() if '"called"' in line
    ]
    return {event["job"]: event["argv"] for event in called}


def test_smoke_test_reaches_both_stores(run: Any, minio_stand_in: str, redis_server: str) -> None:
    record, _, log = run("00_smoke_test_stack", {}, AWS_ENDPOINT_URL=minio_stand_in, REDIS_URL=redis_server)
    assert set(record.seconds) == {"check_minio", "check_redis"}
    assert f"MinIO ready: {minio_stand_in}/minio/health/ready -> 200" in log
    assert f"Redis ping ok: {redis_server.removeprefix('redis://').removesuffix('/0')}" in log


def test_pipeline_runs_every_job_on_the_range(run: Any, stub_jobs: Path) -> None:
    conf = {"start": "2026-01-01", "end": "2026-01-03", "snapshot": "2026-01-01", "cards": 9}
    record, shown, log = run("feature_pipeline", conf, FTI_JOBS_HOME=str(stub_jobs))
    assert tuple(record.seconds) == JOBS
    days = ["--start", "2026-01-01", "--end", "2026-01-03"]
    assert argv_by_job(log) == {
        "generate": [*days, "--cards=9", "--seed=7", "--format=jsonl.gz", "--snapshot=2026-01-01"],
        "bronze": [*days, "--max-bad-share=0.01"],
        "features": days,
        "materialize": days,
        "verify": days,
    }
    assert all(f"✓ {job}" in shown for job in JOBS)
    assert "rows_in=2 rows_out=1" in shown


def test_pipeline_without_generate_that_stops_at_bad_data(run: Any, stub_jobs: Path) -> None:
    conf = {"start": "2026-01-01", "generate": False}
    error, shown, log = run("feature_pipeline", conf, FTI_JOBS_HOME=str(stub_jobs), STUB_EXIT_BRONZE="3")
    assert isinstance(error, EmbeddedError)
    assert error.exit_code == 3
    assert "Step bronze failed with exit code 3: The stub was told to fail. The whole log: " in str(error)
    assert "– generate" in shown
    assert "✗ bronze" in shown
    assert set(argv_by_job(log)) == {"bronze"}, "neither generate, which was off, nor anything after the failure ran"


def test_params_that_make_no_range_fail_the_first_step(run: Any, stub_jobs: Path) -> None:
    conf = {"start": "2026-01-03", "end": "2026-01-01"}
    error, _, log = run("feature_pipeline", conf, FTI_JOBS_HOME=str(stub_jobs))
    assert "Step generate failed" in str(error)
    assert "end 2026-01-01 must be after start 2026-01-03" in str(error)
    assert argv_by_job(log) == {}
