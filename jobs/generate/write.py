"""Files: lines into compressed landing files, and what is true of them into Parquet, in the staging area."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from isal import isal_zlib

from jobs.common.lake import Lake
from jobs.generate.chance import identifier
from jobs.generate.events import Events
from jobs.generate.fraud import SCENARIOS
from jobs.generate.lines import Text
from jobs.generate.mess import DEFECTS
from jobs.generate.text import BREACH, EPISODE, Names, fixed_width, hexadecimal


@dataclass(frozen=True)
class Written:
    """A file in the staging area, by its path in the lake, and the SHA-256 of its bytes."""

    path: str
    sha256: str


def write_lines(lake: Lake, path: str, chunks: Iterable[Text]) -> Written:
    """Streams chunks of text into one file, compressed if its name ends in ``.gz``."""
    # A gzip header without a name and with time 0: equal lines make equal bytes.
    gzip = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31) if path.endswith(".gz") else None
    sha = hashlib.sha256()
    with lake.filesystem.open_output_stream(lake.path(path), compression=None) as stream:
        for data in chunks:
            packed = gzip.compress(data) if gzip else data
            sha.update(packed)
            stream.write(packed)
        if gzip:
            packed = gzip.flush()
            sha.update(packed)
            stream.write(packed)
    return Written(path, sha.hexdigest())


def write_truth(lake: Lake, path: str, table: pa.Table) -> Written:
    """Writes one Parquet file of the ground truth."""
    sink = pa.BufferOutputStream()
    few = ["kind", "scenario", "copy", "defect", "episode_id", "compromise_id"]
    pq.write_table(table, sink, compression="snappy", use_dictionary=few, write_statistics=False)
    data = sink.getvalue()
    with lake.filesystem.open_output_stream(lake.path(path), compression=None) as stream:
        stream.write(data)
    return Written(path, hashlib.sha256(data).hexdigest())


def truth(seed: int, events: Events, names: Names) -> pa.Table:
    """What the pipeline must not see: one row a landed line, in the lines' order.

    ``kind`` is who paid (legit or fraud), ``arrived_at`` is null where the line arrived
    at once, ``late`` an arrival after the event, ``copy`` how a duplicate came
    (null for the first line), ``defect`` how a malformed line is broken (null for a sound one).
    """
    fraudulent = events.scenario >= 0

    return pa.table(
        {
            "transaction_id": fixed_width(names.transaction),
            "card_id": fixed_width("c", names.card),
            "kind": _names(("legit", "fraud"), fraudulent.astype(np.int8)),
            "is_fraud": fraudulent,
            "scenario": _names([scenario.name for scenario in SCENARIOS], events.scenario),
            "episode_id": _opaque(seed, EPISODE, events.episode, "e"),
            "compromise_id": _opaque(seed, BREACH, events.compromise, "x"),
            "arrived_at": pa.array(events.arrival, pa.timestamp("us", "UTC"), mask=events.arrival == events.time),
            "late": (events.arrival > events.time) & (events.copy == 0),
            "copy": _names(("same_day", "cross_day"), events.copy - np.int8(1)),
            "defect": _names(DEFECTS, events.defect),
        }
    )


def _names(names: Sequence[str], index: np.ndarray) -> pa.Array:
    """Names by index, null where it is negative."""
    codes = pa.array(index, pa.int8(), mask=index < 0)
    return pa.DictionaryArray.from_arrays(codes, pa.array(list(names), pa.string()))


def _opaque(seed: int, what: int, number: np.ndarray, prefix: str) -> pa.Array:
    """Identifiers by number, null where it is negative."""
    known = number >= 0
    distinct, which = np.unique(number[known], return_inverse=True)
    index = np.zeros(len(number), np.int32)
    index[known] = which
    texts = hexadecimal(identifier(seed, what, distinct), prefix)
    return pa.DictionaryArray.from_arrays(pa.array(index, mask=~known), texts.cast(pa.string()))
