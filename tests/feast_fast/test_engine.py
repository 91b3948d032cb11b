"""``feast materialize`` with the plug-in leaves in Redis what it leaves without, and says what it leaves to stock."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import redis
from feast import FeatureService, OnDemandFeatureView, RepoConfig
from feast.errors import FeastJoinKeysDuringMaterialization
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore
from feast.types import Array, Bytes, Float64, Int32, Int64, String, UnixTimestamp
from tqdm import tqdm

from feast_fast import engine as engine_module
from feast_fast import store as store_module
from feast_fast.owner import whole_keys
from feast_fast.views import layout_of, why_not
from tests import s3
from tests.feast_fast.conftest import END, FAST_ENGINE, NOON, START, OpenRepo, cards, hashes, view_of

CONFIG = RepoConfig(project="lab", registry="unused.db", provider="local", entity_key_serialization_version=3)
FEATURES = {"n": Int64, "x": Float64, "t": String, "l": Array(Int64), "seen": UnixTimestamp}


def some_rows(count: int = 60, seed: int = 1) -> list[dict[str, Any]]:
    """Some cards several times, in no order, some outside the window."""
    rng = random.Random(seed)
    return [
        {
            "card": f"card-{rng.randrange(count // 2)}",
            "n": rng.randrange(-(10**6), 10**6),
            "x": rng.choice([None, rng.random()]),
            "t": rng.choice([None, "", "\N{CREDIT CARD}"]),
            "l": rng.choice([None, [], [1, -2, 3]]),
            "seen": NOON - timedelta(seconds=rng.randrange(10**6)),
            "event_timestamp": START - timedelta(hours=2) + timedelta(seconds=rng.randrange(26) * 3600 + at),
            "created": NOON,
        }
        for at in range(count)
    ]


@pytest.mark.parametrize("layout", ["file", "folder", "mapped"])
def test_what_is_loaded_is_what_stock_loads(
    layout: str, open_repo: OpenRepo, client: redis.Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")
    rows = some_rows()
    if layout == "folder":
        path = str(tmp_path / "many")
        cards(tmp_path / "many" / "a.parquet", rows[:20])
        cards(tmp_path / "many" / "b.parquet", rows[20:])
    elif layout == "mapped":
        path = cards(tmp_path / "v.parquet", [{f"the_{name}": value for name, value in row.items()} for row in rows])
    else:
        path = cards(tmp_path / "v.parquet", rows)
    view = view_of("v", {"card": String}, FEATURES, path, created="created")
    if layout == "mapped":
        names = ("card", "event_timestamp", "created", *FEATURES)
        view.batch_source.field_mapping = {f"the_{name}": name for name in names}
        table = pq.read_table(path).drop(["event_timestamp"])  # the one that the helper adds
        at = table.schema.get_field_index("the_event_timestamp")
        times = table.column(at).cast(pa.timestamp("us", "UTC"))
        pq.write_table(table.set_column(at, "the_event_timestamp", times), path)
    if layout == "folder":
        from feast.data_format import ParquetFormat

        view.batch_source.file_options.file_format = ParquetFormat()
    found = []
    for engine in (None, "local"):
        client.flushall()
        open_repo([view], engine=engine and {"type": engine}, offline="dask").materialize(START, END)
        found.append(hashes(client))
    assert found[0] == found[1]
    assert len(found[0]) > 10
    assert caplog.text == ""


def test_a_tie_goes_to_the_row_that_was_created_last(open_repo: OpenRepo, client: redis.Redis, tmp_path: Path) -> None:
    rows = [{"card": "a", "n": at, "created": NOON + timedelta(minutes=at)} for at in (3, 9, 5)]
    view = view_of("v", {"card": String}, {"n": Int64}, cards(tmp_path / "v.parquet", rows), created="created")
    store = open_repo([view])
    store.materialize(START, END)
    assert store.get_online_features(["v:n"], [{"card": "a"}]).to_dict()["n"] == [9]


@pytest.mark.parametrize(
    "known", [[False, True, True], [True, False, False], [True, True, False], [False, True, False]]
)
def test_a_tie_goes_to_the_row_of_which_the_creation_is_known(
    known: list[bool], open_repo: OpenRepo, client: redis.Redis, tmp_path: Path
) -> None:
    rows = [{"card": "a", "n": at, "created": NOON + timedelta(minutes=at) if at_all else None} for at, at_all in enumerate(known)]  # fmt: skip
    rows += [{"card": "b", "n": 7, "created": None}]
    view = view_of("v", {"card": String}, {"n": Int64}, cards(tmp_path / "v.parquet", rows), created="created")
    found = []
    for engine in (None, {"type": "local"}):
        client.flushall()
        open_repo([view], engine).materialize(START, END)
        found.append(hashes(client))
    assert found[0] == found[1]
    assert len(found[0]) == 2


@pytest.mark.parametrize(
    ("declared", "held", "keys"),
    [
        (String, pa.int64(), [1, -2, 2**60]),
        (String, pa.float64(), [1.0, 0.5, -3.25]),
        (String, pa.bool_(), [True, False]),
        (Int64, pa.float64(), [1.0, 2.0, -3.0]),
        (Int64, pa.decimal128(38, 0), [1, 2**53 + 1, -3]),
        (Int32, pa.decimal128(9, 0), [1, -(2**20)]),
        (Int64, pa.string(), ["1", "-22"]),
        (UnixTimestamp, pa.date32(), [date(2026, 1, 1), date(1969, 1, 1)]),
    ],
    ids=str,
)
def test_a_key_of_another_type_is_converted_as_stock_does(
    declared: Any, held: pa.DataType, keys: list[Any], open_repo: OpenRepo, client: redis.Redis, tmp_path: Path
) -> None:
    schema = pa.schema({"event_timestamp": pa.timestamp("us", "UTC"), "card": held, "n": pa.int64()})
    path = cards(tmp_path / "v.parquet", [{"card": key, "n": at} for at, key in enumerate(keys)], schema)
    found = []
    for engine in (None, {"type": "local"}):
        client.flushall()
        open_repo([view_of("v", {"card": declared}, {"n": Int64}, path)], engine).materialize(START, END)
        found.append(hashes(client))
    assert found[0] == found[1]
    assert len(found[0]) == len(keys)


def test_a_column_of_categories_will_do_for_a_key(
    open_repo: OpenRepo, client: redis.Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As pandas writes them."""
    schema = pa.schema({"event_timestamp": pa.timestamp("us", "UTC"), "card": pa.dictionary(pa.int32(), pa.string()), "n": pa.int64()})  # fmt: skip
    rows = [{"card": name, "n": at} for at, name in enumerate("abab")]
    store = open_repo([view_of("v", {"card": String}, {"n": Int64}, cards(tmp_path / "v.parquet", rows, schema))])
    caplog.set_level("INFO", "feast_fast")
    store.materialize(START, END)
    assert "Loaded v: 2 of 2 rows written." in caplog.text
    assert store.get_online_features(["v:n"], [{"card": "a"}, {"card": "b"}]).to_dict()["n"] == [2, 3]


