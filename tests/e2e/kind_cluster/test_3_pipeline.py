"""Three days, each job a pod: the same numbers as without any cluster, and what is served equals the lake."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import pytest

from feature_repo import definitions
from tests.e2e.airflow_api import Airflow
from tests.e2e.kind_cluster.pipeline import DAG, DAYS, FIRST, JOBS, days, digests, trigger
from tests.e2e.kind_cluster.platform import JOBS as NAMESPACE
from tests.e2e.kind_cluster.platform import REDIS_PORT, S3, Platform, container_seconds, moment
from tests.e2e.served import card_daily, compare

CARDS = 1000


@pytest.fixture(scope="module")
def run(platform: Platform, airflow: Airflow, report: list[str]) -> str:
    began = time.monotonic()
    airflow.unpause(DAG)
    trigger(airflow, "three-days", FIRST, DAYS, snapshot=str(FIRST))
    state = airflow.wait(DAG, "three-days", 600)
    report.append(f"feature_pipeline, {DAYS} days, 5,000 cards: {time.monotonic() - began:.0f} s")
    return state


def test_run_goes_green_at_the_first_try(run: str, airflow: Airflow) -> None:
    tasks = airflow.tasks(DAG, "three-days")
    assert {name: (task["state"], task["try_number"]) for name, task in tasks.items()} == dict.fromkeys(
        JOBS, ("success", 1)
    ), [line for name in tasks for line in airflow.log(DAG, "three-days", name, 1)[-5:]]
    assert run == "success"


@pytest.mark.parametrize("job", JOBS)
def test_each_task_was_one_pod_of_its_jobs_image(run: str, platform: Platform, airflow: Airflow, job: str) -> None:
    (pod,) = platform.jobs_pods("three-days", job)
    labels = pod["metadata"]["labels"]
    assert labels["app.kubernetes.io/instance"] == "fti"
    assert labels["try_number"] == "1"
    (container,) = pod["spec"]["containers"]
    assert container["image"].rpartition(":")[0].endswith(f"fti-{job}")
    assert pod["status"]["phase"] == "Succeeded"


@pytest.mark.parametrize("job", JOBS)
def test_kubectl_shows_the_log_of_a_finished_job(run: str, platform: Platform, job: str) -> None:
    text = platform.kubectl("logs", "-n", NAMESPACE, "-l", f"app.kubernetes.io/component={job},run_id=three-days")
    last = json.loads(text.strip().splitlines()[-1])
    assert (last["job"], last["event"]) == (job, "done")


@pytest.mark.parametrize("job", JOBS)
def test_the_task_log_holds_each_line_of_the_job_once(run: str, platform: Platform, airflow: Airflow, job: str) -> None:
    """From the bucket, where it outlives the pods that wrote it."""
    selector = f"app.kubernetes.io/component={job},run_id=three-days"
    lines = platform.kubectl("logs", "-n", NAMESPACE, "-l", selector, "--tail=-1").strip().splitlines()
    told = "\n".join(airflow.log(DAG, "three-days", job, 1))
    own = [line for line in lines if line.startswith("{")]
    assert own
    assert {line: told.count(line) for line in own} == dict.fromkeys(own, 1)
    assert "s3://airflow-logs/" in told


def test_no_credential_is_in_a_log(run: str, platform: Platform, airflow: Airflow) -> None:
    secrets = [
        platform.secret(name, key)
        for name, key in (
            ("fti-minio-auth", "root-password"),
            ("fti-redis-auth", "password"),
            ("fti-airflow-database", "feast"),
            ("fti-airflow-database", "password"),
        )
    ]
    assert all(len(secret) >= 20 for secret in secrets)
    for job in JOBS:
        text = "\n".join(airflow.log(DAG, "three-days", job, 1))
        assert [secret for secret in secrets if secret in text] == [], job


def test_digests_equal_those_of_the_demo(run: str, reference: dict[str, str]) -> None:
    assert digests() == reference


def test_cards_read_back_from_redis_equal_the_lake(
    run: str, platform: Platform, tmp_path: Path, report: list[str]
) -> None:
    """Read by stock Feast's Redis store, which knows nothing of this project's own."""
    password = platform.secret("fti-redis-auth", "password")
    with card_daily(S3, days()[-1], tmp_path) as lake:
        compared = compare(lake, CARDS, f"localhost:{REDIS_PORT},password={password}")
    assert compared == CARDS * len(definitions.card_daily.features)
    report.append(f"read back by stock Feast: {CARDS:,} cards, {compared:,} values, all equal")


def test_what_a_pod_costs_a_task(run: str, platform: Platform, airflow: Airflow, report: list[str]) -> None:
    """Measured, not judged: the container's times are whole seconds."""
    overheads = {}
    for job, task in airflow.tasks(DAG, "three-days").items():
        (pod,) = platform.jobs_pods("three-days", job)
        overheads[job] = task["duration"] - container_seconds(pod)
        assert moment(task["start_date"]) <= moment(pod["metadata"]["creationTimestamp"].replace("Z", ".999+00:00"))
    shown = ", ".join(f"{job} {seconds:.1f}" for job, seconds in overheads.items())
    report.append(
        f"task seconds beyond the container's own: median {statistics.median(overheads.values()):.1f} ({shown})"
    )
