"""The marker that says which state an online store holds. It lives in Redis: a flushed store has none."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import redis

from jobs.online.silver import midnight_after


@dataclass(frozen=True)
class Loaded:
    """What was loaded, whole and checked."""

    fingerprint: str
    event_date: str

    @property
    def day(self) -> date:
        return date.fromisoformat(self.event_date)

    @property
    def event_timestamp(self) -> datetime:
        return midnight_after(self.day)


def read_marker(client: redis.Redis, project: str) -> Loaded | None:
    """The marker; None when nothing was loaded, or a load was cut short."""
    text: Any = client.get(marker_key(project))
    return Loaded(**json.loads(text)) if text else None


def write_marker(client: redis.Redis, project: str, loaded: Loaded, ttl_seconds: int) -> None:
    """Sets the marker, which must not outlive the keys that it speaks of."""
    client.set(marker_key(project), json.dumps(asdict(loaded)), ex=ttl_seconds)


def remove_marker(client: redis.Redis, project: str) -> None:
    client.delete(marker_key(project))


def marker_key(project: str) -> str:
    return f"fti:{project}:loaded"
