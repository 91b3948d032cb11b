"""Reads answer as stock's ``get_online_features`` does, over a real server, and say why a value is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
import redis
from feast import FeatureService, FeatureStore, RepoConfig
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types import Value_pb2
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import given, settings
from hypothesis import strategies as st

from feast_fast.plan import Status, Unsupported
from feast_fast.reads import AS_OF, Definitions, FastResponse, answer_of, hmget_all, make_plan
from tests.feast_fast import repo_of_everything as repo
from tests.feast_fast.repo_of_everything import (
    NOW,
    PROJECT,
    FastStore,
    Serialized,
    aged,
    ask,
    pairs,
    shops,
    typed,
    write,
)
from tests.feast_fast.test_decode import MANY, ONE

VIEW_REFS = {view.name: [f"{view.name}:{field.name}" for field in view.features] for view in repo.VIEWS}
ALL_REFS = [reference for references in VIEW_REFS.values() for reference in references]
CARDS = ("c1", "c2", "", "кар\N{CREDIT CARD}та", "x" * 200)


@pytest.fixture(scope="module")
def store(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    port = redis.Redis.from_url(redis_server).connection_pool.connection_kwargs["port"]
    return repo.open_repo(tmp_path_factory.mktemp("repo"), port)


@pytest.fixture
def empty(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


@pytest.fixture(scope="module")
def fast() -> FastStore:
    return FastStore()


@pytest.fixture(scope="module")
def stock() -> RedisOnlineStore:
    return RedisOnlineStore()


@pytest.fixture(autouse=True)
def at_noon() -> Iterator[None]:
    token = AS_OF.set(NOW)
    yield
    AS_OF.reset(token)


def fast_only() -> Any:
    """No read may be left to stock while this is on."""
    return patch.object(RedisOnlineStore, "get_online_features", side_effect=AssertionError("left to stock"))


def both(fast: Any, stock: Any, store: FeatureStore, features: Any, rows: Any, **more: Any) -> dict[str, Any]:
    """Reads by either, compares, and gives back."""
    with fast_only():
        ours = ask(fast, store, features, rows, **more)
    assert isinstance(ours, FastResponse)
    theirs = ask(stock, store, features, rows, **more)
    assert by_repr(ours.to_dict()) == by_repr(theirs.to_dict())
    assert by_repr(ours.to_dict(True)) == by_repr(theirs.to_dict(True))
    assert vectors(ours) == vectors(theirs)
    assert by_repr(ours.to_df().to_dict("list")).keys() == theirs.to_dict().keys()
    return ours.to_dict()


def by_repr(columns: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Exact: -0.0 is not 0.0, True is not 1, NaN is NaN."""
    return {name: repr(list(values)) for name, values in columns.items()}


def vectors(response: Any) -> dict[str, Any]:
    """The protobuf's values and times by name; statuses are compared on their own."""
    names = response.proto.metadata.feature_names.val
    return {
        name: ([v.SerializeToString() for v in vector.values], [(t.seconds, t.nanos) for t in vector.event_timestamps])
        for name, vector in zip(names, response.proto.results, strict=True)
    }


FIELDS = {
    **{name: {"Bytes": "bytes_val", "String": "string_val", "Int32": "int32_val", "Int64": "int64_val", "Float64": "double_val", "Float32": "float_val", "Bool": "bool_val", "UnixTimestamp": "unix_timestamp_val", "Uuid": "uuid_val", "Decimal": "decimal_val"}[name] for name in repo.SCALARS},
}  # fmt: skip


@st.composite
def typed_rows(draw: st.DrawFn) -> dict[str, Serialized]:
    """Serialized values of a random part of ``typed``; an empty one is a null."""
    row = {}
    for name, field in FIELDS.items():
        choices = [st.just(b""), ONE[field].map(lambda v, f=field: Value(**{f: v}).SerializeToString())]
        row[name] = Serialized(draw(st.one_of(choices)))
        many = field.replace("_val", "_list_val")
        message, items = MANY[many]
        values = draw(st.one_of(st.none(), st.lists(items, max_size=8)))
        if values is not None:
            held = getattr(Value_pb2, message)(val=values)
            row[f"{name} list"] = Serialized(Value(**{many: held}).SerializeToString())
    return row


