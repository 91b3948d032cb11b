"""The online read path of a fraud service: values with the reason why one is missing.

reader = OnlineReader(open_store(settings, lake))
columns = reader.read("fraud_v1", [{"card_id": "c1", …}])
columns["cnt_1d"].values, columns["cnt_1d"].statuses
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from feast import FeatureService, FeatureStore
from feast.errors import FeastObjectNotFoundException

from feast_fast import plan
from feast_fast.reads import AS_OF, answer_of
from jobs.common.errors import WrongCall
from jobs.online.repo import registry_address


class Status(StrEnum):
    """Why a value is what it is. It is None unless PRESENT."""

    PRESENT = "PRESENT"
    NULL = "NULL"
    """Written, as a null."""
    NOT_FOUND = "NOT_FOUND"
    """The key was never written."""
    OUTSIDE_MAX_AGE = "OUTSIDE_MAX_AGE"
    """Written, but older than the view's ttl."""


@dataclass(frozen=True)
class Column:
    """One feature, one value and one status a row."""

    values: list[Any]
    statuses: list[Status]


STATUSES = {
    plan.Status.PRESENT: Status.PRESENT,
    plan.Status.NULL_VALUE: Status.NULL,
    plan.Status.NOT_FOUND: Status.NOT_FOUND,
    plan.Status.OUTSIDE_MAX_AGE: Status.OUTSIDE_MAX_AGE,
}
"""The plug-in's words in the project's."""


class OnlineReader:
    """Reads features by entity keys. Every call is one round trip to Redis; a service keeps one reader."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self._services: dict[str, FeatureService] = {}

    def read(
        self, features: str | Sequence[str], rows: Sequence[Mapping[str, Any]], as_of: datetime | None = None
    ) -> dict[str, Column]:
        """The features of every row, in the order of the rows, by feature name.

        Args:
            features: name of a feature service, or references such as ``card_daily:cnt_1d``.
            rows: entity keys, and the request's fields where a request-time feature is asked for.
            as_of: the moment at which age is judged, with a time zone. Default: now.

        Raises:
            WrongCall: the registry is new, or does not hold a view or a service that is asked for.
        """
        token = AS_OF.set(as_of)
        try:
            wanted = self._service(features) if isinstance(features, str) else list(features)
            response = self.store.get_online_features(wanted, [dict(row) for row in rows])
        except FeastObjectNotFoundException as error:
            registry = registry_address(self.store.config.registry.path)
            raise WrongCall(
                f"The Feast registry {registry} does not hold the views ({error}): run materialize --force."
            ) from None
        finally:
            AS_OF.reset(token)
        answer, keys = answer_of(response), {key for row in rows for key in row}
        return {
            name: Column(values, [STATUSES[status] for status in answer.statuses(name)])
            for name, values in answer.values.items()
            if name not in keys
        }

    def _service(self, name: str) -> FeatureService:
        if name not in self._services:  # Feast parses it anew on every call
            self._services[name] = self.store.get_feature_service(name)
        return self._services[name]
