"""The keys of Feast's Redis layout: written down here so that a job can look for them without importing Feast.

A key is one hash an entity, shared by all views of that entity (entity key serialization version 3)::

    u32 1 | u32 STRING | u32 length | join key | u32 type | u32 length | value | project
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import mmh3
import redis

_STRING, _INT64 = 2, 4  # feast.types.ValueType.Enum
SCAN_COUNT = 1_000


def entity_key(project: str, join_key: str, value: str | int) -> bytes:
    """The Redis key of one entity."""
    kind, data = (_INT64, struct.pack("<q", value)) if isinstance(value, int) else (_STRING, value.encode())
    return _prefix(join_key) + struct.pack("<II", kind, len(data)) + data + project.encode()


def feature_field(view: str, feature: str) -> bytes:
    """The hash field of one feature."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def timestamp_field(view: str) -> bytes:
    """The hash field of a view's event timestamp: there when the view was ever written."""
    return f"_ts:{view}".encode()


@dataclass
class Swept:
    """What a sweep found and did: keys that stay by view, keys that it took away."""

    kept: dict[str, int] = field(default_factory=dict)
    removed: int = 0


def sweep(
    client: redis.Redis,
    project: str,
    join_key: str,
    live: Mapping[str, Collection[bytes]],
    features: Mapping[str, Sequence[str]],
) -> Swept:
    """Removes every key of an entity, or the part of it that a view wrote, which is not among the view's live keys.

    Args:
        live: the keys that each view of the entity shall have, by view name.
        features: the feature names of each view.
    """
    swept = Swept(kept=dict.fromkeys(live, 0))
    views = list(live)
    stamps = [timestamp_field(view) for view in views]
    for keys in _chunks(_scan(client, project, join_key)):
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
                    pipe.hdel(key, *chain.from_iterable(_fields(view, features[view]) for view in leaving))
                swept.removed += not staying or bool(leaving)
            pipe.execute()
    return swept


def _scan(client: redis.Redis, project: str, join_key: str) -> Iterator[bytes]:
    """Every key of the entity in the project, once."""
    prefix, suffix = _prefix(join_key), project.encode()
    pattern = re.sub(rb"([*?\[\]\\^])", rb"\\\1", prefix) + b"*" + suffix
    seen: set[bytes] = set()
    for key in client.scan_iter(match=pattern, count=SCAN_COUNT):
        # The pattern also matches a project whose name only ends with this one; the value's length tells.
        (length,) = struct.unpack_from("<I", key, len(prefix) + 4)
        if key not in seen and key[len(prefix) + 8 + length :] == suffix:
            seen.add(key)
            yield key


def _fields(view: str, features: Sequence[str]) -> list[Any]:
    return [timestamp_field(view), *(feature_field(view, feature) for feature in features)]


def _prefix(join_key: str) -> bytes:
    name = join_key.encode()
    return struct.pack("<III", 1, _STRING, len(name)) + name


def _chunks(items: Iterator[Any]) -> Iterator[list[Any]]:
    while chunk := list(islice(items, SCAN_COUNT)):
        yield chunk