@settings(max_examples=25, deadline=None)
@given(written=st.dictionaries(st.sampled_from(CARDS), typed_rows(), max_size=3), asked=st.lists(st.sampled_from(CARDS), min_size=1, max_size=6), pick=st.sets(st.sampled_from(VIEW_REFS["typed"]), min_size=1))  # fmt: skip
def test_any_values_of_any_type(
    store: FeatureStore,
    fast: FastStore,
    stock: RedisOnlineStore,
    redis_server: str,
    written: Any,
    asked: Any,
    pick: Any,
) -> None:
    redis.Redis.from_url(redis_server).flushall()
    for card, row in written.items():
        write(store, typed, {"card_id": card}, row, NOW)
    both(fast, stock, store, sorted(pick), [{"card_id": card} for card in asked])


@pytest.fixture
def loaded(store: FeatureStore, empty: redis.Redis) -> FeatureStore:
    """Rows of every view; card c2 has none in ``aged``, shop 2 none at all."""
    for n, card in enumerate(("c1", "c2", "c3")):
        write(store, typed, {"card_id": card}, {"Int64": n - 2**53, "String": "é" * n, "Float64": None, "json": '{"a": 1}', "map": {"k": n}, "int set": {1, 2}}, NOW)  # fmt: skip
        write(store, pairs, {"shop_id": 1, "card_id": card}, {"pair_n": n, "pair_s": None}, NOW)
        if card != "c2":
            write(store, aged, {"card_id": card}, {"age_a": n, "age_b": n / 3}, NOW - timedelta(minutes=59))
    write(store, shops, {"shop_id": 1}, {"shop_n": -1, "shop_x": 0.1}, NOW)
    write(store, shops, {"shop_id": -(2**63)}, {"shop_n": -(2**63), "shop_x": None}, NOW)
    return store


ROWS = [
    {"card_id": "c1", "shop_id": 1},
    {"card_id": "c2", "shop_id": 1},
    {"card_id": "c1", "shop_id": 2},
    {"card_id": "?", "shop_id": -(2**63)},
    {"card_id": "c1", "shop_id": 1},
]


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS * 30], ids=["a few", "one", "many"])
@pytest.mark.parametrize("full", [False, True], ids=["short names", "full names"])
def test_all_views_together(
    loaded: FeatureStore, fast: FastStore, stock: RedisOnlineStore, rows: Any, full: bool
) -> None:
    found = both(fast, stock, loaded, ALL_REFS, rows, full_feature_names=full)
    assert found["typed__Int64" if full else "Int64"][0] == -(2**53)
    assert found["pairs__pair_n" if full else "pair_n"][0] == 0


def test_columns_instead_of_rows(loaded: FeatureStore, fast: FastStore, stock: RedisOnlineStore) -> None:
    columns = {name: [row[name] for row in ROWS] for name in ("card_id", "shop_id")}
    both(fast, stock, loaded, ALL_REFS, columns)


@pytest.mark.parametrize("name", ["all_of_it", "renamed"])
def test_services(loaded: FeatureStore, fast: FastStore, stock: RedisOnlineStore, name: str) -> None:
    rows = [{**row, "amount": 0.5 + n, "word": None if n else "w"} for n, row in enumerate(ROWS)]
    found = both(fast, stock, loaded, loaded.get_feature_service(name), rows)
    if name == "all_of_it":
        assert found["share"] == [0.5, None, 2.5, None, 4.5]
        assert "age_b" not in found


