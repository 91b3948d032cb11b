"""Who exists: merchants, and cardholders with their accounts and card slots.

A *slot* is a place in a wallet that holds one card at a time; its cards follow one another as generations
(``lifecycle.py``). Nothing about a slot is stored: every fact is a function of the seed and the slot's
number, so memory does not grow with the number of cards.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from jobs.generate import places
from jobs.generate.categories import CATEGORIES, MU, ONLINE, SHARE, SIGMA, SUBSCRIPTION
from jobs.generate.chance import Stream, choose, generator, hashed, normal, uniform, unit
from jobs.generate.parameters import Parameters
from jobs.generate.places import CITIES, CITY_COUNTRY, COUNTRIES, HOME_WEIGHT, HOUR_US, LATITUDE, LONGITUDE

MERCHANTS = 20_000
POPULARITY = 1.6
"""Exponent of the merchants' Zipf law."""
PLACES = CITIES + len(COUNTRIES)
"""A merchant's place is a city, or, for a web shop, ``CITIES`` plus its country."""
TOWN_KM = 7.0
"""Merchants stand within this distance of the city's centre, so that nobody needs to fly from till to till."""
FOREIGN_SHOPPING = 0.2
"""Share of web purchases made abroad."""

HABITS = 5
HABIT_WEIGHTS = np.array([0.36, 0.24, 0.17, 0.13, 0.10])
SUBSCRIPTIONS = 3
RECURRING_SHARE = 0.06
"""Share of all transactions that are subscriptions being charged."""
MAX_ACTIVITY = 8.0
"""No card is used more than so many times as much as the mean card."""

LEAD_DAYS = (20, 40)
"""A card's successor is issued at least and at most so many days before the card ends."""
SPENDING_SIGMA = 0.35
"""Of the logarithm of a card's factor on amounts."""

# Eight neighbouring slots belong to a few customers: which customer, and which account, each slot goes with.
_CUSTOMERS = np.array([[0, 0, 0, 0, 1, 1, 2, 3], [0, 0, 0, 1, 1, 2, 2, 3], [0, 0, 1, 1, 2, 2, 3, 4], [0, 0, 1, 2, 3, 4, 5, 6]])  # fmt: skip
_ACCOUNTS = np.array([[0, 0, 1, 1, 2, 2, 3, 4], [0, 0, 1, 2, 2, 3, 4, 5], [0, 0, 1, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6, 7]])  # fmt: skip


@dataclass(frozen=True)
class Merchants:
    """All merchants, sorted by category and place. Arrays have shape (merchants,); coordinates are degrees."""

    category: np.ndarray
    place: np.ndarray
    country: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    cumulative: np.ndarray
    """Popularity summed from the first merchant, with a leading 0."""
    first: np.ndarray
    """Index of the first merchant of each group ``category * PLACES + place``, and the end of the last."""

    def pick(self, category: np.ndarray, place: np.ndarray, draw: np.ndarray) -> np.ndarray:
        """A merchant of the category at the place, popular ones more often; one for each uniform draw."""
        group = category * PLACES + place
        # As in ``find``: the draws that fall between two edges with the same merchant need no search.
        edge = self.edge_of_group.take(group) + (draw * self.cells.take(group)).astype(np.int64)
        found = self.edges.take(edge)
        open_ = np.nonzero(self.edges.take(edge + 1) != found)
        found[open_] = self._search(group[open_], draw[open_])
        return found

    def _search(self, group: np.ndarray, draw: np.ndarray) -> np.ndarray:
        first, last = self.first[group], self.first[group + 1] - 1
        low, high = self.cumulative[first], self.cumulative[last + 1]
        found = np.searchsorted(self.cumulative, low + draw * (high - low), side="right") - 1
        return found.clip(first, last)

    @cached_property
    def cells(self) -> np.ndarray:
        """Cells of equal width into which ``pick`` divides each group's draws: powers of two, 8 a merchant and more."""
        return 8 << np.ceil(np.log2(np.diff(self.first))).astype(np.int64)

    @cached_property
    def edge_of_group(self) -> np.ndarray:
        """Index into ``edges`` of the lower edge of each group's first cell."""
        return np.cumsum(self.cells + 2) - (self.cells + 2)

    @cached_property
    def edges(self) -> np.ndarray:
        """The merchant at each edge of the cells, group by group; the upper edge of a group's last cell stands twice."""
        group = np.repeat(np.arange(len(self.cells)), self.cells + 2)
        cell = np.arange(len(group)) - self.edge_of_group[group]
        return self._search(group, (cell / self.cells[group]).clip(max=1.0))


