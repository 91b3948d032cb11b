"""The pipeline, each task a container: the same numbers as without any, and what is served equals the lake."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import date, timedelta

import duckdb
import pytest
import redis

from embedded.summary import summarize
from feature_repo import definitions
from jobs.common.lake import Lake
from jobs.common.settings import Settings
from tests.e2e.airflow_api import Airflow
from tests.e2e.compose_stack.stack import ROOT, Stack
from tests.e2e.reference import demo_digests
from tests.e2e.served import card_daily, compare

DAG = "feature_pipeline"
FIRST = date(2026, 1, 1)
DAYS = 35
"""As `make demo` has them, like the cards and the seed."""
JOBS = ("generate", "bronze", "features", "materialize", "verify")
ENDPOINT = "http://localhost:9000"
CARDS = 200


def days(count: int) -> list[date]:
    return [FIRST + timedelta(day) for day in range(count)]


def lake_of_the_stack() -> Lake:
    return Lake.open("s3://lake", Settings(aws_endpoint_url=ENDPOINT, s3_path_style=True))


@pytest.fixture(scope="module")
def first_run(stack: Stack, airflow: Airflow, report: list[str]) -> str:
    began = time.monotonic()
    airflow.unpause(DAG)
    airflow.trigger(
        DAG, "first", start=str(FIRST), end=str(FIRST + timedelta(DAYS)), snapshot=str(FIRST), cards=5000, seed=7
    )
    state = airflow.wait(DAG, "first", 600)
    report.append(f"feature_pipeline, {DAYS} days, 5,000 cards: {time.monotonic() - began:.0f} s")
    for name, task in airflow.tasks(DAG, "first").items():
        report.append(f"  {name}: {task['duration'] or 0:.0f} s")
    return state


def test_run_goes_green_at_the_first_try(first_run: str, airflow: Airflow) -> None:
    tasks = airflow.tasks(DAG, "first")
    assert {name: (task["state"], task["try_number"]) for name, task in tasks.items()} == dict.fromkeys(
        JOBS, ("success", 1)
    ), [
        line for name, task in tasks.items() if task["state"] == "failed" for line in airflow.log(DAG, "first", name, 1)
    ][-20:]
    assert first_run == "success"


@pytest.mark.parametrize("job", JOBS)
def test_each_task_was_a_container_of_its_jobs_image(first_run: str, stack: Stack, airflow: Airflow, job: str) -> None:
    log = airflow.log(DAG, "first", job, 1)
    assert any(f"from image fti-{job}:{stack.tag}" in line for line in log)
    last = next(json.loads(line.removeprefix("info ")) for line in reversed(log) if line.startswith("info {"))
    assert (last["job"], last["event"]) == (job, "done")


def test_no_credential_is_in_a_log(first_run: str, airflow: Airflow) -> None:
    for job in JOBS:
        text = "\n".join(airflow.log(DAG, "first", job, 1))
        assert text
        assert "minioadmin" not in text, job
        assert "airflow:airflow" not in text, job


def test_finished_containers_are_gone(first_run: str, stack: Stack) -> None:
    assert stack.job_containers() == []


def test_digests_equal_those_of_the_demo(first_run: str) -> None:
    here = summarize(lake_of_the_stack(), days(DAYS), {}, unchanged=False)
    assert here.mismatches == 0 < here.values_compared
    assert here.digests == demo_digests(ROOT / ".demo")


@pytest.fixture(scope="module")
def silver(first_run: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyRelation]:
    """The newest `card_daily`."""
    with card_daily(ENDPOINT, days(DAYS)[-1], tmp_path_factory.mktemp("silver")) as relation:
        yield relation


def test_cards_read_back_from_redis_equal_the_lake(silver: duckdb.DuckDBPyRelation, report: list[str]) -> None:
    """Read by stock Feast's Redis store, which knows nothing of this project's own."""
    compared = compare(silver, CARDS, "localhost:6379")
    assert compared == CARDS * len(definitions.card_daily.features)
    report.append(f"read back by stock Feast: {CARDS} cards, {compared:,} values, all equal")


def test_redis_holds_no_key_of_anyone_else(first_run: str) -> None:
    client = redis.Redis(decode_responses=False)
    foreign = [key for key in client.scan_iter(count=1000) if b"fti" not in key]
    assert client.dbsize() > 5000
    assert foreign == []
