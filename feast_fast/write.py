"""Rows into Redis by Feast's rule, without its race, and by rules that Feast lacks."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha1
from itertools import chain
from typing import Any, Literal

import hiredis
import numpy as np
import pyarrow as pa
import redis

from feast_fast.ahead import ahead
from feast_fast.cells import joined, stamps
from feast_fast.decode import timestamp
from feast_fast.layout import Layout, hset, restore
from feast_fast.listpack import strings
from feast_fast.resp import commands
from feast_fast.wire import Lines, Request, check

logger = logging.getLogger(__name__)

SET_IF_HELD = b"""\
local held = redis.call('HGET', KEYS[1], ARGV[2])
if (held and '=' .. held or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
if ARGV[3] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
"""
"""Compare and set: writes a row if its view's timestamp is still what was read, ``=`` and its bytes, or nothing."""
_SHA = sha1(SET_IF_HELD, usedforsecurity=False).hexdigest().encode()
_SAMPLE = 64
_ROUNDS = 1_000
_NO_RESTORE = ("NOPERM", "ERR unknown command", "ERR DUMP payload", "ERR Bad data format")


@dataclass(frozen=True)
class Rules:
    """Which rows are written over rows of the same key.

    Attributes:
        only_newer: a row is written when its event time is newer than the one in Redis, as stock Feast does; else always.
        corrections: so is one of an equal time.
        renew: a row that is not written renews its key's life, too.
        ttl_seconds: the life of a key from its last write; None is for ever.
    """

    only_newer: bool = True
    corrections: bool = False
    renew: bool = False
    ttl_seconds: int | None = None


@dataclass
class Written:
    """What a load did: rows that it read, and how many of them it wrote. What is sent twice may count once."""

    rows: int = 0
    written: int = 0


class Writer:
    """Writes batches of one view."""

    def __init__(self, client: Any, layout: Layout, rules: Rules | None = None) -> None:
        """
        Args:
            client: a ``redis.Redis`` or a ``RedisCluster``.
        """
        self._client, self._layout, self._rules = client, layout, rules or Rules()
        self._may_restore = True
        self._mostly_new = False

    def write(self, batches: Iterable[pa.RecordBatch]) -> Written:
        """Writes rows beside what other views have under the same keys.

        A key that is not there yet is made whole, by a RESTORE that does nothing where someone else was faster. Others are
        written only if the timestamp that was read is still there.

        Raises:
            redis.RedisError: the server does not answer, or refuses.
            ValueError: a row lacks a key or its time.
        """
        result = Written()
        rest = iter(batches)
        first = next(rest, None)
        if first is None:
            return result
        with Lines(self._client) as stream, Lines(self._client, SET_IF_HELD if self._rules.only_newer else b"") as line:
            self._mostly_new = self._are_mostly_new(line, first)
            opened = map(self._open, chain([first], rest))
            for request, replies in stream.ask(ahead(opened)):
                batch, step = request.rows
                result.rows += batch.num_rows
                result.written += self._close(line, request.keys, batch, step, replies)
        return result

    def replace(self, batches: Iterable[pa.RecordBatch]) -> Written:
        """Writes rows as the whole content of their keys, whatever is there. For a load that owns its keys.

        Raises:
            redis.RedisError: the server does not answer, or refuses.
        """
        pairs = ((self._layout.keys(batch), batch) for batch in batches)
        entries = ((keys, self._layout.entries(batch), self._layout.entry_count) for keys, batch in pairs)
        return replace_whole(self._client, entries, self._rules.ttl_seconds)

    def _are_mostly_new(self, line: Lines, batch: pa.RecordBatch) -> bool:
        held = self._held(line, self._layout.keys(batch.slice(0, _SAMPLE)))
        return 2 * held.count(None) >= len(held)

    def _open(self, batch: pa.RecordBatch) -> Request:
        keys = self._layout.keys(batch)
        step: Literal["create", "set", "look"]
        if self._mostly_new and self._may_restore:
            step, layout = "create", self._layout
            sent = restore(keys, layout.entries(batch), layout.entry_count, self._rules.ttl_seconds, replace=False)
            return Request(keys, sent, rows=(batch, step))
        if self._rules.only_newer:
            return Request(keys, self._look(keys), rows=(batch, "look"))
        return self._set(keys, batch)

    def _close(self, line: Lines, keys: Any, batch: pa.RecordBatch, step: str, replies: list[Any]) -> int:
        """Does what the first answers leave to do; returns how many rows were written."""
        if step == "set":
            check(replies)
            return batch.num_rows
        if step == "look":
            check(replies)
            self._mostly_new = 2 * replies.count(None) >= len(replies)
            return self._settle(line, keys, batch, replies)
        left = [row for row, reply in enumerate(replies) if isinstance(reply, hiredis.ReplyError)]
        if self._may_restore:
            self._may_restore = may_restore([replies[row] for row in left])
        self._mostly_new = 2 * len(left) <= len(replies)
        if not left:
            return batch.num_rows
        keys, batch = keys.take(left), batch.take(pa.array(left))
        made = len(replies) - len(left)
        if self._rules.only_newer:
            return made + self._settle(line, keys, batch, None)
        for _, answers in line.ask([self._set(keys, batch)]):
            check(answers)
        return made + batch.num_rows

    def _settle(self, line: Lines, keys: Any, batch: pa.RecordBatch, held: list[bytes | None] | None) -> int:
        """Compares and sets until every row is written or need not be. Whoever loses a race looks again."""
        written = 0
        for _ in range(_ROUNDS):
            held = self._held(line, keys) if held is None else held
            due = np.flatnonzero(self._due(batch, held))
            if self._rules.renew and self._rules.ttl_seconds and len(due) < len(held):
                self._renew(line, keys.take(np.setdiff1d(np.arange(len(held)), due)))
            if not len(due):
                return written
            keys, batch = keys.take(due), batch.take(pa.array(due))
            expected = pa.array([_expected(held[row]) for row in due.tolist()], pa.large_binary())
            ttl = b"%d" % (self._rules.ttl_seconds or 0)
            arguments = [self._layout.stamp_field, ttl, *self._layout.fields(batch)]
            sent = commands(len(keys), [b"EVALSHA", _SHA, b"1", keys, expected, *arguments])
            ((_, replies),) = line.ask([Request(keys, sent)])
            forgotten = [reply for reply in replies if str(reply).startswith("NOSCRIPT")]
            if forgotten:
                line.greet()
            check(reply for reply in replies if reply not in forgotten)
            lost = [row for row, reply in enumerate(replies) if reply != 1]
            written += len(replies) - len(lost)
            if not lost:
                return written
            keys, batch, held = keys.take(lost), batch.take(pa.array(lost)), None
        raise redis.RedisError(
            f"{len(batch)} rows of {self._layout.view} lost the race for their keys {_ROUNDS} times."
        )

    def _due(self, batch: pa.RecordBatch, held: list[bytes | None]) -> np.ndarray:
        """Stock Feast's rule to the letter: what is from 1970 or before is no timestamp to it.

        But for one case: of a key's rows before 1970 in one load the last is written, where stock's choice depends on
        what it found.
        """
        new = stamps(batch.column(self._layout.timestamp))
        known = _Micros()
        old = np.fromiter((known[stamp] for stamp in held), np.int64, len(held))
        return (old <= 0) | (new > old) | ((new == old) & self._rules.corrections)

    def _held(self, line: Lines, keys: Any) -> list[bytes | None]:
        ((_, replies),) = line.ask([Request(keys, self._look(keys))])
        check(replies)
        return replies

    def _look(self, keys: Any) -> Any:
        return commands(len(keys), [b"HGET", keys, self._layout.stamp_field])

    def _set(self, keys: Any, batch: pa.RecordBatch) -> Request:
        sent = hset(keys, self._layout.fields(batch))
        if self._rules.ttl_seconds:
            sent = joined([sent, self._expire(keys)], len(keys))
        return Request(keys, sent, each=2 if self._rules.ttl_seconds else 1, rows=(batch, "set"))

    def _renew(self, line: Lines, keys: Any) -> None:
        for _, replies in line.ask([Request(keys, self._expire(keys))]):
            check(replies)

    def _expire(self, keys: Any) -> Any:
        return commands(len(keys), [b"EXPIRE", keys, b"%d" % (self._rules.ttl_seconds or 0)])


def replace_whole(client: Any, rows: Iterable[tuple[Any, Any, int]], ttl_seconds: int | None) -> Written:
    """Puts whole hashes in place of whatever is there.

    Args:
        rows: keys, listpack entries, and how many entries a row has, in batches.

    Raises:
        redis.RedisError: the server does not answer, or refuses.
    """
    result = Written()

    def opened() -> Iterator[Request]:
        for keys, entries, count in rows:
            if len(keys):
                yield Request(keys, restore(keys, entries, count, ttl_seconds, replace=True), rows=entries)

    told = False
    with Lines(client) as stream, Lines(client) as line:
        for request, replies in stream.ask(ahead(opened())):
            refused = [row for row, reply in enumerate(replies) if isinstance(reply, hiredis.ReplyError)]
            if refused and not told:
                told = not may_restore(replies[row] for row in refused)
            if refused:
                check(reply for reply in replies if not str(reply).startswith(_NO_RESTORE))
                keys, entries = request.keys.take(refused), request.rows.take(refused)
                for _, answers in line.ask([_replace_by_hset(keys, entries, ttl_seconds)]):
                    check(answers)
                    check(answer for answer in answers if isinstance(answer, list) for answer in answer)
            result.rows += len(request.keys)
            result.written += len(request.keys)
    return result


def _replace_by_hset(keys: Any, entries: Any, ttl_seconds: int | None) -> Request:
    """The same as a transaction a row, for a user without RESTORE."""
    sent = []
    for key, packed in zip(keys.to_pylist(), entries.to_pylist(), strict=True):
        steps: list[tuple[Any, ...]] = [("MULTI",), ("UNLINK", key), ("HSET", key, *strings(packed))]
        steps += [("EXPIRE", key, ttl_seconds)] if ttl_seconds else []
        sent.append(b"".join(map(hiredis.pack_command, (*steps, ("EXEC",)))))
    return Request(keys, pa.array(sent, pa.large_binary()), each=5 if ttl_seconds else 4)


def may_restore(errors: Iterable[Any]) -> bool:
    """Whether the server takes RESTORE, by its errors; says so when it does not.

    Raises:
        redis.ResponseError: the server refuses for another reason than that, or than that a key is there already.
    """
    others = [error for error in errors if not str(error).startswith("BUSYKEY")]
    if not others:
        return True
    check(error for error in others if not str(error).startswith(_NO_RESTORE))
    logger.warning("Redis takes no RESTORE from this user (%s): it is written by HSET, more slowly.", others[0])
    return False


def _expected(held: bytes | None) -> bytes:
    return b"" if held is None else b"=" + held


class _Micros(dict[bytes | None, int]):
    """Serialized protobuf timestamps to µs since 1970; most rows of a load share a few."""

    def __missing__(self, stamp: bytes | None) -> int:
        seconds, nanos = timestamp(stamp) or (0, 0)
        self[stamp] = micros = seconds * 10**6 + nanos // 1000
        return micros
