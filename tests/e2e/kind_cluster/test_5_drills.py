"""What goes wrong, done on purpose: each ends in the right state with the right last line, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

import pytest

from tests.e2e.airflow_api import Airflow
from tests.e2e.kind_cluster.pipeline import DAG, DAYS, FIRST, JOBS, When, last_line, trigger
from tests.e2e.kind_cluster.platform import JOBS as NAMESPACE
from tests.e2e.kind_cluster.platform import NAME, PLATFORM, Platform, moment, until

NEXT = FIRST + timedelta(DAYS)


@pytest.fixture(autouse=True)
def _one_run_at_a_time(airflow: Airflow) -> Iterator[None]:
    """A test that fails leaves no run in the way of the next one's."""
    airflow.unpause(DAG)
    yield
    airflow.end_runs(DAG)


def test_airflow_restarts_under_a_run(platform: Platform, airflow: Airflow) -> None:
    """Scheduler, triggerer and API server go while jobs run: no job is lost, none runs beside itself.

    The first two cost no try. A task that wants to begin or end while there is no API server at all waits for it; where
    that takes too long it is tried again, and takes over what its job has done.
    """

    def delete(component: str) -> None:
        platform.kubectl(
            "delete", "pod", "-n", PLATFORM, "-l", f"app.kubernetes.io/component={component}", "--wait=false"
        )

    trigger(airflow, "restarts", NEXT)
    when = When(
        platform,
        "restarts",
        bronze=lambda: delete("scheduler"),
        features=lambda: delete("triggerer"),
        materialize=lambda: delete("api-server"),
    )
    state = airflow.wait(DAG, "restarts", 1200, each_time=when)
    tasks = airflow.tasks(DAG, "restarts")
    assert state == "success", {job: last_line(airflow, "restarts", job) for job in JOBS if tasks[job]["try_number"]}
    assert when.left == {}
    tries = {job: tasks[job]["try_number"] for job in JOBS}
    assert [tries[job] for job in ("generate", "bronze", "features")] == [1, 1, 1]
    assert max(tries.values()) <= 2
    for job in JOBS:
        pods = platform.jobs_pods("restarts", job)
        assert len(pods) <= tries[job]
        ends = [pod["status"]["containerStatuses"][0]["state"]["terminated"] for pod in pods]
        assert all(moment(one["finishedAt"]) <= moment(two["startedAt"]) for one, two in pairwise(ends))


def test_stores_restart_under_a_run(platform: Platform, airflow: Airflow) -> None:
    """MinIO goes under bronze, Redis under materialize: the jobs outlive it or are tried again."""
    trigger(airflow, "stores", NEXT + timedelta(1))
    when = When(
        platform,
        "stores",
        bronze=lambda: platform.kubectl("delete", "pod", "-n", PLATFORM, "fti-minio-0", "--wait=false"),
        materialize=lambda: platform.kubectl("delete", "pod", "-n", PLATFORM, "fti-redis-0", "--wait=false"),
    )
    assert airflow.wait(DAG, "stores", 1200, each_time=when) == "success"
    assert when.left == {}
    assert max(task["try_number"] for task in airflow.tasks(DAG, "stores").values()) <= 2


def test_a_deleted_pod_and_a_missing_image(platform: Platform, airflow: Airflow) -> None:
    """A job's pod is deleted while it runs, the next job's image is gone from the node: both are told, and tried again."""
    tag = platform.get("deployments", PLATFORM, "app.kubernetes.io/component=scheduler")[0]["spec"]["template"]["spec"]
    image = tag["containers"][0]["image"].replace("fti-airflow", "fti-verify")

    def take_the_image_away() -> None:
        node = ("docker", "exec", f"{NAME}-control-plane")
        platform.call(*node, "ctr", "--namespace", "k8s.io", "images", "rm", f"docker.io/library/{image}")

    trigger(airflow, "deleted", NEXT + timedelta(2))
    when = When(
        platform,
        "deleted",
        bronze=lambda: platform.kubectl(
            "delete", "pod", "-n", NAMESPACE, "-l", "run_id=deleted,app.kubernetes.io/component=bronze", "--wait=false"
        ),
        features=take_the_image_away,
    )

    def verify_failed_once() -> None:
        when()
        verify = airflow.tasks(DAG, "deleted")["verify"]
        if verify["state"] == "up_for_retry" and not mended:
            mended.append("image")
            airflow.pause(DAG)  # the next try is to find the image, however long that takes
            platform.kind("up", "--json")  # what a person would do: it brings the image back
            airflow.unpause(DAG)

    mended: list[str] = []
    assert airflow.wait(DAG, "deleted", 1200, each_time=verify_failed_once) == "success"
    assert when.left == {}
    tasks = airflow.tasks(DAG, "deleted")
    assert {job: tasks[job]["try_number"] for job in JOBS} == {
        "generate": 1,
        "bronze": 2,
        "features": 1,
        "materialize": 1,
        "verify": 2,
    }
    # Read now, not above: a try's log is put into the store a moment after its state is known.
    assert "its pod" in last_line(airflow, "deleted", "bronze", 1)
    assert "was deleted" in last_line(airflow, "deleted", "bronze", 1)
    reason = last_line(airflow, "deleted", "verify", 1)
    assert "Job verify did not start: " in reason
    assert "ImagePull" in reason or "ErrImage" in reason


def test_finished_pods_are_cleaned_away(platform: Platform, airflow: Airflow) -> None:
    """The clean-up by hand, with an age at which all finished pods go and one that works stays."""
    before = platform.get("pods", NAMESPACE, "app.kubernetes.io/name=fti-job")
    assert {pod["status"]["phase"] for pod in before} <= {"Succeeded", "Failed"}
    job = json.loads(
        platform.kubectl(
            "create",
            "job",
            "-n",
            NAMESPACE,
            "clean-now",
            "--from=cronjob/fti-cleanup",
            "--dry-run=client",
            "-o",
            "json",
        )
    )
    job["spec"]["template"]["spec"]["containers"][0]["args"] = ["--hours", "0"]
    platform.kubectl("create", "-f", "-", text=json.dumps(job))
    until(
        lambda: platform.get("jobs", NAMESPACE, "app.kubernetes.io/component=cleanup")[0]["status"].get("succeeded"),
        90,
        "the clean-up's end",
    )
    said = platform.kubectl("logs", "-n", NAMESPACE, "job/clean-now")
    assert f"Deleted {len(before)} pods" in said
    assert platform.get("pods", NAMESPACE, "app.kubernetes.io/name=fti-job") == []
    platform.kubectl("delete", "job", "-n", NAMESPACE, "clean-now")
    assert "done" in "\n".join(airflow.log(DAG, "deleted", "generate", 1))  # the task log stays
