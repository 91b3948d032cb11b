"""What the operator does with pods: one at a time, followed to its end, whose reason is the log's last line."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client import ApiException
from kubernetes.client import models as k8s
from structlog.testing import capture_logs
from urllib3.exceptions import MaxRetryError

from tests.dags.cluster import NOW, Cluster, ended, pod, state

RUN = "scheduled__2026-03-02"
UNMET = [k8s.V1PodCondition(type="PodScheduled", status="False", reason="Unschedulable", message="0/1 nodes.")]
TAKEN = [k8s.V1PodCondition(type="DisruptionTarget", status="True", reason="EvictionByEvictionAPI", message="drained")]
NO_IMAGE = {"reason": "ErrImagePull", "message": "rpc error:\n not found"}
NO_SECRET = {"reason": "CreateContainerConfigError", "message": 'secret "fti-jobs" not found'}
LATE_SECRET = {"reason": "CreateContainerConfigError", "message": "failed to sync secret cache: timed out"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    from launchers import kubernetes

    made = Cluster()
    monkeypatch.setattr(kubernetes.KubernetesJobOperator, "client", made)
    monkeypatch.setattr(kubernetes.KubernetesJobOperator, "hook", SimpleNamespace(is_in_cluster=True))
    monkeypatch.setattr(kubernetes, "generic_api_retry", lambda call: call)
    monkeypatch.setattr(kubernetes.time, "sleep", lambda _: None)
    return made


@pytest.fixture
def task(render: Callable[..., Any]) -> Any:
    return render("kubernetes", "bronze", partition_key="2026-02-14")


def context(task: Any, run_id: str = RUN, attempt: int = 1, **more: Any) -> dict[str, Any]:
    ti = SimpleNamespace(
        dag_id="feature_pipeline", task_id="bronze", run_id=run_id, map_index=-1, try_number=attempt, start_date=NOW
    )
    return {"ti": ti, "run_id": run_id, "dag": task.dag, **more}


def start(task: Any, **of: Any) -> Any:
    """The trigger that the task waits for."""
    from airflow.sdk.exceptions import TaskDeferred

    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context(task, **of))
    assert deferred.value.method_name == "trigger_reentry"
    return deferred.value.trigger


def reenter(task: Any, name: str = "fti-bronze-a", told: str = "", trouble: str | None = None) -> None:
    task.trigger_reentry(context(task), {"name": name, "told": told, "trouble": trouble})


def left_over(task: Any, cluster: Cluster, **of: Any) -> k8s.V1Pod:
    """The pod of an earlier try, at work."""
    start(task, **of)
    (found,) = cluster.pods.values()
    found.status = pod(state(running={})).status
    cluster.calls.clear()
    return found


# -- one pod at a time -----------------------------------------------------------------------------------------


def test_a_task_starts_a_pod_and_leaves_it_to_the_triggerer(task: Any, cluster: Cluster) -> None:
    trigger = start(task)
    (made,) = cluster.pods
    assert cluster.calls == ["list", "create"]
    assert (trigger.name, trigger.namespace, trigger.told) == (made, "jobs", "")
    assert trigger.deadline == (NOW + task.execution_timeout).timestamp()
    labels = cluster.pods[made].metadata.labels
    assert (labels["dag_id"], labels["run_id"], labels["try_number"]) == ("feature_pipeline", RUN, "1")


def test_a_later_try_follows_the_pod_that_is_at_work(render: Any, task: Any, cluster: Cluster) -> None:
    found = left_over(task, cluster)
    trigger = start(render("kubernetes", "bronze", partition_key="2026-02-14"), attempt=2)
    assert trigger.name == found.metadata.name
    assert cluster.calls == ["list"]


@pytest.mark.parametrize(
    ("run_id", "day"), [(RUN, "2026-02-15"), ("manual__1", "2026-02-14")], ids=["other work", "other run"]
)
def test_a_pod_that_does_other_work_is_stopped_first(
    render: Any, task: Any, cluster: Cluster, run_id: str, day: str
) -> None:
    found = left_over(task, cluster)
    trigger = start(render("kubernetes", "bronze", partition_key=day), run_id=run_id)
    assert trigger.name != found.metadata.name
    assert list(cluster.pods) == [trigger.name]
    assert cluster.calls == ["list", "delete", "read", "create"]


def test_a_pod_on_its_way_out_is_awaited(render: Any, task: Any, cluster: Cluster) -> None:
    found = left_over(task, cluster)
    found.metadata.deletion_timestamp = NOW
    cluster.when_deleted = lambda going: setattr(going, "status", ended(143).status)
    trigger = start(render("kubernetes", "bronze", partition_key="2026-02-14"), attempt=2)
    assert trigger.name != found.metadata.name
    assert cluster.calls == ["list", "delete", "read", "create"]


def test_a_pod_that_does_not_end_keeps_the_next_from_starting(
    render: Any, task: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from launchers import kubernetes
    from launchers.errors import JobFailed

    left_over(task, cluster).metadata.deletion_timestamp = NOW
    cluster.when_deleted = lambda _: None
    monkeypatch.setattr(kubernetes, "REMOVAL_SECONDS", -1)
    again = render("kubernetes", "bronze", partition_key="2026-02-14")
    with pytest.raises(JobFailed, match="of an earlier try does not end"):
        again.execute(context(again, attempt=2))
    assert "create" not in cluster.calls


def test_a_pod_that_ended_is_no_obstacle(render: Any, task: Any, cluster: Cluster) -> None:
    found = left_over(task, cluster)
    found.status = ended(1).status
    trigger = start(render("kubernetes", "bronze", partition_key="2026-02-14"), attempt=2)
    assert trigger.name != found.metadata.name
    assert cluster.calls == ["list", "create"]


def test_runs_that_may_go_side_by_side_leave_each_other_alone(render: Any, task: Any, cluster: Cluster) -> None:
    found = left_over(task, cluster)
    beside = render("kubernetes", "bronze", partition_key="2026-02-14")
    beside.max_active_tis_per_dag = 2
    trigger = start(beside, run_id="manual__1")
    assert set(cluster.pods) == {found.metadata.name, trigger.name}


def test_two_releases_in_one_namespace_leave_each_other_alone(render: Any, task: Any, cluster: Cluster) -> None:
    found = left_over(task, cluster)
    other = render("kubernetes", "bronze", partition_key="2026-02-14")
    other.labels = {**other.labels, "app.kubernetes.io/instance": "second"}
    trigger = start(other)
    assert set(cluster.pods) == {found.metadata.name, trigger.name}


def test_a_pod_whose_creation_was_not_confirmed_is_the_tasks_own(
    task: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = cluster.create_namespaced_pod

    def twice(namespace: str, body: k8s.V1Pod) -> k8s.V1Pod:
        create(namespace, body)
        raise ApiException(409)

    monkeypatch.setattr(cluster, "create_namespaced_pod", twice)
    assert start(task).name in cluster.pods


def test_a_killed_task_takes_its_pod_along(task: Any, cluster: Cluster) -> None:
    start(task)
    task.on_kill()
    assert not cluster.pods


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            SimpleNamespace(status=403, reason="Forbidden", body=json.dumps({"message": "exceeded quota: jobs."})),
            "Kubernetes refused with 403: exceeded quota: jobs.",
        ),
        (MaxRetryError(None, "/api"), "no Kubernetes API answers (MaxRetryError)."),  # type: ignore[arg-type]
    ],
)
def test_an_api_that_refuses_or_is_gone_is_one_sentence(task: Any, cluster: Cluster, fault: Any, sentence: str) -> None:
    from launchers.errors import JobFailed

    if isinstance(fault, SimpleNamespace):
        error = ApiException(fault.status, fault.reason)
        error.body = fault.body
        fault = error
    cluster.fails = fault
    with pytest.raises(JobFailed) as caught:
        task.execute(context(task))
    assert sentence in str(caught.value)
    with pytest.raises(JobFailed, match="Pod fti-bronze-a goes on if it can; the next try follows it"):
        reenter(task)


# -- the end ---------------------------------------------------------------------------------------------------


def test_a_pod_that_did_its_work_ends_the_task_at_once(task: Any, cluster: Cluster) -> None:
    """Its container has ended; the phase of the pod tells so some seconds later."""
    cluster.pods["fti-bronze-a"] = ended(0, "Completed", phase="Running")
    reenter(task)
    assert cluster.calls == ["read", "log"]


def test_the_rest_of_the_log_is_told_once_and_at_its_level(task: Any, cluster: Cluster) -> None:
    cluster.pods["fti-bronze-a"] = ended(0, phase="Succeeded")
    cluster.log = [
        "2026-03-02T12:00:00.000000001Z told before",
        '2026-03-02T12:00:00.000000002Z {"level": "warning", "event": "slow"}',
        "2026-03-02T12:00:00.000000003Z plain",
    ]
    with capture_logs() as logged:
        reenter(task, told="2026-03-02T12:00:00.000000001Z")
    assert [(entry["log_level"], entry["event"]) for entry in logged] == [
        ("warning", '{"level": "warning", "event": "slow"}'),
        ("info", "plain"),
    ]


@pytest.mark.parametrize(
    ("left", "kind", "sentence"),
    [
        (ended(1), "JobFailed", "Job bronze ended with exit code 1: failed, see its last error above."),
        (ended(2), "JobRefused", "Job bronze ended with exit code 2: wrong call or settings."),
        (ended(3), "JobRefused", "Job bronze ended with exit code 3: more bad data than the run allows."),
        (
            ended(137, "OOMKilled"),
            "JobFailed",
            "Job bronze ended with exit code 137: OOMKilled, it needed more than its 2560 MiB.",
        ),
        (ended(143), "JobFailed", "Job bronze ended with exit code 143: killed by SIGTERM."),
        (
            ended(128, "StartError", message="exec: python: not found"),
            "JobFailed",
            "Job bronze ended with exit code 128: StartError (exec: python: not found).",
        ),
        (ended(143, going=True), "JobFailed", "Job bronze was stopped: its pod was deleted (exit code 143)."),
        (
            ended(143, going=True, scheduled=TAKEN),
            "JobFailed",
            "Job bronze was stopped: its pod was deleted (EvictionByEvictionAPI (drained)) (exit code 143).",
        ),
        (
            ended(137, reason="Error", phase="Failed"),
            "JobFailed",
            "Job bronze ended with exit code 137: killed by SIGKILL (often out of memory).",
        ),
        (
            pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory. "),
            "JobFailed",
            "Job bronze was stopped: Evicted (The node was low on resource: memory).",
        ),
        (
            pod(state(terminated={"exit_code": 143}), phase="Failed", reason="DeadlineExceeded"),
            "JobFailed",
            "Job bronze was stopped: DeadlineExceeded.",
        ),
        (pod(phase="Failed"), "JobFailed", "Job bronze failed without a reason in its pod's status, phase Failed."),
    ],
)
def test_reason_of_a_failed_pod(task: Any, cluster: Cluster, left: k8s.V1Pod, kind: str, sentence: str) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    cluster.pods["fti-bronze-a"] = left
    cluster.events = [("FailedMount", "no such volume")]
    with capture_logs() as logged, pytest.raises(AirflowException) as caught:
        reenter(task)
    assert (type(caught.value).__name__, str(caught.value)) == (kind, sentence)
    assert isinstance(caught.value, AirflowFailException) == (kind == "JobRefused"), "the one is tried again"
    assert caught.value.__cause__ is None
    assert ("warning", "FailedMount: no such volume") in [(e["log_level"], e["event"]) for e in logged]
    assert "fti-bronze-a" in cluster.pods, "what has ended stays for kubectl logs"


def test_that_memory_ran_out_may_be_known_a_moment_later(task: Any, cluster: Cluster) -> None:
    from launchers.errors import JobFailed

    views = [ended(137, phase="Running"), ended(137, phase="Running"), ended(137, "OOMKilled")]
    cluster.read_namespaced_pod = lambda *_: views.pop(0)  # type: ignore[method-assign]
    with pytest.raises(JobFailed, match="exit code 137: OOMKilled"):
        reenter(task)


def test_a_pod_that_is_gone_is_a_reason_too(task: Any, cluster: Cluster) -> None:
    from launchers.errors import JobFailed

    with pytest.raises(JobFailed, match="Job bronze was stopped: its pod fti-bronze-a was deleted by X"):
        reenter(task, trouble="was stopped: its pod fti-bronze-a was deleted by X")
    with pytest.raises(JobFailed, match=r"Job bronze was stopped: its pod fti-bronze-a was deleted\."):
        reenter(task)


@pytest.mark.parametrize("left", [pod(state(waiting=NO_IMAGE), phase="Pending"), pod(state(running={}))])
def test_a_pod_that_is_given_up_cannot_start_later(task: Any, cluster: Cluster, left: k8s.V1Pod) -> None:
    from launchers.errors import JobFailed

    cluster.pods["fti-bronze-a"] = left
    with pytest.raises(JobFailed, match=r"Job bronze did not start: ErrImagePull\."):
        reenter(task, trouble="did not start: ErrImagePull")
    assert not cluster.pods


def test_a_trigger_that_fails_leaves_no_pod_at_work(task: Any, cluster: Cluster) -> None:
    from airflow.sdk.bases.operator import TriggerFailureReason
    from launchers.errors import JobFailed

    left_over(task, cluster)
    with pytest.raises(JobFailed, match="Job bronze was stopped: the triggerer failed to watch its pod"):
        task.resume_execution("__fail__", {"error": TriggerFailureReason.TRIGGER_TIMEOUT}, context(task))
    assert not cluster.pods


def test_the_reason_is_the_last_line_of_the_log(task: Any, caplog: pytest.LogCaptureFixture) -> None:
    from launchers.errors import JobFailed

    for error, line in (
        (JobFailed("Job bronze was stopped: Evicted."), "Job bronze was stopped: Evicted."),
        (ValueError("odd"), "Job bronze failed: ValueError: odd"),
    ):
        for tell in (*task.on_failure_callback, *task.on_retry_callback):
            caplog.clear()
            tell(context(task, exception=error))
            assert (caplog.records[-1].levelname, caplog.records[-1].getMessage()) == ("ERROR", line)


# -- whether it is any use to wait -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("looked_at", "after", "trouble"),
    [
        (pod(state(running={})), 9999, None),
        (pod(phase="Pending", scheduled=False), 119, None),
        (pod(phase="Pending", scheduled=False), 120, "found no node within 2 minutes"),
        (pod(phase="Pending", scheduled=UNMET), 119, None),
        (pod(phase="Pending", scheduled=UNMET), 120, "found no node within 2 minutes: Unschedulable (0/1 nodes)"),
        (pod(state(waiting=NO_IMAGE), phase="Pending"), 1, "did not start: ErrImagePull (rpc error: not found)"),
        (pod(state(waiting={"reason": "ErrImagePull", "message": "429 too many requests"}), phase="Pending"), 1, None),
        (
            pod(state(waiting=NO_SECRET), phase="Pending"),
            1,
            'did not start: CreateContainerConfigError (secret "fti-jobs" not found)',
        ),
        (pod(state(waiting=LATE_SECRET), phase="Pending"), 1, None),
        (pod(state(waiting={"reason": "ContainerCreating"}), phase="Pending"), 299, None),
        (
            pod(state(waiting={"reason": "ContainerCreating"}), phase="Pending"),
            300,
            "did not start within 5 minutes: ContainerCreating",
        ),
    ],
)
def test_waiting_ends_when_it_is_no_use(looked_at: k8s.V1Pod, after: int, trouble: str | None) -> None:
    from launchers.pods import start_trouble

    assert start_trouble(looked_at, NOW + timedelta(seconds=after)) == trouble
