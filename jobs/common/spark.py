"""The Spark session of the bronze and features jobs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from jobs.common.class_archive import archive_path
from jobs.common.errors import JobError, WrongCall
from jobs.common.java import ensure_java
from jobs.common.lake import Lake
from jobs.common.settings import Settings

# hadoop-aws of the Hadoop that PySpark 4.3 carries. The AWS SDK's bundle is 640 MB; these modules of it are enough.
S3A_PACKAGES = (
    "org.apache.hadoop:hadoop-aws:3.5.0",
    *(
        f"software.amazon.awssdk:{module}:2.35.4"
        for module in ("s3", "sts", "s3-transfer-manager", "apache-client", "netty-nio-client")
    ),
)
FEW_ROWS = 1_000_000
"""Below this the JVM's optimising compiler costs more than it saves."""
EXECUTOR_SECONDS = 300
S3A_EXCLUDES = ("software.amazon.awssdk:bundle",)


@contextmanager
def spark_session(
    settings: Settings,
    lake: Lake,
    app: str,
    *,
    rows: int = 0,
    archive_to: str = "",
    conf: Mapping[str, Any] | None = None,
) -> Iterator[SparkSession]:
    """A session in UTC with small pools, for the given lake; stopped at the end.

    Args:
        rows: how many rows the JVM is about to read, as far as known.
        archive_to: makes the JVM leave an archive of its classes there (see ``class_archive``).
        conf: further Spark settings.

    Raises:
        JobError: the lake's store is gone or full, or Spark failed; the message holds the first line of the cause.
        WrongCall: the lake is a folder, which executors on other machines cannot share.
    """
    of_session = {**(_s3a(settings) if lake.is_s3 else {}), **(conf or {})}
    with spark_context(settings, lake, app, rows=rows, archive_to=archive_to, conf=of_session):
        session = SparkSession.builder.getOrCreate()
        try:
            yield session
        finally:
            with suppress(ConnectionError, Py4JError):
                session.stop()


@contextmanager
def spark_context(
    settings: Settings,
    lake: Lake,
    app: str,
    *,
    rows: int = 0,
    archive_to: str = "",
    conf: Mapping[str, Any] | None = None,
) -> Iterator[SparkContext]:
    """Like ``spark_session``, for tasks in Python alone: without Spark's SQL, which costs a second to load, and without S3A."""
    if not (lake.is_s3 or settings.spark_master.startswith("local")):
        raise WrongCall(
            f"Lake {lake.uri}: Spark's executors at {settings.spark_master} do not share a folder of this machine. "
            "Use a lake on s3://, or SPARK_MASTER=local[2]."
        )
    ensure_java()
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # glibc would keep a heap of its own for each of the JVM's threads
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    own = {**_BASE, **_jvm(settings, rows, archive_to), **(conf or {}), **settings.spark_settings}
    spark_conf = SparkConf().setMaster(settings.spark_master).setAppName(app)
    spark_conf.setAll([(key, str(value)) for key, value in own.items()])
    context = None
    try:
        context = SparkContext.getOrCreate(spark_conf)
        if not settings.spark_master.startswith("local"):
            _await_executor(context, settings.spark_master)
        yield context
    except (PySparkException, Py4JError) as error:
        if failure := lake.failure(str(error)):
            raise failure from error
        structlog.get_logger().error("Spark failed", trace=str(error))
        raise JobError(f"Spark failed: {_cause(error)}") from error
    except ConnectionError as error:  # to the JVM: stores answer with other errors
        raise JobError(
            f"Spark's JVM is gone, most often for want of memory: it had {settings.spark_driver_memory}. "
            "Its last words are above; SPARK_DRIVER_MEMORY gives it more."
        ) from error
    finally:
        if context:
            with suppress(ConnectionError, Py4JError):
                context.stop()


def _await_executor(context: SparkContext, master: str) -> None:
    """Waits for the first executor: Spark would wait for ever, and say nothing.

    Raises:
        JobError: none came.
    """
    known = context._jsc.sc()
    until = time.monotonic() + EXECUTOR_SECONDS
    while known.getExecutorMemoryStatus().size() < 2:  # the driver is one of them
        if time.monotonic() > until:
            raise JobError(
                f"Spark got no executor from {master} within {EXECUTOR_SECONDS // 60} minutes: ask there what they wait for, "
                "such as a free CPU, then run the same call again."
            )
        time.sleep(0.5)


