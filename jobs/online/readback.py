"""Reads an online view back and compares it with silver, value by value and bit by bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.common.digest import Digest, hash_values
from jobs.common.lake import Lake
from jobs.common.products import Product
from jobs.online.reader import OnlineReader, Status
from jobs.online.silver import State, read_partitions

CHUNK_ROWS = 1_000


@dataclass(frozen=True)
class Mismatch:
    """One value that is not served as silver has it."""

    view: str
    key: str
    feature: str
    online: str
    silver: str

    def __str__(self) -> str:
        return f"{self.key}, {self.view}:{self.feature}: online {self.online}, silver {self.silver}"


@dataclass
class ReadBack:
    """The outcome of comparing one view."""

    keys: int = 0
    values: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    digest: Digest = field(default_factory=Digest)
    """Over the key and the features as Redis gave them."""


def sample_keys(lake: Lake, product: Product, state: State, limit: int) -> list[Any]:
    """All keys of a state, or so many of them that look random and are the same in every run: those of the lowest hashes."""
    kept = pa.array([], product.schema.field(product.key).type)
    for batch in read_partitions(lake, product, [state.day]).to_batches(columns=[product.key]):
        kept = pa.concat_arrays([kept, batch.column(0)])
        if len(kept) > limit:
            kept = kept.take(pa.array(np.argpartition(hash_values(kept), limit)[:limit]))
    return sorted(kept.to_pylist())


def read_back(reader: OnlineReader, lake: Lake, product: Product, state: State, keys: Sequence[Any]) -> ReadBack:
    """Reads all features of the given keys as of the state's own time and compares them with silver."""
    result = ReadBack()
    references = [f"{product.name}:{feature.name}" for feature in product.features]
    for silver in _silver_chunks(lake, product, state, keys):
        chunk_keys = silver.column(product.key).to_pylist()
        columns = reader.read(references, [{product.key: key} for key in chunk_keys], state.event_timestamp)
        found = []
        for feature in product.features:
            online, expected = columns[feature.name], silver.column(feature.name).to_pylist()
            found += [
                Mismatch(product.name, str(key), feature.name, _shown(value, status), _shown(wanted))
                for key, value, status, wanted in zip(chunk_keys, online.values, online.statuses, expected, strict=True)
                if not _served(value, status, wanted)
            ]
        result.keys += len(chunk_keys)
        result.values += len(chunk_keys) * len(product.features)
        result.mismatches += found
        if not found:  # then every value has its product's type
            arrays = [pa.array(columns[feature.name].values, feature.type) for feature in product.features]
            names = [product.key, *(feature.name for feature in product.features)]
            key_array = pa.array(chunk_keys, silver.schema.field(product.key).type)
            result.digest.update(pa.RecordBatch.from_arrays([key_array, *arrays], names))
    return result


def served_late(
    reader: OnlineReader, product: Product, keys: Sequence[Any], as_of: datetime, expected: Status
) -> list[Mismatch]:
    """The values of a view that do not answer with the expected status at a moment."""
    references = [f"{product.name}:{feature.name}" for feature in product.features]
    wrong = []
    for start in range(0, len(keys), CHUNK_ROWS):
        chunk = keys[start : start + CHUNK_ROWS]
        columns = reader.read(references, [{product.key: key} for key in chunk], as_of)
        wrong += [
            Mismatch(product.name, str(key), name, _shown(value, status), expected)
            for name, column in columns.items()
            for key, value, status in zip(chunk, column.values, column.statuses, strict=True)
            if status != expected or value is not None
        ]
    return wrong


def same(online: Any, silver: Any) -> bool:
    """Equality without the kindness of ``==``: 1 is not 1.0, -0.0 is not 0.0, NaN is NaN; Python's repr is exact."""
    return repr(online) == repr(silver)


def _served(value: Any, status: Status, wanted: Any) -> bool:
    if wanted is None:
        return status == Status.NULL
    return status == Status.PRESENT and same(value, wanted)


def _silver_chunks(lake: Lake, product: Product, state: State, keys: Sequence[Any]) -> Iterator[pa.RecordBatch]:
    wanted = pc.field(product.key).isin(pa.array(keys, product.schema.field(product.key).type))
    for batch in read_partitions(lake, product, [state.day]).to_batches(filter=wanted, batch_size=CHUNK_ROWS):
        if batch.num_rows:
            yield batch


def _shown(value: Any, status: Status = Status.PRESENT) -> str:
    text = repr(value) if status == Status.PRESENT else str(status)
    return text if len(text) <= 80 else f"{text[:77]}…"
