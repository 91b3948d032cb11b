"""Runs what the docs show, on the demo's lake: ``python -m tests.docs.run_commands``, after ``make demo``.

Blocks that need the reader's own lake, bucket or card are told apart by what stands in them, and are named as not run.
Those that need the stack are run by ``make e2e-compose``, those that need the cluster by ``make e2e-kind``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / ".demo"
THE_READERS_OWN = ("/data/lake", "s3://", "your-")
"""A lake, a bucket, an account."""
THE_STACKS = ("docker ", "localhost:8080", "make compose-")
THE_CLUSTERS = (
    "kubectl ",
    "helm ",
    *(f"make {verb}" for verb in ("kind-", "run ", "card", "logs ", "status", "doctor")),
)
THE_SERVICES = ("localhost:8090", "jobs.serve")
NEW_CODE = ("jobs.volume",)
"""Of a page that has a test of its own."""


def blocks() -> list[tuple[str, str, str]]:
    """(page, language, text) of every code block of the docs that a person would type."""
    found = []
    for page in sorted((ROOT / "docs").glob("*.md")):
        for language, text in re.findall(r"```(bash|python)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            found.append((page.name, language, text))
    return found


def left_out(text: str) -> str | None:
    """Why a block is not run here, if it is not."""
    for marks, why in (
        (THE_READERS_OWN, "not run, needs the reader's own"),
        (THE_CLUSTERS, "left to make e2e-kind"),
        (THE_STACKS, "left to make e2e-compose"),
        (THE_SERVICES, "left to tests/serve"),
        (NEW_CODE, "left to its own test"),
        (("make ",), "called by .ci/run itself"),
    ):
        if any(mark in text for mark in marks):
            return why
    return None


def main() -> int:
    environment = {
        **os.environ,
        "LAKE_URI": (DEMO / "lake").as_uri(),
        "FEAST_REGISTRY_URL": f"sqlite:///{DEMO}/feast/registry.db",
        "PYTHONPATH": str(ROOT),
    }
    ran = 0
    for page, language, text in blocks():
        first = text.strip().splitlines()[0][:90]
        if why := left_out(text):
            print(f"{why}: {page}: {first}")
            continue
        command = ["bash", "-euc", text] if language == "bash" else [sys.executable, "-c", text]
        print(f"running: {page}: {first}", flush=True)
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            print(f"It ended with {done.returncode}:\n{done.stdout}{done.stderr}", file=sys.stderr)
            return 1
        ran += 1
    print(f"{ran} blocks of the docs ran")
    return 0 if ran else 1


if __name__ == "__main__":
    sys.exit(main())
