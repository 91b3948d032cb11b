"""The pod of each job, as it would be sent to a cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client import ApiClient

from tests.charts import rules
from tests.charts.harness import KUBERNETES, pod_of, valid

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


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("launcher", ["kubernetes", "spark"])
def test_pod_passes_the_gate_of_the_charts_pods(
    render: Callable[..., Any], launcher: str, job: str, version: str
) -> None:
    task = render(launcher, job, partition_key="2026-02-14")
    thing = ApiClient().sanitize_for_serialization(task.build_pod_request_obj(dry_run=True))
    valid(thing, version)
    pod = pod_of(thing)
    assert pod
    drives = launcher == "spark" and job in ("bronze", "features")
    faults = {rule.__name__: list(rule(pod)) for rule in rules.POD_RULES}
    assert {name: found for name, found in faults.items() if found} == (
        {"no_token": ["it gets a service account token"]} if drives else {}
    )


@pytest.mark.parametrize(
    ("run_id", "begins"),
    [
        ("scheduled__1", "scheduled__1"),
        ("manual__2026-03-01T02:00:00+00:00", "manual__2026-03-01T02"),
        ("~nightly:2026+03.", "nightly202603"),
        ("x" * 250, "xxx"),
    ],
)
def test_pod_names_its_run_and_try_whatever_they_are_called(
    render: Callable[..., Any], run_id: str, begins: str
) -> None:
    task = render("kubernetes", "bronze")
    ti = SimpleNamespace(dag_id="feature_pipeline", task_id="bronze", run_id=run_id, map_index=-1, try_number=2)
    labels = task._get_ti_pod_labels({"ti": ti, "run_id": run_id, "dag": task.dag})
    assert labels["try_number"] == "2"
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", labels["run_id"])
    assert labels["run_id"].startswith(begins)


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
    assert labels["app.kubernetes.io/instance"] == "fti"
    assert labels["app.kubernetes.io/part-of"] == "fti"
    assert labels["app.kubernetes.io/managed-by"] == "airflow"


def test_pod_name_is_valid_in_its_namespace(pod: dict[str, Any], job: str) -> None:
    assert pod["metadata"]["namespace"] == "jobs"
    assert pod["metadata"]["name"].startswith(f"fti-{job}-")
    assert RFC_1123.fullmatch(pod["metadata"]["name"])


def test_pod_ends_by_itself_before_its_task_gives_up(pod: dict[str, Any], task: Any, job: str) -> None:
    from launchers.jobs import JOBS as TABLE

    assert pod["spec"]["activeDeadlineSeconds"] == TABLE[job].timeout.total_seconds()
    assert pod["spec"]["activeDeadlineSeconds"] + 420 < task.execution_timeout.total_seconds()
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["terminationGracePeriodSeconds"] == 30
    assert pod["spec"]["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_no_process_waits_for_the_pod_and_no_sidecar_is_pulled(pod: dict[str, Any], task: Any) -> None:
    assert task.deferrable
    assert not task.do_xcom_push
    assert len(pod["spec"]["containers"]) == 1


@pytest.fixture
def driver(render: Callable[..., Any]) -> dict[str, Any]:
    task = render("spark", "features", partition_key="2026-02-14")
    return ApiClient().sanitize_for_serialization(task.build_pod_request_obj(dry_run=True))


def test_driver_may_start_executors_and_finds_its_template(driver: dict[str, Any]) -> None:
    assert driver["spec"]["serviceAccountName"] == "fti-spark"
    assert driver["spec"]["automountServiceAccountToken"] is True
    assert {"name": "executor", "configMap": {"name": "fti-spark-executor"}} in driver["spec"]["volumes"]
    assert driver["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "200m", "memory": "2560Mi"}
    mounted = {"name": "executor", "mountPath": "/etc/fti-spark", "readOnly": True}
    assert mounted in driver["spec"]["containers"][0]["volumeMounts"]


def test_driver_is_found_by_its_pods_address_and_asks_for_executors_of_its_image(driver: dict[str, Any]) -> None:
    from jobs.common.settings import Settings

    env = {entry["name"]: entry for entry in driver["spec"]["containers"][0]["env"]}
    assert env["SPARK_MASTER"]["value"] == "k8s://https://kubernetes.default.svc:443"
    names = list(env)
    assert max(names.index("POD_IP"), names.index("POD_NAME")) < names.index("SPARK_CONF"), (
        "or $(POD_IP) stays as it is"
    )
    conf = Settings(spark_conf=env["SPARK_CONF"]["value"]).spark_settings
    assert conf["spark.driver.host"] == conf["spark.driver.bindAddress"] == "$(POD_IP)"
    assert conf["spark.kubernetes.driver.pod.name"] == "$(POD_NAME)"
    assert conf["spark.kubernetes.container.image"] == driver["spec"]["containers"][0]["image"]
    assert conf["spark.executor.instances"] == "2"
    assert conf["spark.executor.memoryOverhead"] == "896m"


@pytest.mark.parametrize("other", ["generate", "materialize", "verify"])
def test_a_job_without_spark_is_no_driver(render: Callable[..., Any], other: str) -> None:
    pods = [render(launcher, other).build_pod_request_obj(dry_run=True) for launcher in ("kubernetes", "spark")]
    for pod in pods:
        pod.metadata.name = "same"
    assert pods[0].to_dict() == pods[1].to_dict()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FTI_SPARK_EXECUTORS", "two"),
        ("FTI_SPARK_EXECUTOR_CORES", "0"),
        ("FTI_SPARK_EXECUTOR_CPU", "half"),
        ("FTI_SPARK_EXECUTOR_MEMORY", "1Gi"),
        ("FTI_TASK_RETRIES", "-1"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    from launchers.settings import LauncherSettings

    with pytest.raises(ValueError, match=f"{name} is '{value}', use a"):
        LauncherSettings.from_env({name: value})
