"""The launchers' settings, read from the environment of the Airflow process."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from launchers.jobs import JOBS, JobSpec

LAUNCHERS = ("process", "docker", "kubernetes")
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class LauncherSettings:
    """Each field is an environment variable, named in its comment."""

    launcher: str = "process"  # FTI_LAUNCHER
    retries: int = 2  # FTI_TASK_RETRIES
    schedule: str = "0 2 * * *"  # FTI_SCHEDULE: cron in UTC; `none`: only what someone triggers

    generate: bool = True  # FTI_GENERATE: false where a real exporter feeds the landing zone; a run's param may differ

    jobs_home: Path = REPOSITORY  # FTI_JOBS_HOME: the folder that holds the package `jobs` (process)

    image_prefix: str = "fti-"  # FTI_IMAGE_PREFIX: registry and prefix, such as `registry.example.com/fti-`
    image_tag: str = ""  # FTI_IMAGE_TAG (docker, kubernetes)

    docker_network: str = "fti"  # FTI_DOCKER_NETWORK

    instance: str = "fti"  # FTI_INSTANCE: the Helm release, as a label of every pod
    namespace: str = "fti"  # FTI_JOB_NAMESPACE
    service_account: str = "fti-jobs"  # FTI_JOB_SERVICE_ACCOUNT
    config_map: str = "fti-jobs"  # FTI_JOB_CONFIG_MAP: the jobs' settings
    secret: str = "fti-jobs"  # FTI_JOB_SECRET: the jobs' credentials
    image_pull_secret: str = ""  # FTI_IMAGE_PULL_SECRET
    sizes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """FTI_JOB_RESOURCES (docker, kubernetes): JSON by job, over the table in ``jobs.py``: {"features": {"cpu": "2", "memory": "8Gi"}}."""

    # The jobs that use Spark, spread over pods (kubernetes). Each executor has the job's own image.
    spark_executors: int = 0  # FTI_SPARK_EXECUTORS: how many; 0: the job's pod works alone
    spark_executor_cores: int = 1  # FTI_SPARK_EXECUTOR_CORES: tasks at once in each
    spark_executor_cpu: str = ""  # FTI_SPARK_EXECUTOR_CPU: requested by each, such as `500m`; a core for each task
    spark_executor_memory: str = "1g"  # FTI_SPARK_EXECUTOR_MEMORY: JVM heap of each
    spark_service_account: str = "fti-spark"  # FTI_SPARK_SERVICE_ACCOUNT: of the driver, which starts the executors
    spark_executor_template: str = "fti-spark-executor"  # FTI_SPARK_EXECUTOR_TEMPLATE: ConfigMap with executor.yaml

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> LauncherSettings:
        """Reads and checks the settings.

        Raises:
            ValueError: naming every wrong variable at once. Airflow shows it as the DAG's import error.
        """
        given = {field: environ[name] for field, name in _VARIABLES.items() if environ.get(name)}
        launcher, tag = given.get("launcher", "process"), given.get("image_tag", "")
        problems = []
        if launcher not in LAUNCHERS:
            problems.append(f"FTI_LAUNCHER is {launcher!r}, use one of {', '.join(LAUNCHERS)}")
        if launcher != "process" and tag in ("", "latest"):
            problems.append(f"FTI_IMAGE_TAG is {tag or 'not set'}, name the immutable tag of the jobs' images")
        for name, (pattern, example) in _FORMS.items():
            if name in given and not re.fullmatch(pattern, given[name]):
                problems.append(f"{_VARIABLES[name]} is {given[name]!r}, use {example}")
        try:
            sizes = _sizes(given.pop("sizes", "{}"))
        except ValueError as error:
            problems.append(f"FTI_JOB_RESOURCES {error}")
        if problems:
            raise ValueError(f"Wrong launcher settings: {'; '.join(problems)}.")
        return cls(sizes=sizes, **{name: _TYPES.get(name, str)(value) for name, value in given.items()})

    def image(self, job: str) -> str:
        """The job's own image."""
        return f"{self.image_prefix}{job}:{self.image_tag}"

    def spec(self, job: str) -> JobSpec:
        """What the job needs, as the table has it or these settings."""
        spec, size = JOBS[job], self.sizes.get(job, {})
        memory = _mebibytes(size["memory"]) if "memory" in size else spec.memory_mib
        return replace(spec, cpu=size.get("cpu", spec.cpu), memory_mib=memory)


def _sizes(text: str) -> dict[str, dict[str, str]]:
    """Raises ValueError with the rest of a sentence."""
    try:
        sizes = json.loads(text)
    except ValueError:
        raise ValueError("is no JSON") from None
    if not isinstance(sizes, dict):
        raise ValueError("is no object")
    for job, size in sizes.items():
        if job not in JOBS:
            raise ValueError(f"names the job {job!r}, there are {', '.join(JOBS)}")
        if not isinstance(size, dict):
            raise ValueError(f"has {size!r} for {job}, use an object with cpu and memory")
        wrong = {name: value for name, value in size.items() if not re.fullmatch(_SIZES.get(name, "(?!)"), str(value))}
        if wrong:
            raise ValueError(f"has {wrong} for {job}, use cpu such as 500m and memory such as 2560Mi or 8Gi")
    return sizes


def _mebibytes(memory: str) -> int:
    return int(memory[:-2]) * (1024 if memory.endswith("Gi") else 1)


_SIZES = {"cpu": r"\d+(\.\d+)?m?", "memory": r"[1-9]\d*(Mi|Gi)"}
_NUMBER = r"\d{1,4}"
_FORMS = {
    "retries": (_NUMBER, "a number such as 2"),
    "generate": ("true|false", "true or false"),
    "spark_executors": (_NUMBER, "a number such as 2"),
    "spark_executor_cores": (r"[1-9]\d{0,2}", "a number such as 1"),
    "spark_executor_cpu": (r"\d+(\.\d+)?m?", "a quantity such as 500m"),
    "spark_executor_memory": (r"[1-9]\d*[mg]", "a size such as 1g"),
}
_TYPES: dict[str, Callable[[str], Any]] = {
    "retries": int,
    "jobs_home": Path,
    "generate": lambda text: text == "true",
    "spark_executors": int,
    "spark_executor_cores": int,
}
_VARIABLES = {
    "launcher": "FTI_LAUNCHER",
    "retries": "FTI_TASK_RETRIES",
    "schedule": "FTI_SCHEDULE",
    "generate": "FTI_GENERATE",
    "jobs_home": "FTI_JOBS_HOME",
    "image_prefix": "FTI_IMAGE_PREFIX",
    "image_tag": "FTI_IMAGE_TAG",
    "docker_network": "FTI_DOCKER_NETWORK",
    "instance": "FTI_INSTANCE",
    "namespace": "FTI_JOB_NAMESPACE",
    "service_account": "FTI_JOB_SERVICE_ACCOUNT",
    "config_map": "FTI_JOB_CONFIG_MAP",
    "secret": "FTI_JOB_SECRET",
    "image_pull_secret": "FTI_IMAGE_PULL_SECRET",
    "sizes": "FTI_JOB_RESOURCES",
    "spark_executors": "FTI_SPARK_EXECUTORS",
    "spark_executor_cores": "FTI_SPARK_EXECUTOR_CORES",
    "spark_executor_cpu": "FTI_SPARK_EXECUTOR_CPU",
    "spark_executor_memory": "FTI_SPARK_EXECUTOR_MEMORY",
    "spark_service_account": "FTI_SPARK_SERVICE_ACCOUNT",
    "spark_executor_template": "FTI_SPARK_EXECUTOR_TEMPLATE",
}
