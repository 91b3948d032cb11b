r"""Lines that are alike are read together: one regular expression proves them good, Arrow and NumPy read their values.

A template is what a line looks like but for its values: the same keys in the same order, the same blanks, the same
quotes. Its expression lets a value vary only within a *plain* form of its kind, a part of what the contract allows in
which nothing needs care: no escape, no blank text, no 29 February, no amount of 0. So a line that matches is whole,
in UTF-8, of the right form and keeps every rule; and as no value holds the template's mark (the quote of JSON, the
comma of CSV), counting marks finds the values. A line that matches no template says nothing about itself: it is read
with care, by ``parse`` and ``rules``, as if there were no templates.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.bronze.lines import MAX_LINE
from jobs.bronze.rules import TIME, typed_schema
from jobs.common.contract import Column, Kind, LandingDataset

# RE2's syntax. In text it matches valid UTF-8 alone, but for halves of surrogate pairs.
_NO_TEXT = r"\x00-\x1f\x{d800}-\x{dfff}"
_JSON_TEXT = rf'[^"\\{_NO_TEXT}]*'
_CSV_TEXT = rf'[^",{_NO_TEXT}]*'
_DATE = r"[12]\d{3}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_PLAIN = {
    Kind.TIME: rf"{_DATE}[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{{1,6}})?(?:Z|[+-](?:0\d|1[0-7]):[0-5]\d)",
    Kind.AMOUNT: r"(?:[1-9]\d{0,12}(?:\.\d{1,2})?|0\.(?:[1-9]\d?|0[1-9]))",
    Kind.MCC: r"\d{4}",
    Kind.CURRENCY: Kind.CURRENCY.pattern,
    Kind.COUNTRY: Kind.COUNTRY.pattern,
    Kind.CHANNEL: f"(?:{Kind.CHANNEL.pattern})",
    Kind.STATUS: f"(?:{Kind.STATUS.pattern})",
    Kind.BOOLEAN: "(?:true|false)",
    Kind.LATITUDE: r"-?(?:\d|[1-8]\d)(?:\.\d{1,17})?",
    Kind.LONGITUDE: r"-?(?:\d|[1-9]\d|1[0-7]\d)(?:\.\d{1,17})?",
}
"""By kind the plain texts, in quotes or (but for those that are no JSON number) without."""
_JSON_BARE = {
    Kind.TEXT: r"(?:0|[1-9]\d*)",
    Kind.MCC: r"[1-9]\d{3}",
    **{kind: _PLAIN[kind] for kind in (Kind.AMOUNT, Kind.BOOLEAN, Kind.LATITUDE, Kind.LONGITUDE)},
}
_JSON_ANY_BARE = r"(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)"
# An escape of a quote is left out, because quotes are counted.
_JSON_ANY_TEXT = rf'(?:[^"\\{_NO_TEXT}]|\\[\\/bfnrt]|\\u[0-9A-Fa-f]{{4}})*'

_JSON_PAIR = re.compile(
    rb'(?P<before>[{,][ \t]*"(?P<key>[^"\\\x00-\x1f]*)"[ \t]*:[ \t]*)(?:"(?P<text>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s",{}\[\]]+))'
    rb"(?P<after>[ \t]*)"
)
MOST_KEYS = 100
"""Of a template: the expression for thousands would be too large."""
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
_JSON_END = re.compile(rb"\}\r?\n\Z")


@dataclass(frozen=True)
class Template:
    """Lines that are alike.

    Attributes:
        keys: of its values, in their order.
        fixed: the texts before, between and after the values; one more than there are keys.
        quoted: by key, whether its value stands in quotes (which are part of the fixed texts).
        mark: a byte that no value holds.
    """

    dataset: LandingDataset
    keys: tuple[str, ...]
    fixed: tuple[bytes, ...]
    quoted: tuple[bool, ...]
    mark: bytes

    def matches(self, lines: pa.StringArray) -> np.ndarray:
        """Which lines it proves good."""
        return pc.match_substring_regex(lines, self._pattern).to_numpy(zero_copy_only=False)

    def columns(self, lines: pa.StringArray) -> list[pa.Array]:
        """The bronze columns of lines that match, as in ``typed_schema``."""
        segments, count = self._segments(lines), len(self._wanted)
        places = np.arange(0, 2 * count * len(lines), 2 * count)
        arrays: list[pa.Array] = []
        for column in self.dataset.columns:
            if column.name in self._wanted:
                number = self._wanted.index(column.name)
                text = segments.take(pa.array(places + 2 * number))
                arrays += _typed(column, text, self._nothing(column))
            else:
                arrays.append(pa.repeat(column.default, len(lines)) if column.default else None)
        schema = typed_schema(self.dataset)
        return [
            pa.nulls(len(lines), field.type) if array is None else array
            for array, field in zip(arrays, schema, strict=True)
        ]

    @cached_property
    def _wanted(self) -> list[str]:
        """The contract's columns among the keys, in the order of the line."""
        known = {column.name for column in self.dataset.columns}
        return [key for key in self.keys if key in known]

    def _nothing(self, column: Column) -> str | None:
        """The text that means no value, where the template lets the column have one."""
        if column.required:
            return None
        return "null" if self._is_json and not self.quoted[self.keys.index(column.name)] else ""

    @property
    def _is_json(self) -> bool:
        return self.mark == b'"'

    @cached_property
    def _pattern(self) -> str:
        values = [self._value(key, quoted) for key, quoted in zip(self.keys, self.quoted, strict=True)]
        fixed = [_PUNCTUATION.sub(r"\\\g<0>", part.decode()) for part in self.fixed]
        return r"\A" + "".join(a + b for a, b in zip(fixed, [*values, ""], strict=True)) + r"\z"

    def _value(self, key: str, quoted: bool) -> str:
        column = next((c for c in self.dataset.columns if c.name == key), None)
        if column is None:
            if self._is_json:
                return _JSON_ANY_TEXT if quoted else _JSON_ANY_BARE
            return _CSV_TEXT
        if self._is_json and not quoted:
            plain = _JSON_BARE.get(column.kind, r"[^\x00-\x{10ffff}]")
        elif column.kind is Kind.TEXT:
            # A graphic ASCII character comes first, so that the text is not blank.
            plain = rf"[!#-\[\]-~]{_JSON_TEXT}" if self._is_json else rf"[!#-+\--~]{_CSV_TEXT}"
        else:
            plain = _PLAIN[column.kind]
        nothing = self._nothing(column)
        return plain if nothing is None else f"(?:{plain}|{nothing})"

    def _segments(self, lines: pa.StringArray) -> pa.StringArray:
        """Of each line the wanted values and what stands between them, by turns, over one buffer."""
        _, offsets, data = lines.buffers()
        ends = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1]
        text = np.frombuffer(data, np.uint8)[: ends[-1]]
        marks = np.flatnonzero(text[ends[0] :] == ord(self.mark)).astype(np.int32) + ends[0]
        marks = marks.reshape(len(lines), -1)
        bounds = np.empty((len(lines), 2 * len(self._wanted)), np.int32)
        seen = wanted = 0
        for key, before, after in zip(self.keys, self.fixed, self.fixed[1:], strict=False):
            seen += before.count(self.mark)
            if key in self._wanted:
                last, first = before.rfind(self.mark), after.find(self.mark)
                bounds[:, wanted] = (ends[:-1] if last < 0 else marks[:, seen - 1] - last) + len(before)
                bounds[:, wanted + 1] = ends[1:] - len(after) if first < 0 else marks[:, seen] - first
                wanted += 2
        flat = np.append(bounds.ravel(), ends[-1])
        return pa.StringArray.from_buffers(len(flat) - 1, pa.py_buffer(flat), data)


