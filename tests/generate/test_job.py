"""The command: what it refuses, and when it has nothing to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from jobs.common.cli import JobContext, main
from jobs.common.errors import JobError, WrongCall
from jobs.common.lake import Lake, Manifest, Staged, ingest_partition
from jobs.common.settings import Settings
from jobs.generate.job import TRUTH, Task, _pool, command, make_day, run
from jobs.generate.parameters import LAST, Parameters, day_number

ROOT = Path(__file__).resolve().parents[2]
DAY = ["--start", "2026-01-05", "--end", "2026-01-06"]


def call(lake: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "LAKE_URI"}
    command = [sys.executable, "-m", "jobs.generate", "--lake", lake.as_uri(), *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--start", "2024-12-31", "--end", "2025-01-02"], "before 2025-01-01"),
        (["--start", "2124-12-31", "--end", "2125-01-02"], "days after 2124-12-31, the last day"),
        (["--start", "2026-01-05", "--end", "2026-01-04"], "must be after --start"),
        ([*DAY, "--late-rate", "1.5"], "--late-rate"),
    ],
    ids=["before the epoch", "after the last day", "end before start", "rate out of range"],
)
def test_a_wrong_call_is_refused_in_one_sentence_and_writes_nothing(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = call(tmp_path / "lake", *arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--start", "2026-01-05", "--end", "2026-01-05"], "half-open"),
        ([*DAY, "--rate", "0"], "--rate"),
        ([*DAY, "--rate", "5", "--fraud-rate", "0.05"], "at least 150"),
        ([*DAY, "--fraud-rate", "-0.1"], "--fraud-rate"),
        ([*DAY, "--cards", "0"], "--cards"),
        ([*DAY, "--format", "xml"], "--format"),
        ([*DAY, "--snapshot", "tomorrow"], "--snapshot"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_impossible_options_are_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["generate", "--lake", (tmp_path / "lake").as_uri(), *arguments])
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "lake").exists()


def test_the_command_lands_a_day_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    first = call(tmp_path, *DAY, "--cards", "100")
    assert first.returncode == 0, first.stderr
    second = call(tmp_path, *DAY, "--cards", "100")
    assert second.returncode == 0
    assert "unchanged" in second.stderr
    assert not list((tmp_path / "_staging").glob("*"))


def go(lake: Lake, force: bool = False, snapshot: date | None = None, **changes: object) -> dict[str, object]:
    context = JobContext(Settings(), lake, date(2026, 1, 5), date(2026, 1, 7), force)
    return dict(run(context, processes=1, snapshot=snapshot, **(vars(Parameters(cards=200)) | changes)))


def test_only_what_changed_is_made_again(lake: Lake) -> None:
    assert go(lake)["days"] == 2
    assert go(lake)["days"] == 0
    assert go(lake, snapshot=date(2026, 1, 6))["days"] == 1
    assert go(lake, snapshot=date(2026, 1, 6), seed=8)["days"] == 2
    assert go(lake, snapshot=date(2026, 1, 6), seed=8, force=True)["days"] == 2


def test_another_world_leaves_nothing_of_the_one_before(lake: Lake) -> None:
    go(lake, snapshot=date(2026, 1, 5), format="csv")
    go(lake)
    partition = ingest_partition(date(2026, 1, 5))
    assert not lake.files(f"landing/merchants/{partition}")
    assert lake.manifest("landing/merchants", partition).rows == 0
    assert [f.base_name for f in lake.files(f"landing/transactions/{partition}")] == ["part-00000.jsonl.gz"]


def test_a_world_whose_publication_was_cut_short_leaves_nothing_in_the_one_that_was_there(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = date(2026, 1, 5)
    go(lake, snapshot=day)
    before = {f.path: Path(f.path).read_bytes() for f in lake.files("landing")}
    publish = Lake.publish

    def dies_after_the_cards(self: Lake, manifest: Manifest, staged: list[Staged]) -> None:
        publish(self, manifest, staged)
        if manifest.dataset == "landing/cards":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "publish", dies_after_the_cards)
        with pytest.raises(KeyboardInterrupt):
            go(lake, snapshot=day, seed=8)
    assert {f.path: Path(f.path).read_bytes() for f in lake.files("landing")} != before
    assert go(lake, snapshot=day)["days"] == 1
    assert {f.path: Path(f.path).read_bytes() for f in lake.files("landing")} == before


INTERRUPTED = """
import os, runpy, signal, sys, time
from jobs.generate import job

publish, begin = job._publish, job._Day.begin
sent, when = int(sys.argv.pop(1)), sys.argv.pop(1)

def interrupt():
    # Ctrl-C reaches the whole group, as a terminal sends it.
    os.killpg(0, sent) if sent == signal.SIGINT else os.kill(os.getpid(), sent)

def publish_interrupted(*arguments):
    interrupt()
    publish(*arguments)

