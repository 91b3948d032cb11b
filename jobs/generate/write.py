"""From columns of numbers to the bytes of landing files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from isal import isal_zlib

from jobs.common.contract import CARDS, CHARGEBACKS, MERCHANTS, TRANSACTIONS, Kind, LandingDataset
from jobs.common.lake import Lake, Staged
from jobs.generate import places
from jobs.generate.categories import MCC
from jobs.generate.chance import identifier
from jobs.generate.events import CHANNELS, Events
from jobs.generate.fraud import SCENARIOS, Chargebacks
from jobs.generate.lifecycle import CardRows
from jobs.generate.mess import DEFECTS
from jobs.generate.world import merchants, owners

CURRENCY = "EUR"
"""One issuer bills all its cards in one currency; amounts are in it wherever the purchase was made."""
CHUNK = 65_536
"""Lines in memory as text at a time."""
_UNQUOTED = (Kind.MCC, Kind.AMOUNT, Kind.BOOLEAN, Kind.LATITUDE, Kind.LONGITUDE)
_TRANSACTION, _CARD, _ACCOUNT, _MERCHANT, _DISPUTE, _EPISODE, _BREACH = range(7)
_HEX = np.frombuffer(b"".join(b"%02x" % i for i in range(256)), np.uint16)


# -- text columns ------------------------------------------------------------------------------------------


def _table(texts: list[str]) -> np.ndarray:
    """Texts of one length as rows of bytes."""
    return np.frombuffer("".join(texts).encode(), np.uint8).reshape(len(texts), -1)


_MINUTE_SECOND = _table([f"{m:02d}:{s:02d}." for m in range(60) for s in range(60)])
_THOUSANDTHS = _table([f"{i:03d}" for i in range(1000)])
_OFFSETS = _table([f"{h:+03d}:00" for h in range(-14, 15)])
_CENTS = pl.Series([f".{i:02d}" for i in range(100)])
_CHANNELS = pl.Series(CHANNELS)
_STATUS = pl.Series(["approved", "declined"])
_BOOLEANS = pl.Series(["false", "true"])


def _fixed_width(*parts: np.ndarray) -> pl.Series:
    """Strings of one length from columns of bytes, each of shape (n, width)."""
    n, width = len(parts[0]), sum(part.shape[1] for part in parts)
    joined = np.concatenate(parts, axis=1)
    offsets = np.arange(n + 1, dtype=np.int64) * width
    array = pa.LargeStringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(joined)))
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series


def hexadecimal(numbers: np.ndarray, prefix: str = "") -> pl.Series:
    """uint64 as 16 hex digits each, after a prefix."""
    digits = _HEX[numbers.astype(">u8").view(np.uint8)].view(np.uint8).reshape(len(numbers), 16)
    head = np.broadcast_to(np.frombuffer(prefix.encode(), np.uint8), (len(numbers), len(prefix)))
    return _fixed_width(head, digits)


def timestamps(time: np.ndarray, offset: np.ndarray) -> pl.Series:
    """RFC 3339 with microseconds: UTC µs, shown by a clock that is ``offset`` minutes (whole hours) ahead of UTC."""
    local = time + offset * 60_000_000
    hour, rest = np.divmod(local, places.HOUR_US)
    second, micro = np.divmod(rest, 1_000_000)
    first = int(hour.min()) if len(hour) else 0
    span = np.arange(first, int(hour.max()) + 1 if len(hour) else 1).astype("M8[h]")
    hours = _table([f"{text}:" for text in np.datetime_as_string(span)])
    return _fixed_width(
        hours[hour - first],
        _MINUTE_SECOND[second],
        _THOUSANDTHS[micro // 1000],
        _THOUSANDTHS[micro % 1000],
        _OFFSETS[offset // 60 + 14],
    )


def zulu(time: np.ndarray) -> pl.Series:
    """RFC 3339 in UTC, from µs."""
    return pl.Series(time).cast(pl.Datetime("us")).dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")


def transaction_ids(seed: int, number: np.ndarray) -> pl.Series:
    return hexadecimal(identifier(seed, _TRANSACTION, number))


def card_ids(seed: int, slot: np.ndarray, generation: np.ndarray) -> pl.Series:
    return hexadecimal(identifier(seed, _CARD, slot << 16 | generation), "c")


@lru_cache(maxsize=2)
def merchant_texts(seed: int) -> pl.DataFrame:
    """The merchants feed, every value as it stands in a file; web shops have no coordinates."""
    m = merchants(seed)
    return pl.DataFrame(
        {
            "merchant_id": hexadecimal(identifier(seed, _MERCHANT, np.arange(len(m.category))), "m"),
            "mcc": pl.Series(MCC[m.category]).cast(pl.String),
            "country": pl.Series(places.COUNTRIES).gather(m.country),
            "latitude": _degrees(m.latitude),
            "longitude": _degrees(m.longitude),
        }
    )


def _degrees(values: np.ndarray) -> pl.Series:
    known = np.where(np.isnan(values), 0.0, values)
    texts = pl.Series([f"{value:.5f}" for value in known])
    return pl.select(pl.when(pl.lit(pl.Series(~np.isnan(values)))).then(pl.lit(texts))).to_series()


def transaction_texts(seed: int, events: Events) -> pl.DataFrame:
    """The transactions feed, every value as it stands in a file; null where it is absent."""
    shops = merchant_texts(seed)
    present = events.card_present
    # A null index gathers a null: who is not at a till has no coordinates.
    till = pl.select(pl.when(pl.lit(pl.Series(present))).then(pl.lit(pl.Series(events.merchant)))).to_series()
    euros = pl.Series(events.cents // 100).cast(pl.String)
    return pl.DataFrame(
        {
            "transaction_id": transaction_ids(seed, events.number),
            "event_time": timestamps(events.time, events.offset),
            "card_id": card_ids(seed, events.slot, events.generation),
            "account_id": hexadecimal(identifier(seed, _ACCOUNT, owners(seed, events.slot)[1]), "a"),
            "merchant_id": shops["merchant_id"].gather(events.merchant),
            "mcc": shops["mcc"].gather(events.merchant),
            "amount": euros + _CENTS.gather(events.cents % 100),
            "currency": pl.Series([CURRENCY]).new_from_index(0, len(events)),
            "channel": _CHANNELS.gather(events.channel),
            "card_present": _BOOLEANS.gather(present.astype(np.int8)),
            "merchant_country": shops["country"].gather(events.merchant),
            "latitude": shops["latitude"].gather(till),
            "longitude": shops["longitude"].gather(till),
            "status": _STATUS.gather(events.declined.astype(np.int8)),
        }
    )


def card_texts(seed: int, rows: CardRows) -> pl.DataFrame:
    """The cards feed, every value as it stands in a file."""
    return pl.DataFrame(
        {
            "card_id": card_ids(seed, rows.slot, rows.generation),
            "account_id": hexadecimal(identifier(seed, _ACCOUNT, rows.account), "a"),
            "issuer_country": pl.Series(places.COUNTRIES).gather(rows.country),
            "issued_at": zulu(rows.issued),
            "expires_at": zulu(rows.expires),
            "valid_from": zulu(rows.valid_from),
            "status": pl.Series(["active", "blocked"]).gather(rows.blocked.astype(np.int8)),
        }
    )


def chargeback_texts(seed: int, disputes: Chargebacks) -> pl.DataFrame:
    """The chargebacks feed, every value as it stands in a file."""
    return pl.DataFrame(
        {
            "chargeback_id": hexadecimal(identifier(seed, _DISPUTE, disputes.number), "b"),
            "transaction_id": transaction_ids(seed, disputes.number),
            "reported_at": zulu(disputes.reported),
            "reason": pl.Series([scenario.reason for scenario in SCENARIOS]).gather(disputes.scenario),
        }
    )


def truth(seed: int, events: Events) -> pa.Table:
    """What the pipeline must not see: one row a landed line, in the lines' order.

    ``kind`` is who paid (legit or fraud), ``late`` an arrival after the event, ``copy`` how a duplicate came
    (null for the first line), ``defect`` how a malformed line is broken (null for a sound one).
    """
    fraudulent = events.scenario >= 0

    def names(texts: tuple[str, ...] | list[str], index: np.ndarray) -> pa.Array:
        codes = pa.array(index, pa.int8(), mask=index < 0)
        return pa.DictionaryArray.from_arrays(codes, pa.array(list(texts), pa.string()))

    def opaque(what: int, number: np.ndarray, prefix: str) -> pa.Array:
        known = np.flatnonzero(number >= 0)
        texts = hexadecimal(identifier(seed, what, number[known]), prefix).to_arrow(compat_level=pl.CompatLevel.oldest())
        place = np.zeros(len(number), np.int64)
        place[known] = np.arange(len(known))
        return texts.cast(pa.string()).take(pa.array(place, mask=number < 0))

    return pa.table(
        {
            "transaction_id": transaction_ids(seed, events.number).to_arrow(compat_level=pl.CompatLevel.oldest()),
            "card_id": card_ids(seed, events.slot, events.generation).to_arrow(compat_level=pl.CompatLevel.oldest()),
            "kind": names(("legit", "fraud"), fraudulent.astype(np.int8)),
            "is_fraud": fraudulent,
            "scenario": names([scenario.name for scenario in SCENARIOS], events.scenario),
            "episode_id": opaque(_EPISODE, events.episode, "e"),
            "compromise_id": opaque(_BREACH, events.compromise, "x"),
            "event_time": pa.array(events.time, pa.timestamp("us", "UTC")),
            "arrived_at": pa.array(events.arrival, pa.timestamp("us", "UTC")),
            "late": (events.arrival > events.time) & (events.copy == 0),
            "copy": names(("same_day", "cross_day"), events.copy - np.int8(1)),
            "defect": names(DEFECTS, events.defect),
        }
    )


# -- lines -------------------------------------------------------------------------------------------------


def json_lines(texts: pl.DataFrame, dataset: LandingDataset) -> pl.Series:
    """One JSON object a row; a null value is left out. Values hold nothing that needs escaping."""
    parts: list[pl.Expr] = []
    for index, column in enumerate(dataset.columns):
        quote = "" if column.kind in _UNQUOTED else '"'
        head = pl.lit(("{" if index == 0 else ",") + f'"{column.name}":{quote}')
        value, tail = pl.col(column.name), [pl.lit(quote)] if quote else []
        if texts[column.name].null_count():
            parts.append(pl.concat_str(head, value, *tail).fill_null("{" if index == 0 else ""))
        else:
            parts += [head, value, *tail]
    return texts.select(pl.concat_str(*parts, pl.lit("}\n"))).to_series()


def csv_lines(texts: pl.DataFrame, dataset: LandingDataset) -> pl.Series:
    """One CSV record a row, without a header; a null value is empty."""
    columns = [pl.col(column.name).fill_null("") for column in dataset.columns]
    return texts.select(pl.concat_str(pl.concat_str(columns, separator=","), pl.lit("\n"))).to_series()


def broken_lines(texts: pl.DataFrame, defect: np.ndarray, lines: Callable[[pl.DataFrame], pl.Series]) -> pl.Series:
    """The rows as malformed lines.

    Args:
        defect: of each row, its index into ``DEFECTS``.
        lines: how a row becomes a sound line.
    """

    def spoil(column: str, name: str, value: pl.Expr) -> pl.Expr:
        return pl.when(pl.col("defect") == DEFECTS.index(name)).then(value).otherwise(pl.col(column)).alias(column)

    amount, is_a = pl.col("amount"), pl.lit(pl.Series(defect))
    spoilt = texts.with_columns(defect=is_a).with_columns(
        spoil("merchant_id", "missing_field", pl.lit(None)),
        pl.when(pl.col("defect") == DEFECTS.index("negative_amount")).then(pl.lit("-") + amount)
        .when(pl.col("defect") == DEFECTS.index("three_decimals")).then(amount + pl.lit("5"))
        .otherwise(amount).alias("amount"),
        spoil("event_time", "impossible_date", pl.col("event_time").str.replace(r"-\d\d-\d\dT", "-02-30T")),
        spoil("channel", "unknown_channel", pl.lit("telepathy")),
    )  # fmt: skip
    line = pl.col("line")
    whole = pl.DataFrame({"line": lines(spoilt.drop("defect")).str.strip_chars_end("\n"), "defect": defect})
    return whole.select(
        pl.when(pl.col("defect") == DEFECTS.index("truncated")).then(line.str.slice(0, line.str.len_chars() // 2))
        .when(pl.col("defect") == DEFECTS.index("garbage")).then(pl.lit("504 upstream timed out ") + line.str.slice(20, 16))
        .when(pl.col("defect") == DEFECTS.index("field_count")).then(line + pl.lit(",0"))
        .otherwise(line)
        + pl.lit("\n")
    ).to_series()  # fmt: skip


def transaction_lines(seed: int, events: Events, lines: Callable[[pl.DataFrame, LandingDataset], pl.Series]) -> Iterator[pl.Series]:
    """The lines of the events, a chunk at a time."""
    for low in range(0, len(events), CHUNK):
        chunk = events.take(np.arange(low, min(low + CHUNK, len(events))))
        texts = transaction_texts(seed, chunk)
        made = lines(texts, TRANSACTIONS)
        bad = np.flatnonzero(chunk.defect >= 0)
        if len(bad):
            made = made.scatter(bad, broken_lines(texts[bad], chunk.defect[bad], lambda rows: lines(rows, TRANSACTIONS)))
        yield made


# -- files -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """A file in the staging area: where it is, and the SHA-256 of its bytes."""

    staged: Staged
    sha256: str


@dataclass(frozen=True)
class Format:
    """A landing format by its name, such as ``jsonl.gz``."""

    name: str

    @property
    def lines(self) -> Callable[[pl.DataFrame, LandingDataset], pl.Series]:
        return csv_lines if self.name.startswith("csv") else json_lines

    def header(self, dataset: LandingDataset) -> bytes:
        names = ",".join(column.name for column in dataset.columns) + "\n"
        return names.encode() if self.name.startswith("csv") else b""

    def write(self, lake: Lake, folder: str, number: int, dataset: LandingDataset, lines: Iterator[pl.Series]) -> Written:
        """Streams lines into one file of the staging folder."""
        staged = Staged(f"{folder}/{dataset.name}-{number:05d}", f"part-{number:05d}.{self.name}")
        # A gzip header without name and with time 0: equal lines make equal bytes.
        gzip = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31) if self.name.endswith(".gz") else None
        sha = hashlib.sha256()
        with lake.filesystem.open_output_stream(lake.path(staged.path)) as stream:

            def put(data: Any) -> None:
                sha.update(data)
                stream.write(data)

            for data in _with(self.header(dataset), lines):
                put(gzip.compress(data) if gzip else data)
            if gzip:
                put(gzip.flush())
        return Written(staged, sha.hexdigest())


def _with(header: bytes, lines: Iterator[pl.Series]) -> Iterator[Any]:
    if header:
        yield header
    for chunk in lines:
        array = chunk.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        if len(array):
            yield memoryview(array.buffers()[2])[: _data_length(array)]


def _data_length(array: pa.LargeStringArray) -> int:
    offsets = np.frombuffer(array.buffers()[1], np.int64)
    return int(offsets[array.offset + len(array)])


def write_truth(lake: Lake, folder: str, number: int, table: pa.Table) -> Written:
    """Writes one Parquet file of the ground truth into the staging folder."""
    staged = Staged(f"{folder}/truth-{number:05d}", f"part-{number:05d}.parquet")
    sink = pa.BufferOutputStream()
    dictionary = ["kind", "scenario", "copy", "defect", "episode_id", "compromise_id"]
    pq.write_table(table, sink, compression="zstd", compression_level=1, use_dictionary=dictionary)
    data = sink.getvalue()
    with lake.filesystem.open_output_stream(lake.path(staged.path)) as stream:
        stream.write(data)
    return Written(staged, hashlib.sha256(data).hexdigest())
