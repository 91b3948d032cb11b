"""Text to lines: JSON objects and CSV records, sound ones fast and malformed ones on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from jobs.common.contract import TRANSACTIONS, Column, Kind, LandingDataset
from jobs.generate.events import CHANNELS, Events
from jobs.generate.mess import DEFECTS
from jobs.generate.text import CURRENCY, Names, fixed_width, merchant_texts, timestamp

CHUNK = 65_536
"""Lines in memory as text at a time. Another number makes other files: a piece's end moves a block of the gzip stream."""
_UNQUOTED = (Kind.MCC, Kind.AMOUNT, Kind.BOOLEAN, Kind.LATITUDE, Kind.LONGITUDE)

# A transaction's columns in the order in which its line is put together: what is new in every line, the terms
# (few combinations), and the merchant (known beforehand).
_NEW = ("transaction_id", "event_time", "card_id", "account_id", "amount")
_TERMS = ("currency", "channel", "card_present", "status")
_MERCHANT = ("merchant_id", "mcc", "merchant_country", "latitude", "longitude")
_BY_NAME = {column.name: column for column in TRANSACTIONS.columns}
LINES = replace(TRANSACTIONS, columns=tuple(_BY_NAME[name] for name in _NEW + _TERMS + _MERCHANT))
"""The transactions feed with its columns in the order of the lines."""
_POSITION = {column.name: position for position, column in enumerate(LINES.columns)}

Text = bytes | memoryview
"""Characters of a file."""


@dataclass(frozen=True)
class Form:
    """How a row becomes a line: ``jsonl`` or ``csv``. Values hold nothing that needs escaping."""

    is_csv: bool

    @property
    def ends(self) -> tuple[str, str]:
        """What a line begins and ends with."""
        return ("", "\n") if self.is_csv else ("{", "}\n")

    def around(self, column: Column) -> tuple[str, str]:
        """What stands before and after a value, the comma that parts it from the value before included."""
        if self.is_csv:
            return ",", ""
        quote = "" if column.kind in _UNQUOTED else '"'
        return f',"{column.name}":{quote}', quote

    def cells(self, texts: pl.DataFrame, columns: tuple[Column, ...]) -> pl.Series:
        """The row's values with what is around them. A null is left out in JSON and empty in CSV."""
        parts = []
        for column in columns:
            before, after = self.around(column)
            cell = pl.concat_str(pl.lit(before), pl.col(column.name), pl.lit(after))
            parts.append(cell.fill_null("," if self.is_csv else ""))
        return texts.select(pl.concat_str(parts)).to_series()

    def lines(self, texts: pl.DataFrame, dataset: LandingDataset) -> Text:
        """One line a row."""
        begin, end = self.ends
        return characters(_arrow(begin + self.cells(texts, dataset.columns).str.slice(1) + end))

    def header(self, dataset: LandingDataset) -> bytes:
        """The first line of a file."""
        return (",".join(column.name for column in dataset.columns) + "\n").encode() if self.is_csv else b""


def characters(strings: pa.LargeStringArray) -> memoryview:
    """Strings one after the other, without a copy."""
    _, ends, data = strings.buffers()
    first, last = np.frombuffer(ends, np.int64)[[strings.offset, strings.offset + len(strings)]]
    return memoryview(data)[first:last]


def _arrow(strings: pl.Series) -> pa.LargeStringArray:
    return strings.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())


def transaction_lines(seed: int, events: Events, names: Names, form: Form) -> Iterator[Text]:
    """The lines of the events, a chunk at a time."""
    for low in range(0, len(events), CHUNK):
        chunk = slice(low, low + CHUNK)
        defect = events.defect[chunk]
        yield characters(spoil(sound_lines(seed, events.take(chunk), names.take(chunk), form), defect, form))


