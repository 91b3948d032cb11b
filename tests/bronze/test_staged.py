"""Staged Parquet files, as bronze and features read them back."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.common.digest import table_digest
from jobs.common.lake import Lake
from jobs.common.staged import parquet_batches, parquet_digest, staged_parquet

SCHEMA = pa.schema({"id": pa.int64()})


def stage(lake: Lake, name: str, table: pa.Table) -> None:
    path = lake.path(f"_staging/x/{name}")
    lake.make_folder_of(path)
    pq.write_table(table, path)


def ids(*values: int) -> pa.Table:
    return pa.table({"id": values}, SCHEMA)


def test_files_stand_by_the_number_of_their_part(lake: Lake) -> None:
    for part in (10, 9, 0):
        stage(lake, f"part={part}/f.zstd.parquet", ids(part))
    lake.write_bytes("_staging/x/notes.txt", b"no Parquet")
    staged = staged_parquet(lake, "_staging/x")
    assert [f.name for f in staged] == [f"part-0000{i}.zstd.parquet" for i in range(3)]
    assert [row["id"] for batch in parquet_batches(lake, [f.path for f in staged]) for row in batch.to_pylist()] == [
        0,
        9,
        10,
    ]


def test_a_digest_is_that_of_the_rows_and_with_a_schema_of_its_columns(lake: Lake) -> None:
    stage(lake, "a.parquet", ids(1, 2).append_column("more", pa.array(["x", "y"])))
    staged = staged_parquet(lake, "_staging/x")
    expected = table_digest(ids(2, 1).to_batches()).hexdigest()
    assert parquet_digest(lake, staged, SCHEMA).hexdigest() == expected
    assert parquet_digest(lake, staged).hexdigest() != expected
    with pytest.raises(ValueError, match="Cannot add"):
        parquet_digest(lake, staged, pa.schema({"id": pa.string()}))


def test_no_files_have_the_digest_of_their_schema(lake: Lake) -> None:
    empty = table_digest([pa.RecordBatch.from_pylist([], SCHEMA)])
    assert staged_parquet(lake, "_staging/x") == []
    assert parquet_digest(lake, [], SCHEMA).hexdigest() == empty.hexdigest() != parquet_digest(lake, []).hexdigest()