def begin_interrupted(*arguments):
    day = begin(*arguments)
    time.sleep(0.02)  # the processes import what the pool needs
    interrupt()
    return day

if when == "publishes":
    job._publish = publish_interrupted
else:
    job._Day.begin = begin_interrupted
runpy.run_module("jobs.generate", run_name="__main__", alter_sys=True)
"""
"""The job as a program that sends itself a signal, the first argument, as it publishes or as its processes start."""


@pytest.mark.parametrize("when", ["publishes", "starts"])
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "stopped"])
def test_an_interrupt_of_several_processes_leaves_no_half_file(
    tmp_path: Path, sent: signal.Signals, code: int, when: str
) -> None:
    """While one day is about to be published, other processes make the next."""
    arguments = [
        "--start",
        "2026-01-05",
        "--end",
        "2026-01-07",
        "--processes",
        "2",
        "--cards",
        "140000",
        "--rate",
        "0.1",
        "--rows-per-file",
        "1000",
        "--format",
        "jsonl",
    ]
    command = [sys.executable, "-c", INTERRUPTED, str(int(sent)), when, "--lake", tmp_path.as_uri(), *arguments]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True, timeout=120)
    assert done.returncode == code, done.stderr
    assert "Nothing half-done was published" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_killed_process_is_said_in_one_sentence(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path.as_uri(), Settings())
    with pytest.raises(JobError, match="was killed, most likely for want of memory"), lake.staging(), _pool(2) as pool:
        pool.submit(os.abort).result()


def test_the_last_day_of_the_world_can_be_made(lake: Lake) -> None:
    every_lead = Parameters(cards=2000, rate=0.05)
    task = Task(lake.uri, every_lead, day_number(LAST) + 1, LAST, snapshot=True)
    assert make_day(lake, task)["cards"] > 2000


LANDING = "landing/transactions/ingest_date=2026-01-05"


@pytest.mark.parametrize(
    "name",
    [
        "landing/transactions/ingest_date=2026-01-05/export.jsonl",
        "landing/transactions/ingest_date=2026-01-06/part-00000.csv.old",
        "landing/cards/ingest_date=2026-01-06/part-00000-4f1c.csv.gz",
        "landing/merchants/ingest_date=2026-01-05/more/part-00000.csv",
        "landing/chargebacks/ingest_date=2026-01-06/DONE",
    ],
)
@pytest.mark.parametrize("force", [False, True], ids=["", "forced"])
def test_a_file_that_someone_else_landed_stops_it_before_anything_is_made(lake: Lake, name: str, force: bool) -> None:
    lake.write_bytes(name, b"mine")
    folder, _, file = name.rpartition("/")
    with pytest.raises(WrongCall) as raised:
        go(lake, force=force)
    assert str(raised.value) == (
        f"{folder} holds {file}, which generate did not make and would delete: switch generate off where files of your "
        "own land (the run's param generate, or FTI_GENERATE=false for good), or name other days or another lake."
    )
    assert [path for path in Path(lake.root).rglob("*") if path.is_file()] == [Path(lake.path(name))]


def test_files_beside_generated_ones_stop_only_what_would_replace_those(lake: Lake) -> None:
    go(lake)
    lake.write_bytes(f"{LANDING}/export.jsonl", b"mine")
    lake.write_bytes(f"{LANDING}/part-00001.jsonl.gz", b"mine")  # named like one of its own, but in no manifest
    assert go(lake)["days"] == 0
    with pytest.raises(WrongCall, match=r"holds export.jsonl, which .* delete \(and 1 more such files\): switch"):
        go(lake, seed=8)
    assert lake.read_bytes(f"{LANDING}/export.jsonl") == lake.read_bytes(f"{LANDING}/part-00001.jsonl.gz") == b"mine"
    assert go(lake)["days"] == 0


def test_what_a_killed_publication_left_is_no_obstacle(lake: Lake) -> None:
    go(lake, format="csv.gz")
    before = {f.path: Path(f.path).read_bytes() for f in lake.files("landing")}
    for dataset in ("transactions", "cards", "merchants", "chargebacks"):
        lake.retract(f"landing/{dataset}", "ingest_date=2026-01-05")
    assert go(lake, format="jsonl")["days"] == 2
    assert [f.base_name for f in lake.files(LANDING)] == ["part-00000.jsonl"]
    go(lake, format="csv.gz")
    assert {f.path: Path(f.path).read_bytes() for f in lake.files("landing")} == before


def test_a_hidden_file_is_nobodys_and_stays(lake: Lake) -> None:
    lake.write_bytes(f"{LANDING}/_uploading.jsonl", b"half")
    go(lake)
    assert lake.read_bytes(f"{LANDING}/_uploading.jsonl") == b"half"


def test_truth_stands_beside_the_landing_zone(lake: Lake) -> None:
    go(lake)
    assert lake.partitions(TRUTH) == lake.partitions("landing/transactions")
    assert not lake.files("landing/ground_truth")
