"""A side of a comparison: what it is given, what it must do, and how one run of it is measured."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.job_cost import cost

ROOT = Path(__file__).resolve().parents[2]


class CannotRunError(Exception):
    """A side that cannot run here, as one sentence: what is missing and what to do."""


@dataclass(frozen=True)
class Work:
    """What all sides of a case are given.

    Attributes:
        folder: the case's data, made before any side starts; sides only read it.
        scratch: a folder of the side's own.
        size: rows, keys or whatever the family counts in.
        redis_url: a server that all sides of the case share, taking turns; nothing where none is needed.
    """

    folder: Path
    scratch: Path
    size: int
    redis_url: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self), default=str))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Work:
        return cls(**{**data, "folder": Path(data["folder"]), "scratch": Path(data["scratch"])})


@dataclass
class Measured:
    """What one run cost, see ``comparison.Run``."""

    wall: float
    cpu: float
    peak_mib: float
    rows: int
    more: dict[str, float] = field(default_factory=dict)


class Side:
    """Sets up in ``__init__``; ``before`` is not measured, ``run`` is, and ``outcome`` must be equal on all sides."""

    def __init__(self, work: Work) -> None:
        self.work = work

    @property
    def rows(self) -> int:
        return self.work.size

    def before(self) -> None: ...

    def run(self) -> Mapping[str, float] | None:
        """Does the work; returns further figures."""
        raise NotImplementedError

    def outcome(self) -> Any:
        """What came of the last run, as JSON, for comparison with the other sides; None where there is nothing to compare."""

    def close(self) -> None: ...

    def measure(self) -> Measured:
        """One run in this process, children included; the server's CPU seconds stand in ``redis_cpu``."""
        server = _redis_cpu(self.work.redis_url)
        _forget_peak()
        cpu, began = _cpu(), time.perf_counter()
        more = dict(self.run() or {})
        wall, cpu = time.perf_counter() - began, _cpu() - cpu
        if self.work.redis_url:
            more["redis_cpu"] = _redis_cpu(self.work.redis_url) - server
        return Measured(wall, cpu, _peak_mib(), self.rows, more)


class CommandSide(Side):
    """A side that is a command, its start included; ``input`` is the file that it reads from its standard input, if any."""

    env: Mapping[str, str] = {}
    input: Path | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def measure(self) -> Measured:
        log, server = self.work.scratch / "log", _redis_cpu(self.work.redis_url)
        spent = cost(self.command(), {**os.environ, "PYTHONPATH": str(ROOT), **self.env}, log, self.input)
        if spent.exit_code:
            said = [line for line in spent.said.splitlines() if line.strip()] or ["it said nothing"]
            cause = next((line for line in reversed(said) if "error" in line.lower()), said[-1])
            call = " ".join(self.command()[1:3])
            raise CannotRunError(f"{call} ended with exit code {spent.exit_code}: {cause.strip()[:300]}")
        more = {"redis_cpu": _redis_cpu(self.work.redis_url) - server} if self.work.redis_url else {}
        return Measured(spent.wall, spent.cpu, spent.peak_mib, self.rows, more)


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _forget_peak() -> None:
    with suppress(OSError):  # not Linux, or not allowed: then the peak is that since the process began
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> float:
    """Of this process since then. ``getrusage`` would begin with what the parent had when it started this one."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _redis_cpu(url: str) -> float:
    if not url:
        return 0.0
    import redis

    with redis.Redis.from_url(url) as client:
        used = client.info("cpu")
    return float(used["used_cpu_sys"] + used["used_cpu_user"])
