"""Takes away what left the source: whole keys, or the part of a key that one view wrote."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from feast_fast.names import key_prefix

SCAN_COUNT = 1_000


@dataclass
class Swept:
    """What a sweep found and did: keys that stay by view, keys that it took away."""

    kept: dict[str, int] = field(default_factory=dict)
    removed: int = 0


def sweep(
    client: Any,
    project: str,
    join_keys: Sequence[str],
    live: Mapping[str, Collection[bytes]],
    fields: Mapping[str, Sequence[bytes]],
) -> Swept:
    """Removes every key of an entity, or the part of it that a view wrote, which is not among the view's live keys.

    Args:
        client: a ``redis.Redis`` or a ``RedisCluster``.
        live: the keys that each view of the entity shall have, by view name.
        fields: the hash fields of each view, its timestamp's first.
    """
    swept = Swept(kept=dict.fromkeys(live, 0))
    views = list(live)
    stamps = [fields[view][0] for view in views]
    for keys in _chunks(_scan(client, project, join_keys)):
        with client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hmget(key, stamps)
            written = pipe.execute()
        with client.pipeline(transaction=False) as pipe:
            for key, times in zip(keys, written, strict=True):
                staying = [view for view in views if key in live[view]]
                leaving = [view for view, time in zip(views, times, strict=True) if time and view not in staying]
                for view, time in zip(views, times, strict=True):
                    swept.kept[view] += bool(time) and view in staying
                if not staying:
                    pipe.unlink(key)
                elif leaving:
                    pipe.hdel(key, *chain.from_iterable(fields[view] for view in leaving))
                swept.removed += not staying or bool(leaving)
            pipe.execute()
    return swept


def _scan(client: Any, project: str, join_keys: Sequence[str]) -> Iterator[bytes]:
    """Every key of the entity in the project, once."""
    prefix, suffix = key_prefix(join_keys), project.encode()
    pattern = re.sub(rb"([*?\[\]\\^])", rb"\\\1", prefix) + b"*" + suffix
    seen: set[bytes] = set()
    for key in client.scan_iter(match=pattern, count=SCAN_COUNT):
        if key not in seen and _project_of(key, len(prefix), len(join_keys)) == suffix:
            seen.add(key)
            yield key


def _project_of(key: bytes, at: int, values: int) -> bytes:
    """What follows the values: the pattern also matches a project whose name only ends with the one that is looked for."""
    for _ in range(values):
        if at + 8 > len(key):
            return b""
        at += 8 + int.from_bytes(key[at + 4 : at + 8], "little")
    return key[at:]


def _chunks(items: Iterator[Any]) -> Iterator[list[Any]]:
    while chunk := list(islice(items, SCAN_COUNT)):
        yield chunk