@lru_cache(maxsize=2)
def merchants(seed: int) -> Merchants:
    """The merchants of a world: at least one of every category in every city and in every country's web."""
    rng = generator(seed, Stream.MERCHANTS)
    category = choose(SHARE + 0.05 * (np.arange(len(CATEGORIES)) == SUBSCRIPTION), rng.random(MERCHANTS))
    on_web = rng.random(MERCHANTS) < ONLINE[category]
    city = choose(places.VISIT_WEIGHT**2, rng.random(MERCHANTS))
    country = CITY_COUNTRY[choose(places.VISIT_WEIGHT**2, rng.random(MERCHANTS))]
    place = np.where(on_web, CITIES + country, city)
    groups = np.arange(len(CATEGORIES) * PLACES)
    category, place = np.r_[category, groups // PLACES], np.r_[place, groups % PLACES]
    popularity = np.r_[np.arange(1, MERCHANTS + 1) ** -POPULARITY, np.full(groups.size, MERCHANTS**-POPULARITY)]
    order = np.lexsort((-popularity, place, category))
    category, place, popularity = category[order], place[order], popularity[order]

    on_web = place >= CITIES
    town = np.where(on_web, 0, place)
    distance, bearing = TOWN_KM * np.sqrt(rng.random(order.size)), 2 * np.pi * rng.random(order.size)
    latitude = LATITUDE[town] + distance * np.cos(bearing) / 111.2
    longitude = LONGITUDE[town] + distance * np.sin(bearing) / (111.2 * np.cos(np.radians(LATITUDE[town])))
    return Merchants(
        category=category,
        place=place,
        country=np.where(on_web, place - CITIES, CITY_COUNTRY[town]),
        latitude=np.where(on_web, np.nan, latitude),
        longitude=np.where(on_web, np.nan, longitude),
        cumulative=np.r_[0.0, np.cumsum(popularity)],
        first=np.asarray(np.searchsorted(category * PLACES + place, np.r_[groups, groups.size])),
    )


@dataclass(frozen=True)
class Cards:
    """Facts about card slots. Arrays have shape (n,).

    Attributes:
        slot, account: int64 numbers; city, country: home, int64 indices.
        activity: purchases against the mean card's, mean 1. spending: factor on amounts.
        first_expiry: months from the epoch's month to the one at whose end the first card ends.
        validity: months, 36 or 48. lead: days by which a card's successor is issued before it ends.
    """

    slot: np.ndarray
    account: np.ndarray
    city: np.ndarray
    country: np.ndarray
    activity: np.ndarray
    spending: np.ndarray
    first_expiry: np.ndarray
    validity: np.ndarray
    lead: np.ndarray

    def take(self, which: np.ndarray) -> Cards:
        return Cards(**{name: values.take(which) for name, values in vars(self).items()})


def owners(seed: int, slot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Customer and account number of each slot: one to four cards a customer, on one or two accounts."""
    octet, position = slot // 8, slot % 8
    pattern = (hashed(seed, Stream.CARDS, octet, 100) % np.uint64(len(_CUSTOMERS))).astype(np.int64)
    return octet * 8 + _CUSTOMERS[pattern, position], octet * 8 + _ACCOUNTS[pattern, position]


def cards(seed: int, slot: np.ndarray) -> Cards:
    """The facts about the given slots, each on its own."""
    customer, account = owners(seed, slot)
    city = choose(HOME_WEIGHT, uniform(seed, Stream.CARDS, customer, 101))
    validity = np.where(uniform(seed, Stream.CARDS, slot, 3) < 0.6, 36, 48)
    return Cards(
        slot=slot,
        account=account,
        city=city,
        country=CITY_COUNTRY[city],
        activity=(-np.log(uniform(seed, Stream.CARDS, slot, 1))).clip(max=MAX_ACTIVITY),
        spending=np.exp(SPENDING_SIGMA * normal(seed, Stream.CARDS, slot, 2)),
        first_expiry=2 + (uniform(seed, Stream.CARDS, slot, 4) * validity).astype(np.int64),
        validity=validity,
        lead=LEAD_DAYS[0] + (uniform(seed, Stream.CARDS, slot, 5) * (LEAD_DAYS[1] - LEAD_DAYS[0])).astype(np.int64),
    )


@dataclass(frozen=True)
class Routine:
    """What a card is used for again and again, in as few bytes as hold it: it is kept for many days.

    Attributes:
        category, merchant: shape (n, HABITS), favourite merchants near home and on the web.
        shop: merchant of each subscription; cents: what it charges; both of shape (n, SUBSCRIPTIONS).
        day: day of the month, 2 to 27, 0 where there is no such subscription; minute: int64, UTC minute of the day.
    """

    category: np.ndarray
    merchant: np.ndarray
    shop: np.ndarray
    cents: np.ndarray
    day: np.ndarray
    minute: np.ndarray


def routine(parameters: Parameters, facts: Cards) -> Routine:
    """Habits and subscriptions of the given slots."""
    seed, shops = parameters.seed, merchants(parameters.seed)
    slot, habit = facts.slot[:, None], np.arange(HABITS)[None, :]
    category = choose(SHARE, uniform(seed, Stream.HABITS, slot, habit, 0))
    on_web = uniform(seed, Stream.HABITS, slot, habit, 1) < ONLINE[category]
    abroad = web_place(facts.country[:, None], uniform(seed, Stream.HABITS, slot, habit, 2))
    place = np.where(on_web, abroad, facts.city[:, None])

    index = np.arange(SUBSCRIPTIONS)[None, :]
    chance = min(1.0, RECURRING_SHARE * parameters.rate * 30.44 / SUBSCRIPTIONS)
    has = uniform(seed, Stream.SUBSCRIPTIONS, slot, index, 0) < chance
    day = 2 + (uniform(seed, Stream.SUBSCRIPTIONS, slot, index, 1) * 26).astype(np.int64)
    seller = web_place(facts.country[:, None], uniform(seed, Stream.SUBSCRIPTIONS, slot, index, 2))
    euros = np.exp(MU[SUBSCRIPTION] + SIGMA[SUBSCRIPTION] * normal(seed, Stream.SUBSCRIPTIONS, slot, index, 4))
    return Routine(
        category=category.astype(np.int8),
        merchant=shops.pick(category, place, uniform(seed, Stream.HABITS, slot, habit, 3)).astype(np.int32),
        shop=shops.pick(
            np.full_like(seller, SUBSCRIPTION), seller, uniform(seed, Stream.SUBSCRIPTIONS, slot, index, 3)
        ).astype(np.int32),
        cents=(np.floor(euros) * 100 + 99).astype(np.int32),
        day=np.where(has, day, 0).astype(np.int8),
        minute=(6 * 60 + 240 * uniform(seed, Stream.SUBSCRIPTIONS, slot, index, 5)).astype(np.int64),
    )


def web_place(country: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """The place of a web shop for a buyer at home in a country: mostly the same country."""
    there = choose(places.ONLINE_WEIGHT, (draw / FOREIGN_SHOPPING).clip(max=1.0))
    return CITIES + np.where(draw < FOREIGN_SHOPPING, there, country)


@dataclass(frozen=True)
class Whereabouts:
    """Where cardholders are on one day each: in ``before`` until they leave, under way, then in ``after``.

    Arrays of shape (n,): city indices, and UTC µs from midnight. Both times are 0 for who stays.
    """

    before: np.ndarray
    after: np.ndarray
    leave: np.ndarray
    arrive: np.ndarray

    def city(self, time_of_day: np.ndarray) -> np.ndarray:
        return np.where(time_of_day < self.leave, self.before, self.after)

    def travelling(self, time_of_day: np.ndarray) -> np.ndarray:
        return (time_of_day >= self.leave) & (time_of_day < self.arrive)


TRIP_CHANCE = 0.55
"""Chance of one trip in each of a slot's cycles of 50 to 99 days; it lasts 2 to 12 days."""


def whereabouts(seed: int, slot: np.ndarray, home: np.ndarray, day: np.ndarray | int) -> Whereabouts:
    """Where the holders of the slots, at home in the given cities, are on the given days."""
    bits = hashed(seed, Stream.TRIPS, slot)
    period = 50 + (bits % np.uint64(50)).astype(np.int64)
    shifted = day + ((bits >> np.uint64(8)) % np.uint64(100)).astype(np.int64)
    cycle, within = shifted // period, shifted % period
    bits = hashed(seed, Stream.TRIPS, slot, cycle)
    length = 2 + (bits % np.uint64(11)).astype(np.int64)
    start = ((bits >> np.uint64(8)) % np.uint64(1 << 16)).astype(np.int64) % (period - length)
    goes = unit(bits) < TRIP_CHANCE
    away = np.flatnonzero(goes & (within >= start) & (within <= start + length))

    before, after = home.copy(), home.copy()
    leave, arrive = np.zeros(len(slot), np.int64), np.zeros(len(slot), np.int64)
    there = choose(places.VISIT_WEIGHT, uniform(seed, Stream.TRIPS, slot[away], cycle[away], 1))
    first, last = within[away] == start[away], within[away] == (start + length)[away]
    before[away] = np.where(first, home[away], there)
    after[away] = np.where(last, home[away], there)
    # They leave in the morning and are there by the evening of the same day, at less than an airliner's speed.
    under_way = 2.5 + places.DISTANCE[home[away], there] / 750
    leaves = ((4 + 3 * uniform(seed, Stream.TRIPS, slot[away], cycle[away], 2 + last)) * HOUR_US).astype(np.int64)
    moves = first | last
    leave[away] = np.where(moves, leaves, 0)
    arrive[away] = np.where(moves, leaves + (under_way * HOUR_US).astype(np.int64), 0)
    return Whereabouts(before, after, leave, arrive)
