"""Rows per CPU-second of the generate job on one core: python -m tests.bench.generate_throughput [cards] [days]"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def main(cards: int = 100_000, days: int = 7, rate: float = 0.57) -> None:
    """Prints lines, CPU-seconds (imports and the first set-up left out) and the peak of memory."""
    from jobs.common.lake import Lake
    from jobs.common.settings import Settings
    from jobs.generate.job import Task, make_day
    from jobs.generate.parameters import Parameters, day_number

    start = date(2026, 1, 5)
    parameters = Parameters(cards=cards, rate=rate)
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.open(Path(folder).as_uri(), Settings())
        range_ = [start + timedelta(days=i) for i in range(days + 1)]
        tasks = [Task(lake.uri, parameters, day_number(start) + days + 1, day, False) for day in range_]
        make_day(lake, tasks[0])
        began = time.process_time()
        lines = sum(make_day(lake, task)["lines"] for task in tasks[1:])
        seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{lines:,} lines, {seconds:.2f} CPU-s, {lines / seconds / 1e6:.2f} M lines per CPU-s, peak {peak:,.0f} MiB")


if __name__ == "__main__":
    main(*(kind(text) for kind, text in zip((int, int, float), sys.argv[1:], strict=False)))
