"""One day of the world: what lands, block by block, so that memory follows the file size and not the day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np

from jobs.generate import behaviour, fraud, mess
from jobs.generate.behaviour import SESSION_MEAN, Block, block
from jobs.generate.chance import Stream, generator
from jobs.generate.events import Events, concat
from jobs.generate.fraud import SCENARIOS, Episodes
from jobs.generate.lifecycle import CardRows, Lifecycle, concat_rows
from jobs.generate.parameters import BLOCK, Parameters
from jobs.generate.world import RECURRING_SHARE

# Numbers of transactions: 4 bits for the kind, 16 for the day, 16 for the block, 28 within the block.
_LEGIT, _CHARGES, _LATE, _MALFORMED = 1, 2, 3, 4


def _number(kind: int, day: int, block_index: int) -> int:
    return kind << 60 | day << 44 | block_index << 28


def batches(parameters: Parameters) -> list[range]:
    """The blocks of a world, as many together as fill about one file a day."""
    blocks = _blocks(parameters)
    together = max(1, int(parameters.rows_per_file / (BLOCK * parameters.rate)))
    return [blocks[first : first + together] for first in range(0, len(blocks), together)]


def _blocks(parameters: Parameters) -> range:
    return range(ceil(parameters.cards / BLOCK))


@dataclass(frozen=True)
class World:
    """A world made ready for some of its days: its parameters, its fraud, and what this does to the cards."""

    parameters: Parameters
    episodes: Episodes
    lifecycle: Lifecycle

    @classmethod
    def until(cls, parameters: Parameters, days: int) -> World:
        """The world over its first ``days`` days."""
        episodes = fraud.plan(parameters, days)
        told = episodes.take(episodes.reported >= 0)
        return cls(parameters, episodes, Lifecycle(told.slot, told.reported, told.reissued))

    def landed(self, day: int, blocks: range) -> Iterator[Events]:
        """The lines of a day that concern some blocks, at most ``rows_per_file`` at once, in order of arrival."""
        fraudulent = fraud.on_day(self.parameters, self.lifecycle, self.episodes, day)
        made = [block(self.parameters, i) for i in blocks]
        events = concat([part for b in made for part in self._block(b, day, fraudulent)])
        events = events.take(_order(events))
        pieces = max(1, ceil(len(events) / self.parameters.rows_per_file))
        bounds = np.linspace(0, len(events), pieces + 1).astype(np.int64)
        for low, high in pairwise(bounds):
            yield events.take(slice(low, high))

    def _block(self, b: Block, day: int, fraudulent: Events) -> list[Events]:
        """All lines of a day that concern one block of cards, in parts."""
        p, lifecycle = self.parameters, self.lifecycle
        rng = generator(p.seed, Stream.LEGIT, day, b.index)
        rate = p.rate * (1 - RECURRING_SHARE - p.late_rate)
        bought = behaviour.purchases(p, b, day, rng, rate, SESSION_MEAN, _number(_LEGIT, day, b.index))
        charged = behaviour.charges(p, b, day, _number(_CHARGES, day, b.index))
        stolen = fraudulent.take((fraudulent.slot >= b.facts.slot[0]) & (fraudulent.slot <= b.facts.slot[-1]))
        # One day more than can still arrive today: what arrived yesterday may come again.
        days = range(max(0, day - mess.LATEST_DAYS - 1), day + 1)
        lates = [mess.late(p, lifecycle, b, d, _number(_LATE, d, b.index)) for d in days]
        sound = concat([lifecycle.held(concat([bought, charged]), b.facts, day), stolen, mess.landing(lates, day)])
        again = mess.duplicates(p, b, day, sound, mess.landing(lates, day - 1))
        broken = mess.malformed(p, lifecycle, b, day, _number(_MALFORMED, day, b.index))
        return [sound, again, broken]

    def chargebacks(self, day: int) -> fraud.Chargebacks:
        """Disputes that arrive on a day."""
        return fraud.chargebacks(self.parameters, self.lifecycle, self.episodes, day)

    def card_rows(self, day: int, snapshot: bool) -> CardRows:
        """Rows of the cards feed on a day: what changes, after all there is if a snapshot is wanted."""
        facts = [block(self.parameters, i).facts for i in _blocks(self.parameters)]
        parts = [self.lifecycle.snapshot(f, day) for f in facts] if snapshot else []
        return concat_rows(parts + [self.lifecycle.changes(f, day) for f in facts])


def _order(events: Events) -> np.ndarray:
    """Indices that sort the events by arrival, and the few that arrive together by number and copy."""
    order = np.argsort(events.arrival)
    arrival = events.arrival[order]
    together = np.zeros(len(order), bool)
    together[1:] = arrival[1:] == arrival[:-1]
    together[:-1] |= together[1:]
    tied = order[together]
    order[together] = tied[np.lexsort((events.copy[tied], events.number[tied], events.arrival[tied]))]
    return order


def counts(events: Events) -> dict[str, int]:
    """Lines by what they are, under the names of the manifest: ``lines = unique + duplicates + malformed``."""
    first = (events.copy == 0) & (events.defect < 0)
    result = {
        "lines": len(events),
        "unique": int(first.sum()),
        "duplicates_same_day": int((events.copy == mess.SAME_DAY).sum()),
        "duplicates_cross_day": int((events.copy == mess.DAY_AFTER).sum()),
        "late": int((first & (events.arrival > events.time)).sum()),
        "fraud": int((first & (events.scenario >= 0)).sum()),
        "malformed": int((events.defect >= 0).sum()),
    }
    for index, scenario in enumerate(SCENARIOS):
        result[f"fraud_{scenario.name}"] = int((first & (events.scenario == index)).sum())
    for index, defect in enumerate(mess.DEFECTS):
        result[f"malformed_{defect}"] = int((events.defect == index).sum())
    return result


def add_up(parts: list[dict[str, int]]) -> dict[str, int]:
    """The sum of counts, name by name."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)