def json_template(dataset: LandingDataset, line: bytes) -> Template | None:
    """The template of a JSON line that ends with its newline; None for one that is not plain."""
    keys: list[str] = []
    quoted: list[bool] = []
    fixed: list[bytes] = []
    pending, at = b"", 0
    while pair := _JSON_PAIR.match(line, at):
        if pair["before"].startswith(b"{") != (at == 0):
            return None
        quote = b'"' if pair["bare"] is None else b""
        keys.append(pair["key"].decode(errors="replace"))
        quoted.append(bool(quote))
        fixed.append(pending + pair["before"] + quote)
        pending, at = quote + pair["after"], pair.end()
    if len(set(keys)) < len(keys) or not _JSON_END.match(line, at):
        return None
    return _proven(Template(dataset, tuple(keys), (*fixed, pending + line[at:]), tuple(quoted), b'"'), line)


def csv_template(dataset: LandingDataset, header: Sequence[str], line: bytes) -> Template | None:
    """The template of a CSV line that ends with its newline; None for one that is not plain."""
    end = b"\r\n" if line.endswith(b"\r\n") else b"\n"
    fields = line.removesuffix(end).split(b",")
    if len(fields) != len(header):
        return None
    quotes = [b'"' if len(field) > 1 and field[:1] == field[-1:] == b'"' else b"" for field in fields]
    between = [left + b"," + right for left, right in pairwise(quotes)]
    fixed = (quotes[0], *between, quotes[-1] + end)
    return _proven(Template(dataset, tuple(header), fixed, tuple(map(bool, quotes)), b","), line)


