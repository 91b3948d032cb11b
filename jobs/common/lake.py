"""The lake: folders of plain files under one URI, on a disk or in S3, and their manifests.

A partition is published whole or not at all. Its manifest is taken away first and written last, so a
partition without a manifest is one whose publication was cut short, and readers treat it as missing.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import structlog
from pyarrow import fs as pafs

from jobs.common.errors import JobError, WrongCall
from jobs.common.s3 import DISK_FULL, check_bucket, s3_failure, s3_filesystem, s3_service
from jobs.common.settings import Settings

MANIFESTS = "_manifests"
STAGING = "_staging"
STAGING_LIFE = timedelta(days=1)
_STAMP = "%Y%m%dT%H%M%S"
_HIDDEN = re.compile(r"/[_.]")

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Manifest:
    """What is known of one published partition."""

    dataset: str
    partition: str
    job: str
    code_version: str
    inputs: str
    """Fingerprint of everything the partition was made from; equal inputs make equal partitions."""
    digest: str
    """SHA-256 of the content, whatever the order of rows and files (see ``digest.py``)."""
    rows: int
    counts: Mapping[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    seconds: float = 0.0
    published_at: str = ""

    def to_json(self) -> bytes:
        return (json.dumps(asdict(self), indent=1, sort_keys=True, default=str) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        return cls(**json.loads(data))


@dataclass(frozen=True)
class Staged:
    """A file that waits in the staging area, and the name it gets when its partition is published."""

    path: str
    name: str


def staged_name(number: int) -> str:
    """The name of a partition's Parquet file."""
    return f"part-{number:05d}.zstd.parquet"


