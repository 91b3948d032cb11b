"""Look-ups by table against NumPy's search."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.generate.chance import find
from jobs.generate.world import PLACES, merchants


@pytest.mark.parametrize(("steps", "reach", "scale"), [(5, 1, 1.0), (900, 1, 41.7), (2000, 40, 1.0)])
def test_find_is_numpys_search_on_the_steps_themselves_too(
    rng: np.random.Generator, steps: int, reach: int, scale: float
) -> None:
    stairs = np.sort(rng.random(steps)) * reach * scale
    draws = np.r_[rng.random(20_000) * reach, 0.0, reach, (stairs / scale).clip(0, reach), np.arange(513) / 512]
    assert (find(stairs, draws, scale, reach) == np.searchsorted(stairs, draws * scale, side="right")).all()


def test_pick_is_a_search_in_the_summed_popularity(rng: np.random.Generator) -> None:
    shops, groups = merchants(3), len(merchants(3).first) - 1
    group = rng.integers(0, groups, 50_000)
    draw = rng.random(50_000)
    draw[:groups], draw[groups : 2 * groups] = 0.0, 1.0
    found = shops.pick(group // PLACES, group % PLACES, draw)
    low, high = shops.cumulative[shops.first[group]], shops.cumulative[shops.first[group + 1]]
    wanted = np.searchsorted(shops.cumulative, low + draw * (high - low), side="right") - 1
    assert (found == wanted.clip(shops.first[group], shops.first[group + 1] - 1)).all()
    assert len(np.unique(found)) > 2 * groups
