"""Cards over time: issued, renewed before they end, blocked when fraud is reported, and reissued.

Replayed from the reports alone, never from traffic: which card a slot holds on a day follows from its
renewal calendar and the number of reissues before that day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jobs.generate import places
from jobs.generate.events import Events
from jobs.generate.parameters import EPOCH, LAST, day_number
from jobs.generate.places import DAY_US, EPOCH_US, HOUR_US
from jobs.generate.world import LEAD_DAYS, Cards

_FIRST_MONTH = np.datetime64(EPOCH.isoformat(), "M")
_FIRST_DAY = np.datetime64(EPOCH.isoformat(), "D")
_DAYS = day_number(LAST) + 2 + LEAD_DAYS[1]
"""A card that is due on the morrow of the last day is renewed on that day, so the calendar reaches further."""
_MONTH_OF_DAY = ((_FIRST_DAY + np.arange(_DAYS)).astype("M8[M]") - _FIRST_MONTH).astype(np.int64)
_MONTH_BEGINS = np.diff(_MONTH_OF_DAY, prepend=_MONTH_OF_DAY[0]) > 0
ISSUE_TIME = 5 * HOUR_US
"""New cards are issued at this time of the UTC day and used from the next midnight on."""
SHADOW_DAYS = 20
"""A snapshot lists cards replaced within so many days too: late and fraudulent transactions still name them."""


@dataclass(frozen=True)
class CardRows:
    """Rows of the cards feed. Arrays of shape (n,); times are UTC µs."""

    slot: np.ndarray
    generation: np.ndarray
    account: np.ndarray
    country: np.ndarray
    issued: np.ndarray
    expires: np.ndarray
    valid_from: np.ndarray
    blocked: np.ndarray


def concat_rows(parts: list[CardRows]) -> CardRows:
    return CardRows(*(np.concatenate([getattr(part, name) for part in parts]) for name in CardRows.__annotations__))


class Lifecycle:
    """The blocks and reissues of a world.

    Args:
        slot, blocked, reissued: of each report, the slot, the UTC µs at which its card is blocked, and the
            day on which the next one is issued. One slot's reports lie far apart.
    """

    def __init__(self, slot: np.ndarray, blocked: np.ndarray, reissued: np.ndarray) -> None:
        order = np.lexsort((reissued, slot))
        self.slot, self.blocked, self.reissued = slot[order], blocked[order], reissued[order]
        self._key = self._keys(self.slot, self.reissued)

    @staticmethod
    def _keys(slot: np.ndarray, day: np.ndarray | int) -> np.ndarray:
        return slot * (1 << 20) + day

    def _on(self, facts: Cards) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the reports on neighbouring slots: the place among the slots, when its card is blocked, and reissued."""
        low, high = np.searchsorted(self.slot, [facts.slot[0], facts.slot[-1] + 1])
        return self.slot[low:high] - facts.slot[0], self.blocked[low:high], self.reissued[low:high]

    def generation(self, facts: Cards, day: np.ndarray | int) -> np.ndarray:
        """Which card, counted from 0, each slot uses on a day: one issued the day before or earlier."""
        return renewals(facts, day) + self._reissues(facts.slot, day)

    def _reissues(self, slot: np.ndarray, day: np.ndarray | int) -> np.ndarray:
        return np.searchsorted(self._key, self._keys(slot, day)) - np.searchsorted(self._key, self._keys(slot, 0))

    def held(self, events: Events, facts: Cards, day: int) -> Events:
        """The events of one UTC day with the card that was used; those without a usable card are left out.

        Args:
            facts: of neighbouring slots, in order, that include all slots of the events.
        """
        user = events.slot - facts.slot[0]
        at, blocked, reissued = self._on(facts)
        reissues = np.bincount(at[reissued < day], minlength=len(facts.slot))
        events = events.but(generation=renewals(facts.take(user), day) + reissues.take(user))
        closed = (reissued >= day) & (blocked < places.midnight(day + 1))
        if not closed.any():
            return events
        until = np.full(len(facts.slot), np.iinfo(np.int64).max)
        until[at[closed]] = blocked[closed]
        return events.take(events.time < until.take(user))

    def changes(self, facts: Cards, day: int) -> CardRows:
        """Rows for what happens to the slots' cards on one day: blocked, renewed, reissued."""
        at, blocked, reissued = self._on(facts)
        stopped = (blocked - EPOCH_US) // DAY_US == day
        blocks = self._rows(facts.take(at[stopped]), day, blocked[stopped])
        near = np.flatnonzero(_MONTH_BEGINS[day + 1 + facts.lead])
        candidates = facts.take(near)
        renewed = near[renewals(candidates, day + 1) > renewals(candidates, day)]
        issues = self._rows(facts.take(np.union1d(at[reissued == day], renewed)), day + 1)
        return concat_rows([blocks, issues])

    def snapshot(self, facts: Cards, day: int) -> CardRows:
        """The slots' cards as a day begins, blocked ones with both their rows, and those replaced shortly before."""
        parts = [self._rows(facts, day)]
        before = max(day - SHADOW_DAYS, 0)
        changed = facts.take(np.flatnonzero(self.generation(facts, before) != self.generation(facts, day)))
        parts += [self._rows(changed, earlier) for earlier in range(before, day)]
        at, blocked, reissued = self._on(facts)
        blocked_on = (blocked - EPOCH_US) // DAY_US
        waiting = (blocked_on < day) & (reissued >= before)
        for one in np.unique(blocked_on[waiting]):
            stopped = waiting & (blocked_on == one)
            parts.append(self._rows(facts.take(at[stopped]), int(one), blocked[stopped]))
        rows = concat_rows(parts)
        _, first = np.unique(np.stack([rows.slot, rows.generation, rows.blocked]), axis=1, return_index=True)
        return CardRows(*(getattr(rows, name)[np.sort(first)] for name in CardRows.__annotations__))

    def _rows(self, facts: Cards, day: int, blocked: np.ndarray | None = None) -> CardRows:
        """The row of the card that each slot uses on a day; of a blocked one, the row that says so."""
        cycle = renewals(facts, day)
        issued = renewal_day(facts, cycle)
        count = np.searchsorted(self._key, self._keys(facts.slot, day))
        latest = np.where(self._reissues(facts.slot, day) > 0, np.r_[-(10**6), self.reissued][count], -(10**6))
        issued_at = places.midnight(np.maximum(issued, latest)) + ISSUE_TIME
        return CardRows(
            slot=facts.slot,
            generation=self.generation(facts, day),
            account=facts.account,
            country=facts.country,
            issued=issued_at,
            expires=places.midnight(_month_end(facts.first_expiry + cycle * facts.validity) + 1) - 1_000_000,
            valid_from=issued_at if blocked is None else blocked,
            blocked=np.full(len(facts.slot), blocked is not None),
        )


def renewals(facts: Cards, day: np.ndarray | int) -> np.ndarray:
    """How many times each slot's card was renewed before a day (days since the epoch).

    A successor comes ``lead`` days before a month's end, so it is there once the month of day + lead is later.
    """
    ahead = facts.first_expiry - _MONTH_OF_DAY[day + facts.lead]
    return (-(ahead // facts.validity)).clip(min=0)


def renewal_day(facts: Cards, cycle: np.ndarray) -> np.ndarray:
    """The day on which the card of a cycle was issued; before the epoch for cycle 0."""
    return _month_end(facts.first_expiry + (cycle - 1) * facts.validity) - facts.lead


def _month_end(month: np.ndarray) -> np.ndarray:
    """Day number of the last day of a month counted from the epoch's."""
    return ((_FIRST_MONTH + month + 1).astype("M8[D]") - _FIRST_DAY).astype(np.int64) - 1
