"""Feast's Redis store with a way in for whole Arrow batches, and a short way out.

online_store:
    type: feast_fast.store.FastRedisOnlineStore
    connection_string: localhost:6379
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pyarrow as pa
from feast import RepoConfig
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig

from feast_fast.layout import Layout
from feast_fast.owner import whole_keys
from feast_fast.reads import FastReads
from feast_fast.write import Rules, Writer, Written, replace_whole


class FastRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """Stock's settings and what a load and a read may do beyond them.

    Attributes:
        corrections: a row of an equal event time is written, too.
        renew_ttl: a row that is not written renews its key's ``key_ttl_seconds``, too.
        owns_keys: nothing else writes these keys, and every load holds all rows of its keys: keys are replaced whole.
        serve_expired: a read gives a value past its view's ttl, too, as stock's does.
    """

    type: Literal["feast_fast.store.FastRedisOnlineStore"] = "feast_fast.store.FastRedisOnlineStore"  # type: ignore[assignment]
    corrections: bool = False
    renew_ttl: bool = False
    owns_keys: bool = False
    serve_expired: bool = False


class FastRedisOnlineStore(FastReads, RedisOnlineStore):
    """``RedisOnlineStore`` that takes Arrow batches and is read by ``FastReads``; whatever else writes it is stock's.

    A subclass's settings must have the attributes of ``FastRedisOnlineStoreConfig``.
    """

    def load(
        self, config: RepoConfig, loads: Sequence[tuple[Layout, Iterable[pa.RecordBatch]]], whole: bool = False
    ) -> Written:
        """Writes the rows of views.

        Args:
            loads: where each view's columns go, and its rows.
            whole: the views are all of their entity, and what is there under the same keys is replaced.

        Raises:
            redis.RedisError: the server does not answer, or refuses.
            ValueError: a row lacks a key or its event time.
        """
        settings = config.online_store
        client = self._get_client(settings)
        if whole:
            return replace_whole(client, whole_keys(loads), settings.key_ttl_seconds)
        rules = rules_of(settings)
        done = [Writer(client, layout, rules).write(batches) for layout, batches in loads]
        return Written(sum(part.rows for part in done), sum(part.written for part in done))


def rules_of(settings: Any) -> Rules:
    """The rules of a store's settings; stock's ``skip_dedup`` writes every row."""
    return Rules(
        only_newer=not settings.skip_dedup,
        corrections=settings.corrections,
        renew=settings.renew_ttl,
        ttl_seconds=settings.key_ttl_seconds,
    )
