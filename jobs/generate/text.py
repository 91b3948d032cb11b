"""Numbers to text: identifiers, times, amounts, and each feed as a frame of strings."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import polars as pl
import pyarrow as pa

from jobs.generate import places
from jobs.generate.categories import MCC
from jobs.generate.chance import identifier
from jobs.generate.events import CHANNELS, Events
from jobs.generate.fraud import SCENARIOS, Chargebacks
from jobs.generate.lifecycle import CardRows
from jobs.generate.world import merchants, owners

CURRENCY = "EUR"
"""One issuer bills all its cards in one currency; amounts are in it wherever the purchase was made."""
TRANSACTION, CARD, ACCOUNT, MERCHANT, DISPUTE, EPISODE, BREACH = range(7)
"""Kinds of identifier; each has its own bijection of the number behind it."""
_HEX = np.frombuffer(b"".join(b"%02x" % i for i in range(256)), np.uint16)


def _table(texts: list[str]) -> np.ndarray:
    """Texts of one length as rows of bytes."""
    return np.frombuffer("".join(texts).encode(), np.uint8).reshape(len(texts), -1)


_MINUTE_SECOND = _table([f"{m:02d}:{s:02d}." for m in range(60) for s in range(60)])
_THOUSANDTHS = _table([f"{i:03d}" for i in range(1000)])
_OFFSETS = _table([f"{h:+03d}:00" for h in range(-14, 15)])
CENTS = pl.Series([f".{i:02d}" for i in range(100)])
_CHANNELS = pl.Series(CHANNELS)
_STATUS = pl.Series(["approved", "declined"])
_BOOLEANS = pl.Series(["false", "true"])


def fixed_width(*parts: np.ndarray) -> pl.Series:
    """Strings of one length from columns of bytes, each of shape (n, width); single rows are repeated."""
    n, width = max(len(part) for part in parts), sum(part.shape[1] for part in parts)
    joined = np.concatenate([np.broadcast_to(part, (n, part.shape[1])) for part in parts], axis=1)
    offsets = np.arange(n + 1, dtype=np.int64) * width
    array = pa.LargeStringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(joined))
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series


def literal(text: str) -> np.ndarray:
    """One text as a row of bytes, for ``fixed_width``."""
    return np.frombuffer(text.encode(), np.uint8)[None, :]


def hex_digits(numbers: np.ndarray) -> np.ndarray:
    """uint64 of shape (n,) as 16 hex digits each: bytes of shape (n, 16)."""
    return _HEX[numbers.astype(">u8").view(np.uint8)].view(np.uint8).reshape(len(numbers), 16)


def hexadecimal(numbers: np.ndarray, prefix: str = "") -> pl.Series:
    """uint64 as 16 hex digits each, after a prefix."""
    return fixed_width(literal(prefix), hex_digits(numbers)) if len(numbers) else pl.Series([], dtype=pl.String)


def timestamp_characters(time: np.ndarray, offset: np.ndarray) -> list[np.ndarray]:
    """RFC 3339 with microseconds, as columns of bytes of 32 characters together.

    Args:
        time: UTC µs, at least one. offset: minutes, whole hours, by which the clock shown is ahead of UTC.
    """
    hour, rest = np.divmod(time + offset * 60_000_000, places.HOUR_US)
    second, micro = np.divmod(rest, 1_000_000)
    first = int(hour.min())
    span = np.arange(first, int(hour.max()) + 1).astype("M8[h]")
    hours = _table([f"{text}:" for text in np.datetime_as_string(span)])
    thousandths, millionths = np.divmod(micro, 1000)
    return [
        hours[hour - first],
        _MINUTE_SECOND[second],
        _THOUSANDTHS[thousandths],
        _THOUSANDTHS[millionths],
        _OFFSETS[offset // 60 + 14],
    ]


def zulu(time: np.ndarray) -> pl.Series:
    """RFC 3339 in UTC, from µs."""
    return pl.Series(time).cast(pl.Datetime("us")).dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")


def identifiers(seed: int, events: Events) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the events' transactions, cards and accounts are called, as uint64."""
    return (
        identifier(seed, TRANSACTION, events.number),
        identifier(seed, CARD, events.slot << 16 | events.generation),
        identifier(seed, ACCOUNT, owners(seed, events.slot)[1]),
    )


def transaction_ids(seed: int, number: np.ndarray) -> pl.Series:
    return hexadecimal(identifier(seed, TRANSACTION, number))


def card_ids(seed: int, slot: np.ndarray, generation: np.ndarray) -> pl.Series:
    return hexadecimal(identifier(seed, CARD, slot << 16 | generation), "c")


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


def transaction_texts(seed: int, events: Events) -> pl.DataFrame:
    """The transactions feed, every value as it stands in a file; null where it is absent."""
    shops = merchant_texts(seed)
    present = events.card_present
    number, card, account = identifiers(seed, events)
    # A null index gathers a null: who is not at a till has no coordinates.
    till = pl.select(pl.when(pl.lit(pl.Series(present))).then(pl.lit(pl.Series(events.merchant)))).to_series()
    euros = pl.Series(events.cents // 100).cast(pl.String)
    return pl.DataFrame(
        {
            "transaction_id": hexadecimal(number),
            "event_time": fixed_width(*timestamp_characters(events.time, events.offset)),
            "card_id": hexadecimal(card, "c"),
            "account_id": hexadecimal(account, "a"),
            "merchant_id": shops["merchant_id"].gather(events.merchant),
            "mcc": shops["mcc"].gather(events.merchant),
            "amount": euros + CENTS.gather(events.cents % 100),
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
            "transaction_id": transaction_ids(seed, disputes.number),
            "reported_at": zulu(disputes.reported),
            "reason": pl.Series([scenario.reason for scenario in SCENARIOS]).gather(disputes.scenario),
        }
    )
