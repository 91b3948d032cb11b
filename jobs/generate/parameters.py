"""What the caller may choose about the world, and what makes a choice impossible."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date, timedelta

from jobs.common.errors import WrongCall

EPOCH = date(2025, 1, 1)
"""The world's first day. Cards are numbered, blocked and reissued from here on."""
LAST = date(2124, 12, 31)
"""The world's last day; the calendar of renewals (``lifecycle.py``) is laid out up to here."""
BLOCK = 65_536
"""Card slots that are drawn together; with the cap on the rate it bounds memory."""
MAX_RATE = 10.0
DAYS_BETWEEN_FRAUDS = 150
"""A card slot is hit again only after this many days, when the last report is in and the new card out."""


@dataclass(frozen=True)
class Parameters:
    """A world. Rates are shares of all transactions unless said otherwise."""

    cards: int = 5000
    seed: int = 7
    format: str = "jsonl.gz"
    rate: float = 0.57
    """Transactions per card and day, on average over the year."""
    fraud_rate: float = 0.0025
    duplicate_rate: float = 0.002
    late_rate: float = 0.005
    malformed_rate: float = 0.001
    rows_per_file: int = 400_000

    def fingerprint(self, day: date, snapshot: bool) -> str:
        """SHA-256 over all that decides the bytes of one day, other than the code."""
        facts = asdict(self) | {"day": day.isoformat(), "snapshot": snapshot}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def check(self, start: date, end: date, days_between_frauds: float) -> None:
        """Refuses a world or a range that cannot be made.

        Raises:
            WrongCall: the range leaves the world's days, or frauds would hit the same card too often.
        """
        if start < EPOCH:
            raise WrongCall(f"--start {start} is before {EPOCH}, the first day of the synthetic world.")
        if end > LAST + timedelta(days=1):
            raise WrongCall(
                f"--end {end} asks for days after {LAST}, the last day of the synthetic world: "
                f"--end {LAST + timedelta(days=1)} is the latest."
            )
        if days_between_frauds < DAYS_BETWEEN_FRAUDS:
            raise WrongCall(
                f"--fraud-rate {self.fraud_rate} at --rate {self.rate} would hit every card each {days_between_frauds:.0f} days; "
                f"at least {DAYS_BETWEEN_FRAUDS} are needed, lower one of the two."
            )


def day_number(day: date) -> int:
    """Days since the epoch."""
    return (day - EPOCH).days
