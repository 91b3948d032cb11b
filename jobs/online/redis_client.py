"""The Redis client that jobs and readers share, and how its errors become words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from jobs.common.errors import JobError, WrongCall

CONNECTION: dict[str, Any] = {"socket_connect_timeout": 5, "socket_timeout": 60, "health_check_interval": 30}
"""Keyword arguments of every connection: a dead server is noticed, not waited for."""


def open_client(url: str) -> redis.Redis:
    """A client that tries a broken connection again, three times within a second."""
    return redis.Redis.from_url(url, retry=Retry(ExponentialBackoff(cap=0.5, base=0.1), 3), **CONNECTION)


def connect(url: str) -> redis.Redis:
    """A client of a server that answers.

    Raises:
        WrongCall: the server cannot be reached or refuses the login. The password is not in the message.
    """
    client = open_client(url)
    try:
        client.ping()
    except (redis.RedisError, OSError) as error:
        raise WrongCall(
            f"Cannot use Redis at {address(url)}: {error}. Check that it runs and that REDIS_URL names it rightly."
        ) from None
    return client


@contextmanager
def redis_errors(url: str) -> Iterator[None]:
    """Turns a failure of a server that did answer before into a sentence.

    Raises:
        JobError: the connection broke, or the server refused a command.
    """
    try:
        yield
    except redis.RedisError as error:
        raise JobError(f"Redis at {address(url)} failed: {error}. Mend it, then run the same call again.") from error


def address(url: str) -> str:
    """``host:port`` of a Redis URL, without its login."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}"
