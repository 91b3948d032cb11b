"""Takes away what left the source: whole keys, or the part of a key that one view wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa

from feast_fast.names import key_prefix
from feast_fast.resp import commands
from feast_fast.wire import Lines, Request, check

SCAN_COUNT = 1_000


class Keys:
    """A set of keys that takes eight bytes for each: their hashes, in order.

    Of 2^64 pairs of keys one shares a hash, so that a key that should go stays. Python hashes anew in every process: the
    next sweep takes it away.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        """
        Args:
            batches: keys as ``Layout.keys`` makes them.
        """
        self._hashes = np.concatenate([np.empty(0, np.int64), *(_hashes(keys) for keys in batches)])
        self._hashes.sort()

    def __len__(self) -> int:
        return len(self._hashes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keys) and np.array_equal(self._hashes, other._hashes)

    __hash__ = None  # type: ignore[assignment]

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """The place of each hash, from 0; -1 where it is none of a key in here."""
        if not len(self):
            return np.full(len(hashes), -1)
        at = np.minimum(np.searchsorted(self._hashes, hashes), len(self) - 1)
        return np.where(self._hashes[at] == hashes, at, -1)


@dataclass(frozen=True)
class Entity:
    """What shall be online of an entity.

    Attributes:
        join_keys: sorted, as ``Layout`` has them.
        live: by view name, the keys that it shall have.
        fields: by view name, its hash fields, the timestamp's first.
    """

    join_keys: Sequence[str]
    live: Mapping[str, Keys]
    fields: Mapping[str, Sequence[bytes]]


@dataclass
class Swept:
    """What a sweep found and did: keys that stay by view, keys that it took away."""

    kept: dict[str, int]
    removed: int = 0


def sweep(client: Any, project: str, entities: Sequence[Entity]) -> Swept:
    """Removes every key of the entities, or the part of it that a view wrote, which is not among the view's live keys.

    The server is scanned once, whatever the number of entities.

    Args:
        client: a ``redis.Redis`` or a ``RedisCluster``.

    Raises:
        redis.RedisError: the server does not answer, or refuses.
    """
    removed = 0
    # A scan may come to a key twice.
    found = {view: np.zeros(len(keys), bool) for entity in entities for view, keys in entity.live.items()}
    with Lines(client) as stream, Lines(client) as line:
        for request, times in stream.ask(_looks(client, project, entities)):
            check(times)
            entity: Entity = request.rows
            written = np.array([[time is not None for time in of_key] for of_key in times])
            hashes = _hashes(request.keys)
            places = np.stack([keys.find(hashes) for keys in entity.live.values()], axis=1)
            stays = places >= 0
            for at, view in enumerate(entity.live):
                found[view][places[stays[:, at] & written[:, at], at]] = True
            gone = np.logical_not(stays.any(axis=1))
            removed += _unlink(line, request.keys.filter(pa.array(gone)))
            leaving = written & ~stays & ~gone[:, np.newaxis]
            removed += _take_out(client, request.keys, leaving, [entity.fields[view] for view in entity.live])
    return Swept({view: int(marks.sum()) for view, marks in found.items()}, removed)


def _hashes(keys: Any) -> np.ndarray:
    return np.fromiter(map(hash, keys.to_pylist()), np.int64, len(keys))


def _looks(client: Any, project: str, entities: Sequence[Entity]) -> Iterator[Request]:
    """Asks for the views' timestamps of every key of the entities; ``rows`` is the entity."""
    known = [(entity, key_prefix(entity.join_keys), len(entity.join_keys)) for entity in entities]
    suffix = project.encode()
    for keys in _chunks(_scan(client, project)):
        for entity, prefix, values in known:
            alike = [key for key in keys if key.startswith(prefix)]
            own = [key for key in alike if _project_of(key, len(prefix), values) == suffix]
            if own:
                cells = pa.array(own, pa.large_binary())
                stamps = [entity.fields[view][0] for view in entity.live]
                yield Request(cells, commands(len(cells), [b"HMGET", cells, *stamps]), rows=entity)


def _unlink(line: Lines, keys: Any) -> int:
    """How many keys it removed."""
    if not len(keys):
        return 0
    ((_, replies),) = line.ask([Request(keys, commands(len(keys), [b"UNLINK", keys]))])
    check(replies)
    return sum(replies)


def _take_out(client: Any, keys: Any, leaving: np.ndarray, fields: Sequence[Sequence[bytes]]) -> int:
    """Removes the parts of keys that some views leave; returns of how many keys."""
    rows = np.flatnonzero(leaving.any(axis=1)).tolist()
    if not rows:
        return 0
    with client.pipeline(transaction=False) as pipe:
        for row in rows:
            pipe.hdel(
                keys[row].as_py(), *chain.from_iterable(fields[view] for view in np.flatnonzero(leaving[row]).tolist())
            )
        pipe.execute()
    return len(rows)


def _scan(client: Any, project: str) -> Iterator[bytes]:
    """Every key that ends like the project's. One may come twice."""
    pattern = b"*" + re.sub(rb"([*?\[\]\\^])", rb"\\\1", project.encode())
    return client.scan_iter(match=pattern, count=SCAN_COUNT)


def _project_of(key: bytes, at: int, values: int) -> bytes:
    """What follows the values: another project's name may end with the one that is looked for."""
    for _ in range(values):
        at += 8 + int.from_bytes(key[at + 4 : at + 8], "little")
    return key[at:]


def _chunks(items: Iterator[Any]) -> Iterator[list[Any]]:
    while chunk := list(islice(items, SCAN_COUNT)):
        yield chunk