@pytest.mark.parametrize(
    ("declared", "keys", "sentence"),
    [
        (String, ["a", None, "a"], "A row has no card, which is a join key"),
        (Int64, [1.0, float("nan")], "A row has no card, which is a join key"),
        (Int64, ["1", "x"], "The join key card is declared as INT64 to Feast, which cannot make that of its column of string"),
        (Int32, [1, 2**40], "not in range"),
        (Bytes, ["a"], "declared as BYTES to Feast, which cannot make that of its column of string"),
    ],
)  # fmt: skip
def test_a_key_that_stock_refuses_is_told(
    declared: Any, keys: list[Any], sentence: str, open_repo: OpenRepo, tmp_path: Path
) -> None:
    path = cards(tmp_path / "v.parquet", [{"card": key, "n": at} for at, key in enumerate(keys)])
    view = view_of("v", {"card": declared}, {"n": Int64}, path)
    with pytest.raises(ValueError, match=sentence):
        open_repo([view]).materialize(START, END)
    with pytest.raises(Exception):  # noqa: B017
        open_repo([view], engine={"type": "local"}).materialize(START, END)


def of_times(path: Path, times: Any) -> Any:
    """A view over rows whose event times are of any type; the first three are of two cards."""
    path.parent.mkdir(exist_ok=True)
    ids = ["a", "b", "a", *"cdefgh"][: len(times)]
    pq.write_table(pa.table({"card": ids, "n": range(len(times)), "event_timestamp": times}), path)
    return view_of("v", {"card": String}, {"n": Int64}, str(path))


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()], ids=str)
@pytest.mark.parametrize("one_row_per_key", [False, True])
def test_event_times_that_are_dates(
    kind: pa.DataType, one_row_per_key: bool, open_repo: OpenRepo, client: redis.Redis, tmp_path: Path
) -> None:
    """The window's ends among them."""
    day = START.date()
    days = [day, day, END.date(), day - timedelta(days=1), END.date() + timedelta(days=1)]
    view = of_times(tmp_path / "v.parquet", pa.array(days[one_row_per_key:], kind))
    found = []
    for engine in ({"type": FAST_ENGINE, "one_row_per_key": one_row_per_key}, {"type": "local"}):
        client.flushall()
        open_repo([view], engine).materialize(START, END)
        found.append(hashes(client))
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_event_times_that_are_texts_are_told(
    open_repo: OpenRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads them."""
    view = of_times(tmp_path / "v.parquet", pa.array(["2026-03-01 12:00:00"]))
    for offline in (DuckDBOfflineStore, type("ForeignOfflineStore", (DuckDBOfflineStore,), {})):
        store = open_repo([view])
        monkeypatch.setattr(store._get_provider().batch_engine, "offline_store", offline())
        with pytest.raises(ValueError, match="The event timestamp event_timestamp of v is a column of string"):
            store.materialize(START, END)


@pytest.mark.parametrize("name", ["v.parquet", "a v.parquet"])
def test_a_source_by_its_uri(name: str, open_repo: OpenRepo, client: redis.Redis, tmp_path: Path) -> None:
    path = Path(cards(tmp_path / name, [{"card": "a", "n": 1}]))
    open_repo([view_of("v", {"card": String}, {"n": Int64}, path.as_uri())]).materialize(START, END)
    assert client.dbsize() == 1


def test_keys_of_any_length_in_all_are_sorted(
    open_repo: OpenRepo, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose offsets need 64 bits beyond 2 GiB, which are more than a test may take: the types stand for them."""
    seen: list[pa.Schema] = []
    sort = pc.sort_indices

    def spy(table: pa.Table, keys: Any) -> Any:
        seen.append(table.schema)
        return sort(table, keys)

    monkeypatch.setattr(pc, "sort_indices", spy)
    held = {"text": pa.string(), "binary": pa.binary(), "category": pa.dictionary(pa.int8(), pa.string())}
    schema = pa.schema({"event_timestamp": pa.timestamp("us", "UTC"), **held, "n": pa.int64()})
    rows = [{"text": "a", "binary": b"b", "category": "c", "n": at} for at in range(2)]
    keys = {"text": String, "binary": Bytes, "category": String}
    open_repo([view_of("v", keys, {"n": Int64}, cards(tmp_path / "v.parquet", rows, schema))]).materialize(START, END)
    (sorted_as,) = seen
    assert [sorted_as.field(name).type for name in held] == [pa.large_string(), pa.large_binary(), pa.large_string()]
    assert client.dbsize() == 1


@pytest.mark.parametrize("engine", [None, {"type": "local"}], ids=["ours", "stock"])
@pytest.mark.parametrize("one_row_per_key", [False, True])
def test_a_source_without_a_join_key_is_told_in_stocks_words(
    engine: Any, one_row_per_key: bool, open_repo: OpenRepo, tmp_path: Path
) -> None:
    path = cards(tmp_path / "v.parquet", [{"cart": "a", "n": 1}])
    engine = engine or {"type": FAST_ENGINE, "one_row_per_key": one_row_per_key}
    store = open_repo([view_of("v", {"card": String}, {"n": Int64}, path)], engine, offline="dask")
    with pytest.raises(FeastJoinKeysDuringMaterialization, match=r"these were missing: \{'card'\}"):
        store.materialize(START, END)


def test_both_ends_of_the_window_are_in_it(open_repo: OpenRepo, client: redis.Redis, tmp_path: Path) -> None:
    second = timedelta(seconds=1)
    times = {"before": START - second, "first": START, "last": END, "after": END + second}
    rows = [{"card": name, "n": 1, "event_timestamp": time} for name, time in times.items()]
    store = open_repo([view_of("v", {"card": String}, {"n": Int64}, cards(tmp_path / "v.parquet", rows))])
    store.materialize(START, END)
    found = store.get_online_features(["v:n"], [{"card": name} for name in times]).to_dict()["n"]
    assert found == [None, 1, 1, None]


def test_stock_writes_and_reads_on_top(open_repo: OpenRepo, client: redis.Redis, tmp_path: Path) -> None:
    path = cards(tmp_path / "v.parquet", [{"card": f"c{at}", "n": at} for at in range(5)])
    view = view_of("v", {"card": String}, {"n": Int64}, path)
    fast = open_repo([view])
    fast.materialize(START, END)
    stock = open_repo([view], engine={"type": "local"}, online={"type": "redis"})
    import pandas as pd

    stock.write_to_online_store("v", pd.DataFrame({"card": ["c1"], "n": [7], "event_timestamp": [END]}))
    fast.materialize(START, END)
    for store in (fast, stock):
        found = store.get_online_features(["v:n"], [{"card": f"c{at}"} for at in range(5)]).to_dict()["n"]
        assert found == [0, 7, 2, 3, 4]
    fast.apply([], objects_to_delete=[view], partial=False)
    assert client.dbsize() == 0


@pytest.mark.parametrize("ordered", [True, False])
def test_whole_keys_of_two_views(ordered: bool, open_repo: OpenRepo, client: redis.Redis, tmp_path: Path) -> None:
    """Each has cards that the other has not; stock's way is the measure."""
    left = [{"card": f"c{at:03}", "n": at} for at in range(90)]
    right = [{"card": f"c{at:03}", "x": at / 2} for at in range(30, 120)]
    if not ordered:
        random.Random(1).shuffle(right)
    views = [
        view_of("v", {"card": String}, {"n": Int64}, cards(tmp_path / "v.parquet", left)),
        view_of("w", {"card": String}, {"x": Float64}, cards(tmp_path / "w.parquet", right)),
    ]
    open_repo(views, engine={"type": "local"}, online={"type": "redis"}).materialize(START, END)
    wanted = hashes(client)
    (old, *_) = wanted
    client.hset(old, "a field of the past", "v")  # an owner leaves none
    store = open_repo(views, {"type": "feast_fast.engine.FastComputeEngine", "chunk_rows": 7}, {"owns_keys": True})
    store.materialize(START, END)
    assert hashes(client) == wanted
    assert len(wanted) == 120


def test_one_view_of_two_is_no_owner(open_repo: OpenRepo, client: redis.Redis, tmp_path: Path) -> None:
    views = [
        view_of("v", {"card": String}, {"n": Int64}, cards(tmp_path / "v.parquet", [{"card": "a", "n": 1}])),
        view_of("w", {"card": String}, {"x": Float64}, cards(tmp_path / "w.parquet", [{"card": "a", "x": 0.5}])),
    ]
    store = open_repo(views, online={"owns_keys": True, "skip_dedup": True})
    store.materialize(START, END)
    before = hashes(client)
    store.materialize(START, END, ["v"])
    assert hashes(client) == before
    assert len(next(iter(before.values()))) == 4


def two_views(folder: Path) -> list[Any]:
    """Of one entity."""
    return [
        view_of("v", {"card": String}, {"n": Int64}, cards(folder / "v.parquet", [{"card": "a", "n": 1}])),
        view_of("w", {"card": String}, {"x": Float64}, cards(folder / "w.parquet", [{"card": "a", "x": 0.5}])),
    ]


def test_a_view_that_another_process_added_keeps_its_fields(
    open_repo: OpenRepo, client: redis.Redis, tmp_path: Path
) -> None:
    """The registry's cache of the first process does not know of it, and will not for an hour."""
    views = two_views(tmp_path)
    registry = {"registry_type": "sql", "path": f"sqlite:///{tmp_path}/registry.sqlite", "cache_ttl_seconds": 3_600}
    first = open_repo(views[:1], online={"owns_keys": True}, registry=registry)
    first.materialize(START, END)
    open_repo(views, online={"owns_keys": True}, registry=registry).materialize(START, END)
    (both,) = hashes(client).values()
    assert len(both) == 4
    first.materialize(START, END, ["v"])
    assert hashes(client).popitem()[1] == both


def test_a_view_that_is_named_twice_is_loaded_once(
    open_repo: OpenRepo, client: redis.Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A whole hash with its fields twice is refused by some servers, and others abort at it."""
    view, _ = two_views(tmp_path)
    found = []
    for engine, online in ((None, {"owns_keys": True}), ({"type": "local"}, {"type": "redis"})):
        client.flushall()
        open_repo([view], engine, online).materialize(START, END, ["v", "v"])
        found.append(hashes(client))
    assert found[0] == found[1]
    assert "takes no RESTORE" not in caplog.text


def test_two_windows_of_one_view_are_no_whole_key(
    open_repo: OpenRepo, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, _ = two_views(tmp_path)
    store = open_repo([view], online={"owns_keys": True})
    engine: Any = store._get_provider().batch_engine
    windows = [(START, END), (START, NOON), (START, END)]
    tasks = [MaterializationTask("lab", view, start, end, tqdm) for start, end in windows]
    monkeypatch.setattr(store_module, "whole_keys", None)
    jobs = engine.materialize(store.registry, tasks)
    assert [job.status() for job in jobs] == [MaterializationJobStatus.SUCCEEDED] * 3
    assert [job.job_id() for job in jobs] == [f"v-{start}-{end}" for start, end in windows]
    assert len(hashes(client).popitem()[1]) == 2


def test_a_field_twice_in_one_key_is_refused() -> None:
    """Feast's names of fields are hashes of 32 bits, and these are the same. A server may abort at such a hash."""
    with pytest.raises(ValueError, match="Two features of one key are stored in the same field"):
        layout_of(view_of("v", {"card": String}, {"f37660": Int64, "f43618": Int64}), CONFIG)
    names = {"v": "f2552", "w": "f12760"}
    loads = [
        (layout_of(view_of(view, {"card": String}, {name: Int64}), CONFIG), some_batches("a"))
        for view, name in names.items()
    ]
    with pytest.raises(ValueError, match="Two features of one key are stored in the same field"):
        list(whole_keys(loads))


@pytest.mark.parametrize("versions", [False, True], ids=["precomputed", "versions"])
def test_what_else_feast_keeps_in_a_key_stays(
    versions: bool, open_repo: OpenRepo, client: redis.Redis, tmp_path: Path
) -> None:
    """The vectors of a precomputed service, and the other versions of a view: neither is a view of the registry's list."""
    view, _ = two_views(tmp_path)
    registry = {"path": str(tmp_path / "registry.db"), "enable_online_feature_view_versioning": versions}
    service = FeatureService(name="s", features=[view], precompute_online=not versions)
    store = open_repo([view], online={"owns_keys": True}, registry=registry, others=[service])
    store.materialize(START, END)
    (key,) = client.scan_iter()
    assert (b"_ts:__precomputed__s" in client.hkeys(key)) is not versions
    client.hset(key, "_ts:v_v1", "of a version")
    before = client.hgetall(key)
    engine: Any = store._get_provider().batch_engine
    (job,) = engine.materialize(store.registry, [MaterializationTask("lab", view, START, END, tqdm)])
    assert job.error() is None
    assert client.hgetall(key) == before


def test_a_view_whose_key_goes_by_another_name_is_stored_under_its_own(
    open_repo: OpenRepo, client: redis.Redis, tmp_path: Path
) -> None:
    view, _ = two_views(tmp_path)
    service = FeatureService(name="s", features=[view.with_name("other").with_join_key_map({"card": "other_card"})])
    found = []
    for engine, online in ((None, {"owns_keys": True}), (None, {}), ({"type": "local"}, {"type": "redis"})):
        client.flushall()
        store = open_repo([view], engine, online, others=[service])
        store.materialize(START, END)
        read = store.get_online_features(store.get_feature_service("s"), [{"other_card": "a"}]).to_dict()
        found.append((hashes(client), read))
    assert found[0] == found[1] == found[2]
    assert found[0][1] == {"other_card": ["a"], "n": [1]}


def test_streams_in_step_are_not_held(tmp_path: Path) -> None:
    """Two sources in the same order, with holes: what waits for its other half is a batch or two."""
    layouts = [layout_of(view_of(name, {"card": String}, {"n": Int64}), CONFIG) for name in "vw"]
    asked = [0, 0]

    def batches(which: int) -> Any:
        for start in range(0, 1_000, 10):
            asked[which] = start
            keys = [at for at in range(start, start + 10) if at % (100 + which)]
            times = pa.array([datetime(2026, 1, 1)] * len(keys), pa.timestamp("us"))
            yield pa.record_batch({"card": [f"{at:04}" for at in keys], "n": keys, "event_timestamp": times})

    written = 0
    for keys, _, count in whole_keys([(layout, batches(which)) for which, layout in enumerate(layouts)]):
        written += len(keys)
        assert count in (4, 8)
        assert max(asked) - written < 50  # a hole is known to be one only at the end
    assert written == len({at for at in range(1_000) if at % 100 or at % 101})


def some_batches(*ids: str, times: int = 1) -> list[pa.RecordBatch]:
    stamps = pa.array([datetime(2026, 1, 1)] * len(ids), pa.timestamp("us"))
    return [pa.record_batch({"card": ids, "n": [1] * len(ids), "event_timestamp": stamps})] * times


def test_many_views_need_not_be_in_step() -> None:
    """Forty views: a group for each set of views that is there, not for each that could be."""
    loads = [
        (layout_of(view_of(f"v{at}", {"card": String}, {"n": Int64}), CONFIG), some_batches("all", f"own-{at}"))
        for at in range(40)
    ]
    found = {key: count for keys, _, count in whole_keys(loads) for key in keys.to_pylist()}
    assert sorted(found.values()) == [4] * 40 + [160]


@pytest.mark.parametrize("batches", [some_batches("a", "a"), some_batches("a", times=2)])
def test_a_key_twice_in_one_view_is_no_whole_key(batches: list[pa.RecordBatch]) -> None:
    """The second copy would take away what the other views have of the key."""
    layouts = [layout_of(view_of(name, {"card": String}, {"n": Int64}), CONFIG) for name in "vw"]
    loads = list(zip(layouts, [batches, some_batches("b")], strict=True))
    with pytest.raises(ValueError, match="v holds a key twice in the window: leave one_row_per_key out"):
        list(whole_keys(loads))


def test_views_too_wide_for_one_hash_are_loaded_one_by_one(
    open_repo: OpenRepo, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "MOST_FIELDS", 3)
    views = [
        view_of("v", {"card": String}, {"n": Int64}, cards(tmp_path / "v.parquet", [{"card": "a", "n": 1}])),
        view_of("w", {"card": String}, {"x": Float64}, cards(tmp_path / "w.parquet", [{"card": "a", "x": 0.5}])),
    ]
    store = open_repo(views, online={"owns_keys": True})
    monkeypatch.setattr(store_module, "whole_keys", None)
    store.materialize(START, END)
    assert len(next(iter(hashes(client).values()))) == 4


def test_what_stock_must_load_is_said(
    open_repo: OpenRepo, client: redis.Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = cards(tmp_path / "v.parquet", [{"card": "a", "n": 1}])
    store = open_repo([view_of("v", {"card": String}, {"n": Int64}, path, enable_validation=True)])
    store.materialize(START, END)
    assert "Stock Feast loads v: it asks for validation." in caplog.text
    assert client.dbsize() == 1


def test_the_engine_says_so_where_the_store_is_another(
    open_repo: OpenRepo, client: redis.Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = cards(tmp_path / "v.parquet", [{"card": "a", "n": 1}])
    store = open_repo([view_of("v", {"card": String}, {"n": Int64}, path)], online={"type": "redis"})
    store.materialize(START, END)
    assert "Stock Feast loads v: RedisOnlineStore takes no Arrow batches" in caplog.text
    assert client.dbsize() == 1


def test_reasons() -> None:
    config = CONFIG
    assert why_not(view_of("v", {"card": String}, {"n": Int64}), config) is None
    assert (
        why_not(view_of("v", {"card": Float64}, {"n": Int64}), config)
        == "Feast has no keys of the type of card, DOUBLE"
    )
    assert why_not(view_of("v", {"card": String}, {"n": Int64}, online=False), config) == "it does not go online"
    offline = view_of("v", {"card": String}, {"n": Int64}, offline=True)
    assert why_not(offline, config) == "it goes to the offline store, too"
    assert why_not(view_of("v", {}, {"n": Int64}), config) == "it has no entity"
    demand = OnDemandFeatureView.__new__(OnDemandFeatureView)
    assert why_not(demand, config) == "it is a OnDemandFeatureView"


def test_another_offline_store_is_asked_for_its_table(
    open_repo: OpenRepo, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    class ForeignOfflineStore(DuckDBOfflineStore):
        pass

    path = cards(tmp_path / "v.parquet", some_rows())
    store = open_repo([view_of("v", {"card": String}, {"n": Int64}, path)])
    store.materialize(START, END)
    wanted = hashes(client)
    client.flushall()
    monkeypatch.setattr(store._get_provider().batch_engine, "offline_store", ForeignOfflineStore())
    store.materialize(START, END)
    assert hashes(client) == wanted
    assert "feast_fast reads v through ForeignOfflineStore, whole into memory" in caplog.text


def test_s3(open_repo: OpenRepo, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3.running() as port:
        for name, value in {**s3.CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
            monkeypatch.setenv(name, value)
        bucket = s3.client(port)
        bucket.create_bucket(Bucket="lake")
        bucket.upload_file(cards(tmp_path / "v.parquet", some_rows()), "lake", "silver/v.parquet")
        store = open_repo([view_of("v", {"card": String}, {"n": Int64}, "s3://lake/silver/v.parquet")])
        store.materialize(START, END)
    assert client.dbsize() > 10


def test_a_source_is_read_in_batches(tmp_path: Path, open_repo: OpenRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cards(tmp_path / "v.parquet", [{"card": f"c{at}", "n": at} for at in range(2_000)])
    store = open_repo(
        [view_of("v", {"card": String}, {"n": Int64}, path)],
        {"type": "feast_fast.engine.FastComputeEngine", "chunk_rows": 100, "one_row_per_key": True},
    )
    seen: list[int] = []
    engine: Any = store._get_provider().batch_engine
    load = type(engine.online_store).load

    def counted(self: Any, config: Any, loads: Any, whole: bool) -> Any:
        def count(batches: Any) -> Any:
            for batch in batches:
                seen.append(batch.num_rows)
                yield batch

        return load(self, config, [(layout, count(batches)) for layout, batches in loads], whole)

    monkeypatch.setattr(type(engine.online_store), "load", counted)
    store.materialize(START, END)
    assert sum(seen) == 2_000
    assert max(seen) <= 100
