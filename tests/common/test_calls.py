"""Wrong calls and settings: one clear sentence, exit code 2, no trace, nothing written. The same for every job."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.common import services
from jobs.common.cli import main

ROOT = Path(__file__).resolve().parents[2]
JOBS = ("generate", "bronze", "features", "materialize", "verify")
DAYS = ["--start", "2026-01-01", "--end", "2026-01-02"]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAKE_URI", "REDIS_URL", "FEAST_REGISTRY_URL", "AWS_ENDPOINT_URL", "S3_PATH_STYLE"):
        monkeypatch.delenv(name, raising=False)


def call(job: str, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", [f"jobs.{job}", *arguments])
    with pytest.raises(SystemExit) as caught:
        main(importlib.import_module(f"jobs.{job}.__main__").command)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["--start", "2026-01-02", "--end", "2026-01-01"], {}, "--end 2026-01-01 must be after --start 2026-01-02"),
        (["--start", "2026-01-01", "--end", "2026-01-01"], {}, "must be after"),
        (["--start", "2026-02-30", "--end", "2026-03-01"], {}, "'2026-02-30' is not a day such as 2026-01-31"),
        (["--start", "2026-01-01"], {}, "Missing option '--end'"),
        ([*DAYS, "--lake", "hdfs://host/lake"], {}, "unknown scheme hdfs://, use file:///folder or s3://bucket"),
        (DAYS, {}, "No lake given: pass --lake"),
        ([*DAYS, "--bogus"], {}, "No such option"),
        (DAYS, {"S3_PATH_STYLE": "maybe", "AWS_ENDPOINT_URL": "minio:9000"}, "AWS_ENDPOINT_URL must start with http"),
        (DAYS, {"S3_PATH_STYLE": "maybe", "AWS_ENDPOINT_URL": "minio:9000"}, "S3_PATH_STYLE should be a valid boolean"),
        (DAYS, {"REDIS_URL": "hush-hush"}, "REDIS_URL must look like redis://host:6379/0"),
        (DAYS, {"REDIS_URL": "redis://:hush-hush@host:99999/0"}, "REDIS_URL must look like redis://host:6379/0"),
        (DAYS, {"AWS_ENDPOINT_URL": "http://"}, "AWS_ENDPOINT_URL must start with http:// or https:// and name a host"),
        (["--start", "9999-12-31", "--end", "2026-01-01"], {}, "must be after"),
    ],
)
def test_one_sentence_and_exit_code_2(
    job: str,
    arguments: list[str],
    environment: dict[str, str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s3cr3t", **environment}.items():
        monkeypatch.setenv(name, value)
    assert call(job, *arguments, monkeypatch=monkeypatch) == 2
    said = capfd.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert "s3cr3t" not in said
    assert "hush-hush" not in said


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    ("host", "reason"), [("127.0.0.1:9", "it refuses connections"), ("minio.invalid:9000", "its name does not resolve")]
)
def test_a_store_that_is_not_there_is_exit_code_1(
    job: str, host: str, reason: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(services, "PATIENCE", 0.3)
    for name, value in {"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "s3cr3t"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}")
    assert call(job, *DAYS, "--lake", "s3://bucket", monkeypatch=monkeypatch) == 1
    said = capfd.readouterr().err
    assert (
        f"S3 at {host} cannot be reached: {reason}. "
        "Check that it runs and that AWS_ENDPOINT_URL names it, then run the same call again." in said
    )
    assert said.count("waiting for a service") == 1
    assert not {"Traceback", "s3cr3t", "a-key"} & set(said.replace('"', " ").split())


def test_a_terminated_job_tidies_up_and_ends_with_143(tmp_path: Path) -> None:
    """A stopped container gets SIGTERM, and thirty seconds."""
    lake = tmp_path / "lake"
    arguments = ["--lake", lake.as_uri(), "--start", "2026-01-01", "--end", "2030-01-01", "--cards", "2000"]
    command = [sys.executable, "-m", "jobs.generate", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        while not list(lake.glob("_manifests/landing/transactions/*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Terminated. Nothing half-done was published" in said
    assert "Traceback" not in said
    assert list(lake.glob("_staging/*")) == []


@pytest.mark.parametrize(
    ("job", "sentence"),
    [
        ("bronze", "Missing partition landing/transactions/ingest_date=2026-01-01"),
        ("features", "Missing partition bronze/transactions/ingest_date=2026-01-01"),
        ("materialize", "Missing partition silver/features/"),
        ("verify", "Missing partition"),
    ],
)
def test_a_missing_partition(
    job: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"
    assert call(job, *DAYS, "--lake", lake.as_uri(), monkeypatch=monkeypatch) == 2
    said = capfd.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert [p for p in lake.rglob("*") if p.is_file()] == []
