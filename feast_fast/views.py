"""Which views the plug-in loads itself, and why it leaves one to stock Feast."""

from __future__ import annotations

from typing import Any

from feast import BatchFeatureView, FeatureView, RepoConfig
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.online_stores.redis import _versioned_fv_name

from feast_fast.cells import KEY_KINDS
from feast_fast.layout import Column, Layout
from feast_fast.listpack import MOST_FIELDS
from feast_fast.names import feature_field


def why_not(view: Any, config: RepoConfig) -> str | None:
    """Why stock Feast must load a view, as the end of a sentence; None when the plug-in can."""
    if type(view) not in (FeatureView, BatchFeatureView):
        return f"it is a {type(view).__name__}"
    if not view.online:
        return "it does not go online"
    if view.offline:
        return "it goes to the offline store, too"
    if view.batch_source is None or view.source_views:
        return "its source is another view"
    if getattr(view, "feature_transformation", None) or getattr(view, "udf", None):
        return "it has a transformation"
    if getattr(view, "aggregations", None):
        return "it has aggregations"
    if getattr(view, "enable_validation", False):
        return "it asks for validation"
    if getattr(view, "batch_engine", None):
        return "it names an engine of its own"
    if any(field.vector_index for field in view.features):
        return "it has a vector index"
    if not join_keys(view):
        return "it has no entity"
    kinds = {field.name: field.dtype.to_value_type() for field in view.entity_columns}
    if wrong := [name for name, kind in kinds.items() if kind.value not in KEY_KINDS]:
        return f"Feast has no keys of the type of {wrong[0]}, {kinds[wrong[0]].name}"
    if len(view.features) > MOST_FIELDS:
        return f"it has more than {MOST_FIELDS} features"
    if config.entity_key_serialization_version != 3:
        return "entity_key_serialization_version is not 3"
    return None


def join_keys(view: Any) -> tuple[str, ...]:
    """The names of a view's join keys, in the order in which Feast keeps them in a key: views with the same share keys."""
    return tuple(sorted(field.name for field in view.entity_columns if field.name != DUMMY_ENTITY_ID))


def layout_of(view: Any, config: RepoConfig) -> Layout:
    """Where a view's columns go. The names in the batches are the source's, before its field mapping."""
    name = _versioned_fv_name(view, config)
    at_source = {mapped: column for column, mapped in (view.batch_source.field_mapping or {}).items()}
    keys = {field.name: field.dtype.to_value_type().value for field in view.entity_columns}
    return Layout(
        project=config.project,
        view=name,
        join_keys=tuple((key, at_source.get(key, key), keys[key]) for key in join_keys(view)),
        features=tuple(
            Column(
                at_source.get(field.name, field.name),
                feature_field(name, field.name),
                field.dtype.to_value_type().value,
            )
            for field in view.features
        ),
        timestamp=at_source.get(view.batch_source.timestamp_field, view.batch_source.timestamp_field),
    )
