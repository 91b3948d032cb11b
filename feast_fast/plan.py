"""What a read asks of Redis and what it answers: keys, hash fields, ages, columns. No Feast and no connection in here.

A plan is made once for a list of features; a request then costs one command a key and one decoding a value::

    lookup = plan.lookup({"card_id": ["c1", "c2"]})
    answer = plan.answer(lookup, replies, now)      # replies: one list of cells for each of lookup.commands()
    answer.values["cnt_1d"], answer.statuses("cnt_1d")

Where in Redis that is, ``names.py`` says.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any

from feast_fast import decode
from feast_fast.names import key_prefix

Columns = Mapping[str, Sequence[Any]]
Cells = Sequence[bytes | None]
_TWO_U32 = struct.Struct("<II").pack
_EDITABLE = frozenset((list, dict, set))
_PLAIN = ({str}, {int}, {bool}, {float}, {bytes})


class Unsupported(Exception):
    """A plan or a request that only stock Feast answers, or refuses in its own words."""


class Status(IntEnum):
    """Why a value is what it is; the numbers are those of Feast's ``FieldStatus``. Only a PRESENT value is not None."""

    PRESENT = 1
    NULL_VALUE = 2
    """Written, as a null."""
    NOT_FOUND = 3
    """The view holds nothing for this key, or not this feature."""
    OUTSIDE_MAX_AGE = 4
    """Written, but older than the view's ttl."""


@dataclass(frozen=True)
class Kind:
    """How an entity's value stands in a key.

    Attributes:
        code: Feast's number of the type.
        python: the one Python type whose values are taken; all else is left to stock's conversions.
    """

    code: int
    python: type
    encode: Callable[[Any], bytes]


KINDS: Mapping[str, Kind] = {
    "BYTES": Kind(1, bytes, bytes),
    "STRING": Kind(2, str, str.encode),
    "INT32": Kind(3, int, struct.Struct("<i").pack),
    "INT64": Kind(4, int, struct.Struct("<q").pack),
}
"""By the name of the entity's Feast ``ValueType``."""


