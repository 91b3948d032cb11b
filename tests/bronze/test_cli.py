"""The command as a process: exit codes, one sentence on standard error, and a kill in the middle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from jobs.bronze.job import command
from jobs.common.cli import main
from jobs.common.lake import Lake
from jobs.common.settings import Settings
from tests.bronze.conftest import DAY, bronze, digests, good_lines, land

CALL = [sys.executable, "-m", "jobs.bronze", "--start", "2026-01-05", "--end", "2026-01-06"]
ENVIRONMENT = {**os.environ, "LOG_FORMAT": "json", "SPARK_DRIVER_MEMORY": "512m"}


def last_line(text: str) -> dict[str, object]:
    return json.loads(text.strip().splitlines()[-1])


def call_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[object, dict[str, object]]:
    """Exit code and last log line of the command, run in this process, whose JVM is warm."""
    monkeypatch.setenv("LOG_FORMAT", "json")
    monkeypatch.setattr(sys, "argv", ["bronze", "--start", "2026-01-05", "--end", "2026-01-06", *arguments])
    try:
        main(command)
        code: object = 0
    except SystemExit as done:
        code = done.code
    finally:
        structlog.reset_defaults()  # it holds this test's standard error
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return code, last_line(said)


def test_a_missing_partition_exits_2_with_one_sentence(lake: Lake) -> None:
    done = subprocess.run([*CALL, "--lake", lake.uri], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert str(last_line(done.stderr)["event"]).startswith(
        "Missing partition landing/transactions/ingest_date=2026-01-05"
    )
    assert not Path(lake.root, "bronze").exists()


def test_a_share_above_1_exits_2(lake: Lake) -> None:
    done = subprocess.run(
        [*CALL, "--lake", lake.uri, "--max-bad-share", "2"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode == 2
    assert "--max-bad-share" in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_data_exits_3_then_done_exits_0_with_counts(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    land(lake, DAY, {"f.jsonl": good_lines(50) + good_lines(1) + "broken\n"})
    code, said = call_here(monkeypatch, capsys, "--lake", lake.uri)
    assert (code, said["exit_code"]) == (3, 3)
    code, said = call_here(monkeypatch, capsys, "--lake", lake.uri, "--max-bad-share", "0.02")
    assert code == 0
    counts = [said[k] for k in ("rows_in", "rows_out", "duplicates", "quarantined", "files_set_aside")]
    assert (said["event"], counts) == ("done", [52, 50, 1, 1, 0])


def test_a_store_that_cannot_be_written_exits_1_with_one_sentence(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    land(lake, DAY, {"f.jsonl": good_lines(2)})
    Path(lake.path("_staging")).write_text("a file where a folder should be")
    code, said = call_here(monkeypatch, capsys, "--lake", lake.uri)
    assert code == 1
    assert str(said["event"]).startswith("Reading or writing failed: ")


def test_killed_in_the_middle_and_called_again_gives_the_undisturbed_digests(lake: Lake, tmp_path: Path) -> None:
    land(lake, DAY, {"f.jsonl": good_lines(20_000)})
    land(lake, DAY, {"f.csv": "merchant_id,mcc,country\nm,5411,DE\n"}, "merchants")
    undisturbed = Lake.open((tmp_path / "undisturbed").as_uri(), Settings())
    shutil.copytree(lake.path("landing"), undisturbed.path("landing"))
    bronze(undisturbed)

    running = subprocess.Popen(
        [*CALL, "--lake", lake.uri], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True
    )
    assert running.stderr is not None
    for line in running.stderr:
        if '"checked"' in line:  # what it writes waits to be published together
            break
    os.killpg(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert digests(lake) == {}
    assert list(Path(lake.path("_staging")).iterdir()), "it was killed before it staged anything"
    bronze(lake)
    assert digests(lake) == digests(undisturbed)
