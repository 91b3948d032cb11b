"""Where the embedded mode keeps its state, and the environment that its processes get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DAGS = REPOSITORY / "dags"


@dataclass(frozen=True)
class Home:
    """One folder; deleting it is starting afresh."""

    root: Path

    @classmethod
    def at(cls, folder: Path) -> Home:
        return cls(folder.expanduser().resolve())

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    @property
    def lake_uri(self) -> str:
        return self.lake.as_uri()

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    @property
    def airflow(self) -> Path:
        return self.root / "airflow"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    @property
    def world(self) -> Path:
        return self.root / "world.json"

    @property
    def old(self) -> Path:
        """Data of another world, about to be deleted."""
        return self.root / "old"

    @cached_property
    def registry(self) -> Path:
        return self.root / "feast" / "registry.db"

    def make_folders(self) -> None:
        for folder in (self.lake, self.redis, self.airflow, self.logs, self.registry.parent):
            folder.mkdir(parents=True, exist_ok=True)

    def job_environment(self, inherited: Mapping[str, str], redis_url: str) -> dict[str, str]:
        """The jobs' settings: this home's lake, registry and online store, whatever else the caller's shell says."""
        return {
            **{name: value for name, value in inherited.items() if not name.startswith("AIRFLOW__")},
            "LAKE_URI": self.lake_uri,
            "REDIS_URL": redis_url,
            "FEAST_REGISTRY_URL": f"sqlite:///{self.registry}",
            "LOG_FORMAT": "json",
        }

    def airflow_environment(self, inherited: Mapping[str, str], redis_url: str, dags: Path = DAGS) -> dict[str, str]:
        """The same for Airflow: a database of its own, this repository's DAGs, jobs as child processes.

        No retries: a person is watching, and is better told at once.
        """
        return {
            **self.job_environment(inherited, redis_url),
            "AIRFLOW_HOME": str(self.airflow),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.airflow / 'airflow.db'}",
            "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
            "FTI_LAUNCHER": "process",
            "FTI_TASK_RETRIES": "0",
            "NO_COLOR": "1",
        }
