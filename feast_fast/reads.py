"""Online reads as stock Feast answers them, from bytes to columns, with the reason why a value is missing.

``FastReads`` is mixed into a Redis online store. It plans each list of features once, with Feast's own resolution of
them, and leaves to stock what it does not know: features without an entity, views by version, precomputed services,
on-demand views in pandas, Valkey GLIDE.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from feast import FeatureService, FeatureView, OnDemandFeatureView, utils
from feast import metrics as feast_metrics
from feast.errors import FeatureServiceNotFoundException, FeatureViewNotFoundException
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_NAME
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.infra.online_stores.redis import RedisClient
from feast.online_response import TIMESTAMP_POSTFIX, OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from feast.value_type import ValueType
from google.protobuf.timestamp_pb2 import Timestamp
from redis import Redis

from feast_fast.names import feature_field, timestamp_field
from feast_fast.plan import (
    KINDS,
    Answer,
    Cells,
    Columns,
    KeyLayout,
    Lookup,
    OnDemand,
    Plan,
    Status,
    StoredView,
    Unsupported,
)

AS_OF: ContextVar[datetime | None] = ContextVar("as_of", default=None)
"""The moment at which a value's age is judged; None is now. Whoever replays the past sets it."""

Features = Sequence[str] | FeatureService
_log = logging.getLogger(__name__)
_KEY_VERSION = 3
_MOST_PLANS = 1_000
_BEFORE_ALL = -(1 << 80)
"""A moment at which nothing is older than its ttl yet."""
_DUMMIES = {DUMMY_ENTITY_ID, DUMMY_ENTITY_NAME}
_TYPES_THAT_TELL_MORE = {
    kind for kind in ValueType if kind.name.removesuffix("_LIST").removesuffix("_SET") in ("UUID", "TIME_UUID")
}
_EXACT = {ValueType.DOUBLE: float, ValueType.INT64: int, ValueType.STRING: str, ValueType.BOOL: bool}


class Definitions:
    """A repo's objects in place of a registry: what a plan asks is answered from them, with no registry to reach."""

    def __init__(self, objects: Sequence[Any]) -> None:
        self._entities = [thing for thing in objects if type(thing).__name__ == "Entity"]
        self._views = {thing.name: thing for thing in objects if isinstance(thing, FeatureView | OnDemandFeatureView)}
        self.services = {thing.name: thing for thing in objects if isinstance(thing, FeatureService)}

    def list_entities(self, project: str, allow_cache: bool = False) -> list[Any]:
        return self._entities

    def get_any_feature_view(self, name: str, project: str, allow_cache: bool = False) -> Any:
        if name not in self._views:
            raise FeatureViewNotFoundException(name, project)
        view: Any = self._views[name]
        return view.with_projection(type(view.projection).from_feature_view_definition(view))

    def get_feature_service(self, name: str, project: str, allow_cache: bool = False) -> FeatureService:
        if name not in self.services:
            raise FeatureServiceNotFoundException(name, project)
        return self.services[name]


def make_plan(
    registry: Any, project: str, features: Features, full_names: bool = False, versioned: bool = False
) -> Plan:
    """The plan for some features, from a registry or from ``Definitions``.

    Args:
        features: references (``view:feature``) or a feature service.
        full_names: names in the answer are ``view__feature``.
        versioned: the registry's ``enable_online_feature_view_versioning``.

    Raises:
        Unsupported: stock must read these.
        FeastObjectNotFoundException: a view or a service is not there.
    """
    wanted = features if isinstance(features, FeatureService) else list(features)
    context = utils._get_online_request_context(registry, project, wanted, full_names)
    references, on_demand, entities, types, join_keys, grouped, names, request_data, entityless = context
    resolved = (references, on_demand, entities, types, join_keys, grouped, frozenset(names), request_data, entityless)
    return _plan_of(resolved, project, full_names, versioned)


def _plan_of(context: Any, project: str, full_names: bool, versioned: bool) -> Plan:
    """The plan of what Feast resolved."""
    references, on_demand, entities, types, join_keys, grouped, names, request_data, entityless = context
    if entityless or (on_demand and full_names):
        raise Unsupported("features without an entity, or on-demand features by their full names")
    fields: dict[tuple[Any, ...], list[bytes]] = {}
    views = []
    for view, wanted in grouped:
        if not isinstance(view, FeatureView) or view.projection.version_tag is not None:
            raise Unsupported(f"view {view.name}")
        layout = _key_of(view, entities, types)
        views.append(_stored_view(view, wanted, layout, fields.setdefault(layout, []), fields, full_names, versioned))
    computed = tuple(_on_demand(view, references, on_demand) for view in on_demand)
    stored = [name for view in views for name in view.features]
    made = [name for view in computed for name in view.outputs]
    if len({*stored, *made, *request_data, *join_keys}) < len([*stored, *made, *request_data, *join_keys]):
        raise Unsupported("one name for two things")
    return Plan(
        layouts=tuple(
            KeyLayout(project, keys, columns, kinds, tuple(asked)) for (keys, columns, kinds), asked in fields.items()
        ),
        views=tuple(views),
        on_demand=computed,
        join_keys=frozenset(join_keys) - _DUMMIES,
        request_data=frozenset(request_data),
        ignored=frozenset(entities) - frozenset(join_keys) - frozenset(request_data) - _DUMMIES,
        features=frozenset(names),
    )


