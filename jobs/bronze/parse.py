"""Lines become texts: one nullable string a contract column, as it stands in the file.

Other readers are no help here: Spark's for JSON takes single quotes, NaN and trailing garbage, and
turns 12.340 into 12.34, whereas the contract judges an amount by its text.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from types import NoneType
from typing import Any, NoReturn, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from jobs.bronze.lines import MAX_LINE
from jobs.common.contract import LandingDataset

MAX_UNKNOWN = 50
"""Unknown column names told apart in one file; the rest is counted as ``OTHERS``."""
OTHERS = "(others)"

Faults = dict[int, tuple[str, str | None]]
"""By position in a block: words that are the same for all such lines, and a detail of this one."""


class BadLine(Exception):
    """A line that is no record. ``rule`` is the same for all such lines, ``detail`` belongs to this one."""

    def __init__(self, rule: str, detail: str | None = None) -> None:
        super().__init__(rule, detail)
        self.rule = rule
        self.detail = detail


@dataclass(frozen=True)
class Texts:
    """Lines as texts, in order.

    Attributes:
        lines: each without its line end; what is no text stays legible by escapes.
        faults: of the lines that are no records.
        unknown: of each line the columns that the contract does not know; None without one.
        columns: the contract's columns, null where a text is missing, empty or blank.
    """

    lines: list[str]
    faults: Faults
    unknown: list[tuple[str, ...] | None]
    columns: list[pa.Array]


class LineReader:
    """Reads the lines of one file, each by itself and with care; it keeps count of the file's unknown columns.

    Args:
        header: a CSV file's column names; None for JSONL.
    """

    def __init__(self, dataset: LandingDataset, header: list[str] | None) -> None:
        self.columns = dataset.columns
        self.shapes = _Shapes(dataset)
        self._read: _Reader = _JsonReader(self.shapes) if header is None else _CsvReader(self.shapes, header)

    def unknown(self, keys: tuple[str, ...]) -> tuple[str, ...] | None:
        """Which of a line's keys the contract does not know, as ``Texts.unknown`` has them."""
        return self.shapes[keys].unknown

    def read(self, lines: Sequence[bytes]) -> Texts:
        """Reads lines without their newlines."""
        texts, faults = _decode(lines)
        nothing = (None,) * len(self.columns)
        rows: list[tuple[Any, ...]] = []
        unknown: list[tuple[str, ...] | None] = []
        for i, text in enumerate(texts):
            row, names = nothing, None
            if i not in faults:
                try:
                    shape, values = self._read(text)
                    row, names = shape.pick((*values, None)), shape.unknown
                except BadLine as bad:
                    faults[i] = (bad.rule, bad.detail) if text.strip() else ("empty line", None)
            rows.append(row)
            unknown.append(names)
        values_of = zip(*rows, strict=True) if rows else [()] * len(self.columns)
        columns = [_text_column(c.name, values, faults) for c, values in zip(self.columns, values_of, strict=True)]
        return Texts(texts, faults, unknown, columns)


# -- one line ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shape:
    """What a sequence of keys means.

    Attributes:
        pick: takes the values beside the keys, and a last None, to the contract's columns.
        unknown: the keys that are no contract columns; None without one.
        twice: a key that is given twice.
    """

    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]]
    unknown: tuple[str, ...] | None
    twice: str | None


class _Shapes:
    """The shapes seen in one file. Most lines share one, so what a line means is found by one look-up."""

    MOST = 1000

    def __init__(self, dataset: LandingDataset) -> None:
        self.columns = [column.name for column in dataset.columns]
        self.known: dict[tuple[str, ...], _Shape] = {}
        self.unknown: set[str] = set()

    def __getitem__(self, keys: tuple[str, ...]) -> _Shape:
        shape = self.known.get(keys)
        if shape is None:
            if len(self.known) == self.MOST:
                self.known.clear()
            shape = self.known[keys] = self._shape(keys)
        return shape

    def _shape(self, keys: tuple[str, ...]) -> _Shape:
        place = {key: i for i, key in enumerate(keys)}
        twice = next((key for i, key in enumerate(keys) if place[key] != i), None)
        unknown = tuple(sorted({self._unknown(key) for key in keys if key not in self.columns}))
        return _Shape(itemgetter(*(place.get(c, -1) for c in self.columns)), unknown or None, twice)

    def _unknown(self, key: str) -> str:
        name = _printable(key)[:80]
        if len(self.unknown) < MAX_UNKNOWN:
            self.unknown.add(name)
        return name if name in self.unknown else OTHERS


