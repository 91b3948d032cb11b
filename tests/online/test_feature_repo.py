"""The feature repo says what the catalogue says, and Feast's own command line takes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from feast import FeatureStore, ValueType
from feast.types import from_feast_to_pyarrow_type

from feature_repo.definitions import ENTITIES, REPO, SERVICES, VIEWS, request_features
from jobs.common.lake import Lake
from jobs.common.products import ONLINE_PRODUCTS, REQUEST_FEATURES

ROOT = Path(__file__).resolve().parents[2]


def test_there_is_one_view_for_each_online_product() -> None:
    assert [view.name for view in VIEWS] == [product.name for product in ONLINE_PRODUCTS]


@pytest.mark.parametrize("product", ONLINE_PRODUCTS, ids=lambda product: product.name)
def test_a_view_has_the_types_and_words_of_its_product(product) -> None:
    view = next(view for view in VIEWS if view.name == product.name)
    assert [(f.name, f.description) for f in view.features] == [(f.name, f.description) for f in product.features]
    for field, feature in zip(view.features, product.features, strict=True):
        assert str(from_feast_to_pyarrow_type(field.dtype)) == str(feature.type), field.name
    assert view.ttl == product.ttl
    assert view.join_keys == [product.key]
    assert view.batch_source.created_timestamp_column == "created_timestamp"
    assert view.batch_source.path == product.dataset


def test_everything_has_an_owner_and_a_description() -> None:
    for thing in REPO:
        assert thing.description, thing.name
        assert thing.owner, thing.name


def test_no_two_services_are_the_same() -> None:
    asked = {tuple((p.name, *(f.name for f in p.features)) for p in s.feature_view_projections) for s in SERVICES}
    assert len(asked) == len(SERVICES)


def test_the_request_features_say_how_fresh_they_are() -> None:
    assert "as of the last loaded midnight" in request_features.description


def test_entities_have_declared_types() -> None:
    assert {entity.name: entity.value_type for entity in ENTITIES} == {
        "card": ValueType.STRING,
        "account": ValueType.STRING,
        "merchant": ValueType.STRING,
        "mcc": ValueType.INT64,
    }


def test_the_request_features_are_those_of_the_catalogue() -> None:
    assert [f.name for f in request_features.features] == [f.name for f in REQUEST_FEATURES]
    for field, feature in zip(request_features.features, REQUEST_FEATURES, strict=True):
        assert from_feast_to_pyarrow_type(field.dtype) == feature.type, field.name


def test_the_registry_holds_no_machine_path(store: FeatureStore) -> None:
    assert {view.batch_source.path for view in store.list_feature_views()} == {p.dataset for p in ONLINE_PRODUCTS}


def test_feast_apply_works_with_the_jobs_variables(lake: Lake, redis_url: str, tmp_path: Path) -> None:
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "LAKE_URI": lake.uri,
        "REDIS_URL": redis_url,
        "FEAST_REGISTRY_URL": f"sqlite:///{tmp_path}/registry.db",
    }
    feast = str(Path(sys.executable).with_name("feast"))
    ended = subprocess.run(
        [feast, "-c", "feature_repo", "apply"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    for product in ONLINE_PRODUCTS:
        assert f"Deploying infrastructure for {product.name}" in ended.stdout
