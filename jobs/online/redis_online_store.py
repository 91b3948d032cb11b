"""Feast's Redis store by URL, with answers that tell a missing value from a present one.

Stock ``RedisOnlineStore`` takes ``host:port,password=…`` apart by hand (a comma or a number breaks it), calls
every value PRESENT and serves it however old it is. What is stored is the same, byte for byte.

    online_store:
        type: jobs.online.redis_online_store.RedisUrlOnlineStore
        url: rediss://user:password@host:6379/0
"""

from __future__ import annotations

from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from pydantic import ConfigDict
from redis import asyncio as redis_asyncio

from feast_fast.store import FastRedisOnlineStore, FastRedisOnlineStoreConfig
from jobs.online.redis_client import CONNECTION, open_client

AS_OF: ContextVar[datetime | None] = ContextVar("as_of", default=None)
"""The moment at which a value's age is judged; None is now. Whoever replays the past sets it."""

_NOT_FOUND, _OUTSIDE_MAX_AGE, _NULL = FieldStatus.NOT_FOUND, FieldStatus.OUTSIDE_MAX_AGE, FieldStatus.NULL_VALUE


class RedisUrlOnlineStoreConfig(FastRedisOnlineStoreConfig):
    """The plug-in's settings, and stock's, with ``url`` in place of ``connection_string``.

    Attributes:
        patient: waits out a restart of the server, as a job must; a service would rather hear of it.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    type: Literal["jobs.online.redis_online_store.RedisUrlOnlineStore"] = (
        "jobs.online.redis_online_store.RedisUrlOnlineStore"  # type: ignore[assignment]
    )
    url: str
    patient: bool = False


class RedisUrlOnlineStore(FastRedisOnlineStore):
    """``FastRedisOnlineStore`` that answers NOT_FOUND for what was never written and OUTSIDE_MAX_AGE past a view's ttl."""

    def _get_client(self, online_store_config: Any) -> Any:
        if self._client is None:
            self._client = open_client(online_store_config.url, online_store_config.patient)
        return self._client

    async def _get_client_async(self, online_store_config: Any) -> Any:
        if self._client_async is None:
            self._client_async = redis_asyncio.Redis.from_url(online_store_config.url, **CONNECTION)
        return self._client_async

    # On-demand views read the response next, so a value that is taken out here is missing to them, too.
    # Stock appends to the lists of names it is given, which are Feast's cached ones: they would grow with every call.

    def _read_features_per_fv(
        self, config: Any, grouped_refs: Any, keys: Any, join_keys: Any, response: Any, *args: Any
    ) -> None:
        known, views = len(response.results), [(view, list(names)) for view, names in grouped_refs]
        super()._read_features_per_fv(config, views, keys, join_keys, response, *args)
        _judge(response, known, views)

    async def _read_features_per_fv_async(
        self, config: Any, grouped_refs: Any, keys: Any, join_keys: Any, response: Any, *args: Any
    ) -> None:
        known, views = len(response.results), [(view, list(names)) for view, names in grouped_refs]
        await super()._read_features_per_fv_async(config, views, keys, join_keys, response, *args)
        _judge(response, known, views)


def _judge(response: GetOnlineFeaturesResponse, known: int, views: list[tuple[Any, list[str]]]) -> None:
    """Sets the status of every feature vector that a read added to a response, and empties what may not be served.

    The vectors come view by view, one a name, and those of a view have the same times; 0 means never written.
    """
    now = (AS_OF.get() or datetime.now(UTC)).timestamp()
    vectors = iter(response.results[known:])
    for view, names in views:
        features = [next(vectors) for _ in names]
        oldest = now - view.ttl.total_seconds() if view.ttl else -float("inf")
        for row, written in enumerate(features[0].event_timestamps):
            seconds = written.seconds + written.nanos / 1e9
            missing = _NOT_FOUND if seconds == 0 else _OUTSIDE_MAX_AGE if seconds < oldest else None
            for vector in features:
                if missing:
                    vector.values[row].Clear()
                    vector.statuses[row] = missing
                elif vector.values[row].WhichOneof("val") is None:
                    vector.statuses[row] = _NULL
