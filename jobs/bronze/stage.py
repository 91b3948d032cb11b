"""The distributed part: landed files become runs of checked rows, and runs the Parquet files that wait to be published.

Spark hands the tasks to Python workers, here or on other machines, and nothing but tasks and their outcomes passes
through it: rows go through the lake's staging folder, as Arrow streams (the runs), and never through the JVM.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain, groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.bronze.check import Checked, Refused, Tally, accepted_schema, check_file
from jobs.bronze.lines import MAX_LINE
from jobs.bronze.rules import TIME, typed_schema
from jobs.common.contract import LandingDataset
from jobs.common.digest import Digest, hash_values
from jobs.common.lake import Lake, ingest_partition, staged_name
from jobs.common.workplace import Workplace

ROWS_PER_GROUP = 1 << 18
BYTES_PER_GROUP = 16 << 20
ROWS_PER_BATCH, BYTES_PER_BATCH = 1 << 16, 64 << 20
LINES_AT_ONCE = BYTES_PER_BATCH // MAX_LINE
"""Refused lines that are read back at once: they may be long."""
_RUN = pa.ipc.IpcWriteOptions(compression="lz4")


# -- first: files to runs ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """One landed file to check.

    Attributes:
        path: relative to the lake.
        name: within its partition folder.
        number: its place among the files of its dataset and day, by name.
        parts: number of Parquet files that its dataset and day become.
        problem: why the file is set aside whole; None for a readable one.
    """

    day: date
    path: str
    name: str
    number: int
    parts: int
    problem: str | None = None


@dataclass
class CheckedDay:
    """What a task found in the files of one dataset and day: counts, and where the rows are.

    Attributes:
        runs: by part, a file of accepted rows.
        refused: a file of refused rows; None where there is none.
    """

    dataset: LandingDataset
    day: date
    tally: Tally = field(default_factory=Tally)
    runs: dict[int, str] = field(default_factory=dict)
    refused: str | None = None


@dataclass(frozen=True)
class CheckTask:
    """Files of one dataset in the order of their days and names. ``number`` tells the task from others."""

    place: Workplace
    dataset: LandingDataset
    number: int
    sources: Sequence[Source]

    def run(self) -> list[CheckedDay]:
        return [self._check_day(day, list(sources)) for day, sources in groupby(self.sources, lambda s: s.day)]

    def _check_day(self, day: date, sources: Sequence[Source]) -> CheckedDay:
        done = CheckedDay(self.dataset, day)
        folder = f"runs/{self.dataset.name}/{ingest_partition(day)}"
        with ExitStack() as stack:
            accepted = _Runs(self.place, stack, self.dataset, folder, self.number, sources[0].parts)
            refused = _RefusedRun(self.place, stack, folder, self.number)
            for source in sources:
                for checked in _check_source(self.place.lake, self.dataset, source):
                    accepted.add(source, checked.accepted)
                    refused.add(source, self.dataset, checked.refused)
                    done.tally.add(checked.tally)
            accepted.flush()
            refused.flush()
        done.runs, done.refused = accepted.paths, refused.path
        return done


def _check_source(lake: Lake, dataset: LandingDataset, source: Source) -> Iterator[Checked]:
    if source.problem:
        yield Checked([], [Refused(0, source.problem, None)], Tally())
    else:
        yield from check_file(lake, dataset, source.path, source.name)


class _Runs:
    """Accepted rows on their way to files, one a part. Rows of one key meet in one part."""

    def __init__(
        self, place: Workplace, stack: ExitStack, dataset: LandingDataset, folder: str, number: int, parts: int
    ) -> None:
        self.place, self.stack, self.folder, self.number, self.parts = place, stack, folder, number, parts
        self.key = [f.name for f in _key_fields(dataset)]
        self.schema = run_schema(dataset)
        self.pending: list[pa.RecordBatch] = []
        self.writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        self.paths: dict[int, str] = {}

    def add(self, source: Source, batches: Iterable[pa.RecordBatch]) -> None:
        for batch in batches:
            number = pa.repeat(pa.scalar(source.number, pa.int32()), len(batch))
            self.pending.append(pa.record_batch([*batch.columns, number], self.schema))
        if sum(map(len, self.pending)) >= ROWS_PER_BATCH or sum(b.nbytes for b in self.pending) >= BYTES_PER_BATCH:
            self.flush()

    def flush(self) -> None:
        if not self.pending:
            return
        rows = pa.concat_batches(self.pending)
        self.pending = []
        if self.parts == 1:
            self._write(0, rows)
            return
        hashes = np.add.reduce([hash_values(rows.column(name)) for name in self.key])
        part_of = (hashes % np.uint64(self.parts)).astype(np.int32)
        order = np.argsort(part_of, kind="stable")
        ends = np.cumsum(np.bincount(part_of, minlength=self.parts))
        rows = rows.take(pa.array(order))
        for part, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if end > start:
                self._write(part, rows.slice(start, end - start))

    def _write(self, part: int, rows: pa.RecordBatch) -> None:
        if part not in self.writers:
            self.paths[part] = self.place.new_file(self.folder, f"{self.number}-{part}.arrow")
            self.writers[part] = _open_run(self.place.lake, self.stack, self.paths[part], self.schema)
        self.writers[part].write_batch(rows)


class _RefusedRun:
    """Refused rows on their way to a file, in the order in which they stand."""

    def __init__(self, place: Workplace, stack: ExitStack, folder: str, number: int) -> None:
        self.place, self.stack, self.folder, self.number = place, stack, folder, number
        self.pending: list[tuple[str, str, int, str, str | None]] = []
        self.letters = 0
        self.writer: pa.ipc.RecordBatchStreamWriter | None = None
        self.path: str | None = None

    def add(self, source: Source, dataset: LandingDataset, refused: Iterable[Refused]) -> None:
        for r in refused:
            self.pending.append((dataset.name, source.name, r.number, r.reason, r.raw_line))
            self.letters += len(r.raw_line or "")
            if len(self.pending) >= ROWS_PER_BATCH or self.letters >= BYTES_PER_BATCH:
                self.flush()

    def flush(self) -> None:
        if not self.pending:
            return
        if self.writer is None:
            self.path = self.place.new_file(self.folder, f"{self.number}-refused.arrow")
            self.writer = _open_run(self.place.lake, self.stack, self.path, REFUSED)
        columns = [pa.array(c, f.type) for c, f in zip(zip(*self.pending, strict=True), REFUSED, strict=True)]
        self.writer.write_batch(pa.record_batch(columns, REFUSED))
        self.pending, self.letters = [], 0


def _open_run(lake: Lake, stack: ExitStack, path: str, schema: pa.Schema) -> pa.ipc.RecordBatchStreamWriter:
    stream = stack.enter_context(lake.filesystem.open_output_stream(lake.path(path), compression=None))
    return stack.enter_context(pa.ipc.new_stream(stream, schema, options=_RUN))


# -- then: runs to Parquet -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class StagedFile:
    """A Parquet file in the staging area, read back.

    Attributes:
        dates: UTC date of the dataset's time → rows.
        duplicates: accepted rows that it leaves out.
    """

    path: str
    digest: Digest
    dates: Counter[str]
    duplicates: int


@dataclass(frozen=True)
class BronzeTask:
    """Writes accepted rows, the first of each key, as one file.

    Attributes:
        names: of the day's files, by number.
        runs: all that hold rows of the part.
    """

    place: Workplace
    dataset: LandingDataset
    day: date
    part: int
    names: Sequence[str]
    runs: Sequence[str]

    def run(self) -> StagedFile:
        lake = self.place.lake
        rows = pa.Table.from_batches(chain.from_iterable(_read_run(lake, run) for run in self.runs))
        order = _order(rows, self.dataset)
        duplicates = len(rows) - len(order)
        path = self.place.new_file(f"{self.dataset.name}/{ingest_partition(self.day)}", staged_name(self.part))
        columns = dict(zip(rows.column_names, rows.columns, strict=True))
        del rows
        table = self._table(columns, pa.array(order))
        plain = {f.name for f in _key_fields(self.dataset)} | {self.dataset.time, "source_line"}
        pq.write_table(
            table,
            lake.path(path),
            filesystem=lake.filesystem,
            row_group_size=ROWS_PER_GROUP,
            use_dictionary=[name for name in table.column_names if name not in plain],
            **_PARQUET,
        )
        texts = [f.name for f in table.schema if pa.types.is_string(f.type) and f.name not in plain]
        del table
        return _read_back(lake, path, [*texts, "source_file"], self.dataset.time, duplicates)

    def _table(self, columns: dict[str, pa.ChunkedArray], order: pa.Array) -> pa.Table:
        """The rows in order with all bronze columns. Takes the unordered columns away one by one, to save memory."""

        def ordered(name: str) -> pa.Array:
            return columns.pop(name).combine_chunks().take(order)

        table = {name: ordered(name) for name in typed_schema(self.dataset).names}
        table["ingest_time"] = pa.repeat(_ingest_time(self.day), len(order))
        names = pa.array(self.names, pa.string())
        table["source_file"] = pa.DictionaryArray.from_arrays(ordered("source_number"), names)
        table["source_line"] = ordered("source_line")
        return pa.table(table)


@dataclass(frozen=True)
class QuarantineTask:
    """Writes the refused rows of a day as one file.

    Attributes:
        runs: all of the day, in the order of their datasets and sources; so are the rows in each.
    """

    place: Workplace
    day: date
    runs: Sequence[str]

    def run(self) -> StagedFile:
        lake = self.place.lake
        path = self.place.new_file(f"quarantine/{ingest_partition(self.day)}", staged_name(0))
        schema = REFUSED.append(pa.field("ingest_time", TIME))
        with pq.ParquetWriter(lake.path(path), schema, filesystem=lake.filesystem, **_PARQUET) as writer:
            for rows in _groups(chain.from_iterable(_read_run(lake, run) for run in self.runs)):
                writer.write_table(rows.append_column("ingest_time", pa.repeat(_ingest_time(self.day), len(rows))))
        return _read_back(lake, path, [], None, 0, LINES_AT_ONCE)


def run_schema(dataset: LandingDataset) -> pa.Schema:
    return accepted_schema(dataset).append(pa.field("source_number", pa.int32()))


REFUSED = pa.schema(
    {
        "dataset": pa.string(),
        "source_file": pa.string(),
        "source_line": pa.int64(),
        "reason": pa.string(),
        "raw_line": pa.string(),
    }
)
# The schema of Arrow is left out: readers shall see plain Parquet, not how the rows were held here.
_PARQUET = {"compression": "zstd", "store_schema": False}


def _key_fields(dataset: LandingDataset) -> list[pa.Field]:
    return [typed_schema(dataset).field(name) for name in dataset.key]


def _order(rows: pa.Table, dataset: LandingDataset) -> np.ndarray:
    """Positions of the rows to keep, in order: the first of each key, by the dataset's time and then by where they stood."""
    number, line = (rows.column(name).to_numpy() for name in ("source_number", "source_line"))
    stood = np.lexsort((line, number))
    code = np.zeros(len(rows), np.int64)
    for name in dataset.key:
        coded = rows.column(name).combine_chunks().dictionary_encode()
        code = code * len(coded.dictionary) + coded.indices.to_numpy()
    kept = stood[_is_first(code[stood])]
    if dataset.time:
        time = rows.column(dataset.time).combine_chunks().cast(pa.int64()).to_numpy()
        return kept[np.argsort(time[kept], kind="stable")]
    keys = rows.select(dataset.key).take(pa.array(kept))
    return kept[pc.sort_indices(keys, [(name, "ascending") for name in dataset.key]).to_numpy()]


