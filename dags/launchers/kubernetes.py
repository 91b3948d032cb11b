"""Runs a job as a Kubernetes pod. Everything that holds for all job pods is said here, once."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import generic_api_retry
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout
from kubernetes.client import ApiException
from kubernetes.client import models as k8s
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from launchers.arguments import JobArguments
from launchers.errors import JobFailed, JobRefused
from launchers.lines import level, seconds_since, untold
from launchers.pod_trigger import PodTrigger
from launchers.pods import CONTAINER, SCHEDULING, STARTING, has_ended, has_succeeded, pod_failure
from launchers.settings import LauncherSettings
from launchers.spark import DRIVER_CPU, TEMPLATE_FOLDER, driver_env

if TYPE_CHECKING:
    from airflow.sdk import Context

UID = 10001
"""User and group of the job images."""
SCRATCH = "/tmp"
GRACE_SECONDS = 30
REMOVAL_SECONDS = GRACE_SECONDS + 90
"""How long a pod that was deleted may take to end."""
SETTLING_SECONDS = 5
SLACK = SCHEDULING + STARTING + timedelta(minutes=3)
"""By so much the task may take longer than the pod, whose own deadline tells the better reason."""


class KubernetesJobOperator(JobArguments, KubernetesPodOperator):
    """A pod of the job's own image, in the namespace of the jobs, under the restricted Pod Security standard.

    Deferrable: while the pod works no Airflow process waits, and a restart of Airflow does not touch it.
    Finished pods stay for ``kubectl logs``; the chart's clean-up takes them away after its stated time.

    The provider makes the pod; starting, following and ending it is done here. Its own way would start a second pod
    beside one that is left of an earlier try, and end the log of a failed task with a trace that tells no reason.
    """

    def __init__(self, *, job: str, arguments: list[str], settings: LauncherSettings, **kwargs: Any) -> None:
        spec = settings.spec(job)
        memory = f"{spec.memory_mib}Mi"
        drives = spec.spark and settings.spark_executors > 0
        volumes = [k8s.V1Volume(name="scratch", empty_dir=k8s.V1EmptyDirVolumeSource(size_limit="8Gi"))]
        mounts = [k8s.V1VolumeMount(name="scratch", mount_path=SCRATCH)]
        env = [k8s.V1EnvVar(name="HOME", value=SCRATCH), k8s.V1EnvVar(name="LOG_FORMAT", value="json")]
        if drives:
            template = k8s.V1ConfigMapVolumeSource(name=settings.spark_executor_template)
            volumes.append(k8s.V1Volume(name="executor", config_map=template))
            mounts.append(k8s.V1VolumeMount(name="executor", mount_path=TEMPLATE_FOLDER, read_only=True))
            env += driver_env(settings.image(job), settings)
        if timeout := kwargs.get("execution_timeout"):
            kwargs["execution_timeout"] = timeout + SLACK
        super().__init__(
            # which pod
            name=f"fti-{job}",
            namespace=settings.namespace,
            image=settings.image(job),
            image_pull_policy="IfNotPresent",
            image_pull_secrets=[k8s.V1LocalObjectReference(settings.image_pull_secret)]
            if settings.image_pull_secret
            else None,
            cmds=["python", "-m", f"jobs.{job}"],
            arguments=arguments,
            base_container_name=CONTAINER,
            labels={
                "app.kubernetes.io/name": "fti-job",
                "app.kubernetes.io/instance": settings.instance,
                "app.kubernetes.io/component": job,
                "app.kubernetes.io/part-of": "fti",
                "app.kubernetes.io/managed-by": "airflow",
            },
            # its settings: by the names of objects, so that no value stands in the pod's spec
            env_vars=env,
            env_from=[
                k8s.V1EnvFromSource(config_map_ref=k8s.V1ConfigMapEnvSource(name=settings.config_map)),
                k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=settings.secret)),
            ],
            # its rights
            service_account_name=settings.spark_service_account if drives else settings.service_account,
            automount_service_account_token=drives,
            security_context=k8s.V1PodSecurityContext(
                run_as_non_root=True,
                run_as_user=UID,
                run_as_group=UID,
                fs_group=UID,
                seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
            ),
            container_security_context=k8s.V1SecurityContext(
                allow_privilege_escalation=False,
                read_only_root_filesystem=True,
                capabilities=k8s.V1Capabilities(drop=["ALL"]),
            ),
            volumes=volumes,
            volume_mounts=mounts,
            # A Service named redis would set REDIS_PORT=tcp://… in every pod. The operator has no argument for it.
            pod_template_dict={"spec": {"enableServiceLinks": False, "containers": [{"name": CONTAINER}]}},
            # its share of the node, and its end
            container_resources=k8s.V1ResourceRequirements(
                requests={"cpu": DRIVER_CPU if drives else spec.cpu, "memory": memory}, limits={"memory": memory}
            ),
            active_deadline_seconds=int(spec.timeout.total_seconds()),  # holds even when Airflow is gone
            termination_grace_period=GRACE_SECONDS,
            on_finish_action="keep_pod",
            termination_message_policy="FallbackToLogsOnError",
            # how Airflow follows it
            in_cluster=True,
            kubernetes_conn_id=None,
            deferrable=True,
            do_xcom_push=False,  # its sidecar would pull an image from a public registry
            on_failure_callback=tell_reason,
            on_retry_callback=tell_reason,
            **kwargs,
        )
        self.job = job

    def execute(self, context: Context) -> None:
        with self._kubernetes():
            request = self.build_pod_request_obj(context)
            self.pod = self._take_over(request, context) or self._start(request)
        timeout = self.execution_timeout
        deadline = context["ti"].start_date.timestamp() + timeout.total_seconds() if timeout else None
        self.defer(
            trigger=PodTrigger(self.namespace, self.pod.metadata.name, deadline),
            method_name="trigger_reentry",
            # Past the deadline, by which the trigger ends in order.
            timeout=timedelta(seconds=max(deadline - time.time(), 0)) + SLACK if deadline else None,
        )

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> None:
        """Tells the last lines and ends as the pod did.

        Raises:
            JobRefused: the job says that another try would end the same way.
            JobFailed: everything else.
        """
        name, trouble = event["name"], event["trouble"]
        with self._kubernetes(name):
            self.pod = self._read(name)
            if self.pod is None:
                raise JobFailed(f"Job {self.job} {trouble or f'was stopped: its pod {name} was deleted'}.")
            self._tell_rest(self.pod, event["told"])
            if has_ended(self.pod) and has_succeeded(self.pod):
                return
            self._tell_events(self.pod)
            if has_ended(self.pod):
                raise pod_failure(self.job, self._settled(self.pod))
            self._delete(self.pod)  # or it would work on, or start one day, beside the next try
            raise JobFailed(f"Job {self.job} {trouble}.")

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralError, TaskDeferralTimeout) as error:
            with self._kubernetes():
                for pod in self._working_pods(context):
                    self._delete(pod)
            raise JobFailed(f"Job {self.job} was stopped: the triggerer failed to watch its pod ({error}).") from error

    # -- one pod at a time -------------------------------------------------------------------------------------

    def _take_over(self, request: k8s.V1Pod, context: Context) -> k8s.V1Pod | None:
        """The pod of an earlier try that is doing this very work, if there is one. Others are stopped first.

        An Airflow process may have been killed after it started a pod, and before it knew of it.
        """
        found = None
        for pod in self._working_pods(context):
            if not found and _same_work(pod, request):
                self.log.info("Following pod %s of an earlier try, it is %s", pod.metadata.name, pod.status.phase)
                found = pod
            else:
                self._delete(pod)
                self._await_end(pod)
        return found

    def _working_pods(self, context: Context) -> list[k8s.V1Pod]:
        """Pods of this task that have not ended, the oldest first.

        Where one run of the DAG at a time may have this task, also those that other runs left behind.
        """
        labels = self._get_ti_pod_labels(context, include_try_number=False)
        if self.max_active_tis_per_dag == 1:
            del labels["run_id"]
        labels["app.kubernetes.io/instance"] = self.labels["app.kubernetes.io/instance"]
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        pods = self.client.list_namespaced_pod(self.namespace, label_selector=selector).items
        return sorted((pod for pod in pods if not has_ended(pod)), key=lambda pod: pod.metadata.creation_timestamp)

    def _start(self, request: k8s.V1Pod) -> k8s.V1Pod:
        name = request.metadata.name
        self.log.info(
            "Starting pod %s/%s from image %s: %s", self.namespace, name, self.image, " ".join(self.arguments)
        )
        self.pod = request  # a task that is killed from here on takes the pod along
        try:
            return generic_api_retry(self.client.create_namespaced_pod)(self.namespace, request)
        except ApiException as error:
            if error.status == 409 and (created := self._read(name)):  # only the answer was lost
                return created
            raise

    def _read(self, name: str) -> k8s.V1Pod | None:
        try:
            return generic_api_retry(self.client.read_namespaced_pod)(name, self.namespace)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def _settled(self, pod: k8s.V1Pod) -> k8s.V1Pod:
        """The pod that failed when all is said of it: that memory ran out may be known a moment after the exit code."""
        until = time.monotonic() + SETTLING_SECONDS
        while pod.status.phase not in ("Succeeded", "Failed") and time.monotonic() < until:
            time.sleep(0.5)
            pod = self._read(pod.metadata.name) or pod
        return pod

    def _delete(self, pod: k8s.V1Pod) -> None:
        if pod.metadata.deletion_timestamp is None:
            self.log.info("Deleting pod %s", pod.metadata.name)
        self.pod_manager.delete_pod(pod)

    def _await_end(self, pod: k8s.V1Pod) -> None:
        """Waits until the pod works no more.

        Raises:
            JobFailed: it does not end; its node may be gone.
        """
        name, until = pod.metadata.name, time.monotonic() + REMOVAL_SECONDS
        while (left := self._read(name)) and not has_ended(left):
            if time.monotonic() > until:
                raise JobFailed(
                    f"Job {self.job} did not start: pod {name} of an earlier try does not end. Is its node gone? "
                    f"`kubectl delete pod -n {self.namespace} --force {name}`, when nothing of it runs any more."
                )
            time.sleep(1)

    # -- what the log says -------------------------------------------------------------------------------------

    def _tell_rest(self, pod: k8s.V1Pod, told: str) -> None:
        """Writes the lines that the trigger has not told; a pod that never ran has none."""
        try:
            since = {"since_seconds": seconds_since(told)} if told else {}
            stream = self.client.read_namespaced_pod_log(
                pod.metadata.name, self.namespace, container=CONTAINER, timestamps=True, _preload_content=False, **since
            )
            for _, text in untold((line.decode(errors="replace") for line in stream), told):
                self.log.log(level(text), "%s", text)
        except (ApiException, HTTPError) as error:
            if has_ended(pod):
                self.log.warning("The rest of the log of pod %s cannot be read: %s", pod.metadata.name, _said(error))

    def _tell_events(self, pod: k8s.V1Pod) -> None:
        """What Kubernetes has to say of the pod: it often explains the reason."""
        try:
            events = self.client.list_namespaced_event(
                self.namespace, field_selector=f"involvedObject.uid={pod.metadata.uid},type=Warning"
            ).items
        except (ApiException, HTTPError):
            return
        for event in events:
            self.log.warning("%s: %s", event.reason, event.message)

    @contextmanager
    def _kubernetes(self, pod: str = "") -> Iterator[None]:
        """The Kubernetes API; its errors become one sentence each.

        Raises:
            JobFailed: it cannot be reached, or refused; the task is tried again.
        """
        goes_on = f" Pod {pod} goes on if it can; the next try follows it." if pod else ""
        try:
            yield
        except ApiException as error:
            raise JobFailed(
                f"Job {self.job}: Kubernetes refused with {error.status}: {_said(error)}.{goes_on}"
            ) from error
        except (ConfigException, HTTPError) as error:
            raise JobFailed(f"Job {self.job}: no Kubernetes API answers ({_said(error)}).{goes_on}") from error


def _same_work(pod: k8s.V1Pod, request: k8s.V1Pod) -> bool:
    """Whether a pod does for the same run what the request asks for, and is not on its way out."""

    def work(of: k8s.V1Pod) -> Any:
        container = next(c for c in of.spec.containers if c.name == CONTAINER)
        return of.metadata.labels["run_id"], container.image, container.args

    return pod.metadata.deletion_timestamp is None and work(pod) == work(request)


def _said(error: Exception) -> str:
    """An error of the API on one line."""
    if isinstance(error, ApiException):
        try:
            return str(json.loads(error.body)["message"]).rstrip(".")
        except (TypeError, ValueError, KeyError):
            return str(error.reason)
    return f"{type(error).__name__}: {error}" if isinstance(error, ConfigException) else type(error).__name__


def tell_reason(context: Context) -> None:
    """Makes the reason the last line of a failed task's log: Airflow ends it with a trace."""
    error = context.get("exception")
    known = isinstance(error, (JobFailed, JobRefused))
    job = context["ti"].task_id
    reason = str(error) if known else f"Job {job} failed: {type(error).__name__}: {error}"
    log = logging.getLogger("airflow.task")
    log.info("::endgroup::")  # what follows a trace is folded away
    log.error("%s", reason)
