"""What is bought: merchant categories, what they charge, and when people shop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Category:
    """A kind of merchant.

    Attributes:
        share: weight among everyday purchases.
        mu, sigma: of the natural logarithm of the amount in EUR.
        online: share bought on the web.
        by_phone: share of the rest that is ordered by phone or mail.
    """

    name: str
    mcc: int
    share: float
    mu: float
    sigma: float
    online: float
    by_phone: float = 0.0


CATEGORIES = (
    Category("grocery", 5411, 0.24, 3.15, 0.75, 0.04),
    Category("restaurant", 5812, 0.12, 3.0, 0.65, 0.06, 0.01),
    Category("fast_food", 5814, 0.11, 2.3, 0.5, 0.10),
    Category("fuel", 5541, 0.08, 3.7, 0.45, 0.0),
    Category("transit", 4111, 0.07, 1.9, 0.7, 0.32),
    Category("general_retail", 5311, 0.08, 3.4, 0.9, 0.38, 0.01),
    Category("clothing", 5651, 0.05, 3.8, 0.8, 0.42),
    Category("electronics", 5732, 0.02, 4.6, 1.0, 0.55),
    Category("pharmacy", 5912, 0.045, 2.9, 0.7, 0.08, 0.01),
    Category("digital_goods", 5816, 0.05, 2.3, 0.7, 1.0),
    Category("travel", 4511, 0.01, 5.3, 0.9, 0.9, 0.2),
    Category("lodging", 7011, 0.01, 5.0, 0.7, 0.6, 0.2),
    Category("home", 5200, 0.03, 3.9, 0.9, 0.2, 0.03),
    Category("entertainment", 7832, 0.03, 3.2, 0.7, 0.5),
    Category("cash", 6011, 0.045, 4.1, 0.6, 0.0),
    Category("subscription", 4899, 0.0, 2.6, 0.5, 1.0),
)
NAMES = [category.name for category in CATEGORIES]
CASH = NAMES.index("cash")
SUBSCRIPTION = NAMES.index("subscription")
MCC = np.array([category.mcc for category in CATEGORIES])
SHARE = np.array([category.share for category in CATEGORIES])
MU = np.array([category.mu for category in CATEGORIES])
SIGMA = np.array([category.sigma for category in CATEGORIES])
ONLINE = np.array([category.online for category in CATEGORIES])
BY_PHONE = np.array([category.by_phone for category in CATEGORIES])

HOURS = np.array([1.1, .6, .35, .26, .35, .7, 1.5, 3.0, 4.3, 4.8, 5.2, 6.1, 7.2, 6.4, 5.9, 6.0, 6.6, 7.6, 7.9, 6.6, 5.2, 4.2, 3.0, 1.65])  # fmt: skip
HOURS /= HOURS.sum()
"""Share of the day's purchases by local hour."""
WEEKDAYS = np.array([0.93, 0.94, 0.97, 1.02, 1.16, 1.12, 0.86])
"""Purchases by local weekday, Monday first, against the week's mean."""
SEASON = 0.05
"""Amplitude of the yearly wave, which peaks in mid-December."""
_ENDINGS = ((0.12, 99), (0.20, 0), (0.25, 50), (0.30, 95))  # cumulative share, cents


def season(day_of_year: int) -> float:
    """Purchases on a day of the year against the year's mean."""
    return 1 + SEASON * float(np.cos(2 * np.pi * (day_of_year - 349) / 365.25))


def price(euros: np.ndarray, category: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Cents as shops charge them: some end in .99, .00, .50 or .95, and a cash machine gives whole tens.

    Args:
        euros: amounts before rounding, float64.
        category: index into ``CATEGORIES``.
        draw: uniform draws that pick the ending.
    """
    cents = np.rint(euros * 100).astype(np.int64)
    ending = np.searchsorted([share for share, _ in _ENDINGS], draw, side="right")
    last = np.array([cents for _, cents in _ENDINGS] + [0])[ending]
    charmed = np.rint((cents - last) / 100).astype(np.int64) * 100 + last
    cents = np.where(ending < len(_ENDINGS), charmed, cents)
    tens = np.rint(euros / 10).astype(np.int64).clip(1, 80) * 1000
    return np.where(category == CASH, tens, cents.clip(min=50))
