"""What a command costs: ``python -m tests.bench.job_cost python -m jobs.features …`` (Linux).

Wall seconds, CPU seconds of the whole process tree (Spark's JVM and its Python workers too) and the peak of its
memory as proportional set size, so that pages which processes share count once.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOOKED_AT = Path("/proc/self/smaps_rollup")
NEEDS_LINUX = "The benches read CPU and memory from /proc: they need Linux, such as WSL or a container."
TICKS = os.sysconf("SC_CLK_TCK")
INTERVAL = 0.1


@dataclass(frozen=True)
class Cost:
    """Seconds, CPU seconds, MiB; ``said`` is the command's standard output, where it was kept."""

    wall: float
    cpu: float
    peak_mib: float
    exit_code: int
    said: str = ""


def cost(command: Sequence[str], env: Mapping[str, str] | None = None, output: Path | None = None) -> Cost:
    """Runs a command to its end. Both of its streams go to the file, or where ours go."""
    sink = output.open("w") if output else None
    began, cpu, peak = time.monotonic(), {"": 0.0}, 0.0
    before: set[int] = set()
    waited = _waited()
    process = subprocess.Popen(command, env=dict(env) if env else None, stdout=sink, stderr=sink and subprocess.STDOUT)
    while process.poll() is None:
        processes = tree(process.pid)
        cpu.update(map(cpu_seconds, processes))
        # A child between vfork and exec still is its parent, in memory: it would count the JVM twice.
        peak = max(peak, sum(map(pss_mib, processes & before)))
        before = processes
        time.sleep(INTERVAL)
    wall = time.monotonic() - began
    if sink:
        sink.close()
    # Looking misses the last moments of a process, and the sum over waited children those that nobody waited for.
    return Cost(
        wall, max(sum(cpu.values()), _waited() - waited), peak, process.returncode, output.read_text() if output else ""
    )


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


def _waited() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


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


if __name__ == "__main__":
    if not LOOKED_AT.exists():
        sys.exit(NEEDS_LINUX)
    spent = cost(sys.argv[1:])
    print(
        f"wall {spent.wall:.1f} s, cpu {spent.cpu:.1f} s, peak memory {spent.peak_mib:.0f} MiB",
        file=sys.stderr,
    )
    sys.exit(spent.exit_code)
