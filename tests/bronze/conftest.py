"""Landing folders and calls of the bronze job, in this process: the JVM is started once for all tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jobs.bronze.job import run
from jobs.common.cli import JobContext
from jobs.common.contract import DATASETS, QUARANTINE
from jobs.common.lake import Lake, ingest_partition
from jobs.common.settings import Settings

DAY = date(2026, 1, 5)
GOOD = (
    '{"transaction_id": "%s", "event_time": "2026-01-05T10:00:00.5+01:00", "card_id": "c", "account_id": "a",'
    ' "merchant_id": "m", "mcc": "0742", "amount": "12.34", "currency": "EUR", "channel": "pos",'
    ' "card_present": true, "merchant_country": "DE"}'
)
SETTINGS = Settings(spark_master="local[2]", spark_driver_memory="512m")


def land(lake: Lake, day: date, files: Mapping[str, bytes | str], dataset: str = "transactions") -> None:
    folder = Path(lake.path(f"landing/{dataset}/{ingest_partition(day)}"))
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def good_lines(count: int, prefix: str = "t") -> str:
    return "".join(GOOD % f"{prefix}{i}" + "\n" for i in range(count))


def csv_lines(count: int) -> str:
    """The good lines as CSV, with a header."""
    records = [json.loads(line) for line in good_lines(count).splitlines()]
    texts = [["true" if value is True else value for value in record.values()] for record in records]
    return "".join(",".join(line) + "\n" for line in [list(records[0]), *texts])


def bronze(lake: Lake, days: int = 1, max_bad_share: float = 1.0, force: bool = False) -> Mapping[str, Any]:
    context = JobContext(SETTINGS, lake, DAY, DAY + timedelta(days=days), force)
    return run(context, max_bad_share=max_bad_share)


def rows(lake: Lake, dataset: str, day: date = DAY) -> list[dict[str, Any]]:
    """The published rows of a partition, in the order of their files."""
    manifest = lake.manifest(dataset, ingest_partition(day))
    folder = f"{dataset}/{ingest_partition(day)}"
    assert manifest is not None, f"{folder} is not published"
    assert [f.base_name for f in lake.files(folder)] == manifest.files, "files and manifest differ"
    found = [row for name in manifest.files for row in pq.ParquetFile(lake.path(f"{folder}/{name}")).read().to_pylist()]
    assert len(found) == manifest.rows
    return found


def counts(lake: Lake, dataset: str = "bronze/transactions", day: date = DAY) -> Mapping[str, Any]:
    manifest = lake.manifest(dataset, ingest_partition(day))
    assert manifest is not None
    return manifest.counts


def snapshot(lake: Lake) -> dict[str, bytes]:
    """Every published byte of bronze."""
    return {f.path: Path(f.path).read_bytes() for f in lake.files("bronze")}


def digests(lake: Lake) -> dict[tuple[str, str], str]:
    datasets = [*(d.bronze for d in DATASETS), QUARANTINE]
    manifests = [lake.manifest(d, p) for d in datasets for p in lake.partitions(d)]
    return {(m.dataset, m.partition): m.digest for m in manifests if m is not None}
