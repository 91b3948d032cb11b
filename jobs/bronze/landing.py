"""What lies in the landing folders: which files, what they hold as bytes, how many lines, and whether they can be read."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from jobs.bronze.lines import CHUNK, MAX_LINE, Unreadable, chunks
from jobs.common.contract import DATASETS, FORMATS, LandingDataset
from jobs.common.digest import combine
from jobs.common.lake import Lake, ingest_partition

T = TypeVar("T")
R = TypeVar("R")

UNREADABLE = "unreadable file"
UNKNOWN_ENDING = "unknown ending"


@dataclass(frozen=True)
class LandedFile:
    """A file of one landing partition.

    Attributes:
        path: relative to the lake.
        name: within its partition folder.
        size: bytes, as stored.
        sha256: of the stored bytes.
    """

    path: str
    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Landing:
    """All files that arrived on one day, by dataset name; a dataset without files is left out."""

    day: date
    files: Mapping[str, tuple[LandedFile, ...]]

    def inputs(self, dataset: str) -> str:
        """Fingerprint of the dataset's files: equal for equal names and contents."""
        listing = [[f.name, f.size, f.sha256] for f in self.files[dataset]]
        return hashlib.sha256(json.dumps(listing).encode()).hexdigest()

    @property
    def all_inputs(self) -> str:
        """Fingerprint of the whole day, which its quarantine is made from."""
        return combine((dataset, self.inputs(dataset)) for dataset in self.files)


@dataclass(frozen=True)
class Scan:
    """The first pass over a file: its lines without the header, or why it is set aside (then 0 lines)."""

    lines: int
    problem: str | None = None


def read_landings(lake: Lake, days: Iterable[date]) -> list[Landing]:
    """Lists and fingerprints the landing files of the days.

    Hidden names are left out, and so are empty files with an unknown ending: markers that others put there,
    with nothing in them that could be lost.
    """
    return [_read_landing(lake, day) for day in days]


def scan(lake: Lake, dataset: LandingDataset, file: LandedFile) -> Scan:
    """Reads a file from end to end once: does it decompress, does its header do, how many lines does it have."""
    if not has_known_ending(file.name):
        return Scan(0, _unknown_ending(file.name))
    lines, first_line, last = 0, b"", b""
    try:
        for chunk in chunks(lake, file.path):
            if not lines and len(first_line) <= MAX_LINE:
                first_line += chunk.partition(b"\n")[0]
            lines += chunk.count(b"\n")
            last = chunk
    except Unreadable as error:
        return Scan(0, f"{UNREADABLE}: {error}")
    if last and not last.endswith(b"\n"):
        lines += 1
    if not (lines and is_csv(file.name)):
        return Scan(lines)
    problem = header_problem(dataset, first_line)
    return Scan(0, f"{UNREADABLE}: {problem}") if problem else Scan(lines - 1)


def header_problem(dataset: LandingDataset, line: bytes) -> str | None:
    """Why a CSV header cannot serve; None when it can."""
    try:
        names = header_names(line)
    except (UnicodeDecodeError, csv.Error) as error:
        return f"its header is no CSV ({error})"
    known = [name for name in names if name in {c.name for c in dataset.columns}]
    twice = sorted({name for name in known if known.count(name) > 1})
    if twice:
        return f"its header names {', '.join(twice)} twice"
    missing = [c.name for c in dataset.columns if c.required and c.name not in known]
    return f"its header lacks {', '.join(missing)}" if missing else None


def header_names(line: bytes) -> list[str]:
    """The column names in a CSV file's first line.

    Raises:
        UnicodeDecodeError, csv.Error: the line is no CSV.
    """
    return next(csv.reader([line.decode().removesuffix("\r")], strict=True))


def is_csv(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith(".csv")


def has_known_ending(name: str) -> bool:
    """In capitals or not: other systems write ``DAY.CSV``."""
    return name.lower().endswith(FORMATS)


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Applies the function in a few threads: hashing and decompressing let go of the interpreter's lock."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(function, items))


def _read_landing(lake: Lake, day: date) -> Landing:
    files = {}
    for dataset in DATASETS:
        folder = f"{dataset.landing}/{ingest_partition(day)}"
        found = [
            (lake.relative(info.path), info.size)
            for info in lake.files(folder)
            if info.size or has_known_ending(info.base_name)
        ]
        hashes = in_threads(lambda item: _sha256(lake, item[0]), found)
        if found:
            files[dataset.name] = tuple(
                LandedFile(path, path[len(folder) + 1 :], size, sha256)
                for (path, size), sha256 in zip(found, hashes, strict=True)
            )
    return Landing(day, files)


def _unknown_ending(name: str) -> str:
    ending = re.search(r"(\.[^./]*)?(\.gz)?\Z", name, re.IGNORECASE)
    return f"{UNKNOWN_ENDING}: {(ending and ending[0]) or 'none'}, expected one of {', '.join(FORMATS)}"


def _sha256(lake: Lake, path: str) -> str:
    sha = hashlib.sha256()
    with lake.filesystem.open_input_stream(lake.path(path), compression=None) as stream:
        while chunk := stream.read(CHUNK):
            sha.update(chunk)
    return sha.hexdigest()
