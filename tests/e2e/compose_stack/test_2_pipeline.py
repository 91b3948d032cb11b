"""The pipeline, each task a container: the same numbers as without any, and what is served equals the lake."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import boto3
import duckdb
import pytest
import redis
from feast import RepoConfig
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type

from embedded.summary import summarize
from feature_repo import definitions
from jobs.common.lake import Lake
from jobs.common.settings import Settings
from tests.e2e.compose_stack.airflow_api import Airflow
from tests.e2e.compose_stack.stack import ROOT, Stack

DAG = "feature_pipeline"
FIRST = date(2026, 1, 1)
DAYS = 35
"""As `make demo` has them, like the cards and the seed."""
JOBS = ("generate", "bronze", "features", "materialize", "verify")
ENDPOINT = "http://localhost:9000"
CARDS = 200


def days(count: int) -> list[date]:
    return [FIRST + timedelta(day) for day in range(count)]


def demo(home: Path, *options: str) -> dict[str, str]:
    """Runs the embedded mode with this checkout's own Python and returns its digests."""
    command = [sys.executable, "-m", "embedded.demo", "--home", str(home), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((home / "summary.json").read_text())["digests"]


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
    assert here.digests == demo(ROOT / ".demo")


@pytest.fixture(scope="module")
def silver(first_run: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyRelation]:
    """The newest `card_daily`, fetched with boto3 and read with DuckDB: none of the project's own reading."""
    folder = tmp_path_factory.mktemp("silver")
    store = boto3.client("s3", endpoint_url=ENDPOINT, region_name="us-east-1")
    prefix = f"silver/features/card_daily/event_date={days(DAYS)[-1]}/"
    for number, entry in enumerate(store.list_objects_v2(Bucket="lake", Prefix=prefix)["Contents"]):
        store.download_file("lake", entry["Key"], str(folder / f"{number}.parquet"))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection.read_parquet(f"{folder}/*.parquet")


def test_cards_read_back_from_redis_equal_the_lake(silver: duckdb.DuckDBPyRelation, report: list[str]) -> None:
    """Read by stock Feast's Redis store, which knows nothing of this project's own."""
    view = definitions.card_daily
    names = [field.name for field in view.features]
    rows = silver.order("hash(card_id)").limit(CARDS).fetchdf().astype(object).to_dict("records")
    assert len(rows) == CARDS
    config = RepoConfig(
        project="fti",
        provider="local",
        registry="unused.db",
        entity_key_serialization_version=3,
        online_store=RedisOnlineStoreConfig(connection_string="localhost:6379"),
    )
    keys = [EntityKey(join_keys=["card_id"], entity_values=[Value(string_val=row["card_id"])]) for row in rows]
    served = RedisOnlineStore().online_read(config, view, keys, [*names])  # it adds to the list
    compared = 0
    for row, (_, values) in zip(rows, served, strict=True):
        assert values is not None, row["card_id"]
        for name in names:
            online = feast_value_type_to_python_type(values[name])
            offline = None if row[name] is None or row[name] != row[name] else row[name]
            assert online == offline, (row["card_id"], name)
            compared += 1
    assert compared == CARDS * len(names)
    report.append(f"read back by stock Feast: {CARDS} cards, {compared:,} values, all equal")


def test_redis_holds_no_key_of_anyone_else(first_run: str) -> None:
    client = redis.Redis(decode_responses=False)
    foreign = [key for key in client.scan_iter(count=1000) if b"fti" not in key]
    assert client.dbsize() > 5000
    assert foreign == []
