"""``python -m tests.bench``: runs families of comparisons and writes their rows down. See the Makefile."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from tests.bench import job_cost, page, results
from tests.bench.comparison import MIN_PAIRS, Line, Ratio
from tests.bench.facts import facts
from tests.bench.families.generate import BENCH_PYTHON
from tests.bench.harness import Case, Outcome, UnequalError, run_case
from tests.bench.results import CaseResult, Family
from tests.bench.side import ROOT, CannotRunError

FAMILIES = tuple(page.TITLES)
QUICK = ("load", "read", "generate", "http")


@click.command()
@click.option("--family", type=click.Choice(FAMILIES), help="One family alone; the other families' results stay.")
@click.option("--pairs", type=click.IntRange(1), default=MIN_PAIRS, show_default=True, help="Rounds of every case.")
@click.option(
    "--size",
    type=click.IntRange(1),
    multiple=True,
    help="A size in place of the family's own, or some, whose part alone is replaced; needs --family.",
)
@click.option("--quick", is_flag=True, help="A small version; fails where a ratio is below its floor, writes nothing.")
@click.option("--smoke", is_flag=True, help="Marks what is written as a run whose figures mean nothing.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Keeps the made-up data there.")
def main(family: str | None, pairs: int, size: tuple[int, ...], quick: bool, smoke: bool, data: Path | None) -> None:
    """Compares this project with what people use, side by side."""
    if not job_cost.LOOKED_AT.exists():
        raise click.ClickException(job_cost.NEEDS_LINUX)
    if size and not family:
        raise click.UsageError("A size means rows in one family and cards in another: name the family, FAMILY=load.")
    chosen = [family] if family else QUICK if quick else FAMILIES
    root = data or Path(tempfile.mkdtemp(prefix="fti-bench-", dir=os.environ.get("TMPDIR")))
    known, bad = results.read(), []
    try:
        for name in chosen:
            ran = facts() | ({"smoke": True} if smoke else {})
            old, done = known.get(name, Family([])) if size else Family([]), Family([])
            for result in _run(name, ran, pairs, size, quick, root.resolve()):
                done.cases.append(result)
                _say_ratios(done, result)
                if not quick:  # after every case: a family may take an hour
                    known[name] = old.with_sizes(done)
                    results.write(known)
                    page.PAGE.write_text(page.text(known), encoding="utf-8")
            bad += _problems(done, quick)
    finally:
        if not data:
            shutil.rmtree(root, ignore_errors=True)
    for problem in bad:
        print(f"FAILED {problem}", file=sys.stderr)
    undrawn = "" if quick else _draw()
    if undrawn:
        print(undrawn, file=sys.stderr)
    sys.exit(1 if bad or undrawn else 0)


def _run(
    name: str, ran: dict[str, Any], pairs: int, sizes: Sequence[int], quick: bool, root: Path
) -> Iterator[CaseResult]:
    """Runs the cases of a family, one after the other."""
    cases = importlib.import_module(f"tests.bench.families.{name}").cases
    chosen: list[Case] = [case for size in sizes or (None,) for case in cases(size, quick)]
    for case in chosen:
        print(f"{page.TITLES[name]}: {case.title}", flush=True)
        try:
            outcome = run_case(case, pairs, root, lambda text: print(text, flush=True))
        except (CannotRunError, UnequalError, subprocess.CalledProcessError) as error:
            print(f"  no result: {error}", flush=True)
            outcome = Outcome(failed={"all": str(error)})
        yield CaseResult.of(case, ran, outcome)


def _say_ratios(family: Family, of: CaseResult) -> None:
    for case, line, value in family.ratios():
        if case is of and of.runs:
            print(f"  {_words(line, value)}", flush=True)


def _problems(family: Family, quick: bool) -> list[str]:
    problems = [f"{case.title}: {side}: {why}" for case in family.cases for side, why in case.failed.items()]
    for case, line, value in family.ratios() if quick else []:
        if line.floor is not None and value is not None and value.median < line.floor:
            problems.append(f"{case.title}: {_words(line, value)}, below its floor of {line.floor:g}")
    return problems


def _words(line: Line, value: Ratio | None) -> str:
    what = f"{line.ours} against {line.peer}, {page.METRICS[line.metric]}{' beyond start' if line.beyond else ''}"
    if value is None:
        return f"{what}: not measured"
    return f"{what}: {value.median:.3g} times better ({value.low:.3g} to {value.high:.3g}, {len(value.values)} rounds)"


def _draw() -> str:
    """Draws the pictures; a sentence where that fails."""
    if not BENCH_PYTHON.exists():
        return "No pictures: matplotlib is in .bench-venv, which `make bench` makes."
    done = subprocess.run([BENCH_PYTHON, "-m", "tests.bench.plots"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    if not done.returncode:
        return ""
    said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    return f"No pictures, the rows are written: {said[0]}; `.bench-venv/bin/python -m tests.bench.plots` draws them."


if __name__ == "__main__":
    main()
