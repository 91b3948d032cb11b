"""What a job costs: ``python tests/bench/job_cost.py python -m jobs.features …`` (Linux).

Prints wall seconds, CPU seconds of the whole process tree (Spark's JVM and its Python workers too) and the peak of its
memory as proportional set size, so that pages which processes share count once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
INTERVAL = 0.25


def tree(pid: int) -> set[int]:
    """The process and all that descend from it."""
    found = {pid}
    for task in _entries(f"/proc/{pid}/task"):
        for child in _read(f"{task}/children").split():
            found |= tree(int(child))
    return found


def cpu_seconds(pid: int) -> tuple[str, float]:
    """A name that tells the process from others that get its id later, and its CPU seconds so far."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (f"{pid}/{fields[19]}", (int(fields[11]) + int(fields[12])) / TICKS) if fields else ("", 0.0)


def pss_mib(pid: int) -> float:
    lines = _read(f"/proc/{pid}/smaps_rollup").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # it has ended
        return ""


def _entries(folder: str) -> list[Path]:
    try:
        return list(Path(folder).iterdir())
    except OSError:
        return []


def main(command: list[str]) -> int:
    began, cpu, peak = time.monotonic(), {"": 0.0}, 0.0
    before: set[int] = set()
    process = subprocess.Popen(command)
    while process.poll() is None:
        processes = tree(process.pid)
        cpu.update(map(cpu_seconds, processes))
        # A child between vfork and exec still is its parent, in memory: it would count the JVM twice.
        peak = max(peak, sum(map(pss_mib, processes & before)))
        before = processes
        time.sleep(INTERVAL)
    wall = time.monotonic() - began
    print(f"wall {wall:.1f} s, cpu {sum(cpu.values()):.1f} s, peak memory {peak:.0f} MiB", file=sys.stderr)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
