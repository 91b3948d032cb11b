"""Numbers to text: identifiers, times, amounts, and each feed as a frame of strings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl
import pyarrow as pa

from jobs.generate import places
from jobs.generate.categories import MCC
from jobs.generate.chance import identifier
from jobs.generate.events import Events
from jobs.generate.fraud import SCENARIOS, Chargebacks
from jobs.generate.lifecycle import CardRows
from jobs.generate.world import merchants, owners

CURRENCY = "EUR"
"""One issuer bills all its cards in one currency; amounts are in it wherever the purchase was made."""
TRANSACTION, CARD, ACCOUNT, MERCHANT, DISPUTE, EPISODE, BREACH = range(7)
"""Kinds of identifier; each has its own bijection of the number behind it."""
_HEX = np.frombuffer("".join(f"{i % 256:02x}{i // 256:02x}" for i in range(1 << 16)).encode(), np.uint32)
"""Four hex digits of two bytes, by the little-endian number that the bytes are."""


def _table(texts: list[str]) -> np.ndarray:
    """Texts of one length as a column for ``fixed_width``."""
    return np.array([text.encode() for text in texts]).view(f"V{len(texts[0])}")


_MINUTE_SECOND = _table([f"{m:02d}:{s:02d}" for m in range(60) for s in range(60)])
_THOUSANDTHS = _table([f"{i:03d}" for i in range(1000)])
_OFFSETS = _table([f"{h:+03d}" for h in range(-14, 15)])


def fixed_width(*parts: str | np.ndarray) -> pa.LargeStringArray:
    """Strings of one length, put together from left to right.

    Args:
        parts: texts that stand in every string, and columns of shape (n,) and dtype ``V<width>``, at least one.
    """
    blank = b"".join(part.encode() if isinstance(part, str) else bytes(part.itemsize) for part in parts)
    columns, names, offsets, at = [], [], [], 0
    for part in parts:
        if not isinstance(part, str):
            columns.append(part)
            names.append(f"{at}")
            offsets.append(at)
        at += len(part) if isinstance(part, str) else part.itemsize
    n = len(columns[0])
    strings = np.full(n, np.void(blank))
    formats = [column.dtype for column in columns]
    fields = strings.view(np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": len(blank)}))
    for name, column in zip(names, columns, strict=True):
        fields[name] = column
    ends = np.arange(n + 1, dtype=np.int64) * len(blank)
    return pa.LargeStringArray.from_buffers(n, pa.py_buffer(ends), pa.py_buffer(strings))


def hex_digits(numbers: np.ndarray) -> np.ndarray:
    """uint64 of shape (n,) as 16 hex digits each, a column for ``fixed_width``."""
    return _HEX.take(numbers.astype(">u8").view("<u2")).view("V16")


def hexadecimal(numbers: np.ndarray, prefix: str = "") -> pa.LargeStringArray:
    """uint64 as 16 hex digits each, after a prefix."""
    return fixed_width(prefix, hex_digits(numbers))


def timestamp(time: np.ndarray, offset: np.ndarray) -> tuple[str | np.ndarray, ...]:
    """RFC 3339 with microseconds, as parts for ``fixed_width``.

    Args:
        time: UTC µs, at least one. offset: minutes, whole hours, by which the clock shown is ahead of UTC.
    """
    # Quotient and product are several times faster than ``divmod`` and ``%``.
    local = time + offset * 60_000_000
    hour = local // places.HOUR_US
    micro = local - hour * places.HOUR_US
    second = micro // 1_000_000
    micro -= second * 1_000_000
    thousandth = micro // 1000
    micro -= thousandth * 1000
    first = int(hour.min())
    hours = np.arange(first, int(hour.max()) + 1).astype("M8[h]").astype("S13").view("V13")
    return (
        hours.take(hour - first),
        ":",
        _MINUTE_SECOND.take(second),
        ".",
        _THOUSANDTHS.take(thousandth),
        _THOUSANDTHS.take(micro),
        _OFFSETS.take(offset // 60 + 14),
        ":00",
    )


def zulu(time: np.ndarray) -> pl.Series:
    """RFC 3339 in UTC, from µs."""
    return pl.Series(time).cast(pl.Datetime("us")).dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")


@dataclass(frozen=True)
class Names:
    """What the transactions, cards and accounts of some events are called: columns of hex digits, one row an event."""

    transaction: np.ndarray
    card: np.ndarray
    account: np.ndarray

    @classmethod
    def of(cls, seed: int, events: Events) -> Names:
        return cls(
            hex_digits(identifier(seed, TRANSACTION, events.number)),
            hex_digits(identifier(seed, CARD, events.slot << 16 | events.generation)),
            hex_digits(identifier(seed, ACCOUNT, owners(seed, events.slot)[1])),
        )

    def take(self, which: slice) -> Names:
        return Names(self.transaction[which], self.card[which], self.account[which])


@lru_cache(maxsize=2)
def merchant_texts(seed: int) -> pl.DataFrame:
    """The merchants feed, every value as it stands in a file; web shops have no coordinates."""
    m = merchants(seed)
    return pl.DataFrame(
        {
            "merchant_id": hexadecimal(identifier(seed, MERCHANT, np.arange(len(m.category))), "m"),
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


def card_texts(seed: int, rows: CardRows) -> pl.DataFrame:
    """The cards feed, every value as it stands in a file."""
    return pl.DataFrame(
        {
            "card_id": hexadecimal(identifier(seed, CARD, rows.slot << 16 | rows.generation), "c"),
            "account_id": hexadecimal(identifier(seed, ACCOUNT, rows.account), "a"),
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
            "chargeback_id": hexadecimal(identifier(seed, DISPUTE, disputes.number), "b"),
            "transaction_id": hexadecimal(identifier(seed, TRANSACTION, disputes.number)),
            "reported_at": zulu(disputes.reported),
            "reason": pl.Series([scenario.reason for scenario in SCENARIOS]).gather(disputes.scenario),
        }
    )
