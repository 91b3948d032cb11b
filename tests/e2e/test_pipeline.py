"""The five jobs in a row, as processes: on a folder and on a real S3-speaking server, with the same digests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.common.lake import Lake
from jobs.common.products import PRODUCTS
from jobs.common.settings import Settings
from tests import s3

pytestmark = pytest.mark.timeout(900)  # of the first test's fixtures too: all five jobs, two of them on Spark
ROOT = Path(__file__).resolve().parents[2]
JOBS = ("generate", "bronze", "features", "materialize", "verify")
DAYS = ["--start", "2026-01-01", "--end", "2026-01-04"]
WORLD = ["--cards", "400", "--snapshot", "2026-01-01"]


@dataclass(frozen=True)
class Finished:
    """What the jobs of one lake said, and the lake."""

    lake: Lake
    counts: Mapping[str, Mapping[str, object]]
    output: str


def run_job(job: str, lake_uri: str, environment: Mapping[str, str]) -> tuple[dict[str, object], str]:
    command = [sys.executable, "-m", f"jobs.{job}", "--lake", lake_uri, *DAYS, *(WORLD if job == "generate" else [])]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, f"{job} ended with {done.returncode}:\n{done.stderr}"
    return json.loads(done.stderr.splitlines()[-1]), done.stdout + done.stderr


def run_all(lake_uri: str, settings: Settings, environment: Mapping[str, str]) -> Finished:
    said = {job: run_job(job, lake_uri, environment) for job in JOBS}
    counts = {job: count for job, (count, _) in said.items()}
    return Finished(Lake.open(lake_uri, settings), counts, "".join(text for _, text in said.values()))


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    with s3.running() as port:
        s3.client(port).create_bucket(Bucket="fti")
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def on_files(tmp_path_factory: pytest.TempPathFactory, redis_server: str) -> Finished:
    folder = tmp_path_factory.mktemp("files")
    environment = {
        "REDIS_URL": redis_server.replace("/0", "/1"),
        "FEAST_REGISTRY_URL": f"sqlite:///{folder}/registry.db",
        "LOG_FORMAT": "json",
    }
    return run_all((folder / "lake").as_uri(), Settings(), environment)


@pytest.fixture(scope="module")
def on_s3(tmp_path_factory: pytest.TempPathFactory, redis_server: str, s3_endpoint: str) -> Iterator[Finished]:
    environment = {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "S3_PATH_STYLE": "true",
        **s3.CREDENTIALS,
        "REDIS_URL": redis_server.replace("/0", "/2"),
        "FEAST_REGISTRY_URL": f"sqlite:///{tmp_path_factory.mktemp('s3')}/registry.db",
        "LOG_FORMAT": "json",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield run_all("s3://fti/team/lake", Settings(), environment)


def digests(lake: Lake, *datasets: str) -> dict[tuple[str, str], str]:
    return {(d, name): m.digest for d in datasets for name, m in lake.manifests(d).items()}


def test_every_landed_line_is_accounted_for(on_files: Finished) -> None:
    landed = on_files.lake.manifests("landing/transactions").values()
    bronze = on_files.lake.manifests("bronze/transactions").values()
    made = {name: sum(int(m.counts[name]) for m in landed) for name in ("lines", "malformed", "duplicates_cross_day")}
    read = {name: sum(int(m.counts[name]) for m in bronze) for name in ("lines", "valid", "duplicates", "quarantined")}
    assert read["lines"] == made["lines"] > 500
    assert read["quarantined"] == made["malformed"]
    assert read["lines"] == read["valid"] + read["duplicates"] + read["quarantined"]
    assert on_files.counts["features"]["rows_out"] == read["valid"] - int(
        str(on_files.counts["features"]["duplicates"])
    )
    assert on_files.counts["verify"]["mismatches"] == 0
    assert int(str(on_files.counts["verify"]["values_compared"])) > 5_000


def test_s3_and_files_hold_the_same(on_files: Finished, on_s3: Finished) -> None:
    datasets = ("landing/transactions", "bronze/transactions", *(p.dataset for p in PRODUCTS), "verify/fti")
    expected = digests(on_files.lake, *datasets)
    assert len(expected) > 3 * len(datasets) / 2
    assert digests(on_s3.lake, *datasets) == expected


def test_no_secret_in_what_the_jobs_say(on_s3: Finished) -> None:
    assert "verify" in on_s3.output
    assert s3.SECRET not in on_s3.output


def test_nothing_is_left_in_staging(on_files: Finished, on_s3: Finished) -> None:
    for done in (on_files, on_s3):
        assert done.lake.files("_staging") == []
