"""Whole: one day's file lands, and its features are in Redis: bronze, features, load, which reads a sample back."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from tests.bench import feast_stores, lake_data, ours
from tests.bench.comparison import Line
from tests.bench.harness import Case
from tests.bench.job_cost import cost
from tests.bench.side import ROOT, CannotRunError, CommandSide, Measured, Work

SIZES = (100_000, 1_000_000, 10_000_000)
QUICK_SIZES = (20_000,)
MOST_WITH_STOCK = 1_000_000
"""Ten times as many cards would keep stock's load busy for half an hour a round."""
OURS, STOCK = "ours", "with stock's load"
RATE = 0.57
END = lake_data.FIRST_DAY + timedelta(days=1)
HERE = __name__


def cases(size: int | None, quick: bool) -> list[Case]:
    return [_case(rows) for rows in ((size,) if size else QUICK_SIZES if quick else SIZES)]


def _case(rows: int) -> Case:
    sides, lines = {OURS: f"{HERE}:Ours"}, []
    if rows <= MOST_WITH_STOCK:
        sides[STOCK] = f"{HERE}:WithStock"
        lines = [Line(OURS, STOCK, metric) for metric in ("wall", "cpu", "load_s")]
    return Case(
        "whole",
        f"whole-{rows}",
        f"One day of {rows:,} transactions",
        rows,
        sides,
        tuple(lines),
        prepare,
        f"The landed files of one day with about {rows:,} transactions, and no earlier day. Each run begins with an empty "
        "lake behind the landing zone, an empty server and no registry, and starts every process anew.",
        f"day-{rows}",
        needs_redis=True,
    )


def prepare(work: Work) -> None:
    if (work.folder / "lake" / ".made").exists():
        return
    cards = max(1, round(work.size / RATE))
    options = ("--cards", str(cards), "--snapshot", lake_data.FIRST_DAY.isoformat())
    command = ours.job("generate", (work.folder / "lake").as_uri(), lake_data.FIRST_DAY, END, *options)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (work.folder / "lake" / ".made").touch()


class Ours(CommandSide):
    """The jobs as the pipeline calls them.

    Seconds of each stand in ``bronze_s``, ``features_s``, ``load_s``, its peak of memory in ``bronze_mib`` and so on.
    """

    @property
    def lake(self) -> str:
        return (self.work.scratch / "lake").as_uri()

    def before(self) -> None:
        import redis

        shutil.rmtree(self.work.scratch / "lake", ignore_errors=True)
        source, out = self.work.folder / "lake", self.work.scratch / "lake"
        shutil.copytree(source / "_manifests", out / "_manifests")
        (out / "landing").symlink_to(source / "landing")
        with redis.Redis.from_url(self.work.redis_url) as client:
            client.flushall()

    def commands(self) -> Mapping[str, Sequence[str]]:
        day = (lake_data.FIRST_DAY, END)
        return {
            "bronze": ours.job("bronze", self.lake, *day),
            "features": ours.job("features", self.lake, *day),
            "load": ours.job("materialize", self.lake, *day),
        }

    def measure(self) -> Measured:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": self.work.redis_url, **self.env}
        total = Measured(0.0, 0.0, 0.0, self.work.size)
        for stage, command in self.commands().items():
            spent = cost(command, env, self.work.scratch / f"{stage}.log")
            if spent.exit_code:
                raise CannotRunError(f"{' '.join(command[1:3])} ended with exit code {spent.exit_code}.")
            total.wall += spent.wall
            total.cpu += spent.cpu
            total.peak_mib = max(total.peak_mib, spent.peak_mib)
            total.more |= {f"{stage}_s": spent.wall, f"{stage}_mib": spent.peak_mib}
        return total

    def outcome(self) -> Any:
        return feast_stores.stored(self.work.redis_url)


class WithStock(Ours):
    """The same jobs, told to load through Feast's own engine."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self.env = ours.stock_loader_env()