def test_features_made_on_demand(loaded: FeatureStore, fast: FastStore, stock: RedisOnlineStore) -> None:
    rows = [{**row, "amount": 1.0, "word": "w"} for row in ROWS]
    found = both(fast, stock, loaded, ["made:share", "made:words", "shops:shop_n"], rows)
    assert found["words"] == [["w", "x"]] * len(rows)


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1]], ids=["a few", "one"])
def test_what_an_on_demand_function_edits_is_not_what_is_answered(
    loaded: FeatureStore, fast: FastStore, stock: RedisOnlineStore, rows: Any
) -> None:
    """Columns and what is in them; two such functions see each other's edits, as with stock."""
    write(
        loaded,
        typed,
        {"card_id": "c1"},
        {"Int64": 1, "Int64 list": [1, 2], "map": {"k": 1}, "int set": {1}},
        NOW + timedelta(seconds=1),
    )
    features = [
        "typed:Int64",
        "typed:Int64 list",
        "typed:map",
        "typed:int set",
        "editor:edited",
        "editor_too:edited_too",
    ]
    found = both(fast, stock, loaded, features, [{"card_id": row["card_id"]} for row in rows])
    assert (found["Int64"][0], found["Int64 list"][0]) == (1, [1, 2])
    assert found["edited"][0] == 2
    assert found["edited_too"][0] == 3


@pytest.mark.parametrize(
    ("features", "rows", "more"),
    [
        (["in_pandas:doubled"], ROWS, {}),
        (["made:n"], [{"card_id": "c1", "amount": 1.0, "word": float("nan")}], {}),
        (["made:n", "made:share"], [{"card_id": "c1", "amount": v, "word": "w"} for v in (1, 2.5)], {}),
        (["shops:shop_n"], [{"shop_id": True}], {}),
        (["aged:age_a"], [{"card": "c1"}], {}),
        (["shops:shop_n"], {"shop_id": Value_pb2.RepeatedValue(val=[Value(int64_val=1)])}, {}),
        (["aged:age_a"], ROWS, {"include_feature_view_version_metadata": True}),
    ],
    ids=[
        "pandas",
        "NaN for a text",
        "mixed numbers",
        "a flag for a number",
        "an entity's name",
        "protobuf",
        "metadata",
    ],
)
def test_what_is_left_to_stock_is_as_stocks(
    loaded: FeatureStore, fast: FastStore, stock: RedisOnlineStore, features: Any, rows: Any, more: Any
) -> None:
    with fast_only(), pytest.raises(AssertionError, match="left to stock"):
        ask(fast, loaded, features, rows, **more)
    outcomes = []
    for reader in (fast, stock):
        try:
            outcomes.append(by_repr(ask(reader, loaded, features, rows, **more).to_dict()))
        except Exception as error:
            outcomes.append(repr(error))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("features", "rows"),
    [
        (["typed:nothing"], ROWS),
        (["nothing:x"], ROWS),
        (["shops:shop_n"], [{"card_id": "c1"}]),
        (["made:n"], [{"card_id": "c1"}]),
        (["aged:age_a"], [{"card_id": 5}, {"card_id": "c1"}]),
        (["shops:shop_n"], [{"shop_id": 1 << 64}]),
        (["shops:shop_n", "shops:shop_n"], ROWS),
        (["aged:age_a"], {"card_id": ["c1"], "shop_id": [1, 2]}),
    ],
)
def test_a_wrong_call_fails_as_with_stock(
    loaded: FeatureStore, fast: FastStore, stock: RedisOnlineStore, features: Any, rows: Any
) -> None:
    outcomes = []
    for reader in (fast, stock):
        try:
            outcomes.append(by_repr(ask(reader, loaded, features, rows).to_dict()))
        except Exception as error:
            outcomes.append(repr(error))
    assert outcomes[0] == outcomes[1]


def statuses(response: Any) -> dict[str, list[str]]:
    """From the protobuf, which a reader over HTTP sees, and compared with the columns' own."""
    names = response.proto.metadata.feature_names.val
    found = {n: [FieldStatus.Name(s) for s in v.statuses] for n, v in zip(names, response.proto.results, strict=True)}
    answer = answer_of(response)
    assert found == {name: [status.name for status in answer.statuses(name)] for name in found}
    return found


