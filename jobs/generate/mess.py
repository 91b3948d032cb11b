"""What goes wrong on the way: events that arrive late, lines that are sent twice, lines that are broken."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from jobs.generate import places
from jobs.generate.behaviour import Block, purchases
from jobs.generate.chance import Stream, generator
from jobs.generate.events import Events, concat
from jobs.generate.lifecycle import Lifecycle
from jobs.generate.parameters import Parameters
from jobs.generate.places import DAY_US, EPOCH_US, HOUR_US

DELAY_HOURS = (1.0, 72.0)
"""Bounds of the delay of a late event, log-uniform in between."""
LATEST_DAYS = 3
NEXT_DAY_SHARE = 0.2
"""Share of the duplicates that are sent again the day after; these had been late already."""
DEFECTS = (
    "missing_field",
    "negative_amount",
    "three_decimals",
    "impossible_date",
    "unknown_channel",
    "truncated",
    "garbage",
    "field_count",
)
"""Ways to be malformed. The last one exists in CSV alone."""
SAME_DAY, DAY_AFTER = 1, 2


@lru_cache(maxsize=512)
def late(parameters: Parameters, lifecycle: Lifecycle, block: Block, day: int, number: int) -> Events:
    """Purchases that happened on a day and arrive 1 to 72 hours later, on that day or up to three days after.

    Kept, since the days that follow ask for them again.
    """
    rng = generator(parameters.seed, Stream.LATE, day, block.index)
    made = purchases(parameters, block, day, rng, parameters.rate * parameters.late_rate, 1.0, number)
    low, high = np.log(DELAY_HOURS)
    delay = np.exp(low + rng.random(len(made)) * (high - low)) * HOUR_US
    made = made.but(arrival=made.time + delay.astype(np.int64))
    return lifecycle.held(made, block.facts, day)


def landing(events: Sequence[Events], day: int) -> Events:
    """Of some late events, those that arrive on the day."""
    joined = concat(events)
    return joined.take((joined.arrival - EPOCH_US) // DAY_US == day)


def duplicates(parameters: Parameters, block: Block, day: int, landed: Events, late_yesterday: Events) -> Events:
    """Lines that arrive once more on a day.

    Args:
        landed: the block's sound lines of the day, some of which come again within the day.
        late_yesterday: what arrived late the day before, some of which comes again now. Only these, because
            they can be had without making all of yesterday.
    """
    rng = generator(parameters.seed, Stream.DUPLICATES, day, block.index)
    total = int(rng.binomial(len(landed), parameters.duplicate_rate))
    of_yesterday = min(int(rng.binomial(total, NEXT_DAY_SHARE)), len(late_yesterday))
    again = landed.take(rng.choice(len(landed), total - of_yesterday, replace=False))
    end = places.midnight(day + 1) - 1
    wait = (1e6 * (1 + 1800 * rng.standard_exponential(len(again)))).astype(np.int64)
    again = again.but(arrival=np.minimum(again.arrival + wait, end), copy=np.full(len(again), SAME_DAY, np.int8))
    old = late_yesterday.take(rng.choice(len(late_yesterday), of_yesterday, replace=False))
    arrival = places.midnight(day) + (rng.random(of_yesterday) * DAY_US).astype(np.int64)
    return concat([again, old.but(arrival=arrival, copy=np.full(of_yesterday, DAY_AFTER, np.int8))])


def malformed(parameters: Parameters, lifecycle: Lifecycle, block: Block, day: int, number: int) -> Events:
    """Purchases of a day whose lines will be broken; they have no sound line."""
    rng = generator(parameters.seed, Stream.MALFORMED, day, block.index)
    made = purchases(parameters, block, day, rng, parameters.rate * parameters.malformed_rate, 1.0, number)
    ways = len(DEFECTS) if parameters.format.startswith("csv") else len(DEFECTS) - 1
    defect = (rng.permutation(len(made)) % ways).astype(np.int8)
    return lifecycle.held(made.but(defect=defect), block.facts, day)
