"""The numbers that every way to run the pipeline must come to: those of the embedded mode."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def demo_digests(home: Path, *options: str) -> dict[str, str]:
    """Runs the embedded mode with this checkout's own Python and returns its digests, by product."""
    command = [sys.executable, "-m", "embedded.demo", "--home", str(home), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((home / "summary.json").read_text())["digests"]
