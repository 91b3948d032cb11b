"""Formulas that training rows and serving share: the same code on arrays in Spark and on scalars at request time.

Every function takes NumPy arrays or scalars alike. NaN stands for null.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jobs.common.products import HISTORY

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
HISTORY_US = HISTORY.days * DAY_US
COUNTRY_CHANGE_US = 2 * HOUR_US
EARTH_RADIUS_KM = 6371.0
NIGHT_ENDS_US = 6 * HOUR_US
SMALL_AMOUNT_CENTS = 500
Doubles = NDArray[np.float64]


def haversine_km(latitude: ArrayLike, longitude: ArrayLike, to_latitude: ArrayLike, to_longitude: ArrayLike) -> Doubles:
    """Great-circle distance in km between points in degrees."""
    phi, to_phi = np.radians(latitude), np.radians(to_latitude)
    half_dphi = (to_phi - phi) / 2
    half_dlambda = np.radians(np.subtract(to_longitude, longitude)) / 2
    a = np.sin(half_dphi) ** 2 + np.cos(phi) * np.cos(to_phi) * np.sin(half_dlambda) ** 2
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(a, 1.0))))  # np.minimum keeps NaN


def speed_kmh(km: ArrayLike, seconds: ArrayLike) -> Doubles:
    """Speed over a gap that counts as at least 60 s."""
    return np.asarray(np.divide(km, np.maximum(seconds, 60.0) / 3600.0))


def local_time_of_day_us(time_us: ArrayLike, utc_offset_minutes: ArrayLike) -> NDArray[np.int64]:
    """Microseconds since local midnight."""
    return np.mod(np.asarray(time_us) + np.multiply(utc_offset_minutes, 60_000_000), DAY_US)


def hour_angle(time_of_day_us: ArrayLike) -> Doubles:
    """The time of day as an angle, 0 at midnight, 2π a day later."""
    return np.multiply(time_of_day_us, 2 * np.pi / DAY_US)


def hour_deviation(sin: ArrayLike, cos: ArrayLike, mean_sin: ArrayLike, mean_cos: ArrayLike) -> Doubles:
    """1 - cos(angle - mean angle): 0 at the mean, 2 opposite it."""
    return np.asarray(1.0 - (np.multiply(sin, mean_sin) + np.multiply(cos, mean_cos)))


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Doubles:
    """numerator / denominator, NaN where the denominator is 0 or NaN."""
    bottom = np.asarray(denominator, np.float64)
    return np.divide(numerator, np.where(bottom == 0, np.nan, bottom))


def z_score(value: ArrayLike, mean: ArrayLike, std: ArrayLike) -> Doubles:
    """(value - mean) / std, NaN where std is 0 or NaN."""
    return ratio(np.subtract(value, mean), std)
