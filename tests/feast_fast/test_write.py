"""Which rows are written over which: stock's rule, its race, and what stock lacks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
import redis
from feast import RepoConfig
from feast.types import Int64, String
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feast_fast import write
from feast_fast.absent import Entity, Keys, sweep
from feast_fast.views import layout_of
from feast_fast.write import Rules, Writer
from tests.feast_fast.conftest import NOON, hashes, view_of, write_stock

CONFIG = RepoConfig(project="lab", registry="unused.db", provider="local", entity_key_serialization_version=3)
VIEW = view_of("v", {"card": String}, {"f": Int64})
OTHER = view_of("w", {"card": String}, {"g": Int64})
LAYOUT = layout_of(VIEW, CONFIG)
(FIELD,) = (column.field for column in LAYOUT.features)
LATER = NOON + timedelta(seconds=1)


def rows(*cards: tuple[str, int, datetime], view: Any = VIEW) -> pa.Table:
    names, values, times = zip(*cards, strict=True)
    return pa.table(
        {
            "card": pa.array(names),
            view.features[0].name: pa.array(values, pa.int64()),
            "event_timestamp": pa.array(times, pa.timestamp("us", "UTC")),
        }
    )


def load(client: Any, table: pa.Table, rules: Rules | None = None, chunk: int = 3) -> write.Written:
    return Writer(client, LAYOUT, rules).write(table.to_batches(max_chunksize=chunk))


def value(client: redis.Redis, card: str) -> int | None:
    from feast.protos.feast.types.Value_pb2 import Value

    (key,) = (LAYOUT.keys(rows((card, 0, NOON)).to_batches()[0])).to_pylist()
    stored: Any = client.hget(key, FIELD)
    return None if stored is None else Value.FromString(stored).int64_val


def a_load(first_second: int, once: bool) -> st.SearchStrategy[list[tuple[str, int, datetime]]]:
    seconds = st.integers(first_second, 4).map(lambda at: datetime.fromtimestamp(at, UTC))
    row = st.tuples(st.sampled_from("abcdef"), st.integers(-5, 5), seconds)
    return st.lists(row, min_size=1, max_size=8, unique_by=(lambda row: row[0]) if once else None)


LOADS = st.lists(a_load(-1, once=True) | a_load(0, once=False), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(loads=LOADS, always=st.booleans())
def test_the_rule_is_stock_s(redis_server: str, loads: list[Any], always: bool) -> None:
    """Over any sequence of loads, a card several times in one of them and times before 1970 included.

    Not both at once: which of a card's rows of one load wins is then an accident of what Redis held before.
    """
    client = redis.Redis.from_url(redis_server)
    client.flushall()
    for load_rows in loads:
        write_stock(redis_server, VIEW, rows(*load_rows), skip_dedup=always)
    wanted = hashes(client)
    client.flushall()
    for load_rows in loads:
        load(client, rows(*load_rows), Rules(only_newer=not always), chunk=100)
    assert hashes(client) == wanted


@pytest.mark.parametrize(
    ("rules", "later", "equal", "earlier"),
    [(Rules(), 2, 1, 1), (Rules(corrections=True), 2, 2, 1), (Rules(only_newer=False), 2, 2, 2)],
)
def test_what_is_written_over_what(
    rules: Rules, later: int, equal: int, earlier: int, client: redis.Redis, redis_url: str
) -> None:
    cards = {"later": (later, LATER), "equal": (equal, NOON), "earlier": (earlier, NOON - timedelta(microseconds=1))}
    write_stock(redis_url, VIEW, rows(*((card, 1, NOON) for card in cards)))
    load(client, rows(*((card, 2, time) for card, (_, time) in cards.items()), ("new", 2, NOON)), rules)
    assert {card: value(client, card) for card in cards} == {card: wanted for card, (wanted, _) in cards.items()}
    assert value(client, "new") == 2


def test_other_views_of_the_key_stay(client: redis.Redis, redis_url: str) -> None:
    write_stock(redis_url, OTHER, rows(("a", 7, NOON), view=OTHER))
    before = hashes(client)
    load(client, rows(("a", 1, NOON), ("b", 1, NOON), ("c", 1, NOON), ("d", 1, NOON)))
    after = hashes(client)
    for key, row in before.items():
        assert after[key].items() > row.items()
    assert len(after) == 4


@pytest.mark.parametrize("rules", [Rules(renew=True, ttl_seconds=900), Rules(ttl_seconds=900)])
def test_the_life_of_keys(rules: Rules, client: redis.Redis) -> None:
    load(client, rows(("same", 1, NOON), ("newer", 1, NOON)), rules)
    for key in client.scan_iter():
        assert 890 < client.ttl(key) <= 900
        client.expire(key, 60)
    load(client, rows(("same", 1, NOON), ("newer", 1, LATER), ("new", 1, NOON)), rules)
    lives = sorted(client.ttl(key) > 60 for key in client.scan_iter())
    assert lives == [rules.renew, True, True]


@pytest.mark.parametrize("rules", [Rules(), Rules(only_newer=False, ttl_seconds=900)])
def test_keys_that_are_there_and_keys_that_are_not(rules: Rules, client: redis.Redis) -> None:
    """In every mixture: what is new for the most, what is there for the most, and a change from one to the other."""
    load(client, rows(*((f"c{at}", 1, NOON) for at in range(30, 60))), rules)
    cards = [(f"c{at}", at, LATER) for at in range(90)]
    assert load(client, rows(*cards), rules, chunk=10) == write.Written(90, 90)
    assert [value(client, card) for card, _, _ in cards] == list(range(90))
    assert load(client, rows(*cards), rules, chunk=10).written == (0 if rules.only_newer else 90)


def test_a_faster_writer_is_not_overwritten(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stock reads the times, then writes. A newer row that comes in between is lost there; here it is not."""
    cards = [(f"c{at}", 1, NOON) for at in range(20)]
    load(client, rows(*cards[:10]))
    newest = rows(*((card, 3, NOON + timedelta(hours=1)) for card, _, _ in cards))
    due = Writer._due
    done: list[int] = []

    def due_while_another_writes(self: Any, batch: Any, held: Any) -> Any:
        found = due(self, batch, held)
        if not done:
            done.append(1)
            write_stock(redis_url, VIEW, newest)
        return found

    monkeypatch.setattr(Writer, "_due", due_while_another_writes)
    load(client, rows(*((card, 2, LATER) for card, _, _ in cards)), chunk=100)
    assert done
    assert {value(client, card) for card, _, _ in cards} == {3}


