"""Files become physical lines: streamed, decompressed, without a byte order mark. Memory stays flat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from gzip import BadGzipFile

from isal import igzip
from isal.isal_zlib import IsalError

from jobs.common.lake import Lake

CHUNK = 4 << 20
MAX_LINE = 1 << 16
"""Bytes. A longer line is bad, and quarantine keeps this much of it; a real line has some hundred bytes."""
BOM = b"\xef\xbb\xbf"


class Unreadable(Exception):
    """A file that does not decompress to its end."""


def chunks(lake: Lake, path: str) -> Iterator[bytes]:
    """The text of a file in pieces of at most ``CHUNK`` bytes, none of them empty.

    Raises:
        Unreadable: the gzip is cut short or corrupt.
        OSError: the store does not answer.
    """
    # compression=None: Arrow would otherwise decompress by the file's ending, and forgive a cut end.
    with lake.filesystem.open_input_stream(lake.path(path), compression=None) as stream:
        source = igzip.IGzipFile(fileobj=stream, mode="rb") if path.lower().endswith(".gz") else stream
        chunk = _read(source).removeprefix(BOM)
        while chunk:
            yield chunk
            chunk = _read(source)


def blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Regroups pieces so that each ends with a newline, which a last line without one is given.

    Of a line longer than ``MAX_LINE`` at least one byte more than that is kept, so that it shows.
    """
    pending = b""
    for piece in pieces:
        whole, newline, rest = piece.rpartition(b"\n")
        if newline:
            yield b"".join((pending, whole, newline))
            pending = rest[: MAX_LINE + 1]
        else:
            pending = (pending + piece)[: MAX_LINE + 1]
    if pending:
        yield pending + b"\n"


def _read(source: igzip.IGzipFile) -> bytes:
    try:
        return source.read(CHUNK)
    except (EOFError, BadGzipFile, IsalError) as error:  # type: ignore[misc]  # its stub calls it a value
        raise Unreadable(f"its gzip is cut short or corrupt ({error})") from None
