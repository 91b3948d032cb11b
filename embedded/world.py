"""Which world a home holds: days of two worlds in one lake would be mixed and loaded as one."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from embedded import redis_server
from embedded.errors import EmbeddedError
from embedded.home import Home


@dataclass(frozen=True)
class World:
    """What decides the data of a run."""

    seed: int
    cards: int
    start: str
    days: int

    def change_to(self, other: World) -> str:
        """Why this world's data are of no use to the other; empty where the other only goes on."""
        old, new = asdict(self), asdict(other)
        changes = [f"{name} {old[name]} → {new[name]}" for name in ("seed", "cards", "start") if old[name] != new[name]]
        if changes:
            return f"Another world than the last ({', '.join(changes)})"
        if other.days < self.days:
            return f"Fewer days than the last ({self.days} → {other.days})"
        return ""


def settle(home: Home, world: World) -> str:
    """Makes the home hold nothing of another world; says why something had to go, if it had to.

    Raises:
        EmbeddedError: the home's lake is of a world that nobody wrote down; it may not be the demo's at all.
    """
    last = _read(home.world)
    if last is None and _has_entries(home.lake):
        raise EmbeddedError(
            f"{home.lake} holds data of an unknown world: delete {home.root} to start afresh, or name another folder with --home.",
            2,
        )
    change = last.change_to(world) if last else ""
    if change:
        _set_aside(home)
    _write(home.world, world)
    shutil.rmtree(home.old, ignore_errors=True)  # what a killed run did not get to delete goes at the next
    return change


def _set_aside(home: Home) -> None:
    """Renames instead of deleting: a kill in the middle leaves no lake with a part of its files."""
    redis_server.stop_leftover(home.redis)
    shutil.rmtree(home.old, ignore_errors=True)
    home.old.mkdir(parents=True, exist_ok=True)
    for path in (home.lake, home.redis, home.registry.parent, home.summary):
        if path.exists():
            path.rename(home.old / path.name)


def _has_entries(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _read(file: Path) -> World | None:
    try:
        return World(**json.loads(file.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _write(file: Path, world: World) -> None:
    """Whole or not at all, however the process ends."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(asdict(world)) + "\n")
    part.replace(file)
