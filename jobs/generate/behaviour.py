"""How cardholders spend on one day: sessions of purchases, habits, trips, subscriptions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from jobs.generate import categories, places
from jobs.generate.categories import BY_PHONE, CASH, HOURS, MU, ONLINE, SHARE, SIGMA, WEEKDAYS
from jobs.generate.chance import Stream, choose, find, hashed, uniform
from jobs.generate.events import ATM, DECLINED_SHARE, ECOM, MOTO, POS, RECURRING, Events, ordinary
from jobs.generate.parameters import BLOCK, Parameters
from jobs.generate.places import CITY_COUNTRY, DAY_US
from jobs.generate.world import (
    HABIT_WEIGHTS,
    HABITS,
    Cards,
    Routine,
    cards,
    merchants,
    routine,
    web_place,
    whereabouts,
)

SESSION_MEAN = 1.28
"""Purchases in a session, geometric, at most ``SESSION_MAX``."""
SESSION_MAX = 12
GAP_MIN_S, GAP_MEAN_S = 90.0, 400.0
"""Seconds between two purchases of a session: a least gap and the mean of what comes on top."""
HABIT_SHARE = 0.82
"""Share of purchases that follow a habit."""


@dataclass(frozen=True, eq=False)
class Block:
    """Neighbouring card slots, drawn together."""

    parameters: Parameters
    index: int
    facts: Cards

    @cached_property
    def routine(self) -> Routine:
        """Habits and subscriptions, for whom more than the cards themselves is wanted."""
        return routine(self.parameters, self.facts)


@lru_cache(maxsize=64)
def block(parameters: Parameters, index: int) -> Block:
    """Block ``index`` of the world's card slots, at most ``BLOCK`` of them."""
    slots = np.arange(index * BLOCK, min((index + 1) * BLOCK, parameters.cards))
    return Block(parameters, index, cards(parameters.seed, slots))


