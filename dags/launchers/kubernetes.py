"""Runs a job as a Kubernetes pod. Everything that holds for all job pods is said here, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from kubernetes.client import models as k8s

from launchers.arguments import JobArguments
from launchers.errors import JobFailed, job_failure
from launchers.jobs import JOBS
from launchers.settings import LauncherSettings

if TYPE_CHECKING:
    from airflow.sdk import Context

UID = 10001
"""User and group of the job images."""
SCRATCH = "/tmp"


class KubernetesJobOperator(JobArguments, KubernetesPodOperator):
    """A pod of the job's own image, in the namespace of the jobs, under the restricted Pod Security standard.

    Deferrable: while the pod works no Airflow process waits, and a restart of Airflow does not touch it.
    Finished pods stay for ``kubectl logs``; the chart's clean-up takes them away after its stated time.
    """

    def __init__(self, *, job: str, arguments: list[str], settings: LauncherSettings, **kwargs: Any) -> None:
        spec = JOBS[job]
        memory = f"{spec.memory_mib}Mi"
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
            labels={
                "app.kubernetes.io/name": "fti-job",
                "app.kubernetes.io/component": job,
                "app.kubernetes.io/part-of": "fti",
                "app.kubernetes.io/managed-by": "airflow",
            },
            # its settings: by the names of objects, so that no value stands in the pod's spec
            env_vars={"HOME": SCRATCH, "LOG_FORMAT": "json"},
            env_from=[
                k8s.V1EnvFromSource(config_map_ref=k8s.V1ConfigMapEnvSource(name=settings.config_map)),
                k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=settings.secret)),
            ],
            # its rights
            service_account_name=settings.service_account,
            automount_service_account_token=False,
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
            volumes=[k8s.V1Volume(name="scratch", empty_dir=k8s.V1EmptyDirVolumeSource(size_limit="8Gi"))],
            volume_mounts=[k8s.V1VolumeMount(name="scratch", mount_path=SCRATCH)],
            # A Service named redis would set REDIS_PORT=tcp://… in every pod. The operator has no argument for it.
            pod_template_dict={"spec": {"enableServiceLinks": False, "containers": [{"name": "base"}]}},
            # its share of the node, and its end
            container_resources=k8s.V1ResourceRequirements(
                requests={"cpu": spec.cpu, "memory": memory}, limits={"memory": memory}
            ),
            startup_timeout_seconds=300,
            schedule_timeout_seconds=120,
            startup_check_interval_seconds=2,
            active_deadline_seconds=int(spec.timeout.total_seconds()),  # holds even when Airflow is gone
            termination_grace_period=30,
            on_finish_action="keep_pod",
            # how Airflow follows it
            in_cluster=True,
            kubernetes_conn_id=None,
            deferrable=True,
            poll_interval=5,
            logging_interval=30,
            do_xcom_push=False,  # its sidecar would pull an image from a public registry
            # what a failure shows
            log_events_on_failure=True,
            log_pod_spec_on_failure=False,
            termination_message_policy="FallbackToLogsOnError",
            **kwargs,
        )
        self.job = job

    def cleanup(
        self,
        pod: k8s.V1Pod,
        remote_pod: k8s.V1Pod,
        xcom_result: dict[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        """Ends with the reason that the pod's status holds; the parent class only says "returned a failure"."""
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowSkipException:
            raise
        except AirflowException as error:
            failure = pod_failure(self.job, remote_pod, self.base_container_name)
            self.log.error(str(failure))
            raise failure from error


def pod_failure(job: str, pod: k8s.V1Pod, container: str) -> AirflowException:
    """Why a pod failed: its exit code, or why its container never ran."""
    status = pod.status or k8s.V1PodStatus()
    state = next((s.state for s in status.container_statuses or [] if s.name == container), None)
    if state and state.terminated:
        code, reason = state.terminated.exit_code, state.terminated.reason
        words = f"OOMKilled, it needed more than its {JOBS[job].memory_mib} MiB" if reason == "OOMKilled" else None
        return job_failure(job, code, words)
    if state and state.waiting and state.waiting.reason:
        detail = f" ({state.waiting.message})" if state.waiting.message else ""
        return JobFailed(f"Job {job} did not start: {state.waiting.reason}{detail}.")
    if status.reason:  # Evicted, DeadlineExceeded
        return JobFailed(f"Job {job} was stopped: {status.reason} ({status.message or 'no message'}).")
    unmet = next((c for c in status.conditions or [] if c.type == "PodScheduled" and c.status == "False"), None)
    if unmet:
        return JobFailed(f"Job {job} found no node: {unmet.reason} ({unmet.message}).")
    return JobFailed(f"Job {job} failed without a reason in its pod's status, phase {status.phase}.")
