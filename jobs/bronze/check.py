"""One landed file becomes checked rows: accepted ones with typed columns, refused ones with their reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from jobs.bronze.landing import header_names, is_csv
from jobs.bronze.lines import MAX_LINE, blocks, chunks
from jobs.bronze.parse import LineReader
from jobs.bronze.rules import BrokenRule, typed_schema, typed_values
from jobs.bronze.templates import Template, csv_template, json_template
from jobs.common.contract import LandingDataset
from jobs.common.lake import Lake

MOST_TEMPLATES = 16
"""Of one file. Each costs a look at every line that those before it do not match."""
WORTH_A_TEMPLATE = 64
"""Lines: fewer are read with care at once."""
MOST_PROBES = 8
"""Lines of one block that may turn out to have no template, before all others are read with care as well."""
ROWS_AT_ONCE = 1 << 14
"""Lines that are read with care together: as Python objects a short one is a hundred times its size."""


@dataclass
class Tally:
    """What lines came to, before duplicates are found.

    Attributes:
        accepted: lines that keep every rule.
        reasons: broken rule → lines.
        first: broken rule → ``file:line`` of the first line that breaks it.
        unknown_columns: name → lines that have it.
    """

    accepted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    unknown_columns: Counter[str] = field(default_factory=Counter)

    @property
    def quarantined(self) -> int:
        return self.reasons.total()

    @property
    def lines(self) -> int:
        return self.accepted + self.quarantined

    def add(self, other: Tally) -> None:
        """Adds the counts of lines that stand behind those counted so far."""
        self.accepted += other.accepted
        self.reasons += other.reasons
        self.first = other.first | self.first
        self.unknown_columns += other.unknown_columns


@dataclass(frozen=True)
class Refused:
    """A bad line, or (with number 0) a file that is set aside."""

    number: int
    reason: str
    raw_line: str | None


@dataclass(frozen=True)
class Checked:
    """A block of lines.

    Attributes:
        accepted: batches of ``typed_schema`` and a last column ``source_line``, not in the order of lines.
        refused: in the order of lines.
    """

    accepted: list[pa.RecordBatch]
    refused: list[Refused]
    tally: Tally


def accepted_schema(dataset: LandingDataset) -> pa.Schema:
    return typed_schema(dataset).append(pa.field("source_line", pa.int64()))


def check_file(lake: Lake, dataset: LandingDataset, path: str, name: str) -> Iterator[Checked]:
    """Reads a landed file of some known ending, a few MiB of text at a time. ``name`` is what it is called in a tally."""
    return check_blocks(dataset, name, is_csv(path), blocks(chunks(lake, path)))


def check_blocks(dataset: LandingDataset, name: str, csv: bool, texts: Iterable[bytes]) -> Iterator[Checked]:
    """Checks blocks of whole lines, each with its newline; the first line of a CSV is its header."""
    checker, number = None if csv else _Checker(dataset, name, None), 1
    for block in texts:
        if checker is None:
            header, _, block = block.partition(b"\n")
            checker = _Checker(dataset, name, header_names(header))
            number += 1
        if block:
            checked = checker.check(block, number)
            number += checked.tally.lines
            yield checked


class _Checker:
    def __init__(self, dataset: LandingDataset, name: str, header: list[str] | None) -> None:
        self.dataset = dataset
        self.name = name
        self.header = header
        self.reader = LineReader(dataset, header)
        self.schema = accepted_schema(dataset)
        self.templates: Counter[Template] = Counter()  # and how many lines each has matched

    def check(self, block: bytes, number: int) -> Checked:
        """Checks the lines of a block of which the first has the number."""
        text = np.frombuffer(block, np.uint8)
        ends = np.concatenate([[0], np.flatnonzero(text == ord("\n")) + 1]).astype(np.int32)
        lines = pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(block))
        block_of = _Block(lines, self.name, number, np.diff(ends) <= MAX_LINE, [], [], Tally())
        rest = np.arange(len(lines))
        for template, _ in self.templates.most_common():
            if len(rest):
                rest = self._match(template, block_of, rest)
        probes = 0
        while len(rest) >= WORTH_A_TEMPLATE and probes < MOST_PROBES and len(self.templates) < MOST_TEMPLATES:
            another = self._template(lines[rest[0]].as_buffer().to_pybytes())
            if another:
                rest = self._match(another, block_of, rest)
            else:
                self._read(block_of, rest[:1])
                rest, probes = rest[1:], probes + 1
        for at in range(0, len(rest), ROWS_AT_ONCE):
            self._read(block_of, rest[at : at + ROWS_AT_ONCE])
        block_of.refused.sort(key=lambda refused: refused.number)
        return Checked(block_of.accepted, block_of.refused, block_of.tally)

    def _template(self, line: bytes) -> Template | None:
        if self.header is None:
            return json_template(self.dataset, line)
        return csv_template(self.dataset, self.header, line)

    def _match(self, template: Template, block: _Block, rest: np.ndarray) -> np.ndarray:
        """Takes the lines that match a template; returns the others."""
        lines = block.lines if len(rest) == len(block.lines) else block.lines.take(pa.array(rest))
        matches = template.matches(lines) & block.short[rest]
        found = rest[matches]
        self.templates[template] += len(found)
        if len(found):
            columns = template.columns(lines if len(found) == len(lines) else lines.filter(pa.array(matches)))
            block.accept(self.schema, columns, found)
            names = self.reader.unknown(template.keys)
            block.tally.unknown_columns.update(dict.fromkeys(names or (), len(found)))
        return rest[~matches]

    def _read(self, block: _Block, rest: np.ndarray) -> None:
        """Reads lines with care."""
        read = self.reader.read([block.lines[i].as_buffer().to_pybytes()[:-1] for i in rest])
        rows, places = [], []
        for i, texts in enumerate(zip(*(column.to_pylist() for column in read.columns), strict=True)):
            block.tally.unknown_columns.update(read.unknown[i] or ())
            if i in read.faults:
                rule, detail = read.faults[i]
                block.refuse(rest[i], rule, rule if detail is None else f"{rule}: {detail}", read.lines[i])
            else:
                try:
                    rows.append(typed_values(self.dataset, texts))
                    places.append(rest[i])
                except BrokenRule as broken:
                    block.refuse(rest[i], broken.rule, broken.reason, read.lines[i])
        if rows:
            columns = [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), self.schema, strict=False)]
            block.accept(self.schema, columns, np.array(places))


@dataclass
class _Block:
    """Lines of a file, and what has become of some of them. ``short`` tells which are no longer than a line may be."""

    lines: pa.StringArray
    name: str
    number: int
    short: np.ndarray
    accepted: list[pa.RecordBatch]
    refused: list[Refused]
    tally: Tally

    def accept(self, schema: pa.Schema, columns: Sequence[pa.Array], places: np.ndarray) -> None:
        numbers = pa.array(self.number + places.astype(np.int64))
        self.accepted.append(pa.record_batch([*columns, numbers], schema))
        self.tally.accepted += len(places)

    def refuse(self, place: int, rule: str, reason: str, raw_line: str) -> None:
        number = self.number + int(place)
        self.refused.append(Refused(number, reason, raw_line))
        self.tally.reasons[rule] += 1
        self.tally.first.setdefault(rule, f"{self.name}:{number}")  # none before it is refused later
