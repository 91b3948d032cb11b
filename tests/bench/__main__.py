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

import click

from tests.bench import page, results
from tests.bench.comparison import MIN_PAIRS, Line, Ratio
from tests.bench.facts import facts
from tests.bench.families.generate import BENCH_PYTHON
from tests.bench.harness import Case, UnequalError, run_case
from tests.bench.results import CaseResult, Family
from tests.bench.side import ROOT, CannotRunError

FAMILIES = tuple(page.TITLES)
QUICK = ("load", "read", "generate", "http")


@click.command()
@click.option("--family", type=click.Choice(FAMILIES), help="One family alone; its part of the results is replaced.")
@click.option("--pairs", type=click.IntRange(1), default=MIN_PAIRS, show_default=True, help="Rounds of every case.")
@click.option(
    "--size",
    type=click.IntRange(1),
    multiple=True,
    help="A size in place of the family's own, or some; needs --family.",
)
@click.option("--quick", is_flag=True, help="A small version; fails where a ratio is below its floor, writes nothing.")
@click.option("--smoke", is_flag=True, help="Marks what is written as a run whose figures mean nothing.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Keeps the made-up data there.")
def main(family: str | None, pairs: int, size: tuple[int, ...], quick: bool, smoke: bool, data: Path | None) -> None:
    """Compares this project with what people use, side by side."""
    if size and not family:
        raise click.UsageError("A size means rows in one family and cards in another: name the family, FAMILY=load.")
    chosen = [family] if family else QUICK if quick else FAMILIES
    root = data or Path(tempfile.mkdtemp(prefix="fti-bench-", dir=os.environ.get("TMPDIR")))
    known, bad = results.read(), []
    try:
        for name in chosen:
            done = Family(facts() | ({"smoke": True} if smoke else {}), [])
            for _ in _run(name, done, pairs, size, quick, root.resolve()):
                if not quick:  # after every case: a family may take an hour
                    known[name] = done
                    results.write(known)
                    page.PAGE.write_text(page.text(known), encoding="utf-8")
            bad += _problems(done, quick)
    finally:
        if not data:
            shutil.rmtree(root, ignore_errors=True)
    if not quick:
        _draw()
    for problem in bad:
        print(f"FAILED {problem}", file=sys.stderr)
    sys.exit(1 if bad else 0)


def _run(name: str, made: Family, pairs: int, sizes: Sequence[int], quick: bool, root: Path) -> Iterator[CaseResult]:
    """Runs the cases of a family, adds the result of each to it, and yields it."""
    cases = importlib.import_module(f"tests.bench.families.{name}").cases
    chosen: list[Case] = [case for size in sizes or (None,) for case in cases(size, quick)]
    for case in chosen:
        print(f"{page.TITLES[name]}: {case.title}", flush=True)
        try:
            outcome = run_case(case, pairs, root, lambda text: print(text, flush=True))
            result = CaseResult.of(case, outcome)
        except (CannotRunError, UnequalError, subprocess.CalledProcessError) as error:
            print(f"  no result: {error}", flush=True)
            result = CaseResult(name, case.name, case.title, case.data, case.lines, (), {"all": str(error)})
        made.cases.append(result)
        for of, line, value in made.ratios():
            if of is result and result.runs:
                print(f"  {_words(line, value)}", flush=True)
        yield result


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


def _draw() -> None:
    if BENCH_PYTHON.exists():
        subprocess.run([BENCH_PYTHON, "-m", "tests.bench.plots"], cwd=ROOT, check=True)
    else:
        print("No pictures: matplotlib is in .bench-venv, which `make bench` makes.", file=sys.stderr)


if __name__ == "__main__":
    main()
