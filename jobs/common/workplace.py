"""Where a task of Spark works: the lake as its own machine reaches it, and the staging folder of the run."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import cache

import pyarrow as pa

from jobs.common.lake import Lake
from jobs.common.settings import Settings


@dataclass(frozen=True)
class Workplace:
    """What a task is sent instead of a lake: no secret is in it."""

    uri: str
    settings: Settings
    staging: str

    @property
    def lake(self) -> Lake:
        return _open(self.uri, self.settings)

    def new_file(self, folder: str, name: str) -> str:
        """A path below the staging folder that no other attempt at the same task writes to; its folder exists."""
        stem, dot, ending = name.partition(".")
        path = f"{self.staging}/{folder}/{stem}-{uuid.uuid4().hex[:8]}{dot}{ending}"
        self.lake.make_folder_of(self.lake.path(path))
        return path


@cache
def _open(uri: str, settings: Settings) -> Lake:
    pa.set_cpu_count(1)  # there is a worker for each core that the job may use
    return Lake.open(uri, settings)
