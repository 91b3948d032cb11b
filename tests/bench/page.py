"""``docs/benchmarks.md`` from ``results.json``: ``python -m tests.bench.page``. A test holds it current."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tests.bench.comparison import MIN_PAIRS, Line, Ratio, median_of
from tests.bench.results import ROOT, CaseResult, Family, read

PAGE = ROOT / "docs" / "benchmarks.md"
TITLES = {
    "load": "Load: a file of features into Redis",
    "read": "Read: features of some cards, in process",
    "http": "HTTP: features of some cards, under load",
    "generate": "Generate: made-up transactions",
    "bronze": "Bronze: landed lines checked and typed",
    "features": "Features: all products, all columns",
    "whole": "Whole: a day's file lands, its features are in Redis",
}
METRICS = {
    "wall": "time",
    "cpu": "CPU",
    "wall_per_row": "time a row",
    "cpu_per_row": "CPU a row",
    "peak_mib": "memory",
    "p50_ms": "p50",
    "p99_ms": "p99",
    "requests_per_s": "requests a second",
    "load_s": "time of the load",
}
_STAGES = ("bronze", "features", "load")
EXTRAS = {
    "redis_cpu": "Redis CPU, s",
    **{f"{stage}_s": f"{stage}, s" for stage in _STAGES},
    **{f"{stage}_mib": f"{stage}, MiB" for stage in _STAGES},
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "p99.9_ms": "p99.9, ms",
    "requests_per_s": "requests/s",
    "failures": "failures",
}
_HEAD = """<!-- Written by `make bench`, or from docs/benchmarks/results.json by `make docs`. -->

# Benchmarks

What this project is faster than, and what is faster than it. All sides of a table worked on the same data on one machine,
in one run of `make bench`: each in a process of its own, in turns, every second round in the opposite order. The tables are
of several runs: above those of one stand its time and its commit. A ratio says how many times better ours is than the peer
in the same round; below 1, the peer is ahead. The median of the rounds stands first, the lowest and the highest in brackets.
A peer with the name of a table in brackets ran in that table: before or after ours in the same run, not in turns with it.
After the first round, what the sides made is compared: where it differs, there is no table. A table in which nothing is
compared says so.

CPU is that of a side's whole process tree, Redis apart. Memory is a peak: of a command and of a server that of the whole
tree, pages that processes share counted once, looked at ten times a second, a server's once a second; of a side that is
called in process (load and read, but for redis-cli) that of the bench's process in which it ran, with all its imports.
"Beyond Spark's start" takes off what Spark with the jobs' settings costs before it does anything. Every run of every side
is a row of [results.json](benchmarks/results.json).

```bash
make bench                                   # everything: hours, and 30 GB of disk
make bench FAMILY=load                       # one family: all its tables are replaced, the other families' stay
make bench FAMILY=load SIZE=200000 PAIRS=5   # one size of it, or some: its tables of other sizes stay, too
make bench-quick                             # three minutes; fails where a ratio is below its floor
```

They need Linux, such as WSL or a container: CPU and memory are read from `/proc`.