@dataclass(frozen=True)
class Lake:
    """A lake URI opened for reading and writing. All paths are relative to it, with forward slashes."""

    uri: str
    filesystem: pafs.FileSystem
    root: str
    service: str = ""
    """Which S3 holds it, for a message; nothing for a folder."""
    hasty: pafs.FileSystem | None = None
    """The same S3 without patience, for what need not succeed."""

    @classmethod
    def open(cls, uri: str, settings: Settings) -> Lake:
        """Opens a lake; waits for a store that does not answer yet.

        Raises:
            WrongCall: the scheme is unknown, the store refuses the login, or there is no such bucket.
            Unreachable: the store does not answer.
        """
        parts = urlsplit(uri)
        if set("#?") & set(uri):
            # S3's tools take a prefix as it is written, so %23 would be another one.
            remedy = "a prefix in S3 cannot hold them here" if parts.scheme == "s3" else "write %23 and %3F"
            raise WrongCall(f"Lake {uri}: # and ? end a URI's path, {remedy}.")
        if parts.scheme == "file":
            if parts.netloc not in ("", "localhost"):
                raise WrongCall(f"Lake {uri}: a file URI has three slashes, file:///folder.")
            path = unquote(parts.path)
            if re.match(r"^/[A-Za-z]:/", path):  # file:///C:/lake
                path = path[1:]
            return cls(uri.rstrip("/"), pafs.LocalFileSystem(), path.rstrip("/"))
        if parts.scheme == "s3":
            if not parts.netloc:
                raise WrongCall(f"Lake {uri}: name a bucket, s3://bucket[/prefix].")
            hasty = s3_filesystem(settings, patient=False)
            check_bucket(hasty, s3_service(settings), parts.netloc)
            root = (parts.netloc + parts.path).rstrip("/")
            return cls(uri.rstrip("/"), s3_filesystem(settings), root, s3_service(settings), hasty)
        raise WrongCall(
            f"Lake {uri}: unknown scheme {parts.scheme + '://' if parts.scheme else '(none)'}, use file:///folder or s3://bucket[/prefix]."
        )

    @property
    def is_s3(self) -> bool:
        return self.uri.startswith("s3://")

    def path(self, relative: str) -> str:
        """The path as pyarrow's filesystem wants it."""
        return f"{self.root}/{relative}"

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns a failure of the lake's store into a sentence, where one is known.

        Raises:
            JobError: see ``failure``.
        """
        try:
            yield
        except JobError:
            raise
        except Exception as error:  # pyarrow's OSError, or what DuckDB makes of it
            if failure := self.failure(str(error)):
                raise failure from error
            raise

    def failure(self, said: str) -> JobError | None:
        """The error that a library's words about the lake amount to; None where they are about something else."""
        if self.is_s3:
            return s3_failure(self.service, said)
        if re.search(DISK_FULL, said):
            return JobError(
                f"The disk of the lake {self.uri} is full. Free space there, then run the same call again; nothing half-written counts."
            )
        return None

    def in_threads(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Applies a function that calls the store to each of the items: S3 takes its time for an answer, a disk does not.

        The first error ends it; what has not begun by then does not begin.
        """
        with ThreadPoolExecutor(16 if self.is_s3 else 1) as pool:
            return list(pool.map(function, items))

    # -- files ---------------------------------------------------------------------------------------------

    def files(self, folder: str) -> list[pafs.FileInfo]:
        """Files below the folder, by path; none when it does not exist.

        Files and folders in it whose names start with ``_`` or ``.`` are hidden: others write there what is not finished.
        """
        selector = pafs.FileSelector(self.path(folder), recursive=True, allow_not_found=True)
        found = [
            f
            for f in self.filesystem.get_file_info(selector)
            if f.type == pafs.FileType.File and not _HIDDEN.search(f.path, len(selector.base_dir))
        ]
        return sorted(found, key=lambda f: f.path)

    def relative(self, path: str) -> str:
        """The inverse of ``path``."""
        return path[len(self.root) + 1 :]

    def read_bytes(self, relative: str) -> bytes:
        with self.filesystem.open_input_stream(self.path(relative), compression=None) as stream:
            return stream.read()

    def write_bytes(self, relative: str, data: bytes) -> None:
        """Writes a small file in one piece: a reader sees the old content or the new, never half of it."""
        target = self.path(relative)
        if self.is_s3:  # an object appears when its upload ends
            with self.filesystem.open_output_stream(target, compression=None) as stream:
                stream.write(data)
            return
        self.make_folder_of(target)
        temporary = f"{target}.{uuid.uuid4().hex}.tmp"
        with self.filesystem.open_output_stream(temporary, compression=None) as stream:
            stream.write(data)
        self.filesystem.move(temporary, target)

    def make_folder_of(self, path: str) -> None:
        """Makes the parent folder of a path, where the store has folders at all."""
        if not self.is_s3:
            self.filesystem.create_dir(path.rsplit("/", 1)[0], recursive=True)

    @contextmanager
    def staging(self) -> Iterator[str]:
        """A folder of one's own below the lake, gone at the end whatever happens in between.

        Folders that killed jobs left behind go when they are older than any job may run.
        """
        self._sweep_staging()
        folder = f"{STAGING}/{datetime.now(UTC):{_STAMP}}-{uuid.uuid4().hex[:8]}"
        try:
            self.make_folder_of(self.path(f"{folder}/x"))
            yield folder
            self._delete_folder(folder)
        except BaseException:  # a signal may come while the folder is made or deleted, too
            # What a store that is gone keeps goes with a later sweep; the first error tells more than a second one.
            with suppress(OSError):
                replace(self, filesystem=self.hasty or self.filesystem)._delete_folder(folder)
            raise

    def _sweep_staging(self) -> None:
        selector = pafs.FileSelector(self.path(STAGING), recursive=False, allow_not_found=True)
        oldest = f"{datetime.now(UTC) - STAGING_LIFE:{_STAMP}}"
        for folder in self.filesystem.get_file_info(selector):
            if folder.base_name < oldest:
                try:
                    self._delete_folder(self.relative(folder.path))
                except OSError as error:  # another job is at it, or it is another user's
                    structlog.get_logger().warning(
                        "cannot take away what a killed job left", path=folder.path, error=str(error)
                    )

    def _delete_folder(self, folder: str) -> None:
        if self.filesystem.get_file_info(self.path(folder)).type != pafs.FileType.NotFound:
            self.filesystem.delete_dir(self.path(folder))

    # -- partitions ----------------------------------------------------------------------------------------

    def manifest(self, dataset: str, partition: str) -> Manifest | None:
        """The partition's manifest; None when the partition was never published whole.

        One that cannot be read counts as none, so that the next run makes the partition again.
        """
        path = manifest_path(dataset, partition)
        try:
            return Manifest.from_json(self.read_bytes(path))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            structlog.get_logger().warning(
                "manifest cannot be read, its partition counts as missing", path=path, error=str(error)
            )
            return None

    def manifests(self, dataset: str, partitions: Iterable[str] | None = None) -> dict[str, Manifest]:
        """Manifests by partition: of the named partitions that are published, or of all."""
        names = self.partitions(dataset) if partitions is None else list(partitions)
        found = zip(names, self.in_threads(lambda name: self.manifest(dataset, name), names), strict=True)
        return {name: manifest for name, manifest in found if manifest is not None}

    def partitions(self, dataset: str) -> list[str]:
        """Names of the published partitions, in order."""
        folder = f"{MANIFESTS}/{dataset}"
        selector = pafs.FileSelector(self.path(folder), recursive=False, allow_not_found=True)
        return sorted(
            f.base_name.removesuffix(".json")
            for f in self.filesystem.get_file_info(selector)
            if f.base_name.endswith(".json")
        )

    def publish(self, manifest: Manifest, staged: list[Staged]) -> None:
        """Puts staged files in their partition's place, takes the old ones away and writes the manifest.

        Killed in the middle, it leaves a partition without a manifest, which the next run makes again.
        """
        folder = f"{manifest.dataset}/{manifest.partition}"
        self.retract(manifest.dataset, manifest.partition)
        self.in_threads(lambda file: self._move(file.path, f"{folder}/{file.name}"), staged)
        kept = {file.name for file in staged}
        for old in self.files(folder):
            if old.base_name not in kept:
                self.filesystem.delete_file(old.path)
        self.write_manifest(replace(manifest, files=sorted(kept)))

    def _move(self, path: str, to: str) -> None:
        self.make_folder_of(self.path(to))
        self.filesystem.move(self.path(path), self.path(to))  # in S3 a copy and a deletion

    def write_manifest(self, manifest: Manifest) -> None:
        """Writes a manifest with the time of now: the end of a publication, or a record of work that leaves no files."""
        stamped = replace(manifest, published_at=datetime.now(UTC).isoformat(timespec="seconds"))
        self.write_bytes(manifest_path(manifest.dataset, manifest.partition), stamped.to_json())

    def retract(self, dataset: str, partition: str) -> None:
        """Takes the manifest away: from now on the partition counts as missing."""
        path = self.path(manifest_path(dataset, partition))
        if self.filesystem.get_file_info(path).type != pafs.FileType.NotFound:
            self.filesystem.delete_file(path)


def manifest_path(dataset: str, partition: str) -> str:
    return f"{MANIFESTS}/{dataset}/{partition}.json"


def ingest_partition(day: date) -> str:
    return f"ingest_date={day.isoformat()}"


def event_partition(day: date) -> str:
    return f"event_date={day.isoformat()}"


def partition_day(partition: str) -> date:
    """The day of ``ingest_date=2026-01-31`` or ``event_date=2026-01-31``."""
    return date.fromisoformat(partition.rsplit("=", 1)[1])


def require(manifest: Manifest | None, what: str, remedy: str) -> Manifest:
    """The manifest, or the sentence that says which partition is missing and what makes it.

    Raises:
        WrongCall: the manifest is None.
    """
    if manifest is None:
        raise WrongCall(f"Missing partition {what}: {remedy}.")
    return manifest
