"""The pod of each job, as it would be sent to a cluster, and the reason that a failed one ends its task with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes.client import ApiClient
from kubernetes.client import models as k8s

JOBS = ("generate", "bronze", "features", "materialize", "verify")
RFC_1123 = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@pytest.fixture(params=JOBS)
def job(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def task(render: Callable[..., Any], job: str) -> Any:
    return render("kubernetes", job, partition_key="2026-02-14")


@pytest.fixture
def pod(task: Any) -> dict[str, Any]:
    return ApiClient().sanitize_for_serialization(task.build_pod_request_obj(dry_run=True))


def test_image_is_the_jobs_own_with_an_immutable_tag(pod: dict[str, Any], job: str) -> None:
    (container,) = pod["spec"]["containers"]
    assert container["image"] == f"registry.local/fti-{job}:1.2.3"
    assert container["imagePullPolicy"] == "IfNotPresent"


def test_pod_meets_the_restricted_security_standard(pod: dict[str, Any]) -> None:
    assert pod["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["spec"]["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not pod["spec"].get("hostNetwork")
    assert all(set(volume) == {"name", "emptyDir"} for volume in pod["spec"]["volumes"])


def test_only_tmp_is_writable_and_bounded(pod: dict[str, Any]) -> None:
    assert pod["spec"]["volumes"] == [{"name": "scratch", "emptyDir": {"sizeLimit": "8Gi"}}]
    assert pod["spec"]["containers"][0]["volumeMounts"] == [{"name": "scratch", "mountPath": "/tmp"}]


def test_pod_has_no_token_and_no_service_links(pod: dict[str, Any]) -> None:
    assert pod["spec"]["serviceAccountName"] == "fti-jobs"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["enableServiceLinks"] is False


def test_resources_come_from_the_table(pod: dict[str, Any], job: str) -> None:
    from launchers.jobs import JOBS as TABLE

    memory = f"{TABLE[job].memory_mib}Mi"
    assert pod["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": TABLE[job].cpu, "memory": memory},
        "limits": {"memory": memory},
    }


def test_settings_and_secrets_come_by_name(pod: dict[str, Any]) -> None:
    (container,) = pod["spec"]["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": "fti-jobs"}}, {"secretRef": {"name": "fti-jobs"}}]
    assert container["env"] == [{"name": "HOME", "value": "/tmp"}, {"name": "LOG_FORMAT", "value": "json"}]


def test_no_credential_of_this_process_gets_into_the_pod(
    render: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    monkeypatch.setenv("REDIS_URL", "redis://:s3cr3t@redis:6379/0")
    pod = render("kubernetes", "verify").build_pod_request_obj(dry_run=True)
    assert "s3cr3t" not in json.dumps(ApiClient().sanitize_for_serialization(pod))


def test_pod_can_be_found_by_its_labels(pod: dict[str, Any], job: str) -> None:
    labels = pod["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == job
    assert labels["app.kubernetes.io/part-of"] == "fti"
    assert labels["app.kubernetes.io/managed-by"] == "airflow"


def test_pod_name_is_valid_in_its_namespace(pod: dict[str, Any], job: str) -> None:
    assert pod["metadata"]["namespace"] == "jobs"
    assert pod["metadata"]["name"].startswith(f"fti-{job}-")
    assert RFC_1123.fullmatch(pod["metadata"]["name"])


def test_pod_ends_and_tells_why(pod: dict[str, Any], task: Any) -> None:
    assert pod["spec"]["activeDeadlineSeconds"] == task.execution_timeout.total_seconds()
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["terminationGracePeriodSeconds"] == 30
    assert pod["spec"]["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert (task.startup_timeout_seconds, task.schedule_timeout_seconds) == (300, 120)
    assert (task.log_events_on_failure, task.log_pod_spec_on_failure) == (True, False)
    assert task.on_finish_action == "keep_pod"


def test_no_process_waits_for_the_pod_and_no_sidecar_is_pulled(pod: dict[str, Any], task: Any) -> None:
    assert task.deferrable
    assert not task.do_xcom_push
    assert len(pod["spec"]["containers"]) == 1


def status(**fields: Any) -> k8s.V1Pod:
    return k8s.V1Pod(status=k8s.V1PodStatus(phase="Failed", **fields))


def base(state: k8s.V1ContainerState) -> list[k8s.V1ContainerStatus]:
    return [k8s.V1ContainerStatus(name="base", state=state, image="", image_id="", ready=False, restart_count=0)]


def terminated(code: int, reason: str = "Error") -> k8s.V1Pod:
    return status(
        container_statuses=base(
            k8s.V1ContainerState(terminated=k8s.V1ContainerStateTerminated(exit_code=code, reason=reason))
        )
    )


PULL = k8s.V1ContainerState(waiting=k8s.V1ContainerStateWaiting(reason="ErrImagePull", message="not found"))
UNMET = k8s.V1PodCondition(type="PodScheduled", status="False", reason="Unschedulable", message="0/1 nodes")


@pytest.mark.parametrize(
    ("remote", "kind", "sentence"),
    [
        (terminated(1), "JobFailed", "Job bronze ended with exit code 1: failed, see its last error above."),
        (terminated(2), "JobRefused", "Job bronze ended with exit code 2: wrong call or settings."),
        (terminated(3), "JobRefused", "Job bronze ended with exit code 3: more bad data than the run allows."),
        (terminated(137, "OOMKilled"), "JobFailed", "exit code 137: OOMKilled, it needed more than its 2560 MiB."),
        (terminated(143), "JobFailed", "exit code 143: killed by SIGTERM."),
        (status(container_statuses=base(PULL)), "JobFailed", "did not start: ErrImagePull (not found)."),
        (status(reason="Evicted", message="disk"), "JobFailed", "was stopped: Evicted (disk)."),
        (status(conditions=[UNMET]), "JobFailed", "found no node: Unschedulable (0/1 nodes)."),
        (status(), "JobFailed", "failed without a reason in its pod's status, phase Failed."),
    ],
)
def test_reason_of_a_failed_pod(remote: k8s.V1Pod, kind: str, sentence: str) -> None:
    from launchers.kubernetes import pod_failure

    failure = pod_failure("bronze", remote, "base")
    assert type(failure).__name__ == kind
    assert sentence in str(failure)


@pytest.mark.parametrize(("code", "tried_again"), [(1, True), (2, False), (3, False)])
def test_cleanup_raises_the_reason(
    render: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, code: int, tried_again: bool
) -> None:
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    def fails(*_: Any) -> None:
        raise AirflowException("Pod x returned a failure.")

    monkeypatch.setattr(KubernetesPodOperator, "cleanup", fails)
    with pytest.raises(AirflowException, match=f"exit code {code}") as caught:
        render("kubernetes", "bronze").cleanup(terminated(code), terminated(code))
    assert isinstance(caught.value, AirflowFailException) != tried_again