How it works, and how to add a side: [`tests/bench/`](../tests/bench/README.md)."""


def text(families: Mapping[str, Family]) -> str:
    """The page."""
    parts = [_HEAD]
    if not families:
        parts.append("**No run is recorded yet.** `make bench` fills this page.")
    else:
        if any(family.smoke for family in families.values()):
            parts.append(
                "> **A smoke run.** Some tables below come of runs on tiny data or a busy machine that show that the "
                "harness works; their figures mean nothing. They say so."
            )
        parts += ["## Where we lose", _verdicts(families, _is_lost, "Nowhere.")]
        parts += ["## Targets that are missed", _verdicts(families, _is_missed, "None.")]
        if failed := [
            f"- {case.title}, {side}: {why}" for case in _cases(families) for side, why in case.failed.items()
        ]:
            parts += ["## What did not run", "\n".join(failed)]
        machines = {_machine(case.facts) for case in _cases(families)}
        if len(machines) == 1:
            parts += ["## The machine", *machines]
        for name in TITLES:
            if name in families:
                parts += _family(name, families[name], len(machines) > 1)
    return "\n\n".join(parts) + "\n"


def _cases(families: Mapping[str, Family]) -> Iterable[CaseResult]:
    return (case for name in TITLES if name in families for case in families[name].cases)


def _family(name: str, family: Family, with_machine: bool) -> list[str]:
    parts = [f"## {TITLES[name]}", f"![The ratios of this family](benchmarks/{name}.svg)"]
    ran: dict[str, Any] | None = None
    for case in family.cases:
        if case.facts != ran:
            ran = case.facts
            parts.append(_run(ran, with_machine))
        parts += [f"### {case.title}", case.data]
        if case.runs:
            parts.append(_sides(case))
        if ratios := [_row(case, line, value, family) for c, line, value in family.ratios() if c is case]:
            parts.append(_table(["ours", "against", "in", "times better", "rounds", "target"], ratios))
        if case.name.endswith("drift") and case.runs:
            parts.append(_drift(case))
    return parts


def _run(facts: Mapping[str, Any], with_machine: bool) -> str:
    smoke = "**Smoke run: the figures mean nothing.** " if facts.get("smoke") else ""
    machine = f" {_machine(facts)}" if with_machine else ""
    return (
        f"{smoke}Run of {facts['when']}, commit `{facts['commit']}`, load of the machine before it "
        f"{facts['load_before']}.{machine}"
    )


def _machine(facts: Mapping[str, Any]) -> str:
    machine, versions = facts["machine"], facts["versions"]
    known = ", ".join(f"{what} {version}" for what, version in versions.items() if version and version != "unknown")
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}. {known}."


def _sides(case: CaseResult) -> str:
    extras = [name for name in EXTRAS if any(name in run.more for run in case.runs)]
    rows = []
    for side in sorted(case.sides):
        wrong = case.not_measured.get(side, ())
        figures = [
            None if name in wrong else median_of(case.runs, case.name, side, name)
            for name in ("wall", "cpu", "peak_mib", *extras)
        ]
        rows.append([side, _rows_of(case, side), *(_number(figure) for figure in figures)])
    return _table(["side", "rows", "time, s", "CPU, s", "memory, MiB", *(EXTRAS[name] for name in extras)], rows)


def _rows_of(case: CaseResult, side: str) -> str:
    return f"{max(run.rows for run in case.runs if run.side == side):,}"


def _row(case: CaseResult, line: Line, value: Ratio | None, family: Family) -> list[str]:
    metric = METRICS[line.metric] + (f", beyond {line.beyond}" if line.beyond else "")
    peer = line.peer
    if line.case_of_peer and line.case_of_peer != case.name:
        other = next((c.title for c in family.cases if c.name == line.case_of_peer), line.case_of_peer)
        peer = f"{peer} ({other})"
    if value is None:
        return [line.ours, peer, metric, "not measured", "", _target(line)]
    shown = f"**{_number(value.median)}** ({_number(value.low)} to {_number(value.high)})"
    return [line.ours, peer, metric, shown, f"{len(value.values)}{_few(value)}", _target(line, value)]


def _few(value: Ratio) -> str:
    return "" if len(value.values) >= MIN_PAIRS else ", too few"


def _target(line: Line, value: Ratio | None = None) -> str:
    if line.target is None:
        return ""
    verdict = "" if value is None else ", met" if value.median >= line.target else ", missed"
    return f"{_number(line.target)}{verdict}"


def _drift(case: CaseResult) -> str:
    rows = []
    for side in sorted(case.sides):
        runs = sorted((run for run in case.runs if run.side == side), key=lambda run: run.round)
        third = max(1, len(runs) // 3)
        for metric in ("p99_ms", "requests_per_s"):
            first, last = (median_of(part, case.name, side, metric) for part in (runs[:third], runs[-third:]))
            if first and last:
                rows.append([side, METRICS[metric], _number(first), _number(last), _number(last / first)])
    return _table(["side", "in", "first third", "last third", "last over first"], rows)


def _is_lost(line: Line, value: Ratio) -> bool:
    return value.median < 1


def _is_missed(line: Line, value: Ratio) -> bool:
    return line.target is not None and value.median < line.target


def _verdicts(families: Mapping[str, Family], holds: Callable[[Line, Ratio], bool], nothing: str) -> str:
    found = []
    for name in TITLES:
        for case, line, value in families[name].ratios() if name in families else []:
            if value is not None and holds(line, value):
                metric = METRICS[line.metric] + (f" beyond {line.beyond}" if line.beyond else "")
                aim = f", the target is {_number(line.target)}" if line.target else ""
                smoke = " (smoke run)" if case.facts.get("smoke") else ""
                found.append(
                    f"- {case.title}: {line.ours} against {line.peer}, {metric}: {_number(value.median)}{aim}{smoke}"
                )
    return "\n".join(found) or nothing


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(text(read()), encoding="utf-8")
    print(PAGE.relative_to(ROOT))
