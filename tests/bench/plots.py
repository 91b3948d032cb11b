"""The page's pictures from ``results.json``: ``.bench-venv/bin/python -m tests.bench.plots``. Needs matplotlib alone.

Each SVG carries the digest of the family that it shows, so that a test can tell an old one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.bench.page import METRICS
from tests.bench.results import RESULTS, Family, read

OURS, THEIRS = "#2f6f4f", "#b5482f"


def digest(family: Family) -> str:
    cases = json.dumps([case.to_json() for case in family.cases], sort_keys=True, default=dict)
    return hashlib.sha256(cases.encode()).hexdigest()[:16]


def picture(name: str) -> Path:
    return RESULTS.parent / f"{name}.svg"


def draw(name: str, family: Family) -> Path:
    """All ratios of a family on one logarithmic axis: the median as a dot, the spread as a bar."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": name, "svg.fonttype": "none"}  # equal figures make equal bytes; texts stay texts
    import matplotlib.pyplot as plt

    lines = [(case, line, value) for case, line, value in family.ratios() if value is not None]
    figure, axes = plt.subplots(figsize=(9, max(1.6, 0.34 * len(lines) + 1)), layout="constrained")
    for y, (_, line, value) in enumerate(lines):
        colour = OURS if value.median >= 1 else THEIRS
        axes.plot([value.low, value.high], [y, y], color=colour, linewidth=5, alpha=0.35, solid_capstyle="butt")
        axes.plot(value.median, y, "o", color=colour)
        axes.annotate(f"{value.median:,.3g}", (value.median, y), (6, 4), textcoords="offset points", fontsize=8)
        if line.target:
            axes.plot(line.target, y, "|", color="black", markersize=11)
    labels = [
        f"{case.title}: {line.ours} / {line.peer}, {METRICS[line.metric]}{' beyond start' if line.beyond else ''}"
        for case, line, _ in lines
    ]
    axes.set_yticks(range(len(lines)), labels, fontsize=7)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("times better than the peer (median, lowest to highest; | target)", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if family.smoke:
        axes.set_title("A smoke run among them: its figures mean nothing", fontsize=9)
    path = picture(name)
    metadata: dict[str, Any] = {"Date": None, "Description": digest(family)}
    figure.savefig(path, metadata=metadata)
    plt.close(figure)
    return path


if __name__ == "__main__":
    families = read()
    for old in RESULTS.parent.glob("*.svg"):
        if old.stem not in families:
            old.unlink()
    for name, family in families.items():
        print(f"docs/benchmarks/{draw(name, family).name}")