@pytest.mark.parametrize("features", [["aged:age_a", "aged:age_b", "shops:shop_x", "pairs:pair_s"], ["in_pandas:doubled", "aged:age_a", "aged:age_b", "shops:shop_x", "pairs:pair_s"]], ids=["fast", "by stock"])  # fmt: skip
def test_why_a_value_is_missing(loaded: FeatureStore, fast: FastStore, features: list[str]) -> None:
    def read(after: timedelta) -> dict[str, list[str]]:
        AS_OF.set(NOW + after)
        return statuses(ask(fast, loaded, features, ROWS[:4]))

    present, gone, null = "PRESENT", "NOT_FOUND", "NULL_VALUE"
    found = read(timedelta(minutes=1))
    assert found["age_a"] == [present, gone, present, gone]
    assert found["shop_x"] == [present, present, gone, null]
    assert found["pair_s"] == [null, null, gone, gone]
    assert found["card_id"] == [present] * 4
    aged_out = read(timedelta(minutes=1, microseconds=1))
    assert aged_out["age_a"] == ["OUTSIDE_MAX_AGE", gone, "OUTSIDE_MAX_AGE", gone]
    assert ask(fast, loaded, features, ROWS[:4]).to_dict()["age_b"] == [None] * 4
    assert aged_out["shop_x"] == found["shop_x"]


@pytest.mark.parametrize("by_stock", [False, True], ids=["fast", "by stock"])
def test_a_feature_that_was_added_after_the_row_was_written(
    store: FeatureStore, fast: FastStore, empty: redis.Redis, by_stock: bool
) -> None:
    """Stock's response does not tell it from a null."""
    write(store, aged, {"card_id": "c1"}, {"age_a": None}, NOW)
    write(store, aged, {"card_id": "c2"}, {"age_a": 1, "age_b": 0.5}, NOW)
    features = ["aged:age_a", "aged:age_b", *(["in_pandas:doubled"] if by_stock else [])]
    rows = [{"card_id": card} for card in ("c1", "c2", "c3")]
    found = statuses(ask(fast, store, features, rows))
    assert found["age_a"] == ["NULL_VALUE", "PRESENT", "NOT_FOUND"]
    assert found["age_b"] == ["NULL_VALUE" if by_stock else "NOT_FOUND", "PRESENT", "NOT_FOUND"]
    AS_OF.set(NOW + timedelta(hours=2))
    assert statuses(ask(fast, store, features, rows))["age_b"] == ["OUTSIDE_MAX_AGE", "OUTSIDE_MAX_AGE", "NOT_FOUND"]


def test_statuses_are_numbered_as_feasts() -> None:
    assert {status.name: status.value for status in Status} | {"INVALID": 0} == dict(FieldStatus.items())


def test_an_on_demand_view_does_not_see_what_is_too_old(loaded: FeatureStore, fast: FastStore) -> None:
    AS_OF.set(NOW + timedelta(hours=1))
    rows = [{"card_id": "c1", "amount": 1.0, "word": "w"}]
    assert ask(fast, loaded, ["made:share"], rows).to_dict()["share"] == [None]


@pytest.mark.parametrize("features", [["aged:age_a", "aged:age_b"], ["in_pandas:doubled", "aged:age_a", "aged:age_b"]], ids=["fast", "by stock"])  # fmt: skip
def test_what_is_too_old_is_served_where_the_settings_say_so(
    loaded: FeatureStore, stock: RedisOnlineStore, features: list[str]
) -> None:
    online = {"connection_string": loaded.config.online_store.connection_string, "serve_expired": True}
    config = RepoConfig(
        project=PROJECT,
        provider="local",
        registry=loaded.config.registry.path,
        online_store={"type": "feast_fast.store.FastRedisOnlineStore", **online},
        entity_key_serialization_version=3,
    )
    AS_OF.set(NOW + timedelta(days=99))
    found = FeatureStore(config=config).get_online_features(features, ROWS[:4])
    assert by_repr(found.to_dict()) == by_repr(ask(stock, loaded, features, ROWS[:4]).to_dict())
    assert statuses(found)["age_a"] == ["PRESENT", "NOT_FOUND", "PRESENT", "NOT_FOUND"]
    awaited = asyncio.run(FeatureStore(config=config).get_online_features_async(features, ROWS[:4]))
    assert statuses(awaited) == statuses(found)


def test_async_reads(loaded: FeatureStore, fast: FastStore) -> None:
    async def read(features: Any) -> Any:
        reader = FastStore()
        return await reader.get_online_features_async(loaded.config, features, ROWS, loaded.registry, PROJECT)

    for features in (ALL_REFS, ["in_pandas:doubled"]):
        found = asyncio.run(read(features))
        assert by_repr(found.to_dict()) == by_repr(ask(fast, loaded, features, ROWS).to_dict())


