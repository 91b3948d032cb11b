"""Sliding windows ``[t - w, t)`` over sorted events of many keys at once, in NumPy and linear in their number.

Sums are over integers and exact; a window's cost does not depend on how many events it holds, so a card with
a hundred thousand transactions costs no more per transaction than any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """Lays the time lines of many keys end to end, so that one sorted array of integers holds them all.

    Attributes:
        start: earliest time of any event or query, µs.
        end: latest, µs.
        reach: longest window, µs: the gap that keeps a window of one key out of the line before it.
    """

    start: int
    end: int
    reach: int

    @property
    def length(self) -> int:
        """Room that one key takes."""
        return (self.end - self.start) + 2 * self.reach + 2

    @property
    def keys(self) -> int:
        """How many keys fit into 64 bits."""
        return 2**62 // self.length

    def require_room(self, keys: int) -> None:
        """Raises OverflowError when so many keys do not fit: their time lines would run into each other."""
        if keys > self.keys:
            raise OverflowError(f"{keys} keys do not fit an axis of {self.length} µs each.")

    def place(self, key: Ints, time: Ints) -> Ints:
        """Position of each (key code, time in µs)."""
        return key.astype(np.int64) * self.length + (time - self.start) + self.reach


@dataclass(frozen=True)
class Events:
    """Events at sorted positions of an axis."""

    position: Ints

    def __len__(self) -> int:
        return self.position.size

    def before(self, query: Ints) -> Ints:
        """How many events lie before each query position, over all keys: the index that ends ``[…, t)``."""
        return np.searchsorted(self.position, query, side="left")


@dataclass(frozen=True)
class Window:
    """For each query the events ``[low, high)``, as indices into the events."""

    low: Ints
    high: Ints

    @cached_property
    def count(self) -> Ints:
        return self.high - self.low

    def sum(self, running: Ints) -> Ints:
        """Sum over each window, given ``running_sum`` of the values. Exact modulo 2^64."""
        return running[self.high] - running[self.low]

    def maximum(self, maxima: Maxima, empty: int) -> Ints:
        """Largest value of each window: of two stretches of a power of two that cover it."""
        result = np.full(self.low.size, empty, np.int64)
        exponent = np.frexp(self.count.astype(np.float64))[1] - 1
        for level in range(int(exponent.max(initial=-1)) + 1):
            here = np.flatnonzero(exponent == level)
            stretches = maxima.of_length(level)
            result[here] = np.maximum(stretches[self.low[here]], stretches[self.high[here] - (1 << level)])
        return result


class Maxima:
    """A sparse table: the largest of every stretch of 1, 2, 4, … values. Each length costs as much memory as the values."""

    def __init__(self, values: Ints) -> None:
        self._levels = [values]

    def of_length(self, level: int) -> Ints:
        """For each value the largest of the ``2 ** level`` that begin with it."""
        while len(self._levels) <= level:
            last, length = self._levels[-1], 1 << (len(self._levels) - 1)
            self._levels.append(np.maximum(last[:-length], last[length:]))
        return self._levels[level]


def running_sum(values: Ints | NDArray[np.bool_]) -> Ints:
    """Prefix sums with a leading zero."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(values, dtype=np.int64)])


@dataclass(frozen=True)
class UnitSum:
    """Exact window sums of doubles in [-1, 1], kept as 53-bit integers in two halves."""

    high: Ints
    low: Ints

    @classmethod
    def of(cls, values: Doubles) -> UnitSum:
        scaled = np.rint(np.ldexp(values, 53)).astype(np.int64)
        return cls(running_sum(scaled >> 26), running_sum(scaled & (2**26 - 1)))

    def over(self, window: Window) -> Doubles:
        return np.ldexp(window.sum(self.high).astype(np.float64), -27) + np.ldexp(
            window.sum(self.low).astype(np.float64), -53
        )


def sample_std(count: Ints, total: Ints, squares: Any) -> Doubles:
    """Sample standard deviation from exact integer sums; NaN below two values.

    With m the rounded mean and r = total - count·m, the sum of (x - m)² is squares - m·total - m·r, an exact
    integer that is small where the spread is small, so nothing cancels.

    Args:
        count, total: number and sum of each group, int64.
        squares: sum of squares of each group, int64, or Python integers where that is too small.
    """
    enough = count >= 2
    n, sums = np.where(enough, count, 2).astype(squares.dtype), total.astype(squares.dtype)
    m = (2 * sums + n) // (2 * n)
    r = sums - n * m
    around_m, r, n = (np.asarray(v, np.float64) for v in (squares - m * sums - m * r, r, n))
    variance = (around_m - r * r / n) / (n - 1)
    return np.where(enough, np.sqrt(np.maximum(variance, 0.0)), np.nan)


def distinct_ends(position: Ints, following: Ints, window_us: int) -> Ints:
    """Sorted positions at which a visit stops being the one that stands for its merchant in a sliding window.

    The visit at p stands for its merchant at queries in (p, min(p + w, next visit)], so the number of distinct
    merchants at q is the visits before q minus the ends before q.

    Args:
        position: position of each visit.
        following: position of the next visit of the same card to the same merchant; huge where there is none.
        window_us: w.
    """
    return np.sort(np.minimum(position + window_us, following))
