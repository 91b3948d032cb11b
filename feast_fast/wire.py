"""Commands as bytes over the connections of a redis-py client, whose address, login, TLS and retries stay its own.

redis-py packs and unpacks one argument at a time; a load has hundreds of millions. Here a batch of commands is one
buffer, and replies are parsed by hiredis. A broken connection is opened and its unanswered commands are sent again, as
often and as patiently as the client would: everything that is sent here may be sent twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import hiredis
import numpy as np
import redis
from redis.cluster import RedisCluster
from redis.crc import key_slot

from feast_fast.cells import whole_buffer
from feast_fast.resp import bulk

T = TypeVar("T")
_RECEIVE_BYTES = 1 << 20
_MORE = object()
_MOVED = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN")


@dataclass
class Request:
    """Commands that are sent together.

    Attributes:
        keys: the key of each row.
        commands: the commands of each row.
        each: how many commands, and so replies, a row has.
        rows: the caller's own.
    """

    keys: Any
    commands: Any
    each: int = 1
    rows: Any = None


class Wire:
    """One connection, used by one thread."""

    def __init__(self, pool: Any, greeting: bytes = b"") -> None:
        """
        Args:
            greeting: a command for every new connection, such as the loading of a script.
        """
        self._pool = pool
        self._greeting = greeting
        self._connection = pool.get_connection()
        self._flying: deque[tuple[memoryview, int]] = deque()
        self._sent = 0
        self._greeted = not greeting
        self._reader = hiredis.Reader(notEnoughData=_MORE)

    def close(self) -> None:
        if self._flying:  # its replies are still to come, and nobody will read them
            self._connection.disconnect()
        self._pool.release(self._connection)

    def send(self, commands: Any, replies: int) -> None:
        self._flying.append((whole_buffer(commands), replies))
        self._patiently(self._send_all)

    def receive(self) -> list[Any]:
        """The replies to the oldest commands sent; an error of the server is a value among them."""

        def answer() -> list[Any]:
            self._send_all()
            return self._read(self._flying[0][1])

        replies = self._patiently(answer)
        self._flying.popleft()
        self._sent -= 1
        return replies

    def greet(self) -> None:
        """Says the greeting again before whatever is sent next."""
        self._greeted = False

    def _patiently(self, do: Callable[[], T]) -> T:
        return self._connection.retry.call_with_retry(do, lambda error: self._start_over())

    def _start_over(self) -> None:
        self._connection.disconnect()
        self._sent = 0
        self._greeted = not self._greeting
        self._reader = hiredis.Reader(notEnoughData=_MORE)

    def _send_all(self) -> None:
        self._connection.connect()
        if not self._greeted and not self._sent:
            self._connection.send_packed_command([self._greeting], check_health=False)
            (said,) = self._read(1)
            check([said])
            self._greeted = True
        for commands, _ in list(self._flying)[self._sent :]:
            self._connection.send_packed_command([commands], check_health=False)
            self._sent += 1

    def _read(self, count: int) -> list[Any]:
        replies: list[Any] = []
        while True:
            while len(replies) < count and (reply := self._reader.gets()) is not _MORE:
                replies.append(reply)
            if len(replies) == count:
                if any(isinstance(reply, hiredis.ReplyError) and str(reply).startswith("LOADING") for reply in replies):
                    raise redis.BusyLoadingError("Redis is loading the dataset in memory")
                return replies
            try:
                received = self._connection._sock.recv(_RECEIVE_BYTES)
            except TimeoutError as error:
                raise redis.TimeoutError("Timeout reading from socket") from error
            except OSError as error:
                raise redis.ConnectionError(f"Error while reading from socket: {error}") from error
            if not received:
                raise redis.ConnectionError("Connection closed by server.")
            self._reader.feed(received)


class Lines:
    """The wires to a server, or to every node of a cluster."""

    def __init__(self, client: Any, script: bytes = b"") -> None:
        """
        Args:
            script: in Lua; loaded on every new connection, so that it may be called by its hash.
        """
        self._client = client
        self._script = script
        self._greeting = b"*3\r\n" + bulk(b"SCRIPT") + bulk(b"LOAD") + bulk(script) if script else b""
        self._wires: dict[str, Wire] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        for wire in self._wires.values():
            wire.close()
        self._wires.clear()

    def greet(self) -> None:
        for wire in self._wires.values():
            wire.greet()

    def ask(self, requests: Iterable[Request]) -> Iterator[tuple[Request, list[Any]]]:
        """Sends each request before the one before it is answered, so that the server never waits."""
        waiting: deque[tuple[Request, list[tuple[Wire, np.ndarray | None]]]] = deque()
        for request in requests:
            waiting.append((request, self._send(request)))
            if len(waiting) > 1:
                yield self._answer(*waiting.popleft())
        while waiting:
            yield self._answer(*waiting.popleft())

    def _send(self, request: Request) -> list[tuple[Wire, np.ndarray | None]]:
        if not isinstance(self._client, RedisCluster):
            wire = self._wire("", self._client.connection_pool)
            wire.send(request.commands, len(request.keys) * request.each)
            return [(wire, None)]
        slots = np.fromiter(map(key_slot, request.keys.to_pylist()), np.int64, len(request.keys))
        nodes = {slot: self._client.nodes_manager.get_node_from_slot(slot) for slot in np.unique(slots).tolist()}
        names = np.array([nodes[slot].name for slot in slots.tolist()])
        sent: list[tuple[Wire, np.ndarray | None]] = []
        for node in {node.name: node for node in nodes.values()}.values():
            rows = np.flatnonzero(names == node.name)
            wire = self._wire(node.name, self._client.get_redis_connection(node).connection_pool)
            wire.send(request.commands.take(rows), len(rows) * request.each)
            sent.append((wire, rows))
        return sent

    def _wire(self, name: str, pool: Any) -> Wire:
        if name not in self._wires:
            self._wires[name] = Wire(pool, self._greeting)
        return self._wires[name]

    def _answer(self, request: Request, sent: list[tuple[Wire, np.ndarray | None]]) -> tuple[Request, list[Any]]:
        each = request.each
        if sent and sent[0][1] is None:
            return request, sent[0][0].receive()
        replies: list[Any] = [None] * (len(request.keys) * each)
        for wire, rows in sent:
            answers = wire.receive()
            for at, row in enumerate([] if rows is None else rows.tolist()):
                replies[row * each : (row + 1) * each] = answers[at * each : (at + 1) * each]
        # What a node no longer has goes through redis-py's own client, which finds out where it is.
        for at, reply in enumerate(replies):
            if isinstance(reply, hiredis.ReplyError) and str(reply).startswith(_MOVED):
                replies[at] = self._redirected(request, at)
        return request, replies

    def _redirected(self, request: Request, at: int) -> Any:
        row, number = divmod(at, request.each)
        reader = hiredis.Reader()
        reader.feed(request.commands[row].as_py())
        name, *arguments = [reader.gets() for _ in range(request.each)][number]
        try:
            try:
                return self._client.execute_command(name.decode(), *arguments)
            except redis.exceptions.NoScriptError:
                if not self._script:
                    raise
                self._client.script_load(self._script)  # on all nodes: there was no wire to greet the new one on
                return self._client.execute_command(name.decode(), *arguments)
        except redis.ResponseError as error:
            code = getattr(error, "status_code", None)  # which redis-py takes off the words that it knows
            return hiredis.ReplyError(f"{code} {error}" if code else str(error))


def check(replies: Iterable[Any]) -> None:
    """
    Raises:
        redis.ResponseError: one of the replies is an error.
    """
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            said = str(reply)
            raise redis.exceptions.NoPermissionError(said) if said.startswith("NOPERM") else redis.ResponseError(said)
