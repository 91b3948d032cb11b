"""Generate: transactions as compressed JSON lines, by the job and by loops over rows."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from tests.bench import lake_data, ours
from tests.bench.comparison import Line
from tests.bench.harness import Case
from tests.bench.side import ROOT, CannotRunError, CommandSide, Measured, Work

ROWS, QUICK_ROWS = 4_000_000, 1_500_000
DAYS, RATE = 7, 0.57
BENCH_PYTHON = ROOT / ".bench-venv" / "bin" / "python"
HERE = __name__


def cases(size: int | None, quick: bool) -> list[Case]:
    rows = size or (QUICK_ROWS if quick else ROWS)
    return [
        Case(
            "generate",
            f"generate-{rows}",
            f"{rows:,} transactions",
            rows,
            {
                "job": f"{HERE}:Job",
                "Python loop": f"{HERE}:PythonLoop",
                "NumPy loop": f"{HERE}:NumpyLoop",
                "Faker": f"{HERE}:FakerRows",
            },
            (
                Line("job", "Python loop", "cpu_per_row", target=12, floor=2),
                Line("job", "NumPy loop", "cpu_per_row"),
                Line("job", "Faker", "cpu_per_row", target=50, floor=10),
                Line("job", "Python loop", "wall_per_row"),
                Line("job", "Python loop", "peak_mib"),
            ),
            lambda work: None,
            f"{DAYS} days of `.jsonl.gz`, one process, its start included. The job also makes cards, merchants, chargebacks, "
            "fraud and the ground truth; the loops make the 14 columns of a transaction from nothing, and a hundredth (Faker) "
            "or a twentieth of the rows, so CPU a row is compared, and what the sides made is not.",
            "generate",
        )
    ]


class Job(CommandSide):
    """``python -m jobs.generate`` with one process. The world is sized so that about ``work.size`` lines come out."""

    @property
    def cards(self) -> int:
        return max(1, round(self.work.size / DAYS / RATE))

    def before(self) -> None:
        shutil.rmtree(self.work.scratch / "lake", ignore_errors=True)

    def command(self) -> Sequence[str]:
        end = lake_data.FIRST_DAY + timedelta(days=DAYS)
        options = ("--cards", str(self.cards), "--rate", str(RATE), "--processes", "1")
        return ours.job("generate", (self.work.scratch / "lake").as_uri(), lake_data.FIRST_DAY, end, *options)

    def measure(self) -> Measured:
        made = super().measure()
        lake = lake_data.lake_in(self.work.scratch)
        made.rows = sum(m.rows for m in lake.manifests("landing/transactions").values())
        return made


class _Loop(CommandSide):
    way: str
    python: Path = Path(sys.executable)
    share = 20

    @property
    def rows(self) -> int:
        return max(1, self.work.size // self.share)

    def command(self) -> Sequence[str]:
        out = self.work.scratch / "rows.jsonl.gz"
        return [str(self.python), "-m", "tests.bench.peers.rows", self.way, str(self.rows), str(out)]


class PythonLoop(_Loop):
    way = "python"


class NumpyLoop(_Loop):
    way = "numpy"


class FakerRows(_Loop):
    way = "faker"
    share = 100
    python = BENCH_PYTHON

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        if not os.access(self.python, os.X_OK):
            raise CannotRunError("Faker is in no environment here: `make bench` makes one in .bench-venv.")
