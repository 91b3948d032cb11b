"""Which event dates a run computes: those whose inputs differ from what their published partition was made of.

Pure functions over manifests. An event date's inputs are the bronze partitions that can change it; their
digests make its fingerprint. So a late row, a rerun of an old ingest day or a change of code each lead to
exactly the event dates that they touch, in whatever order the days are run.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from jobs.common.contract import CARDS, CHARGEBACKS, TRANSACTIONS
from jobs.common.lake import Manifest, partition_day
from jobs.common.products import HISTORY

CHARGEBACK_REACH = timedelta(days=37)
ONE_DAY = timedelta(days=1)
BLOCK_SPAN = timedelta(days=366)


@dataclass(frozen=True)
class BronzeDay:
    """One published bronze partition: its ingest day, its digest, the UTC dates of its rows, ascending, and its files."""

    dataset: str
    day: date
    digest: str
    rows: int
    dates: tuple[date, ...]
    files: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> BronzeDay:
        dates = tuple(sorted(date.fromisoformat(d) for d in manifest.counts.get("dates", {})))
        day = partition_day(manifest.partition)
        return cls(manifest.dataset, day, manifest.digest, manifest.rows, dates, tuple(manifest.files))

    def reaches(self, event_date: date) -> bool:
        """Whether a row of this partition can change a feature of the event date."""
        if not self.dates:
            return False
        if self.dataset == CARDS.bronze:  # a version holds until the next; one from the closing midnight on counts
            return self.dates[0].toordinal() <= event_date.toordinal() + 1
        reach = CHARGEBACK_REACH if self.dataset == CHARGEBACKS.bronze else HISTORY
        first = date.fromordinal(max(1, event_date.toordinal() - reach.days))
        i = bisect_left(self.dates, first)
        return i < len(self.dates) and self.dates[i] <= event_date


@dataclass(frozen=True)
class Target:
    """An event date to compute: what it is made of, and when that was known."""

    event_date: date
    inputs: str
    known_at: date
    """The day whose UTC midnight ends the newest ingest day among the inputs."""


def candidates(
    days: Iterable[date], bronze: Iterable[BronzeDay], published: Iterable[date], known_until: date
) -> list[date]:
    """Event dates that may differ from what silver holds, ascending.

    All published dates are among them: an ingest day that was landed anew may have lost a row of any of them.

    Args:
        days: the run's ingest days.
        bronze: bronze partitions, of any day.
        published: event dates of which silver holds anything.
        known_until: newest ingest day that counts.
    """
    wanted = set(days)
    touched = {d for b in bronze if b.day in wanted and b.dataset == TRANSACTIONS.bronze for d in b.dates}
    return sorted(d for d in wanted | touched | set(published) if d <= known_until)


def blocks(targets: Iterable[Target]) -> Iterator[list[Target]]:
    """Cuts targets, by date, into passes that span at most ``BLOCK_SPAN``.

    One event of 1970 among those of today must not stretch the time axis of a kernel over half a century.
    """
    block: list[Target] = []
    for item in sorted(targets, key=lambda t: t.event_date):
        if block and item.event_date - block[0].event_date >= BLOCK_SPAN:
            yield block
            block = []
        block.append(item)
    if block:
        yield block


def target(event_date: date, bronze: Iterable[BronzeDay], code_version: str) -> Target:
    """The event date with the fingerprint of its inputs.

    Among them are the partitions that tell which lines of the others are repeats, whatever their own dates.
    """
    bronze = list(bronze)
    counted = [b for b in bronze if _counts(b, event_date)]
    lines = sorted(b.day for b in counted if b.dataset == TRANSACTIONS.bronze)
    judges = [b for b in bronze if b.dataset == TRANSACTIONS.bronze and _judges_one_of(b.day, lines)]
    inputs = sorted({(b.dataset, b.day.isoformat(), b.digest) for b in (*counted, *judges)})
    newest = max((date.fromisoformat(day) for _, day, _ in inputs), default=event_date)
    fingerprint = hashlib.sha256(json.dumps([code_version, inputs]).encode()).hexdigest()
    return Target(event_date, fingerprint, max(newest, event_date) + ONE_DAY)


def is_judged_against(earlier: date, day: date) -> bool:
    """Whether a line of an ingest day is a repeat where an earlier ingest day, or the day itself, has its id."""
    return day - HISTORY <= earlier <= day


def _judges_one_of(earlier: date, days: Sequence[date]) -> bool:
    """Whether one of some ascending ingest days is judged against a day."""
    at = bisect_left(days, earlier)
    return at < len(days) and is_judged_against(earlier, days[at])


def _counts(bronze: BronzeDay, event_date: date) -> bool:
    return bronze.reaches(event_date) or (bronze.dataset == TRANSACTIONS.bronze and bronze.day == event_date)


def stale(targets: Iterable[Target], published: Mapping[date, Manifest]) -> list[Target]:
    """The targets whose published partition was made of other inputs, or is missing."""
    return [t for t in targets if t.event_date not in published or published[t.event_date].inputs != t.inputs]


def history(bronze: Iterable[BronzeDay], dataset: str, targets: Sequence[Target], known_until: date) -> list[BronzeDay]:
    """The partitions of a dataset that any target needs, by day."""
    chosen = {
        b for b in bronze if b.dataset == dataset and b.day <= known_until for t in targets if _counts(b, t.event_date)
    }
    return sorted(chosen, key=lambda b: b.day)
