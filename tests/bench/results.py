"""``docs/benchmarks/results.json``: by family its cases: what each ran on, and every run of every side as one row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.comparison import Line, Ratio, Run, ratio
from tests.bench.harness import Case, Outcome
from tests.bench.side import ROOT

RESULTS = ROOT / "docs" / "benchmarks" / "results.json"


@dataclass(frozen=True)
class CaseResult:
    """One case as the page shows it.

    Attributes:
        size: the case's, by which a run of some sizes knows what it replaces.
        facts: the machine, the versions and the moment, see ``facts.facts``; equal in all cases of one run.
        failed: the sentences of the sides that could not run.
        not_measured: side → metrics that its runs hold and that mean nothing, since the harness of that time measured
            them wrongly; the page leaves them out.
    """

    family: str
    name: str
    title: str
    size: int
    data: str
    facts: dict[str, Any]
    lines: tuple[Line, ...]
    runs: tuple[Run, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    not_measured: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, case: Case, facts: dict[str, Any], outcome: Outcome) -> CaseResult:
        runs = tuple(outcome.runs)
        return cls(case.family, case.name, case.title, case.size, case.data, facts, case.lines, runs, outcome.failed)

    @property
    def sides(self) -> list[str]:
        return list(dict.fromkeys(run.side for run in sorted(self.runs, key=lambda run: (run.round, run.position))))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CaseResult:
        lines = tuple(Line(**line) for line in data["lines"])
        return cls(**{**data, "lines": lines, "runs": tuple(Run(**run) for run in data["runs"])})


@dataclass
class Family:
    """Cases, by size; those of one size are of one run on one machine."""

    cases: list[CaseResult]

    @property
    def runs(self) -> list[Run]:
        return [run for case in self.cases for run in case.runs]

    @property
    def smoke(self) -> bool:
        return any(case.facts.get("smoke") for case in self.cases)

    def ratios(self) -> list[tuple[CaseResult, Line, Ratio | None]]:
        return [
            (case, line, ratio(self._runs_for(case, line), case.name, line))
            for case in self.cases
            for line in case.lines
        ]

    def _runs_for(self, case: CaseResult, line: Line) -> list[Run]:
        """Cases of two sizes may have one name: a peer of another case is one of the same size."""
        peers = [c for c in self.cases if c is not case and (c.name, c.size) == (line.case_of_peer, case.size)]
        return [run for c in [case, *peers] for run in c.runs]

    def with_sizes(self, made: Family) -> Family:
        """The cases of the sizes that were made replaced, none of the others touched."""
        sizes = {case.size for case in made.cases}
        kept = [case for case in self.cases if case.size not in sizes]
        return Family(sorted([*kept, *made.cases], key=lambda case: case.size))


def read(path: Path = RESULTS) -> dict[str, Family]:
    if not path.exists():
        return {}
    data = json.loads(path.read_text(encoding="utf-8"))
    return {name: Family([CaseResult.from_json(case) for case in cases]) for name, cases in data.items()}


def write(families: Mapping[str, Family], path: Path = RESULTS) -> None:
    data = {name: [case.to_json() for case in family.cases] for name, family in sorted(families.items())}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False, default=dict) + "\n", encoding="utf-8")