def _proven(template: Template, line: bytes) -> Template | None:
    """The template, if it proves the line that it was made from."""
    required = {column.name for column in template.dataset.columns if column.required}
    if (
        len(line) > MAX_LINE
        or len(template.keys) > MOST_KEYS
        or not required <= set(template.keys)
        or not _is_text(line)
    ):
        return None
    return template if template.matches(pa.array([line.decode()]))[0] else None


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


# -- plain texts to values -----------------------------------------------------------------------------------


def _typed(column: Column, text: pa.StringArray, nothing: str | None) -> list[pa.Array]:
    if nothing is not None:
        is_nothing = pc.equal(text, nothing)
        if pc.any(is_nothing).as_py():
            text = pc.if_else(is_nothing, pa.scalar(None, pa.string()), text)
    match column.kind:
        case Kind.TIME if column.name == "event_time":
            return [text.cast(TIME), _offset_minutes(text)]
        case Kind.TIME:
            return [text.cast(TIME)]
        case Kind.MCC:
            return [text.cast(pa.int32())]
        case Kind.AMOUNT:
            return [_cents(text)]
        case Kind.BOOLEAN:
            return [pc.equal(text, "true")]
        case Kind.LATITUDE | Kind.LONGITUDE:
            return [text.cast(pa.float64())]
    return [text.fill_null(column.default) if column.default else text]


def _cents(text: pa.StringArray) -> pa.Array:
    """Exact: an amount has at most 15 digits, so a hundred times the double next to it is off by less than 0.25."""
    return pc.round(pc.multiply(text.cast(pa.float64()), 100.0)).cast(pa.int64())


def _offset_minutes(text: pa.StringArray) -> pa.Array:
    _, offsets, data = text.buffers()
    ends = np.frombuffer(offsets, np.int32)[text.offset + 1 : text.offset + len(text) + 1]
    tail = np.frombuffer(data, np.uint8)[ends[:, None] + np.arange(-6, 0)].astype(np.int32)  # +01:00
    digits = tail - ord("0")
    minutes = digits[:, 1] * 600 + digits[:, 2] * 60 + digits[:, 4] * 10 + digits[:, 5]
    signed = np.where(tail[:, 0] == ord("-"), -minutes, minutes)
    return pa.array(np.where(tail[:, 5] == ord("Z"), 0, signed).astype(np.int32))
