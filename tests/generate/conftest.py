"""One landed world that all tests of this folder read: four weeks of 12,500 cards, about 200,000 rows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs.common.contract import TRANSACTIONS
from jobs.common.lake import Lake, Manifest, ingest_partition
from jobs.common.settings import Settings
from jobs.generate.job import TRUTH, Task, make_day
from jobs.generate.parameters import Parameters, day_number
from tests.generate.reading import WrongLine, check

START, END = date(2026, 1, 5), date(2026, 2, 2)


@dataclass(frozen=True)
class LandedWorld:
    """A lake with a landed range of days, read back from its files."""

    lake: Lake
    parameters: Parameters
    days: list[date]

    def lines(self, dataset: str) -> Iterator[tuple[date, str]]:
        """Every line with its ingest day, in the order of the files."""
        for day in self.days:
            for file in self.lake.files(f"landing/{dataset}/{ingest_partition(day)}"):
                for line in gzip.decompress(Path(file.path).read_bytes()).decode().splitlines():
                    yield day, line

    def manifests(self, dataset: str = "landing/transactions") -> list[Manifest]:
        found = [self.lake.manifest(dataset, ingest_partition(day)) for day in self.days]
        return [manifest for manifest in found if manifest]

    @cached_property
    def verdicts(self) -> list[tuple[date, dict[str, str | None] | None]]:
        """Of every transactions line, its ingest day and what the contract reads in it: None where it rejects it."""
        verdicts: list[tuple[date, dict[str, str | None] | None]] = []
        for day, line in self.lines("transactions"):
            try:
                verdicts.append((day, check(line, TRANSACTIONS)))
            except WrongLine:
                verdicts.append((day, None))
        return verdicts

    @cached_property
    def sound(self) -> list[tuple[date, dict[str, str | None]]]:
        """The rows that follow the contract, with their ingest days."""
        return [(day, row) for day, row in self.verdicts if row is not None]

    @cached_property
    def truth(self) -> pl.DataFrame:
        """The ground truth, a row a line, in the lines' order."""
        files = [f for day in self.days for f in self.lake.files(f"{TRUTH}/{ingest_partition(day)}")]
        return pl.concat([pl.read_parquet(f.path) for f in files]).with_columns(
            pl.col("scenario", "kind", "copy", "defect").cast(pl.String)
        )

    @cached_property
    def transactions(self) -> pl.DataFrame:
        """The first sound line of every transaction, typed, with its label, by card and time."""
        rows = [row | {"day": day} for day, row in self.sound]
        frame = pl.DataFrame(rows, infer_schema_length=None).unique("transaction_id", keep="first", maintain_order=True)
        labels = self.truth.filter(pl.col("defect").is_null()).unique(
            "transaction_id", keep="first", maintain_order=True
        )
        return (
            frame.with_columns(
                pl.col("amount", "latitude", "longitude").cast(pl.Float64),
                pl.col("mcc").cast(pl.Int64),
                cents=(pl.col("amount").cast(pl.Float64) * 100).round().cast(pl.Int64),
                time=pl.col("event_time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.6f%:z", time_zone="UTC"),
                local=pl.col("event_time").str.slice(0, 19).str.to_datetime("%Y-%m-%dT%H:%M:%S"),
                card_present=pl.col("card_present") == "true",
                declined=pl.col("status") == "declined",
            )
            .join(labels.drop("card_id"), on="transaction_id", how="left")
            .sort("card_id", "time")
        )

    @cached_property
    def legit(self) -> pl.DataFrame:
        return self.transactions.filter(~pl.col("is_fraud"))

    @cached_property
    def cards(self) -> pl.DataFrame:
        rows = [json.loads(line) | {"day": day} for day, line in self.lines("cards")]
        return pl.DataFrame(rows).with_columns(
            pl.col("issued_at", "expires_at", "valid_from").str.to_datetime("%Y-%m-%dT%H:%M:%S%.6fZ", time_zone="UTC")
        )


def land(folder: Path, parameters: Parameters, start: date, end: date, snapshot: date | None = None) -> LandedWorld:
    """Makes a range of days in a lake of its own, in this process."""
    lake = Lake.open(folder.as_uri(), Settings())
    days = [start + timedelta(days=i) for i in range((end - start).days)]
    for day in days:
        make_day(lake, Task(lake.uri, parameters, day_number(end), day, day == snapshot))
    return LandedWorld(lake, parameters, days)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> LandedWorld:
    return land(tmp_path_factory.mktemp("world") / "lake", Parameters(cards=12_500), START, END, snapshot=START)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)
