"""Feast's Redis store by URL, with answers that tell a missing value from a present one.

Stock ``RedisOnlineStore`` takes ``host:port,password=…`` apart by hand (a comma or a number breaks it), calls
every value PRESENT and serves it however old it is. What is stored is the same, byte for byte.

    online_store:
        type: jobs.online.redis_online_store.RedisUrlOnlineStore
        url: rediss://user:password@host:6379/0
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict
from redis import asyncio as redis_asyncio

from feast_fast.store import FastRedisOnlineStore, FastRedisOnlineStoreConfig
from jobs.online.redis_client import CONNECTION, open_client


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
    """``FastRedisOnlineStore`` by URL."""

    def _get_client(self, online_store_config: Any) -> Any:
        if self._client is None:
            self._client = open_client(online_store_config.url, online_store_config.patient)
        return self._client

    async def _get_client_async(self, online_store_config: Any) -> Any:
        if self._client_async is None:
            self._client_async = redis_asyncio.Redis.from_url(online_store_config.url, **CONNECTION)
        return self._client_async