def _key_of(view: FeatureView, entities: Mapping[str, str], types: Mapping[str, ValueType]) -> tuple[Any, ...]:
    """Join keys, sorted; the request's columns for them; the kinds of their values."""
    aliases = view.projection.join_key_map
    join_keys = tuple(sorted(column.name for column in view.entity_columns))
    columns = tuple(aliases.get(name, name) for name in join_keys)
    kinds = tuple(types[column].name for column in columns)
    if not join_keys or len(join_keys) != len(view.entities) or not set(kinds) <= set(KINDS):
        raise Unsupported(f"entities of {view.name}")
    return join_keys, columns, kinds


def _stored_view(
    view: FeatureView,
    wanted: Sequence[str],
    layout: tuple[Any, ...],
    asked: list[bytes],
    fields: Mapping[tuple[Any, ...], list[bytes]],
    full_names: bool,
    versioned: bool,
) -> StoredView:
    """The view's part of a plan; appends to the hash fields that are asked of its key."""
    stored_as = compute_versioned_name(view, versioned)
    types = {column.name: column.dtype.to_value_type() for column in view.features}
    prefix = f"{view.projection.name_to_use()}__" if full_names else ""
    names, start = sorted(wanted), len(asked)
    hints = [types.get(name) for name in names]
    telling = tuple(hint if hint in _TYPES_THAT_TELL_MORE else None for hint in hints)
    asked += [*(feature_field(stored_as, name) for name in names), timestamp_field(stored_as)]
    return StoredView(
        stored_as,
        list(fields).index(layout),
        start,
        int(view.ttl.total_seconds() * 1_000_000) * 1_000 if view.ttl else None,
        tuple(prefix + name for name in names),
        telling if any(telling) else (),
    )


def _on_demand(
    view: OnDemandFeatureView, references: Sequence[str], all_views: Sequence[OnDemandFeatureView]
) -> OnDemand:
    """As ``feast.utils._augment_response_with_on_demand_transforms`` does it for views in Python."""
    if view.mode != "python" or view.aggregations or view.write_to_online_store:
        raise Unsupported(f"on-demand view {view.name}")
    on_demand_names = {(other.projection.name_alias if other.projection else None) or other.name for other in all_views}
    own_name = (view.projection.name_alias if view.projection else None) or view.name
    declared = {projection.name for projection in view.source_feature_view_projections.values()}
    parsed = [utils._parse_feature_ref(reference) for reference in references]
    foreign = {name for of, _, name in parsed if of not in on_demand_names and of not in declared}
    for other in all_views:
        for projection in other.source_feature_view_projections.values():
            if projection.name not in declared:
                foreign |= {feature.name for feature in projection.features}
    outputs = frozenset(name for of, _, name in parsed if of == own_name)
    types = {field.name: field.dtype.to_value_type() for field in view.schema}

    def compute(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
        found = view.transform_dict(inputs)
        return {
            name: _as_declared(column if isinstance(column, list) else [column], types.get(name, ValueType.UNKNOWN))
            for name, column in found.items()
            if name in outputs
        }

    return OnDemand(own_name, frozenset(foreign), outputs, compute)


def _as_declared(values: list[Any], kind: ValueType) -> list[Any]:
    """The values after Feast's way through protobuf, which most pass unchanged: NaN is null, an integer may be a double."""
    exact = _EXACT.get(kind)
    if exact and set(map(type, values)) <= {exact, type(None)}:
        if exact is float:
            return [None if value != value else value for value in values]
        if exact is not int or all(value is None or -(1 << 63) <= value < 1 << 63 for value in values):
            return values
    return [feast_value_type_to_python_type(value) for value in python_values_to_proto_values(values, kind)]


class FastResponse(OnlineResponse):
    """Feast's response over an answer; the protobuf is made when something asks for it.

    Attributes:
        answer: columns, statuses and event times.
    """

    def __init__(self, answer: Answer, types: Mapping[str, ValueType]) -> None:
        self.answer = answer
        self._types = types
        self._proto: GetOnlineFeaturesResponse | None = None

    @property
    def proto(self) -> GetOnlineFeaturesResponse:  # type: ignore[override]
        if self._proto is None:
            self._proto = _response_of(self.answer, self._types)
        return self._proto

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, Any]:
        columns: dict[str, Any] = {name: list(values) for name, values in self.answer.values.items()}
        if include_event_timestamps:
            for name in self.answer.values:
                times = self.answer.times.get(name) or [None] * self.answer.rows
                columns[name + TIMESTAMP_POSTFIX] = [time[0] if time else 0 for time in times]
        return columns


