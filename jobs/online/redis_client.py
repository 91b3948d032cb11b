"""The Redis client that jobs and readers share, and how its errors become words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from jobs.common.errors import JobError, WrongCall
from jobs.common.services import WRONG_TLS, first_contact, first_line, unreachable

T = TypeVar("T")

CONNECTION: dict[str, Any] = {"socket_connect_timeout": 5, "socket_timeout": 60, "health_check_interval": 30}
"""Keyword arguments of every connection: a dead server is noticed, not waited for."""

RETRIES = 11
"""Of a patient client: 30 s in all."""
_REFUSED = (redis.AuthenticationError, redis.exceptions.AuthorizationError, redis.exceptions.NoPermissionError)


class OneRetry(Retry):
    """redis-py retries the connecting within every retry of a command, a hundred times for ten: this retries once.

    A refused login is a broken connection to redis-py, too; here it is none, and is not tried again.
    """

    __hash__ = Retry.__hash__
    _retrying = False

    def call_with_retry(
        self, do: Callable[[], T], fail: Callable[..., Any], is_retryable: Any = None, with_failure_count: bool = False
    ) -> T:
        if self._retrying:
            return Retry(NoBackoff(), 0).call_with_retry(do, fail, is_retryable, with_failure_count)
        self._retrying = True
        try:
            return super().call_with_retry(
                do, fail, is_retryable or (lambda error: not isinstance(error, _REFUSED)), with_failure_count
            )
        finally:
            self._retrying = False


def open_client(url: str, patient: bool = False) -> redis.Redis:
    """A client that tries a broken connection again: three times within a second.

    Args:
        patient: for half a minute, as a job does, which must outlive a restart of the server. Everything that the jobs
            send may be sent twice.
    """
    longest, retries = (4, RETRIES) if patient else (0.5, 3)
    return redis.Redis.from_url(url, retry=OneRetry(ExponentialBackoff(longest, 0.1), retries), **CONNECTION)


def connect(url: str) -> redis.Redis:
    """A patient client of a server that answers; waits for one that does not answer yet.

    Raises:
        WrongCall: the server refuses the login.
        Unreachable: it does not answer.
    """

    once = CONNECTION | {"socket_timeout": 5, "retry": Retry(NoBackoff(), 0)}

    def ask() -> None:
        with redis_errors(url), redis.Redis.from_url(url, **once) as client:
            client.ping()

    first_contact(_service(url), ask)
    return open_client(url, patient=True)


def server_id(client: redis.Redis) -> str:
    """Changes when the server is started anew, or another takes its place; empty where this user may not ask."""
    try:
        info: Any = client.info("server")
    except redis.ResponseError:
        return ""
    return str(info["run_id"])


@contextmanager
def redis_errors(url: str) -> Iterator[None]:
    """Turns a failure of the server into a sentence, without its login.

    Raises:
        WrongCall: the server refuses the login or a command to this user, or has no such database.
        Unreachable: it does not answer.
        JobError: it cannot do what it is told, for want of memory and the like.
    """
    try:
        yield
    except _REFUSED as error:
        raise WrongCall(
            f"{_service(url)} refuses the login: {first_line(str(error))}. Check the user and the password in REDIS_URL."
        ) from error
    except redis.RedisError as error:
        said = first_line(str(error))
        if re.search(rf"{WRONG_TLS}|DB index", said):
            raise WrongCall(f"Cannot use {_service(url)}: {said}. Check REDIS_URL.") from error
        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            raise unreachable(_service(url), "REDIS_URL", said) from error
        raise JobError(f"{_service(url)} failed: {said}. Mend it, then run the same call again.") from error


def _service(url: str) -> str:
    return f"Redis at {address(url)}"


def address(url: str) -> str:
    """``host:port`` of a Redis URL, without its login."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}"
