"""Runs of the pipeline, as a person's script would ask for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from embedded.summary import summarize
from jobs.common.lake import Lake
from jobs.common.settings import Settings
from tests.e2e.airflow_api import Airflow
from tests.e2e.kind_cluster.platform import S3, Platform, until

DAG = "feature_pipeline"
JOBS = ("generate", "bronze", "features", "materialize", "verify")
FIRST = date(2026, 1, 1)
DAYS = 3


def days(count: int = DAYS) -> list[date]:
    return [FIRST + timedelta(day) for day in range(count)]


def trigger(airflow: Airflow, run: str, start: date, count: int = 1, **conf: Any) -> None:
    given = {"start": str(start), "end": str(start + timedelta(count)), "cards": 5000, "seed": 7}
    airflow.trigger(DAG, run, **given, **conf)


def digests() -> dict[str, str]:
    """Of the products in the cluster's lake, over the days; the run that read them back found no difference."""
    here = summarize(Lake.open("s3://lake", Settings(aws_endpoint_url=S3, s3_path_style=True)), days(), {}, False)
    assert here.mismatches == 0 < here.values_compared
    return here.digests


def last_line(airflow: Airflow, run: str, task: str, attempt: int = 1) -> str:
    """Of a try's log, without what Airflow folds away; nothing while the log is empty."""
    lines = [line for line in airflow.log(DAG, run, task, attempt) if "::group::" not in line and "::end" not in line]
    return lines[-1] if lines else ""


class When:
    """Does something to a run once a job's container runs, each once: for ``Airflow.wait(each_time=…)``."""

    def __init__(self, platform: Platform, run: str, **deeds: Callable[[], object]) -> None:
        self.platform, self.run, self.left = platform, run, deeds

    def __call__(self) -> None:
        for job in list(self.left):
            if self.platform.running(self.run, job):
                self.left.pop(job)()


def wait_for_job(platform: Platform, run: str, job: str, seconds: float = 120) -> dict[str, Any]:
    """The job's pod once its container runs."""
    return until(lambda: platform.running(run, job), seconds, f"{job} of {run} running")