def answer_of(response: OnlineResponse) -> Answer:
    """Columns and statuses of a response, whoever read it."""
    if isinstance(response, FastResponse):
        return response.answer
    values = response.to_dict()
    answer = Answer(len(next(iter(values.values()), [])), values)
    for name, vector in zip(response.proto.metadata.feature_names.val, response.proto.results, strict=True):
        answer.row_statuses[name] = [Status(status) for status in vector.statuses]
    return answer


def _response_of(answer: Answer, types: Mapping[str, ValueType]) -> GetOnlineFeaturesResponse:
    response = GetOnlineFeaturesResponse()
    null, never = Value(), Timestamp()
    for name, values in answer.values.items():
        response.metadata.feature_names.val.append(name)
        cells = answer.cells.get(name)
        times = answer.times.get(name) or [None] * answer.rows
        response.results.append(
            GetOnlineFeaturesResponse.FeatureVector(
                values=python_values_to_proto_values(values, types.get(name, ValueType.UNKNOWN))
                if cells is None
                else [Value.FromString(cell) if cell else null for cell in cells],
                statuses=[int(status) for status in answer.statuses(name)],  # type: ignore[misc]
                event_timestamps=[Timestamp(seconds=time[0], nanos=time[1]) if time else never for time in times],
            )
        )
    return response