def test_a_changed_definition_is_read_anew(loaded: FeatureStore, fast: FastStore, stock: RedisOnlineStore) -> None:
    longer = repo._view("aged", [repo.card], {"age_a": repo.Int64, "age_b": repo.Float64}, timedelta(hours=3))
    AS_OF.set(NOW + timedelta(hours=1))
    assert ask(fast, loaded, ["aged:age_a"], ROWS[:1]).to_dict()["age_a"] == [None]
    try:
        loaded.apply([longer])
        assert ask(fast, loaded, ["aged:age_a"], ROWS[:1]).to_dict()["age_a"] == [0]
    finally:
        loaded.apply([aged])


def test_a_key_under_another_name(loaded: FeatureStore, fast: FastStore, stock: RedisOnlineStore) -> None:
    """One view for two ends of a pair: each end's key is in a column of its own."""
    renamed = [shops.with_name(end).with_join_key_map({"shop_id": f"{end}_id"}) for end in ("here", "there")]
    ends = FeatureService(name="ends", features=[*renamed, pairs])
    loaded.apply([ends])
    rows = [{"card_id": "c1", "shop_id": 1, "here_id": 1, "there_id": -(2**63)}, {"card_id": "c2", "shop_id": 2, "here_id": 2, "there_id": 1}]  # fmt: skip
    try:
        found = both(fast, stock, loaded, loaded.get_feature_service("ends"), rows, full_feature_names=True)
    finally:
        loaded.delete_feature_service("ends")
    assert found["here__shop_n"] == [-1, None]
    assert found["there__shop_n"] == [-(2**63), -1]


@pytest.mark.parametrize("name", ["all_of_it", "renamed", None])
def test_definitions_give_the_registrys_plan(store: FeatureStore, name: str | None) -> None:
    definitions = Definitions(repo.REPO)
    ours: Any = definitions.services[name] if name else [*ALL_REFS, "made:share"]
    theirs: Any = store.get_feature_service(name) if name else ours
    assert make_plan(definitions, PROJECT, ours) == make_plan(store.registry, PROJECT, theirs)


def test_definitions_are_not_changed_by_a_plan() -> None:
    definitions = Definitions(repo.REPO)
    first = make_plan(definitions, PROJECT, ["aged:age_a"])
    make_plan(definitions, PROJECT, ["aged:age_a", "made:share", "shops:shop_n"])
    assert make_plan(definitions, PROJECT, ["aged:age_a"]) == first


def test_a_broken_reply_does_not_reach_the_next_caller(loaded: FeatureStore, redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url, max_connections=1)
    plan = make_plan(Definitions(repo.REPO), PROJECT, ["aged:age_a"])
    lookup = plan.lookup({"card_id": ["broken", "c1"]})
    client.set(lookup.keys[0][0], "no hash")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        hmget_all(client, lookup)
    assert hmget_all(client, plan.lookup({"card_id": ["c1"]}))[0][0] is not None


def test_a_closed_connection_is_opened_again(loaded: FeatureStore, redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    lookup = make_plan(Definitions(repo.REPO), PROJECT, ["aged:age_a"]).lookup({"card_id": ["c1"]})
    first = hmget_all(client, lookup)
    redis.Redis.from_url(redis_url).client_kill_filter(_type="normal", skipme=True)
    assert hmget_all(client, lookup) == first


@pytest.mark.parametrize("columns", [{}, {"card_id": []}, {"shop_id": [1]}, {"card_id": ["\ud800"]}])
def test_a_plan_refuses_what_it_cannot_look_up(columns: Any) -> None:
    with pytest.raises(Unsupported):
        make_plan(Definitions(repo.REPO), PROJECT, ["aged:age_a"]).lookup(columns)


def test_the_moment_is_now_without_one(loaded: FeatureStore, fast: FastStore) -> None:
    AS_OF.set(None)
    write(loaded, aged, {"card_id": "today"}, {"age_a": 5, "age_b": 1.0}, datetime.now(NOW.tzinfo))
    assert ask(fast, loaded, ["aged:age_a"], [{"card_id": "today"}]).to_dict()["age_a"] == [5]
