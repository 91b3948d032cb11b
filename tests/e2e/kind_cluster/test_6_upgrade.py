"""Values change under a platform in use: Spark's executors, a job's size; and it goes back with its data."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from datetime import timedelta

import pytest

from tests.e2e.airflow_api import Airflow
from tests.e2e.kind_cluster.pipeline import DAG, DAYS, FIRST, digests, last_line, trigger
from tests.e2e.kind_cluster.platform import JOBS as NAMESPACE
from tests.e2e.kind_cluster.platform import Platform, until

EXECUTORS = 2


@pytest.fixture(scope="module")
def revision(platform: Platform, airflow: Airflow, report: list[str]) -> int:
    """The revision before: Spark has executors now, and generate too little memory to start."""
    before, passwords = platform.revision(), platform.secret("fti-airflow-admin", "password")
    began = time.monotonic()
    platform.upgrade(
        f"airflow.jobs.spark.executors={EXECUTORS}",
        "airflow.jobs.spark.executorCpu=100m",  # so that both fit on a node of two cores
        "airflow.jobs.resources.generate.memory=48Mi",
        "airflow.jobs.retries=0",
    )
    report.append(f"helm upgrade with Airflow's restart: {time.monotonic() - began:.0f} s")
    until(lambda: retries(airflow) == 0, 120, "the DAG with its new values")
    assert platform.revision() == before + 1
    assert platform.secret("fti-airflow-admin", "password") == passwords
    return before


def retries(airflow: Airflow) -> float:
    """As the DAG was parsed last: its processor is ready before it parses, and a run keeps what it began with."""
    return airflow.patient(f"dags/{DAG}/tasks/generate")["retries"]


def test_a_job_without_enough_memory_says_so(revision: int, platform: Platform, airflow: Airflow) -> None:
    trigger(airflow, "oom", FIRST + timedelta(DAYS + 3))
    assert airflow.wait(DAG, "oom", 600) == "failed"
    # A try's log is put into the store a moment after its state is known.
    until(lambda: "OOMKilled" in last_line(airflow, "oom", "generate"), 60, "the reason in the log's last line")
    assert "48 MiB" in last_line(airflow, "oom", "generate")
    states = {name: task["state"] for name, task in airflow.tasks(DAG, "oom").items()}
    assert states == {"generate": "failed"} | dict.fromkeys(
        ("bronze", "features", "materialize", "verify"), "upstream_failed"
    )


def test_executors_give_the_same_digests(
    revision: int,
    platform: Platform,
    airflow: Airflow,
    report: list[str],
) -> None:
    """The same as the job's pod alone gave for these days; those after them have added late rows since."""
    alone = digests()
    seen: set[tuple[str, str]] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(1):
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):  # one look that fails is not the last
                for pod in platform.get("pods", NAMESPACE, "app.kubernetes.io/component=executor"):
                    if pod["status"]["phase"] == "Running":
                        seen.add((pod["metadata"]["ownerReferences"][0]["name"], pod["metadata"]["name"]))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    began = time.monotonic()
    trigger(airflow, "spread", FIRST, DAYS, generate=False, force=True)
    state = airflow.wait(DAG, "spread", 1200)
    stop.set()
    watcher.join()
    report.append(f"the same days with {EXECUTORS} executors: {time.monotonic() - began:.0f} s")
    assert state == "success", {j: last_line(airflow, "spread", j) for j in ("bronze", "features")}
    drivers = {job: platform.jobs_pods("spread", job)[0]["metadata"]["name"] for job in ("bronze", "features")}
    executors = {job: sorted(pod for owner, pod in seen if owner == driver) for job, driver in drivers.items()}
    assert {job: len(pods) for job, pods in executors.items()} == dict.fromkeys(drivers, EXECUTORS)
    assert digests() == alone
    left = platform.get("pods", NAMESPACE, "app.kubernetes.io/component=executor")
    assert [pod["metadata"]["name"] for pod in left if pod["status"]["phase"] == "Running"] == []


def test_rolled_back_it_works_on_with_its_data(revision: int, platform: Platform, airflow: Airflow) -> None:
    def runs() -> set[str]:
        return {run["dag_run_id"] for run in airflow.patient(f"dags/{DAG}/dagRuns?limit=50")["dag_runs"]}

    before = runs()
    platform.helm("rollback", "fti", str(revision))
    platform.wait_until_ready()
    until(lambda: retries(airflow) != 0, 120, "the DAG with its old values")
    assert {"three-days", "oom", "spread"} <= before <= runs()
    trigger(airflow, "rolled-back", FIRST + timedelta(DAYS + 3))
    assert airflow.wait(DAG, "rolled-back", 900) == "success"
    assert not platform.get("pods", NAMESPACE, "app.kubernetes.io/component=executor")