class FastReads:
    """Mixed in before a Redis online store: ``class Store(FastReads, RedisOnlineStore)``.

    Answers are stock's, with NULL_VALUE, NOT_FOUND and OUTSIDE_MAX_AGE where stock says PRESENT of nothing, or of a value
    older than its view's ttl, which is then not given unless the store's settings say ``serve_expired``.
    """

    _plans: dict[Any, tuple[Any, Plan | None, dict[str, ValueType]]]

    def get_online_features(
        self,
        config: Any,
        features: Any,
        entity_rows: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        with suppress(Unsupported):
            if include_feature_view_version_metadata:
                raise Unsupported("version metadata")
            plan, types = self._plan(config, features, registry, project, full_feature_names)
            lookup = plan.lookup(_columns(entity_rows))
            replies = hmget_all(self._get_client(config.online_store), lookup)  # type: ignore[attr-defined]
            return FastResponse(plan.answer(lookup, replies, _moment_ns(config)), types)
        response: OnlineResponse = super().get_online_features(  # type: ignore[misc]
            config, features, entity_rows, registry, project, full_feature_names, include_feature_view_version_metadata
        )
        return _with_nulls(response)

    async def get_online_features_async(
        self,
        config: Any,
        features: Any,
        entity_rows: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        with suppress(Unsupported):
            if include_feature_view_version_metadata:
                raise Unsupported("version metadata")
            plan, types = self._plan(config, features, registry, project, full_feature_names)
            lookup = plan.lookup(_columns(entity_rows))
            client = await self._get_client_async(config.online_store)  # type: ignore[attr-defined]
            async with client.pipeline(transaction=False) as pipe:
                for key, fields in lookup.commands():
                    pipe.hmget(key, fields)
                replies = await pipe.execute()
            return FastResponse(plan.answer(lookup, replies, _moment_ns(config)), types)
        response: OnlineResponse = await super().get_online_features_async(  # type: ignore[misc]
            config, features, entity_rows, registry, project, full_feature_names, include_feature_view_version_metadata
        )
        return _with_nulls(response)

    def _plan(
        self, config: Any, features: Any, registry: Any, project: str, full_names: bool
    ) -> tuple[Plan, dict[str, ValueType]]:
        """The plan for the features, made anew when Feast resolves them anew: its registry was read again.

        Raises:
            Unsupported: stock must read these.
        """
        online = config.online_store
        if (
            feast_metrics._config.online_features  # which stock counts as it reads
            or getattr(online, "client", RedisClient.redis) != RedisClient.redis
            or config.entity_key_serialization_version != _KEY_VERSION
            or getattr(features, "precompute_online", False)
        ):
            raise Unsupported("settings")
        wanted = features if isinstance(features, FeatureService) else list(features)
        context = utils._get_cached_request_context(registry, project, wanted, full_names)
        name = (features.name,) if isinstance(features, FeatureService) else tuple(features)
        key = (isinstance(features, FeatureService), name, full_names, project)
        plans = self.__dict__.setdefault("_plans", {})
        known = plans.get(key)
        if known is None or known[0] is not context:
            plan, types = None, {}
            try:
                plan = _plan_of(context, project, full_names, config.registry.enable_online_feature_view_versioning)
                types = _types_of(context)
            except Unsupported as reason:
                _log.debug("stock Feast reads %s: %s", name, reason)
            if len(plans) >= _MOST_PLANS:
                plans.clear()
            known = plans[key] = (context, plan, types)
        if known[1] is None:
            raise Unsupported("features")
        return known[1], known[2]

    # What stock reads is judged alike. On-demand views read the response next, so what is taken out here is missing to
    # them, too. Stock appends to the lists of names that it is given, so it is given copies.

    def _read_features_per_fv(
        self, config: Any, grouped_refs: Any, keys: Any, join_keys: Any, response: Any, *args: Any
    ) -> None:
        known, views = len(response.results), [(view, list(names)) for view, names in grouped_refs]
        super()._read_features_per_fv(config, views, keys, join_keys, response, *args)  # type: ignore[misc]
        _judge(response, known, views, _moment_ns(config))

    async def _read_features_per_fv_async(
        self, config: Any, grouped_refs: Any, keys: Any, join_keys: Any, response: Any, *args: Any
    ) -> None:
        known, views = len(response.results), [(view, list(names)) for view, names in grouped_refs]
        await super()._read_features_per_fv_async(config, views, keys, join_keys, response, *args)  # type: ignore[misc]
        _judge(response, known, views, _moment_ns(config))


def hmget_all(client: Any, lookup: Lookup) -> list[Cells]:
    """Runs a lookup's commands in one round trip.

    A plain client's connection is handed the bytes as they are: redis-py would pack every field of every command.
    """
    if type(client) is not Redis:
        with client.pipeline(transaction=False) as pipe:
            for key, fields in lookup.commands():
                pipe.hmget(key, fields)
            return pipe.execute()
    packed, count = lookup.packed(), lookup.count
    connection = client.connection_pool.get_connection()

    def ask() -> list[Cells]:
        connection.send_packed_command([packed])
        return [connection.read_response() for _ in range(count)]

    try:
        return connection.retry.call_with_retry(ask, lambda error: connection.disconnect())
    except BaseException:
        connection.disconnect()  # replies that nobody read must not be the next caller's
        raise
    finally:
        client.connection_pool.release(connection)


def _types_of(context: Any) -> dict[str, ValueType]:
    """The types of what an answer holds beside stored features: keys and on-demand features."""
    on_demand, types = context[1], dict(context[3])
    for view in on_demand:
        types |= {field.name: field.dtype.to_value_type() for field in view.schema}
    return types


def _columns(entity_rows: Any) -> Columns:
    if isinstance(entity_rows, list):
        if len(entity_rows) == 1:
            return {name: [value] for name, value in entity_rows[0].items()}
        try:
            names = entity_rows[0].keys()
            if set(map(len, entity_rows)) != {len(names)}:
                raise Unsupported("rows of different columns")
            return {name: [row[name] for row in entity_rows] for name in names}
        except (IndexError, KeyError):
            raise Unsupported("rows") from None
    columns = {}
    for name, values in entity_rows.items():
        if not isinstance(values, Sequence):
            raise Unsupported("columns of protobuf")
        columns[name] = values
    return columns


def _moment_ns(config: Any) -> int:
    """The moment at which ages are judged, nanoseconds since 1970 UTC."""
    if getattr(config.online_store, "serve_expired", False):
        return _BEFORE_ALL
    moment = AS_OF.get()
    if moment is None:
        return time.time_ns()
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def _judge(response: GetOnlineFeaturesResponse, known: int, views: list[tuple[Any, list[str]]], now_ns: int) -> None:
    """Sets the status of what is missing in every feature vector that a read added to a response, and empties it.

    The vectors come view by view, one a name, and those of a view have the same times; 0 means never written.
    """
    now = now_ns / 1e9
    vectors = iter(response.results[known:])
    for view, names in views:
        features = [next(vectors) for _ in names]
        ttl = getattr(view, "ttl", None)
        oldest = now - ttl.total_seconds() if ttl else -float("inf")
        for row, written in enumerate(features[0].event_timestamps):
            seconds = written.seconds + written.nanos / 1e9
            if seconds == 0 or seconds < oldest:
                for vector in features:
                    vector.values[row].Clear()
                    vector.statuses[row] = FieldStatus.NOT_FOUND if seconds == 0 else FieldStatus.OUTSIDE_MAX_AGE


def _with_nulls(response: OnlineResponse) -> OnlineResponse:
    """Says NULL_VALUE of a value that is none, where stock says PRESENT."""
    for vector in response.proto.results:
        for row, value in enumerate(vector.values):
            if vector.statuses[row] == FieldStatus.PRESENT and value.WhichOneof("val") is None:
                vector.statuses[row] = FieldStatus.NULL_VALUE
    return response
