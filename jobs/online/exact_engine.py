"""Feast's local compute engine with an exact way from Arrow to Redis.

Stock ``LocalComputeEngine`` takes every table through pandas, where a nullable integer becomes a double and
2^53 + 1 comes back wrong. Here each Arrow value becomes its protobuf value, and nothing else.

    batch_engine:
        type: jobs.online.exact_engine.ExactComputeEngine
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa
from feast.feature_view import FeatureView
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import BoolList, DoubleList, Int64List, StringList, Value
from feast.types import Array, Bool, FeastType, Float64, Int64, String
from feast.utils import _get_column_names

Row = tuple[EntityKey, dict[str, Value], datetime, datetime | None]

_TO_VALUE: dict[FeastType, Callable[[Any], Value]] = {
    Int64: lambda value: Value(int64_val=value),
    Float64: lambda value: Value(double_val=value),
    String: lambda value: Value(string_val=value),
    Bool: lambda value: Value(bool_val=value),
    Array(Int64): lambda value: Value(int64_list_val=Int64List(val=value)),
    Array(Float64): lambda value: Value(double_list_val=DoubleList(val=value)),
    Array(String): lambda value: Value(string_list_val=StringList(val=value)),
    Array(Bool): lambda value: Value(bool_list_val=BoolList(val=value)),
}
_NULL = Value()


class ExactComputeEngineConfig(LocalComputeEngineConfig):
    """How many rows one write to the online store holds."""

    type: Literal["jobs.online.exact_engine.ExactComputeEngine"] = "jobs.online.exact_engine.ExactComputeEngine"  # type: ignore[assignment]
    chunk_rows: int = 10_000


class ExactComputeEngine(LocalComputeEngine):
    """Loads the latest row of each key of a window; leaves views with transformations and the like to stock."""

    def __init__(self, chunk_rows: int = 10_000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.chunk_rows = chunk_rows

    def _materialize_one(
        self, registry: BaseRegistry, task: MaterializationTask, **kwargs: Any
    ) -> LocalMaterializationJob:
        view: Any = task.feature_view
        if not is_plain(view):
            return super()._materialize_one(registry, task, **kwargs)
        job_id = f"{view.name}-{task.start_time}-{task.end_time}"
        try:
            self._load(registry, task, view)
        except Exception as error:
            # Feast's protocol: the job carries its error, and Feast raises it.
            return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.ERROR, error=error)
        return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.SUCCEEDED)

    def _load(self, registry: BaseRegistry, task: MaterializationTask, view: Any) -> None:
        entities = [registry.get_entity(name, task.project) for name in view.entities]
        join_keys, features, timestamp, created = _get_column_names(view, entities)
        table = self.offline_store.pull_latest_from_table_or_query(
            config=self.repo_config,
            data_source=view.batch_source,
            join_key_columns=join_keys,
            feature_name_columns=features,
            timestamp_field=timestamp,
            created_timestamp_column=created,
            start_date=task.start_time,
            end_date=task.end_time,
        ).to_arrow()
        for batch in table.to_batches(self.chunk_rows):
            rows = to_rows(batch, view, join_keys, timestamp, created)
            self.online_store.online_write_batch(self.repo_config, view, rows, None)


def is_plain(view: Any) -> bool:
    """Whether a view is a table of known types that goes online as it is."""
    return (
        type(view) is FeatureView
        and view.batch_source is not None
        and view.online
        and not view.offline
        and not view.source_views
        and not view.batch_source.field_mapping
        and not getattr(view, "feature_transformation", None)
        and bool(view.entity_columns)
        and all(field.dtype in _TO_VALUE for field in (*view.entity_columns, *view.features))
    )


def to_rows(
    batch: pa.RecordBatch, view: FeatureView, join_keys: list[str], timestamp: str, created: str | None
) -> list[Row]:
    """The rows of a batch as an online store takes them, in order."""
    keys = zip(
        *(
            _values(batch.column(name), field.dtype)
            for name in sorted(join_keys)
            for field in view.entity_columns
            if field.name == name
        ),
        strict=True,
    )
    names = [field.name for field in view.features]
    features = zip(*(_values(batch.column(field.name), field.dtype) for field in view.features), strict=True)
    times = batch.column(timestamp).to_pylist()
    created_times = batch.column(created).to_pylist() if created else [None] * len(times)
    return [
        (EntityKey(join_keys=sorted(join_keys), entity_values=key), dict(zip(names, row, strict=True)), time, made)
        for key, row, time, made in zip(keys, features, times, created_times, strict=True)
    ]


def _values(column: pa.Array, dtype: FeastType) -> Iterator[Value]:
    to_value = _TO_VALUE[dtype]
    return (_NULL if value is None else to_value(value) for value in column.to_pylist())
