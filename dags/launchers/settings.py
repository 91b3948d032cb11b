"""The launchers' settings, read from the environment of the Airflow process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LAUNCHERS = ("process", "docker", "kubernetes")
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class LauncherSettings:
    """Each field is an environment variable, named in its comment."""

    launcher: str = "process"  # FTI_LAUNCHER
    retries: int = 2  # FTI_TASK_RETRIES
    schedule: str = "0 2 * * *"  # FTI_SCHEDULE: cron in UTC; `none`: only what someone triggers

    jobs_home: Path = REPOSITORY  # FTI_JOBS_HOME: the folder that holds the package `jobs` (process)

    image_prefix: str = "fti-"  # FTI_IMAGE_PREFIX: registry and prefix, such as `registry.example.com/fti-`
    image_tag: str = ""  # FTI_IMAGE_TAG (docker, kubernetes)

    docker_network: str = "fti"  # FTI_DOCKER_NETWORK

    namespace: str = "fti"  # FTI_JOB_NAMESPACE
    service_account: str = "fti-jobs"  # FTI_JOB_SERVICE_ACCOUNT
    config_map: str = "fti-jobs"  # FTI_JOB_CONFIG_MAP: the jobs' settings
    secret: str = "fti-jobs"  # FTI_JOB_SECRET: the jobs' credentials
    image_pull_secret: str = ""  # FTI_IMAGE_PULL_SECRET

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> LauncherSettings:
        """Reads and checks the settings.

        Raises:
            ValueError: naming every wrong variable at once. Airflow shows it as the DAG's import error.
        """
        given = {field: environ[name] for field, name in _VARIABLES.items() if environ.get(name)}
        launcher, tag, retries = given.get("launcher", "process"), given.get("image_tag", ""), given.get("retries", "2")
        problems = []
        if launcher not in LAUNCHERS:
            problems.append(f"FTI_LAUNCHER is {launcher!r}, use one of {', '.join(LAUNCHERS)}")
        if launcher != "process" and tag in ("", "latest"):
            problems.append(f"FTI_IMAGE_TAG is {tag or 'not set'}, name the immutable tag of the jobs' images")
        if not retries.isdecimal():
            problems.append(f"FTI_TASK_RETRIES is {retries!r}, use a number such as 2")
        if problems:
            raise ValueError(f"Wrong launcher settings: {'; '.join(problems)}.")
        text = {field: value for field, value in given.items() if field not in ("retries", "jobs_home")}
        return cls(retries=int(retries), jobs_home=Path(given.get("jobs_home", REPOSITORY)), **text)

    def image(self, job: str) -> str:
        """The job's own image."""
        return f"{self.image_prefix}{job}:{self.image_tag}"


_VARIABLES = {
    "launcher": "FTI_LAUNCHER",
    "retries": "FTI_TASK_RETRIES",
    "schedule": "FTI_SCHEDULE",
    "jobs_home": "FTI_JOBS_HOME",
    "image_prefix": "FTI_IMAGE_PREFIX",
    "image_tag": "FTI_IMAGE_TAG",
    "docker_network": "FTI_DOCKER_NETWORK",
    "namespace": "FTI_JOB_NAMESPACE",
    "service_account": "FTI_JOB_SERVICE_ACCOUNT",
    "config_map": "FTI_JOB_CONFIG_MAP",
    "secret": "FTI_JOB_SECRET",
    "image_pull_secret": "FTI_IMAGE_PULL_SECRET",
}
