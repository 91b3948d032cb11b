"""A job's name and arguments become a task: the one switch between the launchers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from launchers.jobs import JOBS
from launchers.settings import LauncherSettings

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context


def job_task(job: str, arguments: list[str], **kwargs: Any) -> BaseOperator:
    """The task that runs ``python -m jobs.<job> <arguments>`` the way ``FTI_LAUNCHER`` says.

    Args:
        job: a name in ``jobs.JOBS``; also the task's id.
        arguments: templated; one that renders empty is left out.
        **kwargs: of the operator, such as ``outlets``.
    """
    spec = JOBS[job]
    settings = LauncherSettings.from_env(os.environ)
    operator = operator_class(settings.launcher)
    return operator(
        task_id=job,
        task_display_name=spec.title,
        doc_md=spec.doc,
        job=job,
        arguments=arguments,
        settings=settings,
        retries=settings.retries,
        execution_timeout=spec.timeout,
        **kwargs,
    )


def operator_class(launcher: str) -> Callable[..., BaseOperator]:
    """Imports the one operator that is asked for; the others' libraries stay out of the process."""
    if launcher == "kubernetes":
        from launchers.kubernetes import KubernetesJobOperator

        return KubernetesJobOperator
    if launcher == "docker":
        from launchers.docker import DockerJobOperator

        return DockerJobOperator
    from launchers.process import ProcessJobOperator

    return ProcessJobOperator


def skip_unless(param: str) -> Callable[[Context], None]:
    """A ``pre_execute`` that skips the task in runs whose boolean param is off."""

    def check(context: Context) -> None:
        if not context["params"][param]:
            raise AirflowSkipException(f"Param {param} is off.")

    return check
