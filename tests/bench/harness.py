"""Runs cases: data first, then every side in a process of its own, round by round; each run becomes a row."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.comparison import Line, Run, order
from tests.bench.servers import redis_server
from tests.bench.side import CannotRunError, Work
from tests.bench.worker import Worker

REL_TOLERANCE, ABS_TOLERANCE = 1e-7, 1e-9


@dataclass(frozen=True)
class Case:
    """Sides that do the same work on the same data.

    Attributes:
        sides: name → ``module:Class`` of a ``side.Side``.
        prepare: makes the data in ``work.folder``; finds a Redis server at ``work.redis_url``, where one is needed.
        data: what the data is, for the page.
        folder: cases that name the same folder share what is in it.
        pairs: rounds, where a case has its own number.
    """

    family: str
    name: str
    title: str
    size: int
    sides: dict[str, str]
    lines: tuple[Line, ...]
    prepare: Callable[[Work], None]
    data: str
    folder: str
    needs_redis: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    pairs: int | None = None


@dataclass
class Outcome:
    """The runs of a case, and the sentences of the sides that could not run."""

    runs: list[Run] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


class UnequalError(Exception):
    """Sides of a case came to different results: their times would compare different work."""


def run_case(case: Case, pairs: int, root: Path, say: Callable[[str], None] = print) -> Outcome:
    """Runs all sides of a case ``pairs`` times in turns.

    A side that fails is left out from then on, and its earlier runs with it.

    Raises:
        UnequalError: two sides came to different results in the first round.
    """
    outcome, pairs = Outcome(), case.pairs or pairs
    folder, scratch = root / case.folder, root / f"scratch-{case.name}"
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        url = stack.enter_context(redis_server(root / "redis")) if case.needs_redis else ""
        case.prepare(Work(folder, scratch, case.size, url, case.options))
        workers: dict[str, Worker] = {}
        for name, place in case.sides.items():
            work = Work(folder, scratch / name, case.size, url, case.options)
            workers[name] = Worker(name, place, work)
            stack.callback(workers[name].close)
        for name in list(workers):
            if failure := _attempt(workers[name].ready):
                _leave_out(name, failure, outcome, workers, say)
        results: dict[str, Any] = {}
        for round_ in range(pairs):
            for position, name in enumerate(order(list(workers), round_)):
                failure = _attempt(lambda: _one(case, workers[name], round_, position, outcome, results, say))  # noqa: B023
                if failure:
                    _leave_out(name, failure, outcome, workers, say)
            if round_ == 0:
                _check_equal(case, results)
    shutil.rmtree(scratch, ignore_errors=True)
    return outcome


def _one(
    case: Case,
    worker: Worker,
    round_: int,
    position: int,
    outcome: Outcome,
    results: dict[str, Any],
    say: Callable[[str], None],
) -> None:
    made = worker.measure()
    run = Run(case.name, worker.name, round_, position, made.wall, made.cpu, made.peak_mib, made.rows, made.more)
    outcome.runs.append(run)
    more = "".join(f", {name} {value:,.4g}" for name, value in made.more.items())
    say(
        f"  {case.name} · {worker.name} · {round_ + 1}: {made.wall:.3f} s, cpu {made.cpu:.2f} s, {made.peak_mib:,.0f} MiB{more}"
    )
    if round_ == 0:
        results[worker.name] = worker.outcome()


def _attempt(step: Callable[[], None]) -> str | None:
    try:
        step()
    except CannotRunError as error:
        return str(error)
    return None


def _leave_out(
    name: str, failure: str, outcome: Outcome, workers: dict[str, Worker], say: Callable[[str], None]
) -> None:
    outcome.failed[name] = failure
    outcome.runs = [run for run in outcome.runs if run.side != name]
    del workers[name]
    say(f"  {name} does not run: {failure}")


def _check_equal(case: Case, results: dict[str, Any]) -> None:
    known: Sequence[tuple[str, Any]] = [(name, result) for name, result in results.items() if result is not None]
    for name, result in known[1:]:
        if not same(known[0][1], result):
            raise UnequalError(
                f"{case.name}: {known[0][0]} and {name} came to different results, so they did different work: "
                f"{_difference(known[0][1], result)}"
            )


def same(one: Any, other: Any) -> bool:
    """Whether two outcomes are equal. Doubles may differ where only the order of adding does."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=REL_TOLERANCE, abs_tol=ABS_TOLERANCE)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _difference(one: Any, other: Any) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [key for key in sorted({*one, *other}) if not same(one.get(key), other.get(key))]
        return f"{len(keys)} differ, such as {keys[0]}: {_difference(one.get(keys[0]), other.get(keys[0]))}"
    return f"{one!r:.200} and {other!r:.200}"
