"""Content digests: equal for equal rows, whatever their order, their files and the engine that wrote them.

Each row becomes a 64-bit hash that depends on every column's name and value; a table is the sum of its
rows' hashes (two independent sums, modulo 2^64), its row count and its schema, and the digest is the
SHA-256 of these. A sum needs no sort, so memory stays flat. It tells different data from equal data;
it is no defence against someone who forges a collision.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_NULL = np.uint64(0x6E756C6C6E756C6C)
_TEXT_AT_ONCE = 16 << 20
"""Bytes of text that are hashed at once: they are copied, and some are long."""


def mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): a bijection on uint64 that spreads every bit."""
    x = x ^ (x >> np.uint64(30))
    x = x * np.uint64(0xBF58476D1CE4E5B9)
    x = x ^ (x >> np.uint64(27))
    x = x * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass
class Digest:
    """Adds up record batches of one schema."""

    rows: int = 0
    sums: list[int] = field(default_factory=lambda: [0, 0])
    schema: list[tuple[str, str]] | None = None

    def update(self, batch: pa.RecordBatch) -> None:
        """Adds rows. A column that is dictionary-encoded counts as its values, and is hashed faster."""
        self._expect(sorted((f.name, _canonical(f.type)) for f in batch.schema))
        self.rows += batch.num_rows
        row = np.zeros(batch.num_rows, np.uint64)
        for column, f in zip(batch.columns, batch.schema, strict=True):
            row += mix(hash_values(column) ^ _seed(f.name))
        for lane, salt in enumerate((np.uint64(0), _GOLDEN)):
            self.sums[lane] = (self.sums[lane] + int(mix(row ^ salt).sum(dtype=np.uint64))) % 2**64

    def merge(self, other: Digest) -> None:
        """Adds the rows that another digest has added up."""
        if other.schema is not None:
            self._expect(other.schema)
        self.rows += other.rows
        self.sums = [(mine + theirs) % 2**64 for mine, theirs in zip(self.sums, other.sums, strict=True)]

    def _expect(self, schema: list[tuple[str, str]]) -> None:
        if self.schema not in (None, schema):
            raise ValueError(f"Cannot add {schema} to a digest over {self.schema}.")
        self.schema = schema

    def hexdigest(self) -> str:
        return hashlib.sha256(json.dumps([self.schema, self.rows, self.sums]).encode()).hexdigest()


def table_digest(batches: Iterable[pa.RecordBatch]) -> Digest:
    """The digest of a stream of record batches."""
    digest = Digest()
    for batch in batches:
        digest.update(batch)
    return digest


def combine(digests: Iterable[tuple[str, str]]) -> str:
    """One SHA-256 over named digests, such as the partitions of a product."""
    return hashlib.sha256(json.dumps(sorted(digests)).encode()).hexdigest()


def _seed(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


def _canonical(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return _canonical(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string(kind):
        return "string"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{_canonical(kind.value_type)}>"
    return str(kind)


def hash_values(column: pa.Array) -> np.ndarray:
    """One uint64 a value, equal for equal values; nulls share one constant."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        hashed = _hash_dictionary(column)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        hashed = _hash_lists(column)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        hashed = _hash_strings(column)
    else:
        hashed = mix(_bits(column) ^ _GOLDEN)
    if column.null_count:
        hashed = np.where(np.asarray(column.is_null()), _NULL, hashed)
    return hashed


def _bits(column: pa.Array) -> np.ndarray:
    kind = column.type
    if pa.types.is_floating(kind):
        values = pc.fill_null(column, 0.0).cast(pa.float64()).to_numpy(zero_copy_only=False) + 0.0  # -0.0 becomes 0.0
        return np.where(np.isnan(values), np.nan, values).view(np.uint64)
    if pa.types.is_boolean(kind):
        return pc.fill_null(column, False).to_numpy(zero_copy_only=False).astype(np.uint64)
    if pa.types.is_date32(kind):
        column = column.cast(pa.int32())
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    return pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False).view(np.uint64)


def _hash_strings(column: pa.Array) -> np.ndarray:
    binary = pc.fill_null(column, "").cast(pa.large_binary())
    lengths = np.diff(_offsets(binary))
    hashed = np.empty(len(binary), np.uint64)
    for length in np.unique(lengths):
        where = np.flatnonzero(lengths == length)
        at_once = max(1, _TEXT_AT_ONCE // max(1, int(length)))
        for some in (where[i : i + at_once] for i in range(0, where.size, at_once)):
            in_a_row = some[-1] - some[0] == some.size - 1
            texts = binary.slice(some[0], some.size) if in_a_row else binary.take(pa.array(some))
            hashed[some] = _hash_equally_long(texts, int(length))
    return hashed


def _hash_equally_long(texts: pa.LargeBinaryArray, length: int) -> np.ndarray:
    words = -(-length // 8)
    padded = np.zeros((len(texts), words * 8), np.uint8)
    if length:
        offsets = _offsets(texts)
        padded[:, :length] = np.frombuffer(texts.buffers()[2], np.uint8)[offsets[0] : offsets[-1]].reshape(-1, length)
    h = np.full(len(texts), length, np.uint64) * _GOLDEN
    for word in padded.view("<u8").T if words else ():
        h = mix(h ^ word) + _GOLDEN
    return h


def _offsets(texts: pa.LargeBinaryArray) -> np.ndarray:
    return np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]


def _hash_dictionary(column: pa.DictionaryArray) -> np.ndarray:
    hashed = np.append(hash_values(column.dictionary), _NULL)
    return hashed[pc.fill_null(column.indices, len(column.dictionary)).to_numpy(zero_copy_only=False)]


def _hash_lists(column: pa.Array) -> np.ndarray:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    values = hash_values(pc.list_flatten(column))
    ends = np.cumsum(lengths)
    position = np.arange(values.size) - np.repeat(ends - lengths, lengths)
    sums = np.concatenate(
        [[np.uint64(0)], np.cumsum(mix(values + position.astype(np.uint64) * _GOLDEN), dtype=np.uint64)]
    )
    return mix(sums[ends] - sums[ends - lengths] + lengths.astype(np.uint64))