def hour_weights(day: int) -> np.ndarray:
    """Purchases by country and UTC hour of a day against an average day's total: float64 (countries, 24).

    Every country keeps local time: the local hour's and the local weekday's share are looked up for each UTC hour.
    """
    date = places.calendar(day)
    local = np.arange(24) + places.utc_offsets(day) // 60
    return (
        HOURS[local % 24] * WEEKDAYS[(date.weekday() + local // 24) % 7] * categories.season(date.timetuple().tm_yday)
    )


def purchases(
    parameters: Parameters, block: Block, day: int, rng: np.random.Generator, rate: float, mean: float, number: int
) -> Events:
    """Everyday purchases of a block's cardholders on one UTC day, whichever card they hold.

    Args:
        rng: the generator to draw from.
        rate: purchases per card and day. mean: mean length of a session.
        number: the first of the numbers that the purchases get.
    """
    slot_of, time = _sessions(block, day, rng, rate, mean)
    facts = block.facts
    n = len(slot_of)
    where = whereabouts(parameters.seed, facts.slot.take(slot_of), facts.city.take(slot_of), day)
    city = where.city(time)
    category, merchant, channel = _choices(parameters, block, slot_of, city, rng)
    euros = np.exp(MU.take(category) + SIGMA.take(category) * rng.standard_normal(n)) * facts.spending.take(slot_of)
    cents = categories.price(euros, category, rng.random(n))
    moment = places.midnight(day) + time
    made = ordinary(
        number=number + np.arange(n, dtype=np.uint64),
        time=moment,
        offset=places.local_offset(CITY_COUNTRY[city], moment, day),
        slot=facts.slot.take(slot_of),
        generation=np.zeros(n, np.int64),
        merchant=merchant,
        cents=cents,
        channel=channel,
        declined=rng.random(n) < DECLINED_SHARE,
    )
    # Nobody is at a till while under way.
    return made.take(~(made.card_present & where.travelling(time)))


def _sessions(
    block: Block, day: int, rng: np.random.Generator, rate: float, mean: float
) -> tuple[np.ndarray, np.ndarray]:
    """Position in the block and µs from midnight of each purchase, session by session.

    Independent Poisson counts per card are one Poisson total whose sessions fall on cards by weight.
    """
    weights = hour_weights(day)
    mood = rng.standard_exponential(len(block.facts.slot))  # some days are for shopping
    expected = np.cumsum(block.facts.activity * mood * weights.sum(axis=1)[block.facts.country])
    sessions = int(rng.poisson(expected[-1] * rate / mean))
    position = np.searchsorted(expected, np.sort(rng.random(sessions)) * expected[-1]).clip(max=len(expected) - 1)
    cumulative = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    country = block.facts.country[position]
    steps = (cumulative + np.arange(len(weights))[:, None]).ravel()
    hour = find(steps, country + rng.random(sessions), reach=len(weights)) - 24 * country
    anchor = (hour.clip(0, 23) + rng.random(sessions)) * 3600.0

    length = rng.geometric(1 / mean, sessions).clip(max=SESSION_MAX)
    first = np.cumsum(length) - length
    gap = GAP_MIN_S + GAP_MEAN_S * rng.standard_exponential(int(length.sum()))
    gap[first] = 0.0
    elapsed = np.cumsum(gap)
    elapsed -= np.repeat(elapsed[first], length)
    # The drawn hour is that of one purchase of the session, any of them, so that long sessions do not run late.
    anchored = elapsed[first + (rng.random(sessions) * length).astype(np.int64)]
    begin = (anchor - anchored).clip(min=0.0)
    last = begin + elapsed[first + length - 1]
    begin -= (last - 86_399.0).clip(min=0.0)
    seconds = np.repeat(begin, length) + elapsed
    return np.repeat(position, length), (seconds * 1e6).astype(np.int64).clip(0, DAY_US - 1)


def _choices(
    parameters: Parameters, block: Block, slot_of: np.ndarray, city: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Category, merchant and channel of each purchase, given the city in which the cardholder is."""
    shops, facts, n = merchants(parameters.seed), block.facts, len(slot_of)
    draw = rng.random(n)
    by_habit = draw < HABIT_SHARE
    habit = choose(HABIT_WEIGHTS, (draw / HABIT_SHARE).clip(max=1.0))
    favoured = slot_of * HABITS + habit
    category = np.where(by_habit, block.routine.category.take(favoured), choose(SHARE, rng.random(n)))
    favourite = block.routine.merchant.take(favoured)
    on_web = rng.random(n) < ONLINE.take(category)
    place = np.where(on_web, web_place(facts.country.take(slot_of), rng.random(n)), city)
    merchant = shops.pick(category, place, rng.random(n))
    # The favourite shop is of no use from another city, unless it is on the web.
    reachable = (shops.place.take(favourite) >= places.CITIES) | (city == facts.city.take(slot_of))
    merchant = np.where(by_habit & reachable, favourite, merchant)
    on_web = shops.place.take(merchant) >= places.CITIES
    by_phone = rng.random(n) < BY_PHONE.take(category)
    channel = np.where(on_web, ECOM, np.where(category == CASH, ATM, np.where(by_phone, MOTO, POS)))
    return category, merchant, channel


def charges(parameters: Parameters, block: Block, day: int, number: int) -> Events:
    """Subscriptions of a block's cards that are charged on one UTC day: monthly, a day early or late at times."""
    plan, date = block.routine, places.calendar(day)
    near = np.flatnonzero((plan.day > 0) & (np.abs(plan.day - date.day) <= 1))
    slot_of, which = np.divmod(near, plan.day.shape[1])
    slot = block.facts.slot[slot_of]
    month = date.year * 12 + date.month
    shift = (hashed(parameters.seed, Stream.SUBSCRIPTIONS, slot, which, 1000 + month) % np.uint64(3)).astype(
        np.int64
    ) - 1
    due = plan.day.ravel()[near] + shift == date.day
    near, slot_of, which, slot = near[due], slot_of[due], which[due], slot[due]
    seconds = uniform(parameters.seed, Stream.SUBSCRIPTIONS, slot, which, 10_000 + month) * 60e6
    time = places.midnight(day) + plan.minute.ravel()[near] * 60_000_000 + seconds.astype(np.int64)
    declined = uniform(parameters.seed, Stream.SUBSCRIPTIONS, slot, which, 20_000 + month) < DECLINED_SHARE
    return ordinary(
        number=number + np.arange(len(near), dtype=np.uint64),
        time=time,
        offset=places.local_offset(block.facts.country[slot_of], time, day),
        slot=slot,
        generation=np.zeros(len(near), np.int64),
        merchant=plan.shop.ravel()[near].astype(np.int64),
        cents=plan.cents.ravel()[near].astype(np.int64),
        channel=np.full(len(near), RECURRING),
        declined=declined,
    )
