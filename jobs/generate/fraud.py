"""Fraud: which episodes befall whom, and the transactions each consists of.

An episode is a pure function of its ordinal. Ordinals of a scenario arrive at an even pace, sizes and
victims follow low-discrepancy sequences, so the share of fraud is met whatever the number of cards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd

import numpy as np

from jobs.generate import categories, places
from jobs.generate.categories import CASH, HOURS, MU, NAMES, SIGMA
from jobs.generate.chance import PHI, Stream, choose, hashed, normal, uniform
from jobs.generate.events import ATM, DECLINED_SHARE, ECOM, POS, Events, ordinary
from jobs.generate.lifecycle import Lifecycle
from jobs.generate.parameters import Parameters
from jobs.generate.places import CITIES, CITY_COUNTRY, DAY_US, HOUR_US
from jobs.generate.world import cards, merchants, web_place, whereabouts

REPORTED_SHARE = 0.88
"""Share of episodes that the cardholder reports."""
REPORT_CAP_DAYS = 119
LONGEST_EPISODE_DAYS = 16
VICTIMS_PER_COMPROMISE = 8
FRAUD = 5 << 60
"""Where the numbers of fraud transactions begin."""
_HOUR, _DAY = 1.0, 24.0


@dataclass(frozen=True)
class Scenario:
    """A way to commit fraud.

    Attributes:
        share: of all fraudulent transactions.
        size: least and most fraudulent transactions in an episode.
        span: hours from the first to the last; warp: above 1, most of them come early.
        lead: hours from a genuine visit of the victim, which is part of the story, to the first; None without.
        place: ``web`` as the victim shops, ``abroad`` web shops, ``here`` where the victim is, ``far`` from there.
        goods: weights by category.
        markup: what is added to the logarithm of the amount. tests: share of tiny amounts that come first.
        declined: share that the issuer declines.
        delay: median days from the last transaction to the report; spread: sigma of its logarithm.
    """

    name: str
    share: float
    size: tuple[int, int]
    span: tuple[float, float]
    warp: float
    lead: tuple[float, float] | None
    place: str
    goods: dict[str, float]
    markup: float
    tests: float
    declined: float
    delay: float
    spread: float
    reason: str

    @property
    def mean_size(self) -> float:
        return sum(self.size) / 2


_WEB = {
    "digital_goods": 3.0,
    "general_retail": 4.0,
    "clothing": 3.0,
    "electronics": 2.0,
    "entertainment": 1.0,
    "fast_food": 1.0,
}
_TILL = {
    "grocery": 4.0,
    "fuel": 2.0,
    "general_retail": 2.0,
    "pharmacy": 1.0,
    "fast_food": 1.0,
    "transit": 1.0,
    "cash": 1.0,
}
_GOODS = {"electronics": 3.0, "general_retail": 4.0, "clothing": 3.0, "digital_goods": 2.0, "travel": 0.5}
SCENARIOS = (
    Scenario("card_testing", 0.35, (6, 13), (1.5, 30.0), 2.4, None, "web", _GOODS, 0.1, 0.45, 0.20, 4, 0.9, "fraud_card_not_present"),
    Scenario("account_takeover", 0.15, (2, 6), (2.0, 72.0), 1.0, None, "web", _GOODS, 0.4, 0.0, 0.10, 6, 0.9, "fraud_card_not_present"),
    Scenario("leaked_credentials", 0.20, (2, 7), (2.0, 96.0), 1.0, None, "abroad", _WEB, 0.2, 0.0, 0.14, 9, 1.0, "fraud_card_not_present"),
    Scenario("lost_or_stolen", 0.10, (3, 8), (0.5, 10.0), 1.0, None, "here", _TILL, 0.2, 0.0, 0.12, 1, 0.8, "fraud_card_present"),
    Scenario("counterfeit", 0.05, (2, 4), (0.4, 3.0), 1.0, (0.3, 1.2), "far", _TILL, 0.4, 0.0, 0.15, 5, 0.8, "fraud_card_present"),
    Scenario("compromised_merchant", 0.10, (2, 5), (1.0, 48.0), 1.0, (3 * _DAY, 12 * _DAY), "web", _WEB, 0.2, 0.0, 0.12, 8, 0.9, "fraud_card_not_present"),
    Scenario("friendly", 0.05, (1, 1), (0.0, 0.0), 1.0, None, "web", _WEB, 0.0, 0.0, 0.0, 25, 0.7, "not_recognised"),
)  # fmt: skip
COUNTERFEIT, COMPROMISED, FRIENDLY = 4, 5, 6
_GOODS_CUMULATIVE = np.cumsum(
    [[s.goods.get(name, 0.0) / sum(s.goods.values()) for name in NAMES] for s in SCENARIOS], axis=1
)


def _table(attribute: str) -> np.ndarray:
    return np.array([getattr(scenario, attribute) for scenario in SCENARIOS])


_LEAD = np.array([scenario.lead or (0.0, 0.0) for scenario in SCENARIOS])
_PLACE = _table("place")


@dataclass(frozen=True)
class Episodes:
    """Fraud episodes in order of their first day. Arrays have shape (n,); times are UTC µs.

    Attributes:
        ordinal: the episode's number in the world. scenario: index into ``SCENARIOS``. day: on which it starts.
        slot: the victim. size: fraudulent transactions. start: first event, the genuine visit if there is one.
        first, last: first and last fraudulent transaction.
        reported: when the cardholder reports it, -1 for never. reissued: day on which the new card is issued.
        compromise: number of the breach that gave the card away, -1 for none.
    """

    ordinal: np.ndarray
    scenario: np.ndarray
    day: np.ndarray
    slot: np.ndarray
    size: np.ndarray
    start: np.ndarray
    first: np.ndarray
    last: np.ndarray
    reported: np.ndarray
    reissued: np.ndarray
    compromise: np.ndarray

    def take(self, which: np.ndarray) -> Episodes:
        return Episodes(**{name: values[which] for name, values in vars(self).items()})


def episodes_per_day(parameters: Parameters) -> np.ndarray:
    """Episodes that start each day, by scenario."""
    fraud_per_legit = parameters.fraud_rate / (1 - parameters.fraud_rate)
    return parameters.cards * parameters.rate * fraud_per_legit * _table("share") / _table("mean_size")


def days_between_frauds(parameters: Parameters) -> float:
    """Days after which the same card slot is hit again; victims are taken in turn."""
    return parameters.cards / max(float(episodes_per_day(parameters).sum()), 1e-12)


def plan(parameters: Parameters, days: int) -> Episodes:
    """All episodes that start in the world's first ``days`` days. A longer plan begins with the shorter one."""
    scenario, order, day = _arrivals(parameters, days)
    ordinal = np.arange(len(day))
    seed = parameters.seed

    def draw(field: int) -> np.ndarray:
        return uniform(seed, Stream.EPISODES, ordinal, field)

    slot = _victims(parameters, ordinal)
    low, high = _table("size")[scenario].T
    size = low + (_even(seed, scenario, order, PHI, 1) * (high - low + 1)).astype(np.int64)
    facts = cards(seed, slot)
    start = places.midnight(day) + _time_of_day(scenario, facts.country, draw(1), draw(2))
    lead = _hours(_LEAD[scenario], draw(3))
    first = start + (lead * HOUR_US).astype(np.int64)
    last = first + (_hours(_table("span")[scenario], draw(4)) * HOUR_US * (size > 1)).astype(np.int64)
    delay = _table("delay")[scenario] * np.exp(_table("spread")[scenario] * normal(seed, Stream.EPISODES, ordinal, 5))
    reported = last + HOUR_US + (delay.clip(max=REPORT_CAP_DAYS) * DAY_US).astype(np.int64)
    is_reported = _even(seed, scenario, order, 2**0.5 - 1, 2) < REPORTED_SHARE
    return Episodes(
        ordinal=ordinal,
        scenario=scenario,
        day=day,
        slot=slot,
        size=size,
        start=start,
        first=first,
        last=last,
        reported=np.where(is_reported, reported, -1),
        reissued=(reported - places.EPOCH_US) // DAY_US + 1 + (4 * draw(6)).astype(np.int64),
        compromise=np.where(scenario == COMPROMISED, order // VICTIMS_PER_COMPROMISE, -1),
    )


def _arrivals(parameters: Parameters, days: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scenario, ordinal within the scenario and starting day of each episode, by day."""
    phase = uniform(parameters.seed, Stream.EPISODES, np.arange(len(SCENARIOS)), 1000)
    parts = []
    for scenario, pace in enumerate(episodes_per_day(parameters)):
        order = np.arange(int(pace * days + phase[scenario]))
        day = ((order + 1 - phase[scenario]) / pace).astype(np.int64) if pace else order
        parts.append(np.stack([np.full_like(order, scenario), order, day])[:, day < days])
    scenario, order, day = np.concatenate(parts, axis=1)
    by_day = np.lexsort((order, scenario, day))
    return scenario[by_day], order[by_day], day[by_day]


def _victims(parameters: Parameters, ordinal: np.ndarray) -> np.ndarray:
    """Slots in turn, far apart: none is hit again before every other one was."""
    stride = max(1, round(parameters.cards * PHI))
    while gcd(stride, parameters.cards) != 1:
        stride += 1
    begin = int(hashed(parameters.seed, Stream.EPISODES, np.array([2000]))[0]) % parameters.cards
    return (begin + ordinal % parameters.cards * stride) % parameters.cards


def _even(seed: int, scenario: np.ndarray, order: np.ndarray, step: float, field: int) -> np.ndarray:
    """Evenly spread numbers in [0, 1) along the ordinals of each scenario."""
    return (uniform(seed, Stream.EPISODES, scenario, 3000 + field) + order * step) % 1.0


def _time_of_day(scenario: np.ndarray, country: np.ndarray, hour: np.ndarray, within: np.ndarray) -> np.ndarray:
    """UTC µs from midnight: at tills in shop hours, on the web at any hour of the thief's day."""
    at_till = np.isin(_PLACE[scenario], ("here", "far")) | (scenario == FRIENDLY) | (scenario == COMPROMISED)
    offset = places.utc_offsets(0)[country, 12] / 60
    shop = (choose(HOURS, hour) + within - offset) % 24
    # Half of the web's thieves keep their victims' hours, half do not.
    thief = np.where(within < 0.5, shop, hour * 24)
    return (np.where(at_till, shop, thief) * HOUR_US).astype(np.int64).clip(0, DAY_US - 1)


def _hours(bounds: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Log-uniform between the bounds, 0 where they are 0."""
    low, high = bounds.T
    return np.where(
        low > 0, np.exp(np.log(low.clip(min=1e-9)) + draw * np.log(high.clip(min=1e-9) / low.clip(min=1e-9))), 0.0
    )


def transactions(parameters: Parameters, lifecycle: Lifecycle, episodes: Episodes) -> Events:
    """Every transaction of the episodes, the victims' genuine visits among them (scenario -1)."""
    visits = _LEAD[episodes.scenario, 0] > 0
    count = episodes.size + visits
    row = np.repeat(np.arange(len(count)), count)
    index = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    e = episodes.take(row)
    turn = index - visits[row]
    genuine = turn < 0
    seed = parameters.seed

    def draw(field: int) -> np.ndarray:
        return uniform(seed, Stream.FRAUD, e.ordinal, index, field)

    time = np.where(genuine, e.start, _when(e, turn, draw(0)))
    facts = cards(seed, e.slot)
    day = (time - places.EPOCH_US) // DAY_US
    here = whereabouts(seed, e.slot, facts.city, day).city(time - places.midnight(day))
    category = (draw(1)[:, None] >= _GOODS_CUMULATIVE[e.scenario]).sum(axis=1).clip(max=len(NAMES) - 1)
    tests = ~genuine & (turn < _table("tests")[e.scenario] * e.size)
    category = np.where(tests, NAMES.index("digital_goods"), category)
    merchant, city = _where(parameters, e, facts.country, here, genuine, category, draw)

    mu = MU[category] + np.where(genuine, 0.0, _table("markup")[e.scenario])
    euros = np.exp(mu + SIGMA[category] * normal(seed, Stream.FRAUD, e.ordinal, index, 4))
    euros = np.where(genuine | (e.scenario == FRIENDLY), euros * facts.spending, euros)
    euros = np.where(tests, np.exp(np.log(0.8) + draw(5) * np.log(10)), euros)
    on_web = merchants(seed).place[merchant] >= CITIES
    declined = draw(7) < np.where(genuine, 0.0, _table("declined")[e.scenario].clip(min=DECLINED_SHARE))
    made = ordinary(
        number=FRAUD + e.ordinal.astype(np.uint64) * np.uint64(256) + index.astype(np.uint64),
        time=time,
        offset=np.zeros(len(row), np.int64),
        slot=e.slot,
        generation=lifecycle.generation(facts, e.day),
        merchant=merchant,
        cents=categories.price(euros, category, draw(6)),
        channel=np.where(on_web, ECOM, np.where(category == CASH, ATM, POS)),
        declined=declined,
    )
    return made.but(
        offset=_offsets(city, time, day),
        scenario=np.where(genuine, -1, e.scenario).astype(np.int8),
        episode=e.ordinal,
        compromise=e.compromise,
    )


def _when(e: Episodes, turn: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Times from the first to the last transaction of each episode, jittered in between."""
    inner = (turn > 0) & (turn < e.size - 1)
    share = (turn + np.where(inner, 0.7 * (draw - 0.5), 0.0)).clip(min=0) / (e.size - 1).clip(min=1)
    return e.first + ((e.last - e.first) * share ** _table("warp")[e.scenario]).astype(np.int64)


def _where(
    parameters: Parameters,
    e: Episodes,
    home: np.ndarray,
    here: np.ndarray,
    genuine: np.ndarray,
    category: np.ndarray,
    draw: Callable[[int], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Merchant of each transaction, and the city whose clock is on its receipt."""
    seed, shops = parameters.seed, merchants(parameters.seed)
    rank = uniform(seed, Stream.EPISODES, e.ordinal, 10)
    far = places.FARTHEST_FIRST[here, (rank * CITIES * 0.4).astype(np.int64)]
    country = choose(places.ONLINE_WEIGHT, uniform(seed, Stream.EPISODES, e.ordinal, 11))
    country = np.where(country == home, places.COUNTRIES.index("US"), country)
    kind = _PLACE[e.scenario]
    city = np.where((kind == "far") & ~genuine, far, here)
    place = np.select([kind == "web", kind == "abroad"], [web_place(home, draw(2)), CITIES + country], default=city)
    merchant = shops.pick(category, place, draw(3))
    breached = _breached(parameters, e.compromise)
    return np.where(genuine & (e.scenario == COMPROMISED), breached, merchant), city


def _breached(parameters: Parameters, compromise: np.ndarray) -> np.ndarray:
    """The web shop that each breach happened at."""
    seed = parameters.seed
    category = choose(
        np.diff(_GOODS_CUMULATIVE[COMPROMISED], prepend=0.0), uniform(seed, Stream.EPISODES, compromise, 20)
    )
    country = choose(places.ONLINE_WEIGHT, uniform(seed, Stream.EPISODES, compromise, 21))
    return merchants(seed).pick(category, CITIES + country, uniform(seed, Stream.EPISODES, compromise, 22))


def _offsets(city: np.ndarray, time: np.ndarray, day: np.ndarray) -> np.ndarray:
    offset = np.zeros(len(time), np.int64)
    for one in np.unique(day):
        on = day == one
        offset[on] = places.local_offset(CITY_COUNTRY[city[on]], time[on], int(one))
    return offset


def on_day(parameters: Parameters, lifecycle: Lifecycle, episodes: Episodes, day: int) -> Events:
    """What the episodes put on one UTC day."""
    open_then = (
        (episodes.day <= day) & (episodes.day >= day - LONGEST_EPISODE_DAYS) & (episodes.last >= places.midnight(day))
    )
    made = transactions(parameters, lifecycle, episodes.take(open_then))
    return made.take((made.time - places.EPOCH_US) // DAY_US == day)


@dataclass(frozen=True)
class Chargebacks:
    """Disputes of one day: numbers of the transactions, when they were reported (UTC µs), and why."""

    number: np.ndarray
    reported: np.ndarray
    scenario: np.ndarray


def chargebacks(parameters: Parameters, lifecycle: Lifecycle, episodes: Episodes, day: int) -> Chargebacks:
    """Disputes reported on one UTC day: of each reported episode, every approved fraudulent transaction."""
    told = episodes.take((episodes.reported >= 0) & ((episodes.reported - places.EPOCH_US) // DAY_US == day))
    made = transactions(parameters, lifecycle, told)
    made = made.take((made.scenario >= 0) & ~made.declined)
    reported = told.reported[np.searchsorted(told.ordinal, made.episode)]
    order = np.lexsort((made.number, reported))
    return Chargebacks(made.number[order], reported[order], made.scenario[order])
