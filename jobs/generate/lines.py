"""Text to lines: JSON objects and CSV records, sound ones fast and malformed ones on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import polars as pl

from jobs.common.contract import TRANSACTIONS, Column, Kind, LandingDataset
from jobs.generate.events import CHANNELS, Events
from jobs.generate.mess import DEFECTS
from jobs.generate.text import (
    CENTS,
    CURRENCY,
    fixed_width,
    hex_digits,
    identifiers,
    literal,
    merchant_texts,
    timestamp_characters,
    transaction_texts,
)

CHUNK = 65_536
"""Lines in memory as text at a time."""
_UNQUOTED = (Kind.MCC, Kind.AMOUNT, Kind.BOOLEAN, Kind.LATITUDE, Kind.LONGITUDE)

# A transaction's columns in the order in which its line is put together: what is new in every line, what was
# paid, the terms (few combinations), and the merchant (known beforehand).
_NEW = ("transaction_id", "event_time", "card_id", "account_id")
_PAID = ("amount",)
_TERMS = ("currency", "channel", "card_present", "status")
_MERCHANT = ("merchant_id", "mcc", "merchant_country", "latitude", "longitude")
_BY_NAME = {column.name: column for column in TRANSACTIONS.columns}
LINES = replace(TRANSACTIONS, columns=tuple(_BY_NAME[name] for name in _NEW + _PAID + _TERMS + _MERCHANT))
"""The transactions feed with its columns in the order of the lines."""


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

    def lines(self, texts: pl.DataFrame, dataset: LandingDataset) -> pl.Series:
        """One line a row."""
        begin, end = self.ends
        return begin + self.cells(texts, dataset.columns).str.slice(1) + end

    def header(self, dataset: LandingDataset) -> str:
        """The first line of a file."""
        return ",".join(column.name for column in dataset.columns) + "\n" if self.is_csv else ""


def transaction_lines(seed: int, events: Events, form: Form) -> Iterator[pl.Series]:
    """The lines of the events, a chunk at a time."""
    for low in range(0, len(events), CHUNK):
        chunk = events.take(np.arange(low, min(low + CHUNK, len(events))))
        lines = sound_lines(seed, chunk, form)
        bad = np.flatnonzero(chunk.defect >= 0)
        if len(bad):
            lines = lines.scatter(bad, broken_lines(seed, chunk.take(bad), form))
        yield lines


def sound_lines(seed: int, events: Events, form: Form) -> pl.Series:
    """What ``form.lines(transaction_texts(…), LINES)`` gives, from pieces that are made once or as bytes."""
    number, card, account = identifiers(seed, events)
    values = (
        [hex_digits(number)],
        timestamp_characters(events.time, events.offset),
        [literal("c"), hex_digits(card)],
        [literal("a"), hex_digits(account)],
    )
    begin, end = form.ends
    head = [literal(begin)]
    for name, value in zip(_NEW, values, strict=True):
        before, after = form.around(_BY_NAME[name])
        head += [literal(before if name != _NEW[0] else before[1:]), *value, literal(after)]
    terms, shops = _terms(form), _merchants(seed, form)
    present = events.card_present
    pieces = pl.DataFrame(
        {
            "head": fixed_width(*head),
            "euros": events.cents // 100,
            "cents": CENTS.gather(events.cents % 100),
            "terms": terms.gather(events.channel * np.int8(2) + events.declined),
            "merchant": shops.gather(events.merchant * 2 + present),
        }
    )
    before = form.around(_BY_NAME["amount"])[0]
    parts = (pl.col("head"), pl.lit(before), pl.col("euros"), pl.col("cents", "terms", "merchant"), pl.lit(end))
    return pieces.select(pl.concat_str(*parts)).to_series()


@lru_cache(maxsize=2)
def _terms(form: Form) -> pl.Series:
    """The cells of the terms, by channel and then approved or declined."""
    rows = [
        (CURRENCY, channel, "true" if channel in ("pos", "atm") else "false", status)
        for channel in CHANNELS
        for status in ("approved", "declined")
    ]
    return form.cells(pl.DataFrame(rows, schema=list(_TERMS), orient="row"), tuple(_BY_NAME[name] for name in _TERMS))


@lru_cache(maxsize=2)
def _merchants(seed: int, form: Form) -> pl.Series:
    """The cells of each merchant, without its coordinates and then with them."""
    shops = merchant_texts(seed).rename({"country": "merchant_country"}).with_row_index()
    nowhere = shops.with_columns(latitude=pl.lit(None, pl.String), longitude=pl.lit(None, pl.String))
    both = pl.concat([nowhere, shops]).sort("index", maintain_order=True)
    return form.cells(both, tuple(_BY_NAME[name] for name in _MERCHANT))


def broken_lines(seed: int, events: Events, form: Form) -> pl.Series:
    """The events as malformed lines, each broken in the way its ``defect`` names."""
    kind = pl.col("defect")

    def spoilt(name: str, value: pl.Expr, otherwise: pl.Expr) -> pl.Expr:
        return pl.when(kind == DEFECTS.index(name)).then(value).otherwise(otherwise)

    merchant, amount, time, channel = (pl.col(name) for name in ("merchant_id", "amount", "event_time", "channel"))
    amount = spoilt("negative_amount", pl.lit("-") + amount, spoilt("three_decimals", amount + pl.lit("5"), amount))
    texts = transaction_texts(seed, events).with_columns(defect=pl.Series(events.defect))
    texts = texts.with_columns(
        merchant_id=spoilt("missing_field", pl.lit(None), merchant),
        amount=amount,
        event_time=spoilt("impossible_date", time.str.replace(r"-\d\d-\d\dT", "-02-30T"), time),
        channel=spoilt("unknown_channel", pl.lit("telepathy"), channel),
    )
    line = pl.col("line")
    return (
        texts.with_columns(line=form.lines(texts, LINES).str.strip_chars_end("\n"))
        .with_columns(line=spoilt("truncated", line.str.slice(0, line.str.len_chars() // 2), line))
        .with_columns(line=spoilt("garbage", pl.lit("504 upstream timed out ") + line.str.slice(20, 16), line))
        .with_columns(line=spoilt("field_count", line + pl.lit(",0"), line))
        .select(line + pl.lit("\n"))
        .to_series()
    )
