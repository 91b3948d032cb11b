"""A view's rows of a window, the newest of each key, in batches."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from feast import RepoConfig
from feast.data_format import ParquetFormat
from feast.errors import FeastJoinKeysDuringMaterialization
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import OfflineStore

from feast_fast.ahead import ahead
from feast_fast.layout import Layout

logger = logging.getLogger(__name__)
_READ_AHEAD = {"batch_readahead": 2, "fragment_readahead": 1}


def newest_rows(
    offline_store: OfflineStore,
    config: RepoConfig,
    view: Any,
    layout: Layout,
    start: datetime,
    end: datetime,
    chunk_rows: int,
    one_row_per_key: bool,
) -> Iterator[pa.RecordBatch]:
    """The newest row of each key whose event time is in ``[start, end]``, as Feast's offline stores pick it.

    Parquet is read straight by pyarrow, in batches; of a whole window only keys and times are ever in memory. An offline
    store that is neither Feast's ``dask`` nor its ``duckdb`` is asked for the table, unless it has a method
    ``open_dataset(config, data_source, start, end)`` that returns a ``pyarrow.dataset.Dataset``.

    Args:
        one_row_per_key: the source has no more, so that nothing has to be picked.

    Raises:
        FeastJoinKeysDuringMaterialization: Parquet lacks a join key's column.
        ValueError: the event timestamp is neither timestamps nor dates.
    """
    source = view.batch_source
    created = _at_source(source, source.created_timestamp_column)
    dataset = _dataset(offline_store, config, source, start, end)
    if dataset is None:
        logger.warning(
            "feast_fast reads %s through %s, whole into memory: it is no Parquet that pyarrow can read by itself.",
            view.name,
            type(offline_store).__name__,
        )
        table = offline_store.pull_latest_from_table_or_query(
            config=config,
            data_source=source,
            join_key_columns=[name for _, name, _ in layout.join_keys],
            feature_name_columns=[column.source for column in layout.features],
            timestamp_field=layout.timestamp,
            created_timestamp_column=created,
            start_date=start,
            end_date=end,
        ).to_arrow()
        _require_times(layout, table.schema)
        yield from table.to_batches(max_chunksize=chunk_rows)
        return
    keys, columns = {name for _, name, _ in layout.join_keys}, set(dataset.schema.names)
    if not keys <= columns:
        raise FeastJoinKeysDuringMaterialization(getattr(source, "path", view.name), keys, columns)
    _require_times(layout, dataset.schema)
    window = _window(dataset.schema.field(layout.timestamp).type, layout.timestamp, start, end)
    newest = None if one_row_per_key else _newest(dataset, layout, created, window)
    seen = 0
    for batch in _batches(dataset, layout.columns, window, chunk_rows):
        rows = batch.num_rows
        if newest is not None:
            batch = batch.filter(pa.array(newest[seen : seen + rows]))
        seen += rows
        if batch.num_rows:
            yield batch
    if newest is not None and seen != len(newest):
        raise RuntimeError(f"The source of {view.name} changed while it was read: load it again.")


def _batches(
    dataset: ds.Dataset, columns: list[str], window: ds.Expression, chunk_rows: int
) -> Iterator[pa.RecordBatch]:
    """Rows in their order, of two row groups at a time: Arrow's own scanner may read a gigabyte ahead of who uses it."""

    def pieces() -> Iterator[Any]:
        for fragment in dataset.get_fragments(filter=window):
            if isinstance(fragment, ds.ParquetFileFragment):
                yield from fragment.split_by_row_group(filter=window, schema=dataset.schema)
            else:
                yield fragment

    for rows in ahead(piece.to_table(schema=dataset.schema, columns=columns, filter=window) for piece in pieces()):
        yield from rows.to_batches(max_chunksize=chunk_rows)


def _at_source(source: Any, name: str | None) -> str | None:
    return {mapped: column for column, mapped in (source.field_mapping or {}).items()}.get(name or "", name) or None


