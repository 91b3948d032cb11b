"""What a command costs: ``python -m tests.bench.job_cost python -m jobs.features …`` (Linux).

Wall seconds, CPU seconds of the whole process tree (Spark's JVM and its Python workers too) and the peak of its
memory as proportional set size, so that pages which processes share count once.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

LOOKED_AT = Path("/proc/self/smaps_rollup")
NEEDS_LINUX = "The benches read CPU and memory from /proc: they need Linux, such as WSL or a container."
TICKS = os.sysconf("SC_CLK_TCK")
INTERVAL = 0.1
FIRST_INTERVAL = 0.01


@dataclass(frozen=True)
class Cost:
    """Seconds, CPU seconds, MiB; ``said`` is the command's standard output, where it was kept."""

    wall: float
    cpu: float
    peak_mib: float
    exit_code: int
    said: str = ""


class Watch:
    """Looks at a process and all that descend from it, again and again, from a thread, until ``stop``.

    Args:
        memory_every: seconds between two looks at memory, where each look is too often: one takes some 1 ms for 100 MiB.

    Attributes:
        cpu: seconds that they used since then, those that have ended in between included, but for the last moments of
            these, at most ``INTERVAL``.
        peak_mib: the most memory that all of them had at one moment, MiB.
    """

    def __init__(self, pid: int, memory_every: float = 0.0) -> None:
        self._pid, self._memory_every, self._memory_at = pid, memory_every, 0.0
        self._before = tree(pid)
        self._began = dict(map(cpu_seconds, self._before))
        self._now = dict(self._began)
        self.peak_mib = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    @property
    def cpu(self) -> float:
        return sum(self._now.values()) - sum(self._began.values())

    def stop(self) -> None:
        """Looks a last time."""
        self._stopped.set()
        self._thread.join()
        self._memory_at = 0.0
        self._look()

    def _look_on(self) -> None:
        pause = FIRST_INTERVAL  # a short command is seen more than once, a long one is not disturbed
        while True:
            self._look()
            if self._stopped.wait(pause):
                return
            pause = min(INTERVAL, pause * 2)

    def _look(self) -> None:
        processes = tree(self._pid)
        self._now.update(map(cpu_seconds, processes))
        if time.monotonic() >= self._memory_at:
            # A child between vfork and exec still is its parent, in memory: it would count the JVM twice.
            self.peak_mib = max(self.peak_mib, sum(map(pss_mib, processes & self._before)))
            self._memory_at = time.monotonic() + self._memory_every
        self._before = processes


def cost(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    output: Path | None = None,
    input: Path | None = None,
) -> Cost:
    """Runs a command to its end. Both of its streams go to the file ``output``, or where ours go."""
    with ExitStack() as files:
        sink = files.enter_context(output.open("w")) if output else None
        source = files.enter_context(input.open("rb")) if input else None
        began, waited = time.monotonic(), _waited()
        process = subprocess.Popen(
            command, env=dict(env) if env else None, stdin=source, stdout=sink, stderr=sink and subprocess.STDOUT
        )
        watch = Watch(process.pid)
        exit_code = process.wait()
        wall = time.monotonic() - began
        watch.stop()
    # Looking misses the last moments of a process, and the sum over waited children those that nobody waited for.
    cpu = max(watch.cpu, _waited() - waited)
    return Cost(wall, cpu, watch.peak_mib, exit_code, output.read_text() if output else "")


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
