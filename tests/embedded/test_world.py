"""Days of two worlds never meet in one home."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from embedded import redis_server
from embedded.errors import EmbeddedError
from embedded.home import Home
from embedded.world import World, settle

WORLD = World(seed=7, cards=5000, start="2026-01-01", days=35)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home after a run of ``WORLD``."""
    made = Home.at(tmp_path)
    assert settle(made, WORLD) == ""
    made.make_folders()
    for path in data(made):
        path.touch()
    return made


def data(home: Home) -> list[Path]:
    return [home.lake / "file", home.redis / "dump.rdb", home.registry, home.summary]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": 8}, "Another world than the last (seed 7 → 8)"),
        ({"seed": 8, "days": 40}, "Another world than the last (seed 7 → 8)"),
        (
            {"cards": 9, "start": "2026-02-01"},
            "Another world than the last (cards 5000 → 9, start 2026-01-01 → 2026-02-01)",
        ),
        ({"days": 34}, "Fewer days than the last (35 → 34)"),
    ],
)
def test_another_world_starts_afresh(home: Home, changed: dict, said: str) -> None:
    assert settle(home, replace(WORLD, **changed)) == said
    assert not any(path.exists() for path in data(home))
    assert not home.old.exists()
    assert home.logs.exists()
    assert settle(home, replace(WORLD, **changed)) == "", "the new world is the last one now"


@pytest.mark.parametrize("days", [35, 36])
def test_same_world_goes_on(home: Home, days: int) -> None:
    assert settle(home, replace(WORLD, days=days)) == ""
    assert all(path.exists() for path in data(home))


def test_days_of_a_run_that_was_cut_short_count(home: Home) -> None:
    settle(home, replace(WORLD, days=40))
    assert settle(home, WORLD) == "Fewer days than the last (40 → 35)"


def test_start_afresh_that_was_killed_is_finished(home: Home) -> None:
    home.old.mkdir()
    home.lake.rename(home.old / "lake")
    assert settle(home, replace(WORLD, seed=8)) != ""
    assert not any(path.exists() for path in [*data(home), home.old])


@pytest.mark.parametrize("text", [None, "{", '{"seed": 7}', "[]"])
def test_data_of_an_unknown_world_are_neither_used_nor_deleted(home: Home, text: str | None) -> None:
    home.world.unlink() if text is None else home.world.write_text(text)
    with pytest.raises(EmbeddedError, match=r"unknown world: delete .* or name another folder with --home"):
        settle(home, WORLD)
    assert all(path.exists() for path in data(home))


def test_server_that_a_killed_run_left_is_stopped_first(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(redis_server, "stop_leftover", lambda folder: asked.append((folder, folder.exists())))
    settle(home, replace(WORLD, seed=8))
    assert asked == [(home.redis, True)]
