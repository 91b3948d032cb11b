"""The exact command line that each job gets, by launcher, for a partition's run and for a range."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

DAY = ["--start", "2026-02-14", "--end", "2026-02-15"]
RANGE = ["--start", "2026-01-01", "--end", "2026-02-05"]
OPTIONS = {
    "generate": ["--cards=5000", "--seed=7", "--format=jsonl.gz"],
    "bronze": ["--max-bad-share=0.01"],
    "features": [],
    "materialize": [],
    "verify": [],
}


def argv(task: Any) -> list[str]:
    """What the launcher runs, whole."""
    kind = type(task).__name__
    if kind == "ProcessJobOperator":
        return task.command
    if kind == "DockerJobOperator":
        return [*task.entrypoint, *task.arguments]
    return [*task.cmds, *task.arguments]


def program(launcher: str, job: str) -> list[str]:
    return [sys.executable if launcher == "process" else "python", "-m", f"jobs.{job}"]


@pytest.mark.parametrize("job", OPTIONS)
def test_partition_run(render: Callable[..., Any], launcher: str, job: str) -> None:
    task = render(launcher, job, partition_key="2026-02-14")
    assert argv(task) == [*program(launcher, job), *DAY, *OPTIONS[job]]


@pytest.mark.parametrize("job", OPTIONS)
def test_range_run_wins_over_the_partition(render: Callable[..., Any], launcher: str, job: str) -> None:
    task = render(launcher, job, partition_key="2026-02-14", start="2026-01-01", end="2026-02-05")
    assert argv(task) == [*program(launcher, job), *RANGE, *OPTIONS[job]]


def test_params_reach_their_jobs(render: Callable[..., Any], launcher: str) -> None:
    params = {"cards": 12, "seed": 3, "format": "csv", "snapshot": "2026-01-01", "max_bad_share": 0.5}
    generate = render(launcher, "generate", start="2026-01-01", end="2026-02-05", **params)
    assert argv(generate)[3:] == [*RANGE, "--cards=12", "--seed=3", "--format=csv", "--snapshot=2026-01-01"]
    assert argv(render(launcher, "bronze", "2026-02-14", **params))[3:] == [*DAY, "--max-bad-share=0.5"]


def test_start_alone_is_one_day(render: Callable[..., Any]) -> None:
    assert argv(render("process", "features", start="2026-02-14"))[3:] == DAY


def test_manual_run_without_dates_works_on_yesterday(render: Callable[..., Any]) -> None:
    assert argv(render("process", "features"))[3:] == ["--start", "2026-03-01", "--end", "2026-03-02"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"start": "2026-02-05", "end": "2026-02-05"}, "end 2026-02-05 must be after start 2026-02-05"),
        (
            {"start": "2026-02-05", "end": "2026-01-05"},
            "the range is half-open, one day is start 2026-02-05, end 2026-02-06",
        ),
        ({"end": "2026-01-05"}, "end is 2026-01-05 but start is empty"),
        ({"start": "5 May"}, "start is '5 May': write a day such as 2026-01-31"),
    ],
)
def test_params_that_make_no_range_fail_for_good(params: dict[str, str], message: str) -> None:
    from airflow.sdk.exceptions import AirflowFailException
    from launchers.day_range import day_range

    with pytest.raises(AirflowFailException, match=message):
        day_range(params, None, datetime(2026, 3, 2, tzinfo=UTC))


def test_range_of_a_partition() -> None:
    from launchers.day_range import DayRange, day_range

    found = day_range({}, "2026-12-31", datetime(2026, 3, 2, tzinfo=UTC))
    assert found == DayRange(date(2026, 12, 31), date(2027, 1, 1))


def test_generate_is_skipped_where_a_real_exporter_feeds_the_landing(render: Callable[..., Any], launcher: str) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    task = render(launcher, "generate")
    with pytest.raises(AirflowSkipException):
        task._pre_execute_hook({"params": {"generate": False}})
    task._pre_execute_hook({"params": {"generate": True}})
    assert render(launcher, "bronze").trigger_rule == "none_failed"