_ROOT = Path(__file__).resolve().parents[2]  # where the workers find the package `jobs`
_LOG4J = Path(__file__).with_name("log4j2.properties").as_uri()
_BASE: dict[str, Any] = {
    "spark.ui.enabled": False,
    "spark.ui.showConsoleProgress": False,
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.ansi.enabled": True,
    "spark.sql.adaptive.enabled": False,  # a partition count that follows the data would move rows between files
    "spark.sql.execution.arrow.pyspark.enabled": True,
    # Rows with lists of hundreds, and lines of 64 KiB, must fit the heap however many cores write at once. Row groups
    # that shrank for want of memory would make other bytes of equal rows.
    "spark.sql.inMemoryColumnarStorage.batchSize": 1000,
    "spark.hadoop.parquet.block.size": 32 << 20,
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    # Staged files are published only after the whole job; the one-copy committer is therefore safe.
    "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": 2,
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": False,
}


def _jvm(settings: Settings, rows: int, archive_to: str) -> dict[str, Any]:
    options = [
        f"-Dlog4j2.configurationFile={_LOG4J}",
        "-Duser.timezone=UTC",
        "-XX:+UseSerialGC",
        "-XX:ReservedCodeCacheSize=96m",
        "-Xlog:disable",
        "-Xlog:all=error:stderr",
        "-Xlog:cds=off:stderr",  # it calls the modules that Spark opens an error; the archive works all the same
    ]
    archive = archive_path()
    if archive_to:
        options.append(f'"-XX:ArchiveClassesAtExit={archive_to}"')  # Spark splits at spaces, but for quotes
    elif archive.exists():
        options.append(f'"-XX:SharedArchiveFile={archive}"')
    if rows < FEW_ROWS:
        options.append("-XX:TieredStopAtLevel=1")
    return {
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.memory.fraction": 0.5,
        "spark.driver.extraJavaOptions": " ".join(options),
        "spark.executor.extraJavaOptions": " ".join(options),  # where there are executors, they have the job's image
    }


def _s3a(settings: Settings) -> dict[str, Any]:
    conf = {
        "spark.hadoop.fs.s3a.endpoint.region": settings.aws_region,
        "spark.hadoop.fs.s3a.path.style.access": settings.s3_path_style,
        "spark.hadoop.fs.s3a.aws.credentials.provider": "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider",
        "spark.hadoop.fs.s3a.connection.establish.timeout": "5s",
        # The SDK tries an operation three times at once, S3A does so six times within some 20 s: the pauses
        # are 0.6 s and twice as long each. A task that gives up tidies up, and so does its job, each as patiently.
        "spark.hadoop.fs.s3a.attempts.maximum": 3,
        "spark.hadoop.fs.s3a.retry.limit": 5,
        "spark.hadoop.fs.s3a.retry.interval": "600ms",
        "spark.hadoop.fs.s3a.retry.throttle.limit": 5,
        "spark.hadoop.fs.s3a.retry.throttle.interval": "600ms",
        "spark.hadoop.fs.s3a.fast.upload.buffer": "disk",
    }
    if settings.aws_endpoint_url:
        secure = urlsplit(settings.aws_endpoint_url).scheme == "https"
        conf |= {
            "spark.hadoop.fs.s3a.endpoint": settings.aws_endpoint_url,
            "spark.hadoop.fs.s3a.connection.ssl.enabled": secure,
        }
    if not _has_s3a_jars():
        conf |= {"spark.jars.packages": ",".join(S3A_PACKAGES), "spark.jars.excludes": ",".join(S3A_EXCLUDES)}
    return conf


def _has_s3a_jars() -> bool:
    """An image carries the jars beside Spark's own; elsewhere Spark fetches them by their Maven coordinates."""
    import pyspark

    return any(Path(pyspark.__file__).parent.glob("jars/hadoop-aws-*.jar"))


def _cause(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("Caused by:")]
    of_java = [
        line.removeprefix(": ") for line in lines if line.startswith(": ")
    ]  # below "An error occurred while calling"
    return [type(error).__name__, *lines[:1], *of_java[:1], *causes][-1][:500]
