"""Parquet files that tasks write below the staging folder, and what the driver must know to publish them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.common.digest import Digest, table_digest
from jobs.common.lake import Staged, staged_name
from jobs.common.workplace import Workplace


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


def write_part(place: Workplace, dataset: str, partition: str, number: int, table: pa.Table) -> Iterator[Part]:
    """Writes a file of a partition; yields what there is to know of it, or nothing for no rows."""
    if not table.num_rows:
        return
    path = place.new_file(f"{dataset}/{partition}", f"{number:05d}.parquet")
    texts = [
        ".".join(filter(None, (f.name, "list.element" if pa.types.is_list(f.type) else "")))
        for f in table.schema
        if _is_text(f.type.value_type if pa.types.is_list(f.type) else f.type)
    ]
    lake = place.lake
    pq.write_table(
        table,
        lake.path(path),
        filesystem=lake.filesystem,
        compression="zstd",
        use_dictionary=texts,
        store_schema=False,
    )
    yield Part(dataset, partition, number, path, table_digest(table.to_batches()))


def gathered(parts: Iterable[Part], schema: pa.Schema) -> tuple[list[Staged], Digest]:
    """The files of one partition under the names that they are published with, and their digest in all."""
    ordered = sorted(parts, key=lambda part: part.number)
    digest = table_digest([pa.RecordBatch.from_pylist([], schema)])
    for part in ordered:
        digest.merge(part.digest)
    return [Staged(part.path, staged_name(i)) for i, part in enumerate(ordered)], digest


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_dictionary(kind))
