"""The checksum of ``DUMP`` payloads (CRC-64 of Jones, as Redis has it), of many rows at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from feast_fast.cells import by_length, joined, lengths_of, offsets_of

_POLYNOMIAL = np.uint64(0x95AC9329AC4BC9B5)
_BLOCK_BYTES = 1 << 23


def _table() -> np.ndarray:
    """What sixteen bits do to the checksum."""
    table = np.arange(1 << 16, dtype=np.uint64)
    for _ in range(16):
        table = np.where(table & np.uint64(1), (table >> np.uint64(1)) ^ _POLYNOMIAL, table >> np.uint64(1))
    return table


_TABLE = _table()


def crc64(rows: Any) -> np.ndarray:
    """The checksums of cells, as little-endian 64-bit numbers."""
    lengths = lengths_of(rows)
    result = np.zeros(len(rows), "<u8")
    if not len(rows):
        return result
    # Rows of like length go together: a short one is filled up to the longest of its block.
    order = None if lengths.max() == lengths.min() else np.argsort(lengths, kind="stable")
    if order is not None:
        rows, lengths = rows.take(order), lengths[order]
    start = 0
    while start < len(rows):
        count = max(1, _BLOCK_BYTES // max(2, int(lengths[start : start + 1 + _BLOCK_BYTES // 64].max())))
        stop = min(len(rows), start + count)
        part = _same_width(rows.slice(start, stop - start), lengths[start:stop])
        result[slice(start, stop) if order is None else order[start:stop]] = part
        start = stop
    return result


def _same_width(rows: Any, lengths: np.ndarray) -> np.ndarray:
    width = int(lengths.max())
    width += width & 1
    # Zeros in front change nothing, for the checksum starts at 0.
    padded = joined([by_length(width - lengths, bytes), rows], len(rows))
    first = int(offsets_of(padded)[0])
    flat = np.frombuffer(padded.buffers()[2], np.uint8)[first : first + width * len(rows)]
    words = np.ascontiguousarray(flat.reshape(len(rows), width).view("<u2").T)
    checksum = np.zeros(len(rows), np.uint64)
    for word in words:
        index = checksum.astype(np.uint16) ^ word
        checksum >>= np.uint64(16)
        checksum ^= _TABLE[index]
    return checksum