class _Reader(Protocol):
    def __call__(self, text: str) -> tuple[_Shape, Sequence[Any]]:
        """The shape of a line and its values in the order of its keys; raises ``BadLine``."""


class _JsonReader:
    """A flat JSON object a line. Numbers stay the text they are."""

    def __init__(self, shapes: _Shapes) -> None:
        self.shapes = shapes
        # Objects become tuples of pairs, which shows a key that is given twice.
        decoder = json.JSONDecoder(
            object_pairs_hook=tuple, parse_float=str, parse_int=str, parse_constant=_refuse_constant
        )
        self.scan = decoder.scan_once  # type: ignore[attr-defined]

    def __call__(self, text: str) -> tuple[_Shape, Sequence[Any]]:
        text = text.strip(" \t")
        try:
            pairs, end = self.scan(text, 0)
        except json.JSONDecodeError as error:
            raise BadLine("broken JSON", f"{error.msg} at character {error.pos + 1}") from None
        except (ValueError, RecursionError) as error:
            raise BadLine("broken JSON", str(error)) from None
        except StopIteration as stop:
            raise BadLine("broken JSON", f"a value is expected at character {stop.value + 1}") from None
        if end != len(text):
            raise BadLine("broken JSON", f"text after the object at character {end + 1}")
        if type(pairs) is not tuple:
            raise BadLine("not a JSON object")
        keys, values = zip(*pairs, strict=True) if pairs else ((), ())
        shape = self.shapes[keys]
        if shape.twice is not None:
            raise BadLine("JSON key given twice", _printable(shape.twice)[:80])
        return shape, values


class _CsvReader:
    """A CSV record a line, of as many fields as the header has.

    Limitation: a field holds no line break, not even within quotes, because every physical line is named,
    counted and judged on its own. Of a record that spans lines the first is refused, as its quotes stay open;
    the others are judged as records of their own, and refused by their number of fields unless that happens
    to be the header's. Commas and doubled quotes within quotes are fine.
    """

    def __init__(self, shapes: _Shapes, header: list[str]) -> None:
        self.header = header
        self.shape = shapes[tuple(header)]

    def __call__(self, text: str) -> tuple[_Shape, Sequence[Any]]:
        try:
            values = next(csv.reader([text], strict=True))
        except csv.Error as error:
            raise BadLine("broken CSV", str(error)) from None
        if len(values) != len(self.header):
            raise BadLine("another number of fields than the header", f"{len(values)}, not {len(self.header)}")
        return self.shape, values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


# -- one block of lines --------------------------------------------------------------------------------------


def _decode(lines: Sequence[bytes]) -> tuple[list[str], Faults]:
    """The lines as text without a carriage return at their end; what is no text stays legible by escapes."""
    if max(map(len, lines), default=0) <= MAX_LINE:
        try:
            texts = b"\n".join(lines).decode().split("\n") if lines else []
            return [text.removesuffix("\r") for text in texts], {}
        except UnicodeDecodeError:
            pass
    texts, faults = [], Faults()
    for i, line in enumerate(lines):
        line = line.removesuffix(b"\r")
        if len(line) > MAX_LINE:
            faults[i] = ("line too long", f"more than {MAX_LINE} bytes, cut here")
        else:
            try:
                line.decode()
            except UnicodeDecodeError as error:
                faults[i] = ("not UTF-8", f"byte {error.start + 1}")
        texts.append(line[:MAX_LINE].decode(errors="backslashreplace"))
    return texts, faults


def _text_column(name: str, values: Sequence[Any], faults: Faults) -> pa.Array:
    """One column's texts, null where empty or blank. Adds a fault where a value is no text, number or boolean."""
    if not set(map(type, values)) <= {str, NoneType}:
        values = [_text(name, value, i, faults) for i, value in enumerate(values)]
    try:
        array = pa.array(values, pa.string())
    except UnicodeEncodeError:
        for i, value in enumerate(values):
            if value is not None and _printable(value) != value:
                faults.setdefault(i, ("half a surrogate pair", name))
        array = pa.array([value and _printable(value) for value in values], pa.string())
    blank = pc.or_(pc.utf8_is_space(array), pc.equal(array, ""))
    return pc.if_else(blank, pa.scalar(None, pa.string()), array) if pc.any(blank).as_py() else array


def _text(name: str, value: Any, position: int, faults: Faults) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        faults.setdefault(position, ("nested value", name))
        return None
    return value


def _printable(text: str) -> str:
    """The text with halves of surrogate pairs, which no encoding takes, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