@dataclass(frozen=True)
class KeyLayout:
    """The keys that some views share, and the hash fields that a plan asks of each.

    Attributes:
        join_keys: sorted, as they stand in the key.
        columns: the request's column for each join key.
        kinds: names in ``KINDS``, one a join key.
    """

    project: str
    join_keys: tuple[str, ...]
    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    fields: tuple[bytes, ...]
    _head: bytes = field(init=False, repr=False)
    _tail: bytes = field(init=False, repr=False)
    _packed: tuple[bytes, bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        words = b"".join(b"$%d\r\n%b\r\n" % (len(name), name) for name in self.fields)
        object.__setattr__(self, "_head", key_prefix(self.join_keys))
        object.__setattr__(self, "_tail", self.project.encode())
        object.__setattr__(self, "_packed", (b"*%d\r\n$5\r\nHMGET\r\n$" % (len(self.fields) + 2), words))

    def keys(self, columns: Columns) -> list[bytes]:
        """The key of each row.

        Raises:
            Unsupported: a column is missing, or holds what only stock converts or refuses.
        """
        parts = []
        for name, kind_name in zip(self.columns, self.kinds, strict=True):
            kind, values = KINDS[kind_name], columns.get(name)
            if values is None or set(map(type, values)) != {kind.python}:
                raise Unsupported(f"values of {name}")
            try:
                encoded = [kind.encode(value) for value in values]
            except (struct.error, UnicodeEncodeError):
                raise Unsupported(f"values of {name}") from None
            parts.append([_TWO_U32(kind.code, len(value)) + value for value in encoded])
        head, tail = self._head, self._tail
        if len(parts) == 1:
            return [head + value + tail for value in parts[0]]
        return [head + b"".join(row) + tail for row in zip(*parts, strict=True)]

    def packed(self, key: bytes) -> bytes:
        """The HMGET of a key, as it goes over the wire."""
        start, words = self._packed
        return b"%b%d\r\n%b\r\n%b" % (start, len(key), key, words)


@dataclass(frozen=True)
class StoredView:
    """The features of one view that a plan asks for: in a reply their cells stand side by side, that of the event time after them.

    Attributes:
        layout: which of the plan's key layouts.
        start: where the first of the cells stands in a reply.
        ttl_ns: nanoseconds for which a value is served; None is for ever.
        features: their names in the answer.
        types: for ``decode.columns``, one a feature; none where the bytes say it all.
    """

    name: str
    layout: int
    start: int
    ttl_ns: int | None
    features: tuple[str, ...]
    types: tuple[Any, ...] = ()


@dataclass(frozen=True)
class OnDemand:
    """Features computed from the others.

    Attributes:
        hidden: columns that it does not declare and must not see.
        compute: columns to columns, of the declared types.
    """

    name: str
    hidden: frozenset[str]
    outputs: frozenset[str]
    compute: Callable[[dict[str, list[Any]]], Mapping[str, list[Any]]] = field(compare=False)


@dataclass
class Lookup:
    """The keys of a request: each once, with the rows to which it belongs.

    Attributes:
        echoed: the request's own columns that are a part of the answer, or of what is computed.
        keys: for each layout, its different keys.
        places: for each layout, the position in ``keys`` of each row; None where the rows are the keys.
    """

    plan: Plan
    rows: int
    echoed: dict[str, list[Any]]
    keys: list[list[bytes]]
    places: list[list[int] | None]

    @property
    def count(self) -> int:
        return sum(map(len, self.keys))

    def commands(self) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
        """A key and the fields to ask of it, for each HMGET."""
        for layout, keys in zip(self.plan.layouts, self.keys, strict=True):
            for key in keys:
                yield key, layout.fields

    def packed(self) -> bytes:
        """All the commands as they go over the wire."""
        return b"".join(
            [layout.packed(key) for layout, keys in zip(self.plan.layouts, self.keys, strict=True) for key in keys]
        )


@dataclass
class Answer:
    """Columns by name, all of them as long as the request.

    Attributes:
        values: the request's keys, and every feature that was asked for.
        echoed: the names of those keys.
        cells: what Redis held for each stored feature, where it may be served.
        row_statuses: of each stored feature's view.
        times: of the same, seconds and nanoseconds of the event; None where there is none.
    """

    rows: int
    values: dict[str, list[Any]]
    echoed: frozenset[str] = frozenset()
    cells: dict[str, Cells] = field(default_factory=dict)
    row_statuses: dict[str, Sequence[Status]] = field(default_factory=dict)
    times: dict[str, list[tuple[int, int] | None]] = field(default_factory=dict)

    def statuses(self, name: str) -> Sequence[Status]:
        """Why each value of a column is what it is: where no value is null, one sequence for all features of a view.

        A feature that its view got after the row was written is NOT_FOUND, as long as the row is served.
        """
        values, rows = self.values[name], self.row_statuses.get(name)
        if rows is not None and None not in values:
            return rows
        if rows is None:
            return [Status.NULL_VALUE if value is None else Status.PRESENT for value in values]
        null, none = Status.NULL_VALUE, Status.NOT_FOUND
        cells = self.cells.get(name) or [b""] * self.rows
        return [
            status if value is not None or status is not Status.PRESENT else none if cell is None else null
            for value, status, cell in zip(values, rows, cells, strict=True)
        ]


@dataclass(frozen=True)
class Plan:
    """How to answer one list of features.

    Attributes:
        join_keys: columns of the request that are keys of some entity; those that are given are given back.
        request_data: columns of the request that on-demand views need.
        ignored: columns under which stock takes an entity's key, too, and which only stock answers.
        features: the names that were asked for.
    """

    layouts: tuple[KeyLayout, ...]
    views: tuple[StoredView, ...]
    on_demand: tuple[OnDemand, ...]
    join_keys: frozenset[str]
    request_data: frozenset[str]
    ignored: frozenset[str]
    features: frozenset[str]

    @cached_property
    def key_columns(self) -> list[str]:
        """The columns that a request must have to find all keys."""
        return list(dict.fromkeys(name for layout in self.layouts for name in layout.columns))

    @cached_property
    def _brings_more(self) -> bool:
        """Whether on-demand features need what nobody asked for."""
        stored = {name for view in self.views for name in view.features}
        return not self.features | self.join_keys >= stored | self.request_data

    def lookup(self, columns: Columns) -> Lookup:
        """The keys of a request.

        Args:
            columns: by name, all equally long: keys, request data, and whatever else, which is left out.

        Raises:
            Unsupported: stock must answer, or say what is wrong.
        """
        echoed = {}
        for name, values in columns.items():
            if name in self.join_keys:
                _require_plain(name, values)
            elif name in self.request_data:
                _require_plain(name, values, nullable=True)
            elif name in self.ignored:
                raise Unsupported(f"column {name}")
            else:
                continue
            echoed[name] = list(values)
        if not self.request_data <= echoed.keys():
            raise Unsupported("request data")
        lengths = set(map(len, echoed.values()))
        if len(lengths) != 1 or lengths == {0}:
            raise Unsupported("number of rows")
        keys, places = [], []
        for layout in self.layouts:
            own, place = layout.keys(echoed), None
            if len(own) > 1 and len(different := dict.fromkeys(own)) < len(own):
                position = {key: at for at, key in enumerate(different)}
                own, place = list(different), [position[key] for key in own]
            keys.append(own)
            places.append(place)
        return Lookup(self, lengths.pop(), echoed, keys, places)

    def answer(self, lookup: Lookup, replies: Sequence[Cells], now_ns: int) -> Answer:
        """The features of each row.

        Args:
            replies: what the commands of the lookup gave, in their order.
            now_ns: the moment at which ages are judged, nanoseconds since 1970 UTC.
        """
        answer = Answer(lookup.rows, dict(lookup.echoed), self.join_keys)
        by_layout, start = [], 0
        for keys, places in zip(lookup.keys, lookup.places, strict=True):
            found = replies[start : start + len(keys)]
            start += len(keys)
            by_layout.append(list(zip(*(found if places is None else [found[at] for at in places]), strict=True)))
        for view in self.views:
            _read_view(answer, view, by_layout[view.layout], now_ns)
        if self.on_demand:
            # Copies, which all of them share as with stock: what one edits in place is not what is answered.
            stored = {
                name: values.copy() if _EDITABLE.isdisjoint(map(type, values)) else list(map(_copy, values))
                for name, values in answer.values.items()
            }
            for computed in self.on_demand:
                seen = {name: values for name, values in stored.items() if name not in computed.hidden}
                answer.values |= computed.compute(seen)
        if self._brings_more:
            kept = self.features | self.join_keys
            answer.values = {name: values for name, values in answer.values.items() if name in kept}
        return answer


def _read_view(answer: Answer, view: StoredView, columns: Sequence[Cells], now_ns: int) -> None:
    names, stamp_at = view.features, view.start + len(view.features)
    cells, stamps = columns[view.start : stamp_at], columns[stamp_at]
    known = {stamp: decode.timestamp(stamp) for stamp in set(stamps)}  # a load gives all rows the same
    judged = {stamp: _age_status(time, view.ttl_ns, now_ns) for stamp, time in known.items()}
    statuses, times = [judged[stamp] for stamp in stamps], [known[stamp] for stamp in stamps]
    present = Status.PRESENT
    if statuses.count(present) < len(statuses):
        cells = [
            [cell if status is present else None for cell, status in zip(column, statuses, strict=True)]
            for column in cells
        ]
    answer.values.update(zip(names, decode.columns(cells, view.types), strict=True))
    answer.cells.update(zip(names, cells, strict=True))
    answer.row_statuses |= dict.fromkeys(names, statuses)
    answer.times |= dict.fromkeys(names, times)


def _copy(value: Any) -> Any:
    """A value that nobody else edits; of a list, the first item tells of the others."""
    if type(value) is list and not (value and (value[0] is None or type(value[0]) in _EDITABLE)):
        return value.copy()
    return deepcopy(value)


def _age_status(time: tuple[int, int] | None, ttl_ns: int | None, now_ns: int) -> Status:
    if time is None:
        return Status.NOT_FOUND
    if ttl_ns is not None and now_ns - ttl_ns > time[0] * 1_000_000_000 + time[1]:
        return Status.OUTSIDE_MAX_AGE
    return Status.PRESENT


def _require_plain(name: str, values: Sequence[Any], nullable: bool = False) -> None:
    """Refuses what Feast would convert on its way through protobuf, or take offence at."""
    kinds = set(map(type, values))
    if nullable:
        kinds.discard(type(None))
        if not kinds:
            return
    if kinds not in _PLAIN:
        raise Unsupported(f"values of {name}")
    numbers = [value for value in values if value is not None]
    if kinds == {float} and any(map(math.isnan, numbers)):
        raise Unsupported(f"values of {name}")
    if kinds == {int} and not -(1 << 63) <= min(numbers) <= max(numbers) < 1 << 63:
        raise Unsupported(f"values of {name}")
