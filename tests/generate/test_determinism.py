"""T1: the same call makes the same bytes, in whatever order and by however many processes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from jobs.common.cli import JobContext
from jobs.common.lake import Lake
from jobs.common.settings import Settings
from jobs.generate.day import batches
from jobs.generate.job import command, run
from jobs.generate.parameters import BLOCK, Parameters
from tests.generate.conftest import land

START = date(2026, 3, 27)  # three days that include the change to summer time
SMALL = Parameters(cards=1500, late_rate=0.05, duplicate_rate=0.02, malformed_rate=0.02, rows_per_file=400)


def hashes(root: Path) -> dict[str, str]:
    """SHA-256 of every data file below a lake, by path."""
    files = [f for f in sorted(root.rglob("part-*")) if "_staging" not in f.parts]
    return {f.relative_to(root).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("sequence")
    land(root, SMALL, START, START + timedelta(days=3), snapshot=START)
    return hashes(root)


def test_same_seed_same_bytes(sequence: dict[str, str], tmp_path: Path) -> None:
    land(tmp_path, SMALL, START, START + timedelta(days=3), snapshot=START)
    assert hashes(tmp_path) == sequence


def test_another_seed_changes_every_file(sequence: dict[str, str], tmp_path: Path) -> None:
    land(tmp_path, replace(SMALL, seed=8), START, START + timedelta(days=3), snapshot=START)
    assert not set(hashes(tmp_path).values()) & set(sequence.values())


def test_a_day_alone_equals_the_day_in_a_sequence(sequence: dict[str, str], tmp_path: Path) -> None:
    day = START + timedelta(days=2)
    land(tmp_path, SMALL, day, day + timedelta(days=1), snapshot=START)
    assert hashes(tmp_path) == {path: sha for path, sha in sequence.items() if f"ingest_date={day}" in path}


@pytest.mark.parametrize("processes", [2, 0])
def test_processes_make_the_bytes_of_one(sequence: dict[str, str], tmp_path: Path, processes: int) -> None:
    lake = Lake.open(tmp_path.as_uri(), Settings())
    context = JobContext(Settings(), lake, START, START + timedelta(days=3))
    counts = run(context, processes=processes, snapshot=START, **vars(SMALL))
    assert counts["days"] == 3
    assert hashes(tmp_path) == sequence


def test_the_files_of_one_day_are_made_by_several_processes_in_the_order_of_one(tmp_path: Path) -> None:
    several = replace(SMALL, cards=BLOCK + 5000, rate=0.02, rows_per_file=1000)
    assert len(batches(several)) == 2
    for processes in (1, 2):
        lake = Lake.open((tmp_path / f"{processes}").as_uri(), Settings())
        run(
            JobContext(Settings(), lake, START, START + timedelta(days=1)),
            processes=processes,
            snapshot=None,
            **vars(several),
        )
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2")


def test_how_lines_are_cut_into_files_does_not_change_them(sequence: dict[str, str], tmp_path: Path) -> None:
    day = START + timedelta(days=1)
    cut = land(tmp_path / "cut", SMALL, day, day + timedelta(days=1))
    whole = land(tmp_path / "whole", replace(SMALL, rows_per_file=400_000), day, day + timedelta(days=1))
    assert len(cut.manifests()[0].files) > 1
    assert len(whole.manifests()[0].files) == 1
    assert list(cut.lines("transactions")) == list(whole.lines("transactions"))


def test_the_command_offers_every_parameter() -> None:
    names = {parameter.name for parameter in command.params}
    assert names >= set(vars(SMALL)) | {"lake", "start", "end", "force", "processes", "snapshot"}
