"""Feast's Redis store with the plug-in's reads, as its README says to put them together."""

from __future__ import annotations

from typing import Literal

from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig

from feast_fast.reads import FastReads


class FastReadOnlineStoreConfig(RedisOnlineStoreConfig):
    """Stock's settings."""

    type: Literal["tests.bench.fast_read_store.FastReadOnlineStore"] = "tests.bench.fast_read_store.FastReadOnlineStore"  # type: ignore[assignment]


class FastReadOnlineStore(FastReads, RedisOnlineStore):
    """Reads by ``FastReads``; all else is stock's."""
