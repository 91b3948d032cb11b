"""Redis commands as bytes (RESP 2), one a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feast_fast.cells import Part, by_length, joined, lengths_of


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text)


def commands(rows: int, arguments: Sequence[bytes | Sequence[Any]]) -> Any:
    """One command a row.

    Args:
        arguments: the name and what follows it: bytes are the same in every row, cells are the rows' own, and a list of
            cells is one argument in pieces.
    """
    parts: list[Part] = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        if isinstance(argument, bytes):
            parts.append(bulk(argument))
            continue
        pieces = argument if isinstance(argument, list) else [argument]
        sizes: Any = sum(len(piece) if isinstance(piece, bytes) else lengths_of(piece) for piece in pieces)
        parts += [by_length(sizes, lambda length: b"$%d\r\n" % length), *pieces, b"\r\n"]
    return joined(parts, rows)
