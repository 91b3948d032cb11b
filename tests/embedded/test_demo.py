"""The demo's command: one at a time, nothing left behind, a summary whose numbers add up."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import pytest

from embedded import job_log, summary
from embedded.home import REPOSITORY, Home
from embedded.lock import HomeInUse, exclusive
from jobs.common.digest import combine
from jobs.common.lake import Lake, Manifest
from jobs.common.products import PRODUCTS
from jobs.online.repo import repo_settings

DEMO = [sys.executable, "-m", "embedded.demo"]
DAYS = [date(2026, 1, 1), date(2026, 1, 2)]


def processes_of(folder: Path) -> list[int]:
    """Living processes that work in the folder, or were started for it (Redis hides its environment)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"FTI_TEST_MARKER={folder}\0".encode() in (process / "environ").read_bytes()
            if marked or (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_home_in_use_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        done = subprocess.run(
            [*DEMO, "--home", str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert (
        done.stderr
        == f"Another demo uses {tmp_path}: wait for its end, or give this one a folder of its own with --home.\n"
    )


def test_home_is_free_again_after_its_holder(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(HomeInUse), exclusive(tmp_path):
        pass
    with exclusive(tmp_path):
        pass


def test_make_clean_refuses_while_a_demo_runs(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        done = subprocess.run(
            [sys.executable, REPOSITORY / "embedded" / "lock.py", tmp_path], capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert "A demo is running" in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_interrupted_demo_leaves_no_process(tmp_path: Path, stub_jobs: Path, clean_environment: dict[str, str]) -> None:
    environment = clean_environment | {
        "FTI_TEST_MARKER": str(tmp_path),
        "FTI_JOBS_HOME": str(stub_jobs),
        "STUB_SECONDS_BRONZE": "60",
        "REDIS_URL": "redis://127.0.0.1:1/0",  # the shell's, which is not the demo's business
    }
    call = [*DEMO, "--home", str(tmp_path / "home")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    demo = subprocess.Popen(call, cwd=REPOSITORY, env=environment, text=True, **pipes)
    try:
        assert demo.stdout
        assert demo.stderr
        assert any(line.startswith("bronze: called") for line in demo.stdout)
        assert len(processes_of(tmp_path)) == 4, "the demo, Redis, Airflow and the job"
        demo.send_signal(signal.SIGINT)
        assert demo.wait(40) == 130
        assert "the same call goes on from here" in demo.stderr.read()
        deadline = time.monotonic() + 5
        while processes_of(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert processes_of(tmp_path) == []
    finally:
        demo.kill()


def test_summary_adds_up_the_manifests(lake: Lake) -> None:
    def publish(dataset: str, partition: str, rows: int, **counts: int) -> None:
        digest = f"{dataset} {partition}"
        lake.publish(Manifest(dataset, partition, "job", "code", "inputs", digest, rows, counts), [])

    for day in DAYS:
        publish("bronze/transactions", f"ingest_date={day}", 7, lines=10, duplicates=1, quarantined=2)
        for product in PRODUCTS:
            publish(product.dataset, f"event_date={day}", 5)
    beyond = DAYS[-1] + timedelta(days=1)
    publish("bronze/transactions", f"ingest_date={beyond}", 1000, lines=1000, duplicates=0, quarantined=0)
    online = f"verify/{repo_settings()['project']}"
    publish(online, f"event_date={DAYS[-1]}", 4, cards_online=4, values_compared=40, mismatches=0)

    found = summary.summarize(lake, DAYS, {"total": 1.5}, unchanged=True).to_dict()
    tx = "silver/features/tx_features"
    assert found.pop("digests")["tx_features"] == combine(
        (f"event_date={day}", f"{tx} event_date={day}") for day in DAYS
    )
    assert json.loads(json.dumps(found)) == {
        "rows_landed": 20,
        "rows_bronze": 14,
        "rows_duplicate": 2,
        "rows_quarantined": 4,
        "rows_features": 10,
        "cards_online": 4,
        "values_compared": 40,
        "mismatches": 0,
        "seconds": {"total": 1.5},
        "unchanged": True,
    }
    digests = summary.summarize(lake, DAYS, {}, unchanged=True).digests
    assert set(digests) == {*(product.name for product in PRODUCTS), "online"}


def test_a_new_manifest_counts_as_change_but_not_verifys(lake: Lake) -> None:
    folder = Path(lake.root)
    lake.publish(Manifest("bronze/transactions", "ingest_date=2026-01-01", "j", "c", "i", "d", 1), [])
    before = summary.published(folder)
    lake.publish(Manifest("verify/fti", "event_date=2026-01-01", "j", "c", "i", "d", 1), [])
    assert summary.published(folder) == before
    lake.publish(Manifest("bronze/transactions", "ingest_date=2026-01-02", "j", "c", "i", "d", 1), [])
    assert summary.published(folder) != before


def test_airflow_sees_this_homes_database_whatever_the_shell_says(tmp_path: Path) -> None:
    shell = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://prod", "LAKE_URI": "s3://prod", "PATH": "/bin"}
    found = Home.at(tmp_path).airflow_environment(shell, "redis://x:1/0")
    assert "prod" not in json.dumps(found)
    assert found["PATH"] == "/bin"
    assert (found["FTI_LAUNCHER"], found["FTI_TASK_RETRIES"], found["REDIS_URL"]) == ("process", "0", "redis://x:1/0")


def test_job_event_in_words() -> None:
    event = job_log.parse(
        '{"event": "checked", "job": "bronze", "level": "info", "timestamp": "x", "lines": 1234, "ok": true}'
    )
    assert event
    assert job_log.words(event) == "checked lines=1,234 ok=True"
    assert job_log.parse("Traceback (most recent call last):") is None


def test_hints_repeat_the_numbers_that_the_caller_gave() -> None:
    from embedded.demo import _again, command

    with command.make_context("demo", ["--cards", "300", "--start", "2026-03-01"]):
        assert _again() == "make demo CARDS=300 START=2026-03-01"
        assert _again(more_days=5) == "make demo CARDS=300 START=2026-03-01 DAYS=40"
    with command.make_context("demo", []):
        assert _again() == "make demo"
