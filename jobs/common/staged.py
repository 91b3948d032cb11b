"""Parquet files in the staging area: which there are, in which order, and what they hold when read back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.common.digest import Digest, table_digest
from jobs.common.lake import Lake, Staged

STAGED_NAME = "part-{:05d}.zstd.parquet"
BATCH_ROWS = 1 << 13  # a row of card_last_state holds some 300 list elements


def staged_parquet(lake: Lake, folder: str) -> list[Staged]:
    """The Parquet files below a staging folder, in order, with the names that they are published under."""
    paths = [lake.relative(info.path) for info in lake.files(folder) if info.base_name.endswith(".parquet")]
    return [Staged(path, STAGED_NAME.format(i)) for i, path in enumerate(sorted(paths, key=_part_number))]


def parquet_batches(
    lake: Lake,
    paths: Iterable[str],
    columns: list[str] | None = None,
    few_values: list[str] | None = None,
    rows: int = BATCH_ROWS,
) -> Iterator[pa.RecordBatch]:
    """The rows of Parquet files in pieces, read back as a reader will: it also proves that they can be read.

    Args:
        columns: all of them by default.
        few_values: columns of text to leave dictionary-encoded, which saves the work of telling equal texts apart.
        rows: of a piece, at most.
    """
    for path in paths:
        with pq.ParquetFile(lake.path(path), filesystem=lake.filesystem, read_dictionary=few_values) as parquet:
            yield from parquet.iter_batches(batch_size=rows, columns=columns)


def parquet_digest(lake: Lake, staged: Iterable[Staged], schema: pa.Schema | None = None) -> Digest:
    """The digest of staged files.

    Args:
        schema: the columns that count. With it, a partition without files has a digest of its schema, and
            files with a column of another type are refused (ValueError); without it, all columns count.
    """
    paths = [file.path for file in staged]
    if schema is None:
        return table_digest(parquet_batches(lake, paths))
    digest = table_digest([pa.RecordBatch.from_pylist([], schema)])
    for batch in parquet_batches(lake, paths, schema.names):
        digest.update(batch)
    return digest


def _part_number(path: str) -> tuple[int, str]:
    """By number, where Spark made a folder a part: ``part=10`` comes after ``part=9``."""
    part = path.rpartition("/part=")[2].partition("/")[0]
    return (int(part) if part.isdigit() else 0), path
