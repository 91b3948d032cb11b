"""Transactions as columns: the one shape that behaviour, fraud and mess hand to the writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

CHANNELS = ("pos", "atm", "ecom", "moto", "recurring")
POS, ATM, ECOM, MOTO, RECURRING = range(len(CHANNELS))
DECLINED_SHARE = 0.025
"""Share of ordinary transactions that the issuer declines."""


@dataclass(frozen=True)
class Events:
    """Transactions, one an index. All arrays have shape (n,).

    Attributes:
        number: uint64, distinct in the world; the transaction's identifier is a bijection of it.
        time, arrival: int64, UTC µs at which it happened and at which it reaches the landing zone.
        offset: int64, minutes from UTC to the clock of the place.
        slot: int64, the card slot (a place in a wallet); generation: int64, which of its cards in turn.
        merchant: int64, index into the world's merchants.
        cents: int64. channel: int8, index into ``CHANNELS``. declined: bool.
        scenario: int8, index into the fraud scenarios, -1 where the cardholder pays.
        episode: int64, the fraud episode it belongs to (also a victim's genuine visit), -1 for none.
        compromise: int64, the breach at a merchant that it belongs to, -1 for none.
        copy: int8, 0 the first line, 1 sent again the same day, 2 sent again the day after.
        defect: int8, index into the ways to be malformed, -1 for a sound line.
    """

    number: np.ndarray
    time: np.ndarray
    arrival: np.ndarray
    offset: np.ndarray
    slot: np.ndarray
    generation: np.ndarray
    merchant: np.ndarray
    cents: np.ndarray
    channel: np.ndarray
    declined: np.ndarray
    scenario: np.ndarray
    episode: np.ndarray
    compromise: np.ndarray
    copy: np.ndarray
    defect: np.ndarray

    def __len__(self) -> int:
        return len(self.number)

    def take(self, which: np.ndarray | slice) -> Events:
        """The events at the given indices, where a mask is true, or (without a copy) of a slice."""
        if isinstance(which, slice):
            return Events(**{f.name: getattr(self, f.name)[which] for f in fields(self)})
        indices = np.flatnonzero(which) if which.dtype == bool else which
        return Events(**{f.name: getattr(self, f.name).take(indices) for f in fields(self)})

    def but(self, **columns: np.ndarray) -> Events:
        """The same events with some columns replaced."""
        return replace(self, **columns)

    @property
    def card_present(self) -> np.ndarray:
        return self.channel <= ATM


def ordinary(
    *,
    number: np.ndarray,
    time: np.ndarray,
    offset: np.ndarray,
    slot: np.ndarray,
    generation: np.ndarray,
    merchant: np.ndarray,
    cents: np.ndarray,
    channel: np.ndarray,
    declined: np.ndarray,
) -> Events:
    """Events that arrive at once and have nothing to do with fraud."""
    none8, none64 = np.full(len(number), -1, np.int8), np.full(len(number), -1, np.int64)
    return Events(
        number, time, time, offset, slot, generation, merchant, cents, channel.astype(np.int8), declined,
        scenario=none8, episode=none64, compromise=none64, copy=np.zeros(len(number), np.int8), defect=none8,
    )  # fmt: skip


def concat(parts: Sequence[Events]) -> Events:
    """All events of the parts, in their order."""
    return Events(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Events)})
