"""Runs a job as a Docker container beside the stack of Compose."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from airflow.providers.docker.exceptions import DockerContainerFailedException
from airflow.providers.docker.operators.docker import DockerOperator

from launchers.arguments import JobArguments
from launchers.errors import job_failure
from launchers.jobs import JOBS
from launchers.settings import LauncherSettings

if TYPE_CHECKING:
    from airflow.sdk import Context

JOB_VARIABLES = (
    "LAKE_URI",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "S3_PATH_STYLE",
    "REDIS_URL",
    "FEAST_REGISTRY_URL",
    "SPARK_MASTER",
    "SPARK_DRIVER_MEMORY",
)
"""What a job's container gets of this process's environment, by name: values stay out of the DAG and of the UI."""


class DockerJobOperator(JobArguments, DockerOperator):
    """A container of the job's own image; removed at the end, its log is in the task's."""

    arguments_field = "command"

    def __init__(self, *, job: str, arguments: list[str], settings: LauncherSettings, **kwargs: Any) -> None:
        super().__init__(
            image=settings.image(job),
            entrypoint=["python", "-m", f"jobs.{job}"],
            command=arguments,
            network_mode=settings.docker_network,
            mem_limit=f"{JOBS[job].memory_mib}m",
            mount_tmp_dir=False,  # the Docker host is not the machine that this process sees
            auto_remove="never",  # removed below, after its end was looked at
            environment={"LOG_FORMAT": "json"},
            labels={"app.kubernetes.io/part-of": "fti", "app.kubernetes.io/component": job},
            do_xcom_push=False,
            **kwargs,
        )
        self.job = job

    def execute(self, context: Context) -> None:
        self._private_environment = {name: os.environ[name] for name in JOB_VARIABLES if name in os.environ}
        try:
            super().execute(context)
        except DockerContainerFailedException as error:
            code, reason = container_end(self.cli.inspect_container(self.container["Id"]))
            failure = job_failure(self.job, code, reason)
            self.log.error(str(failure))
            raise failure from error
        finally:
            if self.container:
                self.cli.remove_container(self.container["Id"], force=True)


def container_end(inspected: dict[str, Any]) -> tuple[int, str | None]:
    """Exit code of a container, and the reason where the code alone does not tell it."""
    state = inspected["State"]
    limit = inspected.get("HostConfig", {}).get("Memory", 0) // 2**20
    return state["ExitCode"], f"OOMKilled, it needed more than its {limit} MiB" if state["OOMKilled"] else None
