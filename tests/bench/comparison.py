"""The arithmetic of a comparison, with no clock and no process in it.

All sides of a case run once in each round, and every second round in the opposite order, so that a machine that warms
up or slows down favours nobody. A line is a ratio of two sides; each round gives one value of it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

MIN_PAIRS = 5
MORE_IS_BETTER = {"requests_per_s"}


@dataclass(frozen=True)
class Run:
    """What one run of one side cost.

    Attributes:
        wall, cpu: seconds; ``cpu`` is that of the side's whole process tree, without the Redis server.
        peak_mib: the most memory that the tree had, MiB.
        rows: how many rows it worked on.
        more: further figures, by name: ``redis_cpu`` (s), ``p50_ms``, ``p99_ms``, ``requests_per_s``, …
    """

    case: str
    side: str
    round: int
    position: int
    wall: float
    cpu: float
    peak_mib: float
    rows: int
    more: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def value(self, metric: str) -> float:
        """A figure by name; ``wall_per_row`` and ``cpu_per_row`` compare sides that worked on unlike numbers of rows."""
        if metric in ("wall", "cpu", "peak_mib"):
            return float(getattr(self, metric))
        if metric in ("wall_per_row", "cpu_per_row"):
            return float(getattr(self, metric.removesuffix("_per_row"))) / self.rows
        return self.more[metric]


@dataclass(frozen=True)
class Line:
    """One ratio: how many times better ``ours`` is than ``peer``; below 1, the peer is ahead.

    Attributes:
        metric: what is compared, see ``Run.value``.
        beyond: a side whose value is taken off ours first (what Spark's start costs, whatever the work).
        peer_beyond: the same for the peer, where it starts Spark, too.
        target: the ratio that was aimed at.
        floor: the ratio below which ``make bench-quick`` fails. Far below what is measured, so that noise does not reach it.
        case_of_peer: the case that the peer's runs are taken from, where it is another one.
    """

    ours: str
    peer: str
    metric: str = "wall"
    beyond: str | None = None
    peer_beyond: str | None = None
    target: float | None = None
    floor: float | None = None
    case_of_peer: str | None = None


@dataclass(frozen=True)
class Ratio:
    """The values of a line, one a round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


def order(sides: Sequence[str], round_: int) -> list[str]:
    """The sides in the order of a round."""
    return list(sides) if round_ % 2 == 0 else list(reversed(sides))


def ratio(runs: Iterable[Run], case: str, line: Line) -> Ratio | None:
    """The line's value in every round in which both sides ran; None without any.

    A round in which ``beyond`` leaves nothing of either (noise) gives no value.
    """
    by_place = {(run.case, run.side, run.round): run for run in runs}
    values = []
    for place, mine in by_place.items():
        if place[:2] != (case, line.ours):
            continue
        other = line.case_of_peer or case

        def net(run: Run | None, of: str, start: str | None) -> float:
            taken_off = by_place.get((of, start, mine.round)) if start else None  # noqa: B023
            if run is None or (start and taken_off is None):
                return 0.0
            return run.value(line.metric) - (taken_off.value(line.metric) if taken_off else 0.0)

        ours = net(mine, case, line.beyond)
        peer = net(by_place.get((other, line.peer, mine.round)), other, line.peer_beyond)
        if ours > 0 and peer > 0:
            values.append(ours / peer if line.metric in MORE_IS_BETTER else peer / ours)
    return Ratio(tuple(values)) if values else None


def median_of(runs: Iterable[Run], case: str, side: str, metric: str) -> float | None:
    """The median of one side's figure; None where it never ran or has no such figure."""
    values = []
    for run in runs:
        if (run.case, run.side) == (case, side):
            try:
                values.append(run.value(metric))
            except KeyError:
                return None
    return statistics.median(values) if values else None
