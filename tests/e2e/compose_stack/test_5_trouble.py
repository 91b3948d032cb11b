"""What goes wrong on a real machine: one clear sentence, the documented exit code, nothing lost, safe to run again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.e2e.compose_stack.stack import PROJECT, ROOT, Ended, Job, Stack, docker
from tests.e2e.compose_stack.test_2_pipeline import DAYS, FIRST, lake_of_the_stack

LAST = FIRST + timedelta(DAYS - 1)
DAY = ("--start", str(LAST), "--end", str(LAST + timedelta(1)))
EARLY = ("--start", str(FIRST), "--end", str(FIRST + timedelta(3)))


PORT = {"redis": 6379, "minio": 9000}


def only_sentence(ended: Ended) -> str:
    """The job's last word, and no trace of a stack before it."""
    assert "Traceback (most recent call last)" not in ended.log, ended.log
    last = json.loads(ended.log.splitlines()[-1])
    assert last["level"] == "error", ended.log
    return last["event"]


def digest(dataset: str, partition: str) -> str:
    manifest = lake_of_the_stack().manifest(dataset, partition)
    assert manifest
    return manifest.digest


def test_wrong_password_of_minio(stack: Stack) -> None:
    ended = stack.start_job("generate", *EARLY, AWS_SECRET_ACCESS_KEY="not-the-password").end()
    assert ended.code == 2
    assert "AWS_" in only_sentence(ended)
    assert "not-the-password" not in ended.log


def gone_in_the_middle(stack: Stack, report: list[str], service: str, job: Job, event: str) -> None:
    """Stops a service for good as soon as the job says the event: the job ends with 1 and one sentence that names it."""
    job.wait_for(event)
    docker("pause", job.name)  # or it may be done before the service is gone
    stack.compose("stop", "--timeout", "1", service)
    docker("unpause", job.name)
    began = time.monotonic()
    try:
        ended = job.end()
    finally:
        stack.compose("start", service)
    sentence = only_sentence(ended)
    report.append(f"{service} gone: exit {ended.code} after {time.monotonic() - began:.0f} s: {sentence}")
    assert ended.code == 1
    assert f"{service}:{PORT[service]}" in sentence
    stack.wait_until_healthy(service)


def test_redis_gone_in_the_middle_of_materialize(stack: Stack, report: list[str]) -> None:
    job = stack.start_job("materialize", *DAY, "--force")
    gone_in_the_middle(stack, report, "redis", job, "loading")
    assert stack.start_job("materialize", *DAY).end().code == 0
    again = stack.start_job("verify", *DAY).end()
    assert again.code == 0, again.log


def test_minio_gone_in_the_middle_of_bronze(stack: Stack, report: list[str]) -> None:
    before = digest("bronze/transactions", f"ingest_date={FIRST}")
    job = stack.start_job("bronze", *EARLY, "--force")
    gone_in_the_middle(stack, report, "minio", job, "checked")
    again = stack.start_job("bronze", *EARLY, "--force").end()
    assert again.code == 0, again.log
    assert digest("bronze/transactions", f"ingest_date={FIRST}") == before


def test_job_killed_from_outside(stack: Stack) -> None:
    before = digest("bronze/transactions", f"ingest_date={FIRST}")
    job = stack.start_job("bronze", *EARLY, "--force")
    job.wait_for("checked")
    docker("kill", job.name)
    assert job.end().code == 137
    assert stack.start_job("bronze", *EARLY, "--force").end().code == 0
    assert digest("bronze/transactions", f"ingest_date={FIRST}") == before


@pytest.fixture
def small_minio(stack: Stack) -> Iterator[str]:
    """A MinIO whose disk holds 40 MiB."""
    name = f"{PROJECT}-small"
    volume = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=40m,uid=10001,gid=10001")
    docker("volume", "create", "--driver", "local", *volume, name)
    try:
        login = ("--env", "MINIO_ROOT_USER=minioadmin", "--env", "MINIO_ROOT_PASSWORD=minioadmin")
        image = f"fti-minio:{stack.tag}"
        docker("run", "--detach", "--name", name, "--network", PROJECT, *login, "--volume", f"{name}:/data", image)
        ended = stack.start_job("bucket", "lake", AWS_ENDPOINT_URL=f"http://{name}:9000").end()
        assert ended.code == 0, ended.log
        yield f"http://{name}:9000"
    finally:
        docker("rm", "--force", name, check=False)
        docker("volume", "rm", name, check=False)


def test_disk_of_the_lake_is_full(small_minio: str, stack: Stack, report: list[str]) -> None:
    days = ("--start", str(FIRST), "--end", str(FIRST + timedelta(30)), "--cards=20000", "--format=csv")
    ended = stack.start_job("generate", *days, AWS_ENDPOINT_URL=small_minio).end()
    report.append(f"disk full: exit {ended.code}: {only_sentence(ended)}")
    assert ended.code == 1
    assert "full" in only_sentence(ended)


def test_port_is_taken(stack: Stack) -> None:
    """A person's own stack cannot start beside this one; it says which containers hold the ports."""
    environment = {name: value for name, value in os.environ.items() if name != "COMPOSE_PROJECT_NAME"}
    command = [sys.executable, "-m", "compose.stack", "up"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "8080 (airflow-webserver), 9000 (minio), 9001 (minio), 6379 (redis)" in done.stderr
    assert f"{PROJECT}-redis-1" in done.stderr
