"""A second run while the stores and the scheduler restart under it, then a restart of everything: nothing is lost."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from embedded.summary import summarize
from tests.e2e.airflow_api import Airflow
from tests.e2e.compose_stack.stack import PROJECT, ROOT, Stack, docker
from tests.e2e.compose_stack.test_2_pipeline import DAG, DAYS, FIRST, JOBS, days, lake_of_the_stack
from tests.e2e.reference import demo_digests

MORE = 2
RESTARTS = {"bronze": "minio", "features": "airflow-scheduler", "materialize": "redis"}
"""Which service restarts while which job works."""


class Restarts:
    """Restarts each service once, as soon as its job's container works."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.done: dict[str, str] = {}
        self.containers: set[str] = set()

    def __call__(self) -> None:
        running = docker(
            "ps", "--filter", "name=^fti-job-", "--filter", f"network={PROJECT}", "--format", "{{.ID}} {{.Names}}"
        ).stdout.splitlines()
        for identity, name in (line.split() for line in running):
            self.containers.add(f"{name.split('-')[2]} {identity}")
            job = name.split("-")[2]
            if job in RESTARTS and job not in self.done:
                service = self.done[job] = RESTARTS[job]
                # A job that ends within the scheduler's five seconds would leave no try to follow it.
                held = service == "airflow-scheduler"
                if held:
                    docker("pause", identity)
                self.stack.compose("restart", "--timeout", "5", service)
                if held:
                    docker("unpause", identity)


@pytest.fixture(scope="module")
def restarts(stack: Stack, airflow: Airflow) -> Restarts:
    made = Restarts(stack)
    start = FIRST + timedelta(DAYS)
    airflow.trigger(DAG, "second", start=str(start), end=str(start + timedelta(MORE)), cards=5000, seed=7)
    assert airflow.wait(DAG, "second", 1200, made) == "success", airflow.tasks(DAG, "second")
    return made


def test_run_ends_well_whatever_restarts(restarts: Restarts, airflow: Airflow, report: list[str]) -> None:
    assert restarts.done == RESTARTS
    tasks = airflow.tasks(DAG, "second")
    assert {name: task["state"] for name, task in tasks.items()} == dict.fromkeys(JOBS, "success")
    tries = ", ".join(f"{name} {task['try_number']}" for name, task in tasks.items())
    report.append(f"restarts of {', '.join(RESTARTS.values())}: run green; tries: {tries}")


def test_scheduler_that_restarts_starts_no_job_twice(restarts: Restarts, airflow: Airflow) -> None:
    """The container that works goes on, and the next try follows it."""
    assert len([name for name in restarts.containers if name.startswith("features ")]) == 1
    attempt = airflow.tasks(DAG, "second")["features"]["try_number"]
    assert any(
        "Following container fti-job-features" in line for line in airflow.log(DAG, "second", "features", attempt)
    )


def test_digests_are_those_of_an_undisturbed_run(restarts: Restarts, tmp_path: Path) -> None:
    home = tmp_path / "demo"
    shutil.copytree(ROOT / ".demo", home)
    expected = demo_digests(home, "--days", str(DAYS + MORE))
    assert summarize(lake_of_the_stack(), days(DAYS + MORE), {}, unchanged=False).digests == expected


def test_stop_and_start_of_everything_loses_nothing(restarts: Restarts, stack: Stack, airflow: Airflow) -> None:
    before = contents(airflow)
    stack.compose("down", "--timeout", "10")  # the volumes stay
    stack.boot()
    stack.wait_until_healthy("airflow-scheduler", "airflow-webserver", "redis", "minio")
    assert contents(airflow) == before


@pytest.mark.parametrize("service", ["postgres", "airflow-webserver", "airflow-dag-processor", "airflow-triggerer"])
def test_restart_of_one_service_loses_nothing(restarts: Restarts, stack: Stack, airflow: Airflow, service: str) -> None:
    before = contents(airflow)
    stack.compose("restart", "--timeout", "10", service)
    stack.wait_until_healthy(service, "airflow-webserver", "airflow-scheduler")
    assert contents(airflow) == before


def contents(airflow: Airflow) -> tuple[object, ...]:
    """What the stack remembers: runs, a task's log, partitions, keys of the online store."""
    runs = {run["dag_run_id"]: run["state"] for run in airflow.patient(f"dags/{DAG}/dagRuns")["dag_runs"]}
    log = airflow.log(DAG, "first", "verify", 1)
    assert len(log) > 5
    partitions = lake_of_the_stack().partitions("silver/features/card_daily")
    keys = redis.Redis().dbsize()
    assert keys > 5000
    return runs, log, sorted(partitions), keys
