"""Which columns of a view go where in Redis. Plain data without Feast, so that it travels to a Spark worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from feast_fast.cells import Part, joined, key_cells, stamp_cells, value_cells
from feast_fast.listpack import entry, payloads
from feast_fast.names import timestamp_field
from feast_fast.resp import commands


@dataclass(frozen=True)
class Column:
    """One feature.

    Attributes:
        source: its name in the batches.
        field: its field in the hash.
        kind: Feast's ``ValueType`` number.
    """

    source: str
    field: bytes
    kind: int


@dataclass(frozen=True)
class Layout:
    """A view as Feast's Redis store keeps it: one hash an entity, which all views of the entity share.

    Attributes:
        project: ends every key.
        view: the view's name, with its version where Feast keeps versions apart.
        join_keys: name, name in the batches and Feast type of each join key.
        features: in the view's order.
        timestamp: the name of the event timestamp in the batches.
    """

    project: str
    view: str
    join_keys: tuple[tuple[str, str, int], ...]
    features: tuple[Column, ...]
    timestamp: str

    def __post_init__(self) -> None:
        require_different(self.hash_fields)

    @property
    def columns(self) -> list[str]:
        """The names of all columns that a batch must have."""
        names = [source for _, source, _ in self.join_keys] + [column.source for column in self.features]
        return list(dict.fromkeys([*names, self.timestamp]))

    @property
    def stamp_field(self) -> bytes:
        return timestamp_field(self.view)

    @property
    def hash_fields(self) -> list[bytes]:
        """All fields of the hash that the view writes, its event time's first."""
        return [self.stamp_field, *(column.field for column in self.features)]

    def keys(self, batch: pa.RecordBatch) -> Any:
        return key_cells([(name, kind, batch.column(source)) for name, source, kind in self.join_keys], self.project)

    def stamps(self, batch: pa.RecordBatch) -> Any:
        return stamp_cells(batch.column(self.timestamp))

    def fields(self, batch: pa.RecordBatch, stamps: Any = None) -> list[Part]:
        """Field, value, field, value, …: the event timestamp first."""
        pairs: list[Part] = [self.stamp_field, self.stamps(batch) if stamps is None else stamps]
        for column in self.features:
            pairs += [column.field, value_cells(batch.column(column.source), column.kind)]
        return pairs

    def entries(self, batch: pa.RecordBatch) -> Any:
        """The view's part of a hash as a listpack holds it."""
        return joined([piece for cell in self.fields(batch) for piece in entry(cell)], batch.num_rows)

    @property
    def entry_count(self) -> int:
        return 2 + 2 * len(self.features)


def require_different(fields: Sequence[bytes]) -> None:
    """
    Raises:
        ValueError: one key would hold a field twice, which a server that is given the whole hash does not survive.
    """
    if twice := [field for field, count in Counter(fields).items() if count > 1]:
        raise ValueError(f"Two features of one key are stored in the same field, {twice[0]!r}: give one another name.")


def restore(keys: Any, entries: Any, count: int, ttl_seconds: int | None, replace: bool) -> Any:
    """Commands that put whole hashes in place.

    Args:
        replace: over what is there; else a key that is there answers BUSYKEY and stays.
    """
    ttl = b"%d" % ((ttl_seconds or 0) * 1000)
    last = [b"REPLACE"] if replace else []
    return commands(len(keys), [b"RESTORE", keys, ttl, payloads(entries, count), *last])


def hset(keys: Any, fields: Iterable[Part]) -> Any:
    return commands(len(keys), [b"HSET", keys, *fields])
