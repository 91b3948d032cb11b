"""Feast's offline store over the lake: DuckDB computes, pyarrow reads the partitions that can matter.

Stock ``DuckDBOfflineStore`` reads ``s3://`` through an extension that it downloads, and reads all of history
for every call. Here DuckDB is handed a pyarrow dataset of whole, published partitions inside the span of
time that the call can use; the point-in-time join and the choice of the latest row stay Feast's own.

    offline_store:
        type: jobs.online.lake_offline_store.LakeOfflineStore
        lake_uri: s3://bucket
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Literal

import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from feast import RepoConfig
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig, _write_data_source
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.ibis import (
    IbisRetrievalJob,
    get_historical_features_ibis,
    pull_all_from_table_or_query_ibis,
    pull_latest_from_table_or_query_ibis,
)
from feast.infra.registry.base_registry import BaseRegistry
from ibis.expr.types import Table
from pydantic import ConfigDict

from jobs.common.lake import Lake, partition_day
from jobs.common.products import PRODUCTS, REQUEST_FEATURES, Product
from jobs.common.settings import load_settings
from jobs.online.silver import partitions_between, read_partitions

_NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
_BY_DATASET = {product.dataset: product for product in PRODUCTS}
_ON_DEMAND_TYPES = {feature.name: feature.type for feature in REQUEST_FEATURES}


class LakeOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """Which lake to read. The S3 endpoint and region are the jobs' own settings."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    type: Literal["jobs.online.lake_offline_store.LakeOfflineStore"] = "jobs.online.lake_offline_store.LakeOfflineStore"
    lake_uri: str


class LakeSource(FileSource):
    """A product of the lake. The registry keeps its dataset's name, so it holds good wherever the lake is."""

    def __init__(self, product: Product) -> None:
        super().__init__(
            name=product.name,
            path=product.dataset,
            file_format=ParquetFormat(),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
            description=product.description,
        )

    def validate(self, config: RepoConfig) -> None:
        """Nothing to look for yet: a repo can be applied before the first partition is made."""


class LakeRetrievalJob(IbisRetrievalJob):
    """Feast's result with exact types: an on-demand column has its declared type, a null makes no float of an integer."""

    def to_arrow(self, *args: Any, **kwargs: Any) -> pa.Table:
        table = super().to_arrow(*args, **kwargs)
        declared = {
            name: arrow_type
            for view in self.on_demand_feature_views
            for field in view.features
            for name in (field.name, f"{view.projection.name_to_use()}__{field.name}")
            if (arrow_type := _ON_DEMAND_TYPES.get(field.name)) is not None
        }
        return table.cast(pa.schema([field.with_type(declared.get(field.name, field.type)) for field in table.schema]))

    def to_df(self, *args: Any, **kwargs: Any) -> pd.DataFrame:
        return self.to_arrow(*args, **kwargs).to_pandas(types_mapper=_NULLABLE.get)


class LakeOfflineStore(DuckDBOfflineStore):
    """``DuckDBOfflineStore`` with another reader."""

    @staticmethod
    def open_dataset(config: RepoConfig, data_source: DataSource, start: datetime, end: datetime) -> ds.Dataset:
        """The partitions that can hold rows of ``[start, end]``; ``feast_fast`` reads them straight, in batches."""
        return _open_dataset(config, data_source, start, end)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> LakeRetrievalJob:
        return _exact(
            pull_latest_from_table_or_query_ibis(
                config=config,
                data_source=data_source,
                join_key_columns=join_key_columns,
                feature_name_columns=feature_name_columns,
                timestamp_field=timestamp_field,
                created_timestamp_column=created_timestamp_column,
                start_date=start_date,
                end_date=end_date,
                data_source_reader=_reader(config, start_date, end_date),
                data_source_writer=_write_data_source,
            )
        )

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> LakeRetrievalJob:
        return _exact(
            pull_all_from_table_or_query_ibis(
                config=config,
                data_source=data_source,
                join_key_columns=join_key_columns,
                feature_name_columns=feature_name_columns,
                timestamp_field=timestamp_field,
                created_timestamp_column=created_timestamp_column,
                start_date=start_date,
                end_date=end_date,
                data_source_reader=_reader(config, start_date, end_date),
                data_source_writer=_write_data_source,
            )
        )

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> LakeRetrievalJob:
        if isinstance(entity_df, str):
            raise ValueError("Give the entities as a data frame: this store has no tables to select them from.")
        entity_df = _microseconds(entity_df)
        times = entity_df["event_timestamp"]
        first, last = times.min().to_pydatetime(), times.max().to_pydatetime()
        oldest = {_dataset(view.batch_source): first - view.ttl if view.ttl else None for view in feature_views}

        def read(source: DataSource, repo_path: str) -> Table:
            return _read_lake(source, repo_path, config=config, start=oldest[_dataset(source)], end=last)

        return _exact(
            get_historical_features_ibis(
                config=config,
                feature_views=feature_views,
                feature_refs=feature_refs,
                entity_df=entity_df,
                registry=registry,
                project=project,
                full_feature_names=full_feature_names,
                filter_by_created_timestamp=filter_by_created_timestamp,
                data_source_reader=read,
                data_source_writer=_write_data_source,
            )
        )


def _reader(config: RepoConfig, start: datetime | None, end: datetime | None) -> Callable[[DataSource, str], Table]:
    return partial(_read_lake, config=config, start=start, end=end)


def _read_lake(
    source: DataSource, repo_path: str, *, config: RepoConfig, start: datetime | None, end: datetime | None
) -> Table:
    return ibis.memtable(_open_dataset(config, source, start, end))


def _open_dataset(config: RepoConfig, source: DataSource, start: datetime | None, end: datetime | None) -> ds.Dataset:
    lake = _open_lake(config.offline_store.lake_uri)
    product = _BY_DATASET[_dataset(source)]
    days = [partition_day(name) for name in partitions_between(product, lake.partitions(product.dataset), start, end)]
    return read_partitions(lake, product, days)


def _dataset(source: DataSource | None) -> str:
    if not isinstance(source, FileSource) or source.path not in _BY_DATASET:
        raise ValueError(f"{source} is no product of the lake.")
    return source.path


@lru_cache(maxsize=4)
def _open_lake(uri: str) -> Lake:
    return Lake.open(uri, load_settings())


def _exact(job: Any) -> LakeRetrievalJob:
    return LakeRetrievalJob(
        job.table,
        job.on_demand_feature_views,
        job.full_feature_names,
        job.metadata,
        job.data_source_writer,
        job.staging_location,
        job.staging_location_endpoint_override,
        job.repo_path,
    )


def _microseconds(entity_df: pd.DataFrame) -> pd.DataFrame:
    """A copy whose times are UTC microseconds, as the lake's are: DuckDB 2.0 does not compare its nanoseconds with them."""
    times = pd.to_datetime(entity_df["event_timestamp"], utc=True).dt.as_unit("us")
    return entity_df.assign(event_timestamp=times)
