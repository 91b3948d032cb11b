"""Features: bronze to all six products with all columns, of sparse and of dense cards, and one more day."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb

from jobs.common.products import PRODUCTS, Product
from tests.bench import lake_data, ours
from tests.bench.comparison import Line
from tests.bench.families import spark_start
from tests.bench.harness import Case
from tests.bench.side import CommandSide, Work

SIZES = (500_000, 5_000_000, 10_000_000)
QUICK_SIZE = 50_000
DAYS = 90
PER_CARD = {"sparse": 50, "dense": 10_000}
MOST_FOR_DUCKDB = 500_000
"""Of a million rows DuckDB's windows held 10 GiB, and were not done after 140 s of CPU."""
UNCOMPARED = "What it made is compared with nothing here: a test holds that day by day comes to the same as one run."
HERE, START = __name__, "Spark's start"


def cases(size: int | None, quick: bool) -> list[Case]:
    if quick:
        return [_case(size or QUICK_SIZE, "sparse")]
    made = []
    for rows in (size,) if size else SIZES:
        made += [_case(rows, density) for density in PER_CARD]
        made.append(_one_day(rows))
    return made


def _case(rows: int, density: str) -> Case:
    sides = {"job": "Job", "Polars": "PolarsPeer"} | ({"DuckDB": "DuckDb"} if rows <= MOST_FOR_DUCKDB else {})
    lines = []
    for peer in list(sides)[1:]:
        target = 1 / 1.5 if peer == "DuckDB" and rows == MOST_FOR_DUCKDB else None
        lines += [
            Line("job", peer, "cpu"),
            Line("job", peer, "cpu", beyond=START, target=target),
            Line("job", peer, "wall"),
            Line("job", peer, "peak_mib"),
        ]
    if density == "dense":
        lines.append(Line("job", "job", "cpu", target=1 / 1.5, case_of_peer=_name(rows, "sparse")))
    return Case(
        "features",
        _name(rows, density),
        f"{rows:,} transactions, {density} cards",
        rows,
        {name: f"{HERE}:{place}" for name, place in sides.items()} | {START: f"{spark_start.__name__}:Start"},
        tuple(lines),
        prepare,
        f"{rows:,} transactions of {DAYS} days on cards with about {min(PER_CARD[density], rows):,} each; all six products of "
        f"all {DAYS} event dates, all columns.",
        f"bronze-{rows}-{density}",
        options={"per_card": PER_CARD[density], "days": DAYS},
    )


def _name(rows: int, density: str) -> str:
    return f"features-{rows}-{density}"


def _one_day(rows: int) -> Case:
    return Case(
        "features",
        f"features-{rows}-day",
        f"One more day on {rows:,} transactions",
        rows,
        {"one day": f"{HERE}:OneDay", START: f"{spark_start.__name__}:Start"},
        (
            Line(
                "one day",
                "job",
                "cpu",
                beyond=START,
                peer_beyond=START,
                target=1 / 0.15,
                case_of_peer=_name(rows, "sparse"),
            ),
        ),
        prepare,
        f"The same sparse cards, of which {DAYS - 1} days are done; the run adds the last. Compared with the whole run above, "
        f"Spark's start taken off both. {UNCOMPARED}",
        f"bronze-{rows}-sparse",
        options={"per_card": PER_CARD["sparse"], "days": DAYS},
    )


def prepare(work: Work) -> None:
    cards = max(2, work.size // work.options["per_card"])
    lake_data.write_bronze(work.folder, work.size, cards, work.options["days"])


class _Features(CommandSide):
    """Outcome: rows of each product, and of each column the values that are there and their mean."""

    silver = "out"

    def before(self) -> None:
        shutil.rmtree(self.work.scratch / "out", ignore_errors=True)
        shutil.rmtree(self.work.scratch / "out.tmp", ignore_errors=True)

    def outcome(self) -> Any:
        return {product.name: summary(self.work.scratch / self.silver / product.name, product) for product in PRODUCTS}


class Job(_Features):
    """``python -m jobs.features`` on a link to bronze."""

    silver = "out/silver/features"
    first = lake_data.FIRST_DAY

    def before(self) -> None:
        super().before()
        _link_bronze(self.work.folder / "lake", self.work.scratch / "out")

    def command(self) -> Sequence[str]:
        end = lake_data.FIRST_DAY + timedelta(days=self.work.options["days"])
        return ours.job("features", (self.work.scratch / "out").as_uri(), self.first, end)


class OneDay(Job):
    """The last day, on a lake where the others are done: each run begins with a copy of it.

    Its rows are compared by tests/features/test_job.py, which holds that day by day equals one range.
    """

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self.first = lake_data.FIRST_DAY + timedelta(days=work.options["days"] - 1)
        self.done = work.folder / "all-but-one-day"
        if self.done.exists():
            return
        partial = self.done.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        _link_bronze(work.folder / "lake", partial)
        command = ours.job("features", partial.as_uri(), lake_data.FIRST_DAY, self.first)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        partial.rename(self.done)

    def before(self) -> None:
        _Features.before(self)
        # The lake moves new files into place and never writes into one, so a link to each is as good as a copy.
        shutil.copytree(self.done, self.work.scratch / "out", symlinks=True, copy_function=os.link)

    def outcome(self) -> Any:
        return None


class _Peer(_Features):
    module: str

    def command(self) -> Sequence[str]:
        bronze, out = self.work.folder / "lake" / "bronze", self.work.scratch / "out"
        days = (lake_data.FIRST_DAY.isoformat(), str(self.work.options["days"]))
        return [sys.executable, "-m", self.module, str(bronze), str(out), *days]


class DuckDb(_Peer):
    module = "tests.bench.peers.features_duckdb"


class PolarsPeer(_Peer):
    module = "tests.bench.peers.features_polars"


def _link_bronze(lake: Path, out: Path) -> None:
    shutil.copytree(lake / "_manifests", out / "_manifests")
    (out / "bronze").symlink_to(lake / "bronze")


def summary(folder: Path, product: Product) -> dict[str, Any]:
    """Rows, and column → how many values are there and their mean; of lists the elements, of texts their hashes."""
    db = duckdb.connect()
    db.execute("set timezone = 'UTC'")
    known = {"rows": "[count(*)]", product.key: f"[count(distinct ({product.key}, event_timestamp))]"}
    for feature in product.features:
        kind, name = str(feature.type), feature.name
        if kind.startswith("list"):
            known[name] = f"[sum(len({name}))::varchar, sum(hash({name}::varchar))::varchar]"
        elif kind == "string":
            known[name] = f"[count({name})::varchar, sum(hash({name}))::varchar]"
        else:
            known[name] = f"[avg({name}::double)]"
            known[f"{name}, values"] = f"[count({name})]"
    columns = ", ".join(known.values())
    files = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
    row = db.execute(f"select {columns} from {files}").fetchone()
    assert row
    return dict(zip(known, row, strict=True))
