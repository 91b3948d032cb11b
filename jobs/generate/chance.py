"""Randomness that can be asked for anywhere: a named stream, a day, a block; or a counter.

Two sources. ``generator`` gives a NumPy generator for bulk draws, seeded by what is drawn and for when, so
that a day made alone equals the day made in a sequence. ``hashed`` and what follows it turn counters (a
slot, an ordinal, a field) into draws, so that one card's or one episode's facts can be had without making
any other's.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from scipy.special import ndtri

from jobs.common.digest import mix

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
PHI = 0.6180339887498949
"""Steps of this size, modulo 1, fill the unit interval evenly (Kronecker sequence)."""


class Stream(IntEnum):
    """What is drawn. Numbers are part of the world's definition: never reuse one."""

    MERCHANTS = 1
    CARDS = 2
    LEGIT = 3
    LATE = 4
    MALFORMED = 5
    DUPLICATES = 6
    TRIPS = 7
    SUBSCRIPTIONS = 8
    HABITS = 9
    EPISODES = 10
    FRAUD = 11
    DEFECTS = 12
    IDENTIFIERS = 13


def generator(seed: int, stream: Stream, *where: int) -> np.random.Generator:
    """The generator of one stream at one place, such as a day and a block."""
    return np.random.default_rng([seed, stream, *where])


def hashed(seed: int, stream: Stream, *counters: np.ndarray | int) -> np.ndarray:
    """One uint64 for each tuple of counters (arrays broadcast; at least one must be an array)."""
    with np.errstate(over="ignore"):
        state = mix(np.array([seed * 256 + stream], np.uint64))
        for counter in counters:
            state = mix(state + _GOLDEN * (np.asarray(counter).astype(np.uint64) + np.uint64(1)))
    return state


def uniform(seed: int, stream: Stream, *counters: np.ndarray | int) -> np.ndarray:
    """Draws in the open interval (0, 1)."""
    return unit(hashed(seed, stream, *counters))


def normal(seed: int, stream: Stream, *counters: np.ndarray | int) -> np.ndarray:
    """Standard normal draws."""
    return ndtri(uniform(seed, stream, *counters))


def unit(bits: np.ndarray) -> np.ndarray:
    """uint64 to (0, 1), by the upper 53 bits."""
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def choose(weights: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Indices with probabilities proportional to the weights, one for each uniform draw."""
    cumulative = np.cumsum(weights)
    return find(cumulative, draws, cumulative[-1]).clip(max=len(weights) - 1)


_CELLS = 512
"""Of the table in ``find``, for each unit of the draws: a power of two, so that a draw's cell is exact."""
_FEW = 4096
"""So many draws are searched sooner than a table is made."""


def find(steps: np.ndarray, draws: np.ndarray, scale: float = 1.0, reach: int = 1) -> np.ndarray:
    """``np.searchsorted(steps, draws * scale, side="right")`` for draws from 0 to ``reach``, by a table.

    The table knows the answer at the edges of equal cells. Where both edges of a draw's cell agree the draw
    does too, since rounding keeps order; only the other draws are searched.
    """
    if draws.size < _FEW:
        return np.searchsorted(steps, draws * scale, side="right")
    edges = np.searchsorted(steps, np.arange(reach * _CELLS + 1) / _CELLS * scale, side="right")
    cell = (draws * _CELLS).astype(np.int64)
    found = edges[cell]
    open_ = np.nonzero(np.append(edges[1:] != edges[:-1], False)[cell])
    found[open_] = np.searchsorted(steps, draws[open_] * scale, side="right")
    return found


def identifier(seed: int, what: int, counters: np.ndarray) -> np.ndarray:
    """Opaque uint64 identifiers: distinct for distinct counters, since ``mix`` is a bijection."""
    salt = hashed(seed, Stream.IDENTIFIERS, np.array([what]))
    return mix(counters.astype(np.uint64) ^ salt)
