"""Bronze: landed lines, parsed, judged, without duplicates, as Parquet; bad ones in quarantine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import duckdb

from tests.bench import lake_data, ours
from tests.bench.comparison import Line
from tests.bench.harness import Case
from tests.bench.side import CommandSide, Work

SIZES = (500_000, 5_000_000, 10_000_000)
QUICK_SIZES = (50_000,)
DAYS, RATE = 30, 0.57
HERE = __name__


def cases(size: int | None, quick: bool) -> list[Case]:
    return [_case(rows) for rows in ((size,) if size else QUICK_SIZES if quick else SIZES)]


def _case(rows: int) -> Case:
    return Case(
        "bronze",
        f"bronze-{rows}",
        f"{rows:,} landed lines",
        rows,
        {
            "job": f"{HERE}:Job",
            "Spark's start": "tests.bench.families.spark_start:Start",
            "DuckDB": f"{HERE}:DuckDb",
            "Polars": f"{HERE}:PolarsPeer",
        },
        (
            Line("job", "DuckDB", "cpu"),
            Line("job", "DuckDB", "cpu", beyond="Spark's start"),
            Line("job", "DuckDB", "wall"),
            Line("job", "Polars", "cpu"),
            Line("job", "Polars", "cpu", beyond="Spark's start"),
            Line("job", "Polars", "wall"),
            Line("job", "DuckDB", "peak_mib"),
            Line("job", "Polars", "peak_mib"),
        ),
        prepare,
        f"About {rows:,} transactions of {DAYS} days as `.jsonl.gz`, with the generator's broken, late and repeated lines. "
        "Every side parses, applies all rules of the contract, sets bad lines aside with a reason, keeps the first line of "
        "each key, and writes typed, sorted Parquet (zstd). The job writes manifests with digests as well.",
        f"landing-{rows}",
    )


def prepare(work: Work) -> None:
    """The generate job's transactions, without its other feeds: then all sides read the same files."""
    if (work.folder / "lake" / ".made").exists():
        return
    cards = max(1, round(work.size / DAYS / RATE))
    end = lake_data.FIRST_DAY + timedelta(days=DAYS)
    command = ours.job("generate", (work.folder / "lake").as_uri(), lake_data.FIRST_DAY, end, "--cards", str(cards))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for feed in ("cards", "merchants", "chargebacks"):
        shutil.rmtree(work.folder / "lake" / "landing" / feed, ignore_errors=True)
        shutil.rmtree(work.folder / "lake" / "_manifests" / "landing" / feed, ignore_errors=True)
    (work.folder / "lake" / ".made").touch()


class _Bronze(CommandSide):
    """Outcome: per day how many lines are good and bad, and sums over the good ones' values."""

    bronze: str
    quarantine: str

    def before(self) -> None:
        shutil.rmtree(self.work.scratch / "out", ignore_errors=True)

    def outcome(self) -> Any:
        db = duckdb.connect()
        db.execute("set timezone = 'UTC'")
        good = db.execute(f"""
            select ingest_date::varchar, count(*), count(distinct transaction_id), sum(hash(transaction_id))::varchar,
              sum(epoch_us(event_time))::varchar, sum(utc_offset_minutes)::bigint, sum(mcc)::bigint, sum(amount_cents)::bigint,
              count_if(card_present), avg(latitude), avg(longitude), count(latitude), count(longitude),
              count_if(status = 'approved'), sum(hash(card_id || account_id || merchant_id || currency || channel || merchant_country))::varchar
            from read_parquet('{self.work.scratch}/{self.bronze}', hive_partitioning = true) group by 1 order by 1""")
        rows: dict[str, Any] = {f"{row[0]} good": list(row[1:]) for row in good.fetchall()}
        bad = db.execute(f"""
            select ingest_date::varchar, count(*), sum(hash(raw_line))::varchar
            from read_parquet('{self.work.scratch}/{self.quarantine}', hive_partitioning = true) group by 1 order by 1""")
        return rows | {f"{row[0]} bad": list(row[1:]) for row in bad.fetchall()}


class Job(_Bronze):
    """``python -m jobs.bronze`` on links to the landed files."""

    bronze, quarantine = "out/bronze/transactions/**/*.parquet", "out/bronze/quarantine/**/*.parquet"

    def before(self) -> None:
        super().before()
        source = self.work.folder / "lake"
        shutil.copytree(source / "_manifests", self.work.scratch / "out" / "_manifests")
        (self.work.scratch / "out" / "landing").symlink_to(source / "landing")

    def command(self) -> Sequence[str]:
        end = lake_data.FIRST_DAY + timedelta(days=DAYS)
        return ours.job("bronze", (self.work.scratch / "out").as_uri(), lake_data.FIRST_DAY, end)


class _Peer(_Bronze):
    module: str
    bronze, quarantine = "out/*/part.parquet", "out/*/quarantine.parquet"

    def command(self) -> Sequence[str]:
        landing = self.work.folder / "lake" / "landing" / "transactions"
        return [sys.executable, "-m", self.module, str(landing), str(self.work.scratch / "out")]


class DuckDb(_Peer):
    module = "tests.bench.peers.bronze_duckdb"


class PolarsPeer(_Peer):
    module = "tests.bench.peers.bronze_polars"
