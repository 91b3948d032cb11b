"""Rows on their way from the tasks that read them to the task that owns their key: Arrow in pieces of bytes.

Spark moves the pieces and never looks into them, so a row costs its JVM next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from jobs.common.digest import hash_values

Piece = tuple[int, bytes]
"""The number of an owner, and rows for it."""
ROWS_IN_BULK, ROWS_A_PIECE = 1 << 16, 256
"""Rows that are cut up together, and at least for each owner: of a piece of few rows, most is its head."""
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")


def in_bulk(tables: Iterable[pa.Table], owners: int) -> Iterator[pa.Table]:
    """Puts small tables together: a day may have few rows, and every piece has its price."""
    rows = max(ROWS_IN_BULK, owners * ROWS_A_PIECE)
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(t.num_rows for t in held) >= rows:
            yield pa.concat_tables(held).combine_chunks()
            held = []
    if held:
        yield pa.concat_tables(held).combine_chunks()


def split(table: pa.Table, key: str, owners: int, first_owner: int = 0) -> Iterator[Piece]:
    """Cuts a table into one piece an owner, by the hash of a key. An owner without rows gets none."""
    key_hash = hash_values(table.column(key).combine_chunks())
    order = np.argsort(key_hash)  # rows of a key together compress best
    table, key_hash = table.take(pa.array(order)), key_hash[order]
    shares = np.arange(1, owners + 1, dtype=np.float64) * (2.0**64 / owners)
    ends = np.append(np.searchsorted(key_hash, shares[:-1].astype(np.uint64)), table.num_rows)
    start = 0
    for number, end in enumerate(ends.tolist()):
        if end > start:
            yield first_owner + number, _pack(table.slice(start, end - start))
        start = end


def unpack(pieces: Iterable[Piece], schema: pa.Schema) -> pa.Table:
    """The rows of all pieces, in any order; columns that a piece lacks are null there."""
    tables = [pa.ipc.open_stream(rows).read_all() for _, rows in pieces]
    return pa.concat_tables([schema.empty_table(), *tables], promote_options="default").combine_chunks()


def _pack(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_COMPRESSED) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
