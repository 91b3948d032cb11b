"""The harness on tiny data: all sides come to the same bytes, and none vanishes in silence. No time is asserted."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.bench import __main__ as bench
from tests.bench import job_cost
from tests.bench.__main__ import main
from tests.bench.comparison import Line, ratio
from tests.bench.families import generate, load, read
from tests.bench.harness import Case, UnequalError, run_case
from tests.bench.side import CannotRunError, Side, Work

CARDS = 40


class One(Side):
    def run(self) -> None:
        (self.work.scratch / "made").write_text("1")

    def outcome(self) -> Any:
        return {"made": 1}


class Other(One):
    def outcome(self) -> Any:
        return {"made": 2}


class Missing(One):
    def __init__(self, work: Work) -> None:
        super().__init__(work)
        raise CannotRunError("There is no such tool.")


class Breaks(One):
    def run(self) -> None:
        raise ZeroDivisionError("of a peer")


def case(**sides: str) -> Case:
    places = {name: f"{__name__}:{place}" for name, place in sides.items()}
    return Case("load", "tiny", "Tiny", 3, places, (Line("a", "b"),), lambda work: None, "Nothing.", "tiny")


def quiet(text: str) -> None: ...


def test_sides_take_turns_and_each_run_is_a_row(tmp_path: Path) -> None:
    outcome = run_case(case(a="One", b="One"), 2, tmp_path, quiet)
    assert [(run.side, run.round, run.position) for run in outcome.runs] == [
        ("a", 0, 0),
        ("b", 0, 1),
        ("b", 1, 0),
        ("a", 1, 1),
    ]
    assert all(run.peak_mib > 0 for run in outcome.runs)


def test_a_side_that_cannot_run_is_told_and_the_others_run(tmp_path: Path) -> None:
    outcome = run_case(case(a="One", b="Missing", c="Breaks"), 1, tmp_path, quiet)
    assert outcome.failed == {"b": "There is no such tool.", "c": "ZeroDivisionError: of a peer"}
    assert {run.side for run in outcome.runs} == {"a"}


def test_sides_that_do_other_work_are_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(UnequalError, match=r"a and b came to different results.*made: 1 and 2"):
        run_case(case(a="One", b="Other"), 1, tmp_path, quiet)


def lacking() -> set[str]:
    """Sides of parts that this tree or this machine has not."""
    plug_in = {"plug-in", "plug-in, owner"} if importlib.util.find_spec("feast_fast") is None else set()
    return plug_in | (set() if shutil.which("redis-cli") else {"redis-cli"})


@pytest.mark.parametrize(
    "made",
    [
        lambda: load._first_load(CARDS, quick=False),
        lambda: load._real_views(CARDS),
        lambda: replace(read._case(10, CARDS, quick=False), options={"width": 10, "calls": 20}),
    ],
    ids=["first load", "our views", "read"],
)
def test_all_sides_come_to_the_same_bytes(made: Callable[[], Case], tmp_path: Path) -> None:
    tiny = made()
    outcome = run_case(tiny, 1, tmp_path, quiet)  # raises where two sides differ
    assert set(outcome.failed) <= lacking(), outcome.failed
    assert {run.side for run in outcome.runs} == set(tiny.sides) - set(outcome.failed)
    for line in tiny.lines:
        if not {line.ours, line.peer} & set(outcome.failed):
            assert ratio(outcome.runs, tiny.name, line) is not None


def test_without_its_environment_faker_is_told_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate.FakerRows, "python", tmp_path / "no-python")
    with pytest.raises(CannotRunError, match="make bench"):
        generate.FakerRows(Work(tmp_path, tmp_path, 10))


def test_a_size_without_a_family_is_refused() -> None:
    result = CliRunner().invoke(main, ["--size", "5"])
    assert result.exit_code == 2
    assert "name the family" in result.output


def test_where_there_is_no_proc_it_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_cost, "LOOKED_AT", tmp_path / "smaps_rollup")
    result = CliRunner().invoke(main, ["--quick"])
    assert result.exit_code == 1
    assert result.output == f"Error: {job_cost.NEEDS_LINUX}\n"


def test_what_failed_is_told_though_the_pictures_fail_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'Traceback' >&2\necho 'ModuleNotFoundError: matplotlib' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(bench, "BENCH_PYTHON", python)
    monkeypatch.setattr(bench, "_run", lambda *_: iter(()))
    monkeypatch.setattr(bench, "_problems", lambda *_: ["A case: a side: why"])
    result = CliRunner().invoke(main, ["--family", "load"])
    assert result.exit_code == 1
    failed, undrawn = result.output.splitlines()
    assert failed == "FAILED A case: a side: why"
    assert undrawn.startswith("No pictures, the rows are written: ModuleNotFoundError: matplotlib; ")
