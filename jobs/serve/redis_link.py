"""One connection to Redis that all requests share: commands go out as they come, replies come back in their order.

redis-py opens the connection (TLS, login, database: all that a URL can say); from then on bytes go through hiredis alone.
A link that breaks, or is too slow once, is thrown away, and the next request opens another.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import hiredis
import redis
from redis.asyncio.connection import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from jobs.common.services import reason_of
from jobs.online.redis_client import address

CONNECT_SECONDS = 2.0
"""For so long at least a connection may take to open: TLS and the login are many round trips, and a short deadline of the
requests, who leave at theirs, would have each attempt given up before it ends."""
PAUSE_SECONDS = 0.1
"""After a failure to connect, for so long every request is told so at once."""
_LAST_LOOK_SECONDS = 0.001


class RedisUnavailable(Exception):
    """Redis did not answer in time, refused, or answered with an error; the text is one clause, without a login."""

    answered = False
    """Whether it is there: it has answered, though with an error."""


class _Refused(RedisUnavailable):
    answered = True


class RedisLink:
    """Sends prepared commands to the server of a URL.

    Args:
        deadline: seconds that one call may take, the wait for a connection included.
    """

    def __init__(self, url: str, deadline: float) -> None:
        self.deadline = deadline
        self._service = f"Redis at {address(url)}"
        once = Retry(NoBackoff(), 0)
        patience = self._connect_seconds = max(deadline, CONNECT_SECONDS)
        self._pool = ConnectionPool.from_url(url, retry=once, socket_connect_timeout=patience, socket_timeout=patience)
        self._open: _OpenLink | None = None
        self._opening: asyncio.Task[_OpenLink] | None = None
        self._failed_at, self._failure = -PAUSE_SECONDS, ""

    async def call(self, packed: bytes, count: int) -> Sequence[Any]:
        """The replies to some commands.

        Args:
            packed: the commands as they go over the wire.
            count: how many they are.

        Raises:
            RedisUnavailable: within the deadline.
        """
        link, loop = self._open, asyncio.get_running_loop()
        late = loop.time() + self.deadline
        try:
            if link is None or link.broken:
                link = None
                async with asyncio.timeout_at(late):
                    link = await self._connected()
            replies = await link.call(packed, count, late)
        except TimeoutError:
            self._give_up(link, "it does not answer in time")
            raise RedisUnavailable(f"{self._service} did not answer within {self.deadline * 1000:.0f} ms") from None
        except (redis.RedisError, OSError) as error:
            reason = reason_of(str(error))
            self._give_up(link, reason)
            raise RedisUnavailable(f"{self._service} cannot be used: {reason}") from None
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise _Refused(f"{self._service} refuses: {reason_of(str(reply))}")
        return replies

    async def ping(self) -> None:
        """Asks for a sign of life.

        Raises:
            RedisUnavailable: there is none.
        """
        await self.call(b"*1\r\n$4\r\nPING\r\n", 1)

    async def close(self) -> None:
        if self._opening:
            self._opening.cancel()
        if self._open:
            self._open.break_off("closed")
        await self._pool.disconnect()

    async def _connected(self) -> _OpenLink:
        """The link, opened by whoever comes first; the others wait for the same one."""
        if time.monotonic() - self._failed_at < PAUSE_SECONDS:
            raise redis.ConnectionError(self._failure)
        if self._opening is None:
            self._opening = asyncio.create_task(self._connect())
            self._opening.add_done_callback(_heard)
        return await asyncio.shield(self._opening)

    async def _connect(self) -> _OpenLink:
        try:
            connection = self._pool.make_connection()
            async with asyncio.timeout(self._connect_seconds):
                await connection.connect()
            self._open = _OpenLink(connection)
            return self._open
        except (TimeoutError, redis.RedisError, OSError) as error:
            self._failed_at = time.monotonic()
            self._failure = str(error) or "timed out"
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)
            raise redis.ConnectionError(self._failure) from error
        finally:
            self._opening = None

    def _give_up(self, link: _OpenLink | None, reason: str) -> None:
        if link is not None:
            link.break_off(reason)
            if self._open is link:
                self._open = None


def _heard(task: asyncio.Task[_OpenLink]) -> None:
    """Takes note of a failure that nobody waited for: all who did may have given up by then."""
    if not task.cancelled():
        task.exception()


class _OpenLink(asyncio.Protocol):
    """An open connection, with those who wait for its replies."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection  # which closes what it has opened once nobody holds it
        assert connection._writer is not None
        self._transport = connection._writer.transport
        self._parser = hiredis.Reader()
        self._waiting: deque[tuple[asyncio.Future[list[Any]], int]] = deque()
        self._replies: list[Any] = []
        self._broken = False
        self._loop = asyncio.get_running_loop()
        self._transport.set_protocol(self)

    @property
    def broken(self) -> bool:
        return self._broken or self._transport.is_closing()

    async def call(self, packed: bytes, count: int, late: float) -> list[Any]:
        """Sends commands and waits for their replies.

        Args:
            late: the loop's time at which they are given up.
        """
        if count == 0:
            return []
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._waiting.append((future, count))
        self._transport.write(packed)
        timer = self._loop.call_at(late, self._expire, future)
        try:
            return await future
        finally:
            timer.cancel()

    def _expire(self, future: asyncio.Future[list[Any]], last_look: bool = False) -> None:
        """Gives a call up, but for a reply that lies there unread because the process itself was held up."""
        if future.done():
            return
        if last_look:
            future.set_exception(TimeoutError())
        else:
            self._loop.call_later(_LAST_LOOK_SECONDS, self._expire, future, True)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed(data)
            while self._waiting:
                future, count = self._waiting[0]
                replies = self._replies
                while len(replies) < count and (reply := self._parser.gets()) is not False:
                    replies.append(reply)
                if len(replies) < count:
                    return
                self._waiting.popleft()
                self._replies = []
                if not future.done():
                    future.set_result(replies)
        except hiredis.HiredisError as error:
            self.break_off(str(error))

    def connection_lost(self, error: Exception | None) -> None:
        self.break_off(str(error or "connection closed by server"))

    def break_off(self, reason: str) -> None:
        """Ends the connection, and tells all who wait."""
        if self._broken:
            return
        self._broken = True
        self._transport.abort()
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_exception(redis.ConnectionError(reason))
