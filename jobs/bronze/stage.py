"""The Spark part: landed files become checked lines, and these the Parquet files that wait to be published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Observation, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from jobs.bronze.parse import Source, parse_sources, text_schema
from jobs.bronze.rules import first_fault, typed_columns
from jobs.common.contract import LandingDataset
from jobs.common.lake import Lake
from jobs.common.settings import Settings

SPARK_CONF = {
    "spark.sql.shuffle.partitions": 2,  # of the tallies, a few rows a day; the written rows have their own number
    # The rules make one long method, which the JVM would never compile; above this size Spark splits it.
    "spark.sql.codegen.hugeMethodLimit": 8000,
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
}


@dataclass
class Tally:
    """What the lines of one dataset and day came to, before duplicates are found.

    Attributes:
        accepted: lines that keep every rule.
        reasons: broken rule → lines.
        unknown_columns: name → lines that have it.
    """

    accepted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    unknown_columns: Counter[str] = field(default_factory=Counter)

    @property
    def quarantined(self) -> int:
        return self.reasons.total()

    @property
    def lines(self) -> int:
        return self.accepted + self.quarantined


def check_lines(
    spark: SparkSession, lake: Lake, settings: Settings, dataset: LandingDataset, tasks: Sequence[Sequence[Source]]
) -> DataFrame:
    """Every line of the sources once, parsed and judged, kept on disk so that no line is parsed twice.

    Columns: where the line stands, ``fault`` (null for a good line), names of unknown columns, and
    the typed bronze columns.
    """
    schema = text_schema(dataset)
    uri = lake.uri

    def parse(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for task in batch.column("id").to_pylist():
                yield from parse_sources(uri, settings, dataset, tasks[task])

    parsed = spark.range(0, len(tasks), 1, len(tasks)).mapInArrow(parse, from_arrow_schema(schema))
    return parsed.select(
        "ingest_date",
        "parts",
        "source_file",
        "source_line",
        first_fault(dataset).alias("fault"),
        "unknown",
        _ingest_time().alias("ingest_time"),
        *typed_columns(dataset),
    ).persist(StorageLevel.DISK_ONLY)


def tally_lines(checked: DataFrame) -> dict[date, Tally]:
    """Counts the checked lines by day. Files that are set aside whole are no lines."""
    tallies: dict[date, Tally] = {}
    rule = F.col("fault.rule")
    has_unknown = F.col("unknown").isNotNull()
    counted = (
        checked.where(F.col("source_line") > 0)
        .groupBy("ingest_date", rule.alias("rule"))
        .agg(F.count("*").alias("lines"), F.count_if(has_unknown).alias("with_unknown"))
    )
    any_unknown = False
    for row in counted.collect():
        tally = tallies.setdefault(row.ingest_date, Tally())
        any_unknown |= row.with_unknown > 0
        if row.rule is None:
            tally.accepted = row.lines
        else:
            tally.reasons[row.rule] = row.lines
    if any_unknown:
        names = checked.select("ingest_date", F.explode("unknown").alias("name"))
        for row in names.groupBy("ingest_date", "name").count().collect():
            tallies[row.ingest_date].unknown_columns[row.name] = row["count"]
    return tallies


def write_valid(checked: DataFrame, dataset: LandingDataset, url: str, shuffles: int) -> int:
    """Writes accepted lines, the first of each key, to ``url/ingest_date=D/part=N/``, one file a folder.

    Returns:
        The lines that were left out as duplicates.
    """
    part = F.pmod(F.xxhash64(*dataset.key), F.col("parts")).cast("int").alias("part")
    of_one_key = Window.partitionBy("ingest_date", "part", *dataset.key).orderBy("source_file", "source_line")
    is_first = F.col("rank") == 1
    seen = Observation()
    columns = [c for c in checked.columns if c not in _CHECK_COLUMNS]
    order = [dataset.time] if dataset.time else list(dataset.key)
    (
        checked.where(F.col("fault").isNull())
        .select(*columns, "source_file", "source_line", "ingest_date", part)
        # One shuffle serves both: rows of one key meet, and rows of one output file meet.
        .repartition(shuffles, "ingest_date", "part")
        .withColumn("rank", F.row_number().over(of_one_key))
        .observe(seen, F.count_if(~is_first).alias("duplicates"))
        .where(is_first)
        .select(*_bronze_columns(dataset, columns), "ingest_date", "part")
        .sortWithinPartitions("ingest_date", "part", *order, "source_file", "source_line")
        .write.partitionBy("ingest_date", "part")
        .parquet(url)
    )
    return int(seen.get["duplicates"])


def write_quarantine(checked: Sequence[tuple[LandingDataset, DataFrame]], url: str) -> None:
    """Writes the bad lines of all datasets to ``url/ingest_date=D/``, one file a folder."""
    bad = [
        frame.where(F.col("fault").isNotNull()).select(
            F.lit(dataset.name).alias("dataset"),
            "source_file",
            "source_line",
            F.col("fault.reason").alias("reason"),
            "fault.raw_line",
            "ingest_time",
            "ingest_date",
        )
        for dataset, frame in checked
    ]
    union = bad[0]
    for frame in bad[1:]:
        union = union.unionAll(frame)
    (
        union.repartition(1)
        .sortWithinPartitions("ingest_date", "dataset", "source_file", "source_line")
        .write.partitionBy("ingest_date")
        .parquet(url)
    )


_CHECK_COLUMNS = {"ingest_date", "parts", "source_file", "source_line", "fault", "unknown"}


def _bronze_columns(dataset: LandingDataset, columns: Sequence[str]) -> list[str]:
    return [c for c in columns if c != "ingest_time"] + ["ingest_time", "source_file", "source_line"]


def _ingest_time() -> SparkColumn:
    """The UTC midnight that ends the ingest day: by then the line was known, whenever the job ran."""
    return F.date_add("ingest_date", 1).cast("timestamp")