def test_two_loads_at_once_leave_the_newer_one(client: redis.Redis, redis_url: str) -> None:
    loads = [rows(*((f"c{at}", number, NOON + timedelta(hours=number)) for at in range(300))) for number in range(4)]
    with ThreadPoolExecutor(len(loads)) as pool:
        running = [pool.submit(load, redis.Redis.from_url(redis_url), table, None, 50) for table in loads]
    assert [load.result().rows for load in running] == [300] * len(loads)
    assert {value(client, f"c{at}") for at in range(300)} == {3}


def test_a_script_that_the_server_forgot_is_loaded_again(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    load(client, rows(("a", 1, NOON)))
    settle = Writer._settle

    def forget_first(self: Any, *rest: Any) -> int:
        client.script_flush()
        return settle(self, *rest)

    monkeypatch.setattr(Writer, "_settle", forget_first)
    load(client, rows(("a", 2, LATER)))
    assert value(client, "a") == 2


@pytest.mark.parametrize("whole", [False, True])
def test_a_user_without_restore(
    whole: bool, client: redis.Redis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """RESTORE is a dangerous command by Redis' own list, so a user may lack it."""
    client.acl_setuser(
        "w", enabled=True, passwords=["+a,b c@:/1"], keys=["*"], categories=["+@all"], commands=["-restore"]
    )
    try:
        user = redis.Redis.from_url(redis_url, username="w", password="a,b c@:/1")
        write_stock(redis_url, OTHER, rows(("a", 7, NOON), view=OTHER))
        table = rows(("a", 1, NOON), ("b", 1, NOON), ("c", 1, NOON), ("d", 1, NOON))
        writer = Writer(user, LAYOUT, Rules(ttl_seconds=900))
        (writer.replace if whole else writer.write)(table.to_batches(max_chunksize=2))
        assert [value(client, card) for card in "abcd"] == [1] * 4
        assert {len(row) for row in hashes(client).values()} == ({2} if whole else {2, 4})
        assert all(client.ttl(key) > 0 for key in client.scan_iter())
        assert caplog.text.count("takes no RESTORE from this user") == 1
    finally:
        client.acl_deluser("w")


def test_a_refusal_is_an_error(client: redis.Redis, redis_url: str) -> None:
    client.acl_setuser("r", enabled=True, nopass=True, keys=["*"], categories=["+@read", "+@connection"])
    try:
        with pytest.raises(redis.exceptions.NoPermissionError):
            load(redis.Redis.from_url(redis_url, username="r", password="any"), rows(("a", 1, NOON)))
    finally:
        client.acl_deluser("r")


def test_a_full_server_is_an_error(client: redis.Redis) -> None:
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.ResponseError, match="OOM"):
            load(client, rows(("a", 1, NOON)))
    finally:
        client.config_set("maxmemory", 0)


def test_an_owner_replaces_what_is_there(client: redis.Redis, redis_url: str) -> None:
    write_stock(redis_url, OTHER, rows(("a", 7, NOON), view=OTHER))
    Writer(client, LAYOUT, Rules(ttl_seconds=900)).replace(rows(("a", 1, NOON), ("b", 1, NOON)).to_batches())
    found = hashes(client)
    assert {frozenset(row) for row in found.values()} == {frozenset((b"_ts:v", FIELD))}
    assert all(890 < client.ttl(key) <= 900 for key in found)


def test_what_left_the_source_is_removed(client: redis.Redis, redis_url: str) -> None:
    """Whole keys, one view's part of a key, and nobody else's: a project's name may end with another's."""
    write_stock(redis_url, OTHER, rows(("a", 7, NOON), ("b", 7, NOON), view=OTHER))
    load(client, rows(("a", 1, NOON), ("b", 1, NOON), ("c", 1, NOON)))
    foreign = LAYOUT.keys(rows(("c", 0, NOON)).to_batches()[0])[0].as_py()[:-3] + b"not-lab"
    client.hset(foreign, "f", "v")
    other = layout_of(OTHER, CONFIG)
    live = {
        "v": Keys([LAYOUT.keys(rows(("a", 0, NOON)).to_batches()[0])]),
        "w": Keys(LAYOUT.keys(batch) for batch in rows(("a", 0, NOON), ("b", 0, NOON)).to_batches(max_chunksize=1)),
    }
    fields = {at.view: at.hash_fields for at in (LAYOUT, other)}
    swept = sweep(client, "lab", [Entity(["card"], live, fields)])
    assert (swept.kept, swept.removed) == ({"v": 1, "w": 2}, 2)
    assert client.exists(foreign)
    assert [value(client, card) for card in "abc"] == [1, None, None]
    assert client.dbsize() == 3


def test_a_sweep_of_more_keys_than_a_scan_brings_at_once(client: redis.Redis) -> None:
    """Scanned while keys go, a key may come twice and is counted once."""
    there = rows(*((f"card {number}", number, NOON) for number in range(7_000)))
    load(client, there, chunk=1_000)
    fields = {LAYOUT.view: LAYOUT.hash_fields}
    stays = rows(*((f"card {number}", number, NOON) for number in range(1_000, 9_000)))  # 2,000 were never loaded
    live = {LAYOUT.view: Keys(map(LAYOUT.keys, stays.to_batches(max_chunksize=999)))}
    swept = sweep(client, "lab", [Entity(["card"], live, fields)])
    assert (swept.kept, swept.removed) == ({LAYOUT.view: 6_000}, 1_000)
    assert client.dbsize() == 6_000
    assert [value(client, f"card {number}") for number in (0, 999, 1_000, 6_999)] == [None, None, 1_000, 6_999]
    nothing: dict[str, Keys] = {LAYOUT.view: Keys([])}
    assert sweep(client, "lab", [Entity(["card"], nothing, fields)]).removed == 6_000
    assert client.dbsize() == 0


def test_an_error_within_the_batches_is_the_caller_s(client: redis.Redis) -> None:
    def batches() -> Any:
        yield from rows(("a", 1, NOON)).to_batches()
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        Writer(client, LAYOUT).write(batches())
    assert client.ping()
