"""Entities, views and services, made from the feature catalogue (``jobs.common.products``).

Adding a feature to an online product adds it here: there is no second list of features to keep in step.

How fresh a feature is: a card's last state online is as of the last loaded midnight. Velocities and whatever else is
computed at request time know nothing of today's transactions. A push would not last: materialize owns the keys
(``owns_keys``), so the next load replaces what was pushed and removes cards that only a push knew.
A training set that is retrieved point in time through ``fraud_v1`` shows the same, as the service saw it. What was
true just before each transaction is in the lake's ``tx_features``.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa
from feast import Entity, FeatureService, FeatureView, Field, RequestSource, ValueType
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.transformation.python_transformation import PythonTransformation
from feast.types import Array, Bool, FeastType, Float64, Int64, String

from jobs.common.products import (
    ACCOUNT_DAILY,
    CARD_DAILY,
    CARD_LAST_STATE,
    MCC_DAILY,
    MERCHANT_DAILY,
    REQUEST_FEATURES,
    Feature,
    Product,
)
from jobs.online.lake_offline_store import LakeSource

OWNER = "fraud-features"
_TYPES: dict[pa.DataType, FeastType] = {
    pa.int64(): Int64,
    pa.float64(): Float64,
    pa.string(): String,
    pa.bool_(): Bool,
    pa.list_(pa.int64()): Array(Int64),
    pa.list_(pa.string()): Array(String),
}


def _entity(name: str, join_key: str, value_type: ValueType, description: str) -> Entity:
    return Entity(name=name, join_keys=[join_key], value_type=value_type, description=description, owner=OWNER)


card = _entity("card", "card_id", ValueType.STRING, "A payment card.")
account = _entity("account", "account_id", ValueType.STRING, "The account a card belongs to.")
merchant = _entity("merchant", "merchant_id", ValueType.STRING, "Where the card is used.")
mcc = _entity("mcc", "mcc", ValueType.INT64, "Merchant category code, 4 digits.")
ENTITIES = (card, account, merchant, mcc)


def _field(feature: Feature) -> Field:
    return Field(name=feature.name, dtype=_TYPES[feature.type], description=feature.description)


def _bare_fields(features: Sequence[Feature]) -> list[Field]:
    """Fields as the registry keeps those of an on-demand view: without words.

    A service keeps its own copy of them, with the words. The two must be equal, or Feast finds that the view lacks
    every feature of the service, and does not serve it by name.
    """
    return [Field(name=feature.name, dtype=_TYPES[feature.type]) for feature in features]


def _view(product: Product) -> FeatureView:
    entity = next(entity for entity in ENTITIES if entity.join_key == product.key)
    return FeatureView(
        name=product.name,
        entities=[entity],
        schema=[
            Field(name=product.key, dtype=_TYPES[product.schema.field(product.key).type]),
            *(_field(feature) for feature in product.features),
        ],
        ttl=product.ttl or timedelta(0),
        source=LakeSource(product),
        description=product.description,
        owner=OWNER,
        tags={"cadence": "daily", "key": product.key},
    )


# Feast looks for objects under names of their own in a module.
card_daily = _view(CARD_DAILY)
card_last_state = _view(CARD_LAST_STATE)
account_daily = _view(ACCOUNT_DAILY)
merchant_daily = _view(MERCHANT_DAILY)
mcc_daily = _view(MCC_DAILY)
VIEWS = (card_daily, card_last_state, account_daily, merchant_daily, mcc_daily)

NULLABLE = {"null": "allowed"}
"""Tags of a field of the request that may be null."""

# Its merchant is no field of it: merchant_id is a key already, which on-demand views see, and Feast would take a name that
# is both for request data alone, and find no merchant.
request = RequestSource(
    name="transaction",
    description="The transaction that is being judged, beside its card, account, merchant and category.",
    schema=[
        Field(name="event_time_us", dtype=Int64, description="Its time, µs since 1970 UTC."),
        Field(name="amount_cents", dtype=Int64, description="Its amount, cents."),
        Field(name="card_present", dtype=Bool, description="The card was present."),
        Field(name="merchant_country", dtype=String, description="Country of the merchant, ISO 3166-1 alpha-2."),
        Field(name="latitude", dtype=Float64, description="Degrees, or null.", tags=NULLABLE),
        Field(name="longitude", dtype=Float64, description="Degrees, or null.", tags=NULLABLE),
        Field(name="utc_offset_minutes", dtype=Int64, description="Local time minus UTC, minutes."),
    ],
)
REQUEST_KEYS = (merchant.join_key,)
"""Keys that the features of a request read as facts of the transaction, whether or not anything is stored of them."""


def compute_request_features(inputs: dict) -> dict:
    """What Feast calls. The registry keeps the text of this function alone, so it imports what it needs itself."""
    from feature_repo.request_time import request_features

    return request_features(inputs)


_UDF: Any = compute_request_features


class DeclaredTransformation(PythonTransformation):
    """Features are as declared: Feast would run the code on made-up values and read types off the results."""

    def infer_features(self, random_input: dict[str, Any], singleton: bool | None = False) -> list[Field]:
        return _bare_fields(REQUEST_FEATURES)


request_features = OnDemandFeatureView(
    name="request_features",
    sources=[card_last_state, card_daily, mcc_daily, request],
    schema=_bare_fields(REQUEST_FEATURES),
    mode="python",
    feature_transformation=DeclaredTransformation(udf=_UDF, udf_string=inspect.getsource(compute_request_features)),
    description=(
        "What needs the transaction itself: velocities, distance, deviation from the card's own habits. They are "
        "over the card's last state, which is as of the last loaded midnight."
    ),
    owner=OWNER,
    tags={"cadence": "request"},
)

_JUDGED: list[Any] = [card_daily, account_daily, merchant_daily, mcc_daily, request_features]
fraud_v1 = FeatureService(  # one service for both ways of retrieval, so that training and serving cannot drift apart
    name="fraud_v1",
    features=_JUDGED,
    description="Everything a model sees when it judges a transaction, and for past ones, point in time.",
    owner=OWNER,
)
state_v1 = FeatureService(
    name="state_v1",
    features=list(VIEWS),
    description="All that is stored online as it was written, the cards' last states included.",
    owner=OWNER,
)
SERVICES = (fraud_v1, state_v1)
REPO = (*ENTITIES, *VIEWS, request_features, *SERVICES)
