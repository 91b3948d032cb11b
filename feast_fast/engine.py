"""Feast's local engine with an Arrow way from the source to Redis.

batch_engine:
    type: feast_fast.engine.FastComputeEngine
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pyarrow as pa
from feast import RepoConfig
from feast.infra.common.materialization_job import MaterializationJob, MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.registry.base_registry import BaseRegistry

from feast_fast.layout import Layout
from feast_fast.listpack import MOST_FIELDS
from feast_fast.source import newest_rows
from feast_fast.store import FastRedisOnlineStore
from feast_fast.views import join_keys, layout_of, why_not

logger = logging.getLogger(__name__)


class FastComputeEngineConfig(LocalComputeEngineConfig):
    """
    Attributes:
        chunk_rows: how many rows are encoded and sent together.
        one_row_per_key: no window holds a key twice, so that the newest need not be picked.
    """

    type: Literal["feast_fast.engine.FastComputeEngine"] = "feast_fast.engine.FastComputeEngine"  # type: ignore[assignment]
    chunk_rows: int = 10_000
    one_row_per_key: bool = False


class FastComputeEngine(LocalComputeEngine):
    """Loads plain views itself and leaves the others to ``LocalComputeEngine``, saying why."""

    def __init__(self, chunk_rows: int = 10_000, one_row_per_key: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.chunk_rows, self.one_row_per_key = chunk_rows, one_row_per_key

    @property
    def supports_batch(self) -> bool:
        """Whole keys need all their views at once."""
        return self._owns_keys

    @property
    def _owns_keys(self) -> bool:
        return isinstance(self.online_store, FastRedisOnlineStore) and self.repo_config.online_store.owns_keys

    def materialize(
        self,
        registry: BaseRegistry,
        tasks: MaterializationTask | list[MaterializationTask],
        **kwargs: Any,
    ) -> list[MaterializationJob]:
        tasks = [tasks] if isinstance(tasks, MaterializationTask) else tasks
        jobs: dict[str, MaterializationJob] = {}
        failed: BaseException | None = None
        # ``feast materialize -v card -v card`` names a view twice.
        once = list({_name(task): task for task in tasks}.values())
        for group, whole in self._groups(registry, once):
            if failed is None:
                failed = self._load(registry, group, whole, kwargs)
            # After a failure the others are not tried: what it met, they would meet.
            status = MaterializationJobStatus.ERROR if failed else MaterializationJobStatus.SUCCEEDED
            for task in group:
                jobs[_name(task)] = LocalMaterializationJob(job_id=_name(task), status=status, error=failed)
        return [jobs[_name(task)] for task in tasks]

    def _load(
        self, registry: BaseRegistry, group: Sequence[MaterializationTask], whole: bool, kwargs: dict[str, Any]
    ) -> BaseException | None:
        reason = self._why_not(group[0].feature_view)
        if reason:
            logger.warning("Stock Feast loads %s: %s.", group[0].feature_view.name, reason)
            return super()._materialize_one(registry, group[0], **kwargs).error()
        store: Any = self.online_store
        try:
            done = store.load(self.repo_config, [self._rows(task) for task in group], whole=whole)
        except Exception as error:
            # Feast's protocol: the job carries its error, and Feast raises it.
            return error
        names = ", ".join(task.feature_view.name for task in group)
        logger.info("Loaded %s: %d of %d rows written.", names, done.written, done.rows)
        return None

    def _rows(self, task: MaterializationTask) -> tuple[Layout, Iterable[pa.RecordBatch]]:
        view = task.feature_view
        layout = layout_of(view, self.repo_config)
        rows = newest_rows(
            self.offline_store,
            self.repo_config,
            view,
            layout,
            task.start_time,
            task.end_time,
            self.chunk_rows,
            self.one_row_per_key,
        )
        return layout, rows

    def _why_not(self, view: Any) -> str | None:
        if not isinstance(self.online_store, FastRedisOnlineStore):
            return f"{type(self.online_store).__name__} takes no Arrow batches, as FastRedisOnlineStore does"
        return why_not(view, self.repo_config)

    def _groups(
        self, registry: BaseRegistry, tasks: Sequence[MaterializationTask]
    ) -> list[tuple[list[MaterializationTask], bool]]:
        """What is loaded together, and whether it is all that its keys hold."""
        # A view's other versions are in its keys, too, and the registry does not list them.
        if not self._owns_keys or self.repo_config.registry.enable_online_feature_view_versioning:
            return [([task], False) for task in tasks]
        fast = [task for task in tasks if self._why_not(task.feature_view) is None]
        rivals = _writers(registry, self.repo_config)
        groups: list[tuple[list[MaterializationTask], bool]] = []
        grouped: set[int] = set()
        for task in tasks:
            if id(task) in grouped:
                continue
            keys = join_keys(task.feature_view)
            group = [other for other in fast if join_keys(other.feature_view) == keys]
            loaded = {other.feature_view.name for other in group}
            whole = task in group and loaded.issuperset(name for name, its_keys in rivals if its_keys == keys)
            whole = whole and len(loaded) == len(group)  # two windows of one view are no whole
            if whole and sum(len(other.feature_view.features) + 1 for other in group) <= MOST_FIELDS:
                groups.append((group, True))
                grouped.update(map(id, group))
            else:
                groups.append(([task], False))
        return groups


def _writers(registry: BaseRegistry, config: RepoConfig) -> list[tuple[str, tuple[str, ...]]]:
    """Name and join keys of all that Feast keeps in the online store: views, and vectors of precomputed services.

    The registry is read anew: a view that its cache does not know yet would lose what it wrote.
    """
    views: dict[str, Any] = {view.name: view for view in registry.list_all_feature_views(config.project)}
    found = [
        (name, join_keys(view))
        for name, view in views.items()
        if getattr(view, "online", False) or getattr(view, "write_to_online_store", False)
    ]
    for service in registry.list_feature_services(config.project):
        if service.precompute_online:
            used = (views[part.name] for part in service.feature_view_projections if part.name in views)
            found += [(f"__precomputed__{service.name}", join_keys(view)) for view in used]
    return found


def _name(task: MaterializationTask) -> str:
    return f"{task.feature_view.name}-{task.start_time}-{task.end_time}"