def _is_first(code: np.ndarray) -> np.ndarray:
    """Which positions hold a value that no earlier one holds."""
    seen = pa.array(code).dictionary_encode().indices.to_numpy()  # numbered as they appear
    before = np.maximum.accumulate(np.concatenate([[-1], seen[:-1]]))
    return seen > before


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Joins batches to row groups of a fair size."""
    pending: list[pa.RecordBatch] = []
    for batch in batches:
        pending.append(batch)
        if sum(b.nbytes for b in pending) >= BYTES_PER_GROUP:
            yield pa.Table.from_batches(pending)
            pending = []
    if pending:
        yield pa.Table.from_batches(pending)


def _read_run(lake: Lake, path: str) -> Iterator[pa.RecordBatch]:
    with lake.filesystem.open_input_stream(lake.path(path), compression=None) as stream:
        yield from pa.ipc.open_stream(stream)


def _read_back(
    lake: Lake, path: str, texts: list[str], time: str | None, duplicates: int, at_once: int = ROWS_PER_GROUP
) -> StagedFile:
    """Reads a written file as a reader will.

    Args:
        texts: columns of few values, which stay dictionary-encoded: equal ones are hashed once.
    """
    digest, dates = Digest(), Counter[str]()
    with pq.ParquetFile(lake.path(path), filesystem=lake.filesystem, read_dictionary=texts) as parquet:
        for batch in parquet.iter_batches(batch_size=at_once):
            digest.update(batch)
            if time:
                for found in pc.value_counts(batch.column(time).cast(pa.date32())).to_pylist():
                    dates[found["values"].isoformat()] += found["counts"]
    return StagedFile(path, digest, dates, duplicates)


def _ingest_time(day: date) -> pa.Scalar:
    """The UTC midnight that ends the ingest day: by then the line was known, whenever the job ran."""
    return pa.scalar(datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1), TIME)