def _dataset(
    offline_store: OfflineStore, config: RepoConfig, source: Any, start: datetime, end: datetime
) -> ds.Dataset | None:
    if hasattr(offline_store, "open_dataset"):
        return offline_store.open_dataset(config, source, start, end)
    if type(offline_store).__name__ not in ("DaskOfflineStore", "DuckDBOfflineStore"):
        return None
    if not isinstance(source, FileSource) or not isinstance(source.file_format, ParquetFormat | None):
        return None
    if any(sign in source.path for sign in "*?["):
        return None
    # Feast takes file:///x for a path relative to the repo.
    at = unquote(source.path.removeprefix("file://")) if source.path.startswith("file://") else source.path
    uri = FileSource.get_uri_for_file_path(config.repo_path, at)
    if "://" in uri and not uri.startswith("s3://"):
        return None
    endpoint = (
        source.s3_endpoint_override or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    )
    resolved = source.resolve_credentials()
    filesystem, path = FileSource.create_filesystem_and_path(uri, endpoint or "", resolved)
    return ds.dataset(path, filesystem=filesystem, format="parquet", partitioning="hive")


def _require_times(layout: Layout, schema: pa.Schema) -> None:
    kind = schema.field(layout.timestamp).type
    if not pa.types.is_timestamp(kind) and not pa.types.is_date(kind):
        raise ValueError(
            f"The event timestamp {layout.timestamp} of {layout.view} is a column of {kind}: write it as timestamps or dates."
        )


def _window(kind: pa.DataType, name: str, start: datetime, end: datetime) -> ds.Expression:
    field = ds.field(name)
    if pa.types.is_date(kind):
        kind = pa.timestamp("us")
        field = field.cast(kind)

    def moment(time: datetime) -> pa.Scalar:
        utc = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        exact = pa.scalar(utc if kind.tz else utc.replace(tzinfo=None), pa.timestamp("us", kind.tz))
        return exact if kind.unit in ("s", "ms") else exact.cast(kind)

    return (field >= moment(start)) & (field <= moment(end))


def _newest(dataset: ds.Dataset, layout: Layout, created: str | None, window: ds.Expression) -> np.ndarray | None:
    """Which rows of the window are the newest of their keys; None when all are. A tie goes to the one created last."""
    keys = [name for _, name, _ in layout.join_keys]
    times = [layout.timestamp] + ([created] if created else [])
    narrow = dataset.to_table(columns=list(dict.fromkeys([*keys, *times])), filter=window, **_READ_AHEAD)
    for at, column in enumerate(narrow.schema):
        if pa.types.is_dictionary(column.type):  # which Arrow cannot sort
            narrow = narrow.set_column(at, column.name, narrow.column(at).cast(column.type.value_type))
    if narrow.group_by(keys, use_threads=False).aggregate([]).num_rows == narrow.num_rows:
        return None
    narrow = narrow.cast(pa.schema([column.with_type(_long(column.type)) for column in narrow.schema]))
    if created and narrow.column(created).null_count:  # a null is sorted last, and is no newest to Feast
        known = "feast_fast created"
        narrow = narrow.append_column(known, narrow.column(created).is_valid())
        times.insert(1, known)
    row = "feast_fast row"
    narrow = narrow.append_column(row, pa.array(np.arange(narrow.num_rows)))
    narrow = narrow.take(pc.sort_indices(narrow, [(name, "ascending") for name in dict.fromkeys([*keys, *times, row])]))
    last = np.ones(narrow.num_rows, bool)
    last[:-1] = False
    for key in keys:
        column = narrow.column(key).combine_chunks()
        differs = pc.not_equal(column.slice(1), column.slice(0, len(column) - 1))
        last[:-1] |= pc.fill_null(differs, True).to_numpy(zero_copy_only=False)  # a null is refused where it is encoded
    newest = np.zeros(narrow.num_rows, bool)
    newest[narrow.column(row).to_numpy()[last]] = True
    return newest


def _long(kind: pa.DataType) -> pa.DataType:
    """Texts and bytes in 64-bit offsets: a column in one piece may hold more than 2 GiB of them."""
    if pa.types.is_string(kind):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary(kind) else kind
