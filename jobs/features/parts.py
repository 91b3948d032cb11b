"""Parquet files that tasks write below the staging folder, and what the driver must know to publish them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.common.digest import Digest, table_digest
from jobs.common.lake import Lake, Staged


@dataclass(frozen=True)
class Part:
    """One staged file of a partition.

    Attributes:
        number: its place among the files of the partition.
    """

    dataset: str
    partition: str
    number: int
    path: str
    digest: Digest


def write_part(lake: Lake, staging: str, dataset: str, partition: str, number: int, table: pa.Table) -> Part:
    """Writes a file that no other attempt at the same task writes to."""
    relative = f"{staging}/{dataset}/{partition}/{number:05d}-{uuid.uuid4().hex[:8]}.parquet"
    path = lake.path(relative)
    lake.make_folder_of(path)
    texts = [
        ".".join(filter(None, (f.name, "list.element" if pa.types.is_list(f.type) else "")))
        for f in table.schema
        if _is_text(f.type.value_type if pa.types.is_list(f.type) else f.type)
    ]
    pq.write_table(
        table, path, filesystem=lake.filesystem, compression="zstd", use_dictionary=texts, store_schema=False
    )
    return Part(dataset, partition, number, relative, table_digest(table.to_batches()))


def gathered(parts: Iterable[Part], schema: pa.Schema) -> tuple[list[Staged], Digest]:
    """The files of one partition under the names that they are published with, and their digest in all."""
    ordered = sorted(parts, key=lambda part: part.number)
    digest = table_digest([pa.RecordBatch.from_pylist([], schema)])
    for part in ordered:
        digest.merge(part.digest)
    return [Staged(part.path, f"part-{i:05d}.zstd.parquet") for i, part in enumerate(ordered)], digest


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_dictionary(kind))