def sound_lines(seed: int, events: Events, names: Names, form: Form) -> pa.LargeStringArray:
    """The lines of the events as if all were sound, at least one: what is new in each, and pieces that are made once."""
    values = (
        (names.transaction,),
        timestamp(events.time, events.offset),
        ("c", names.card),
        ("a", names.account),
        (),  # the amount, of no fixed width, comes next
    )
    begin, _ = form.ends
    parts: list[str | np.ndarray] = []
    for name, value in zip(_NEW, values, strict=True):
        before, after = form.around(_BY_NAME[name])
        parts += [before, *value, after]
    euros = events.cents // 100
    terms = ((events.cents - euros * 100) * len(CHANNELS) + events.channel) * 2 + events.declined
    return pc.binary_join_element_wise(
        fixed_width(begin + str(parts[0])[1:], *parts[1:]),
        pa.array(euros).cast(pa.large_string()),
        _terms(form).take(pa.array(terms)),
        _merchants(seed, form).take(pa.array(events.merchant * 2 + events.card_present)),
        pa.scalar("", pa.large_string()),
    )


@lru_cache(maxsize=2)
def _terms(form: Form) -> pa.LargeStringArray:
    """The cents of the amount and the cells of the terms, by cents, channel, and then approved or declined."""
    rows = [
        (f".{cents:02d}", CURRENCY, channel, "true" if channel in ("pos", "atm") else "false", status)
        for cents in range(100)
        for channel in CHANNELS
        for status in ("approved", "declined")
    ]
    texts = pl.DataFrame(rows, schema=["cents", *_TERMS], orient="row")
    return _arrow(texts["cents"] + form.cells(texts, tuple(_BY_NAME[name] for name in _TERMS)))


@lru_cache(maxsize=2)
def _merchants(seed: int, form: Form) -> pa.LargeStringArray:
    """The cells of each merchant and the line's end, without its coordinates and then with them."""
    shops = merchant_texts(seed).rename({"country": "merchant_country"}).with_row_index()
    nowhere = shops.with_columns(latitude=pl.lit(None, pl.String), longitude=pl.lit(None, pl.String))
    both = pl.concat([nowhere, shops]).sort("index", maintain_order=True)
    return _arrow(form.cells(both, tuple(_BY_NAME[name] for name in _MERCHANT)) + form.ends[1])


def spoil(lines: pa.LargeStringArray, defect: np.ndarray, form: Form) -> pa.LargeStringArray:
    """The lines, some of them broken.

    Args:
        defect: of each line, the index into ``DEFECTS``, -1 for one that stays sound.
    """
    bad = defect >= 0
    broken = [
        broken_line(line.removesuffix("\n"), DEFECTS[way], form) + "\n"
        for line, way in zip(lines.filter(pa.array(bad)).to_pylist(), defect[bad], strict=True)
    ]
    return pc.replace_with_mask(lines, pa.array(bad), pa.array(broken, pa.large_string())) if broken else lines


_SPOILT: dict[str, tuple[str, Callable[[str], str]]] = {
    "negative_amount": ("amount", lambda amount: f"-{amount}"),
    "three_decimals": ("amount", lambda amount: f"{amount}5"),
    "impossible_date": ("event_time", lambda time: f"{time[:4]}-02-30{time[10:]}"),
    "unknown_channel": ("channel", lambda _: "telepathy"),
}
"""The column that a defect breaks, and what becomes of its value."""


def broken_line(line: str, defect: str, form: Form) -> str:
    """A sound line (without its end) broken in the way that the defect names."""
    if defect == "truncated":
        return line[: len(line) // 2]
    if defect == "garbage":
        return f"504 upstream timed out {line[20:36]}"
    if defect == "field_count":
        return f"{line},0"
    cells = line.split(",")
    if defect == "missing_field":
        cells[_POSITION["merchant_id"]] = ""
        return ",".join(cell for cell in cells if cell or form.is_csv)
    name, spoilt = _SPOILT[defect]
    before, after = form.around(_BY_NAME[name])
    at, start = _POSITION[name], len(before) - 1
    cell = cells[at]
    cells[at] = cell[:start] + spoilt(cell[start : len(cell) - len(after)]) + after
    return ",".join(cells)
