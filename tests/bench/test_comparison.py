"""The arithmetic: turns, ratios, what is taken off, what the page makes of it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from typing import Any

import pytest

from tests.bench import page, plots, results
from tests.bench.comparison import Line, Run, median_of, order, ratio
from tests.bench.results import CaseResult, Family

FACTS: dict[str, Any] = {
    "when": "2026-01-01 00:00 UTC",
    "commit": "0123456789",
    "load_before": 0.1,
    "machine": {"cpu": "a CPU", "cores": 2, "memory_gib": 4, "system": "Linux"},
    "versions": {"Python": "3.11", "wrk": "unknown"},
}


def run(side: str, round_: int, wall: float, case: str = "c", rows: int = 10, **more: float) -> Run:
    return Run(case, side, round_, 0, wall, wall / 2, 100.0, rows, more)


def test_every_second_round_runs_backwards() -> None:
    assert [order(["a", "b", "c"], i) for i in range(3)] == [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"]]


def test_a_ratio_pairs_the_runs_of_one_round() -> None:
    runs = [run("ours", 0, 1), run("peer", 0, 10), run("peer", 1, 30), run("ours", 1, 1), run("ours", 2, 1)]
    value = ratio(runs, "c", Line("ours", "peer"))
    assert value is not None
    assert (value.median, value.low, value.high, len(value.values)) == (20, 10, 30, 2)


def test_more_requests_are_better_and_more_milliseconds_worse() -> None:
    runs = [run("ours", 0, 1, requests_per_s=50, p99_ms=2), run("peer", 0, 1, requests_per_s=10, p99_ms=20)]
    for metric, expected in (("requests_per_s", 5), ("p99_ms", 10)):
        value = ratio(runs, "c", Line("ours", "peer", metric))
        assert value is not None
        assert value.median == expected


def test_what_a_start_costs_is_taken_off_ours_alone() -> None:
    runs = [run("ours", 0, 12), run("start", 0, 10), run("peer", 0, 4)]
    value = ratio(runs, "c", Line("ours", "peer", beyond="start"))
    assert value is not None
    assert value.median == 2
    assert ratio([run("ours", 0, 9), *runs[1:]], "c", Line("ours", "peer", beyond="start")) is None


def test_what_a_start_costs_is_taken_off_a_peer_that_starts_it_too() -> None:
    runs = [run("ours", 0, 12), run("start", 0, 10), run("ours", 0, 30, case="d"), run("start", 0, 10, case="d")]
    line = Line("ours", "ours", beyond="start", peer_beyond="start", case_of_peer="d")
    value = ratio(runs, "c", line)
    assert value is not None
    assert value.median == 10
    assert ratio(runs[:3], "c", line) is None


def test_unlike_numbers_of_rows_and_another_case_can_be_compared() -> None:
    runs = [run("ours", 0, 10, rows=100), run("ours", 0, 10, case="d", rows=50)]
    value = ratio(runs, "c", Line("ours", "ours", "wall_per_row", case_of_peer="d"))
    assert value is not None
    assert value.median == 2


def test_a_side_that_never_ran_has_no_ratio_and_no_median() -> None:
    assert ratio([run("ours", 0, 1)], "c", Line("ours", "peer")) is None
    assert median_of([run("ours", 0, 1)], "c", "peer", "wall") is None
    assert median_of([run("ours", 0, 1)], "c", "ours", "p99_ms") is None


def family(**failed: str) -> Family:
    lines = (Line("ours", "quick", target=2), Line("ours", "slow", floor=3), Line("ours", "absent"))
    runs = tuple(run(side, i, wall) for i in range(5) for side, wall in (("ours", 2), ("quick", 1), ("slow", 9)))
    return Family([CaseResult("load", "c", "A case", 5, "Some data.", dict(FACTS), lines, runs, failed)])


def test_the_page_says_where_we_lose_what_is_missed_and_what_did_not_run() -> None:
    text = page.text({"load": family(absent="There is no such thing.")})
    lost, missed = text.split("## Where we lose")[1].split("## Targets that are missed")
    assert "ours against quick, time: 0.5" in lost
    assert "slow" not in lost
    assert "the target is 2" in missed.split("##")[0]
    assert "A case, absent: There is no such thing." in text
    assert "**4.5** (4.5 to 4.5) | 5 |" in text
    assert "Python" in text.split("## The machine")[1].split("## Load")[0]
    assert "wrk" not in text.split("## The machine")[1].split("### A case")[0], "an unknown version is not shown"


def sized(name: str, size: int, **facts: str) -> CaseResult:
    return CaseResult("load", name, f"Case {name}", size, "Some data.", FACTS | facts, (), ())


def test_a_run_of_some_sizes_replaces_those_alone_and_the_page_says_which_is_of_which_run() -> None:
    old = Family([sized("a", 1, when="Monday"), sized("b", 10, when="Monday"), sized("c", 10, when="Monday")])
    new = Family([sized("b", 10, when="Tuesday"), sized("d", 5, when="Tuesday")])
    family = old.with_sizes(new)
    assert [(case.name, case.facts["when"]) for case in family.cases] == [
        ("a", "Monday"),
        ("d", "Tuesday"),
        ("b", "Tuesday"),
    ]
    parts = page.text({"load": family}).split("## Load")[1].split("Run of ")
    assert [part.split(",")[0] for part in parts[1:]] == ["Monday", "Tuesday"]
    assert ["Case a" in part for part in parts[1:]] == [True, False]
    assert ["Case d" in part and "Case b" in part for part in parts[1:]] == [False, True]


def test_cases_of_one_name_and_two_sizes_do_not_share_runs() -> None:
    lines = (Line("ours", "peer"), Line("ours", "peer", case_of_peer="d"))

    def of(name: str, size: int, wall: float) -> CaseResult:
        runs = (run("ours", 0, 1, case=name), run("peer", 0, wall, case=name))
        return replace(sized(name, size), lines=lines if name == "c" else (), runs=runs)

    ratios = Family([of("c", 1, 3), of("d", 1, 5), of("c", 10, 4), of("d", 10, 6)]).ratios()
    assert [(case.size, value and value.median) for case, _, value in ratios] == [(1, 3), (1, 5), (10, 4), (10, 6)]


def test_what_was_measured_wrongly_is_not_shown() -> None:
    known = family()
    (case,) = known.cases
    wrong = replace(case, not_measured={"slow": ["cpu", "peak_mib"]})
    before, after = (page.text({"load": Family([c])}).splitlines() for c in (case, wrong))
    assert "| slow | 10 | 9 | 4.5 | 100 |" in before
    assert "| slow | 10 | 9 |  |  |" in after
    assert [line for line in after if line not in before] == ["| slow | 10 | 9 |  |  |"]


def test_the_page_names_the_machine_of_each_run_where_there_are_two() -> None:
    other = {**FACTS, "machine": {**FACTS["machine"], "cpu": "Another CPU"}}
    text = page.text({"load": Family([sized("a", 1), replace(sized("b", 2), facts=other)])})
    assert "## The machine" not in text
    assert text.index(FACTS["machine"]["cpu"]) < text.index("Case a") < text.index("Another CPU") < text.index("Case b")


def test_results_are_read_as_they_were_written(tmp_path: pytest.TempPathFactory) -> None:
    path = tmp_path / "results.json"  # type: ignore[operator]
    results.write({"load": family(absent="…")}, path)
    assert results.read(path) == {"load": family(absent="…")}


def test_the_page_is_current() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.text(results.read()), "run `make docs` and commit the result"


def test_the_pictures_are_current() -> None:
    """Drawn from the same rows: matplotlib is not in this environment, so the digest in each tells."""
    known = results.read()
    assert {path.stem for path in results.RESULTS.parent.glob("*.svg")} == set(known)
    for name, part in known.items():
        words = [element.text for element in ElementTree.parse(plots.picture(name)).iter() if element.text]
        assert plots.digest(part) in words, f"run `make bench FAMILY={name}`, or its last step, tests.bench.plots"
