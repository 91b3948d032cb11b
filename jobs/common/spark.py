"""Spark as the bronze and features jobs use it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog
from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException

from jobs.common.errors import BadData, JobError, WrongCall
from jobs.common.java import archive_path, ensure_java
from jobs.common.lake import Lake
from jobs.common.settings import Settings

EXECUTOR_SECONDS = 300


@contextmanager
def spark_context(
    settings: Settings,
    lake: Lake,
    app: str,
    *,
    daemon: str = "",
    archive_to: str = "",
    conf: Mapping[str, Any] | None = None,
) -> Iterator[SparkContext]:
    """Spark for tasks in Python, which read and write the lake themselves; stopped at the end.

    Nothing of Spark's SQL is loaded, which would cost a second, and the JVM knows nothing of S3.

    Args:
        daemon: a module that imports what the tasks need and has Python's workers forked from it, as ``pyspark.daemon`` does.
        archive_to: makes the JVM leave an archive of its classes there (see ``class_archive``).
        conf: further Spark settings.

    Raises:
        JobError: what a task raised; the lake's store is gone or full; or Spark failed, with the line that tells the cause.
        WrongCall: the lake is a folder, which executors on other machines cannot share.
    """
    if not (lake.is_s3 or settings.spark_master.startswith("local")):
        raise WrongCall(
            f"Lake {lake.uri}: Spark's executors at {settings.spark_master} do not share a folder of this machine. "
            "Use a lake on s3://, or SPARK_MASTER=local[2]."
        )
    ensure_java()
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # glibc would keep a heap of its own for each of the JVM's threads
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    own = {**_BASE, **_jvm(settings, archive_to), **_daemon(daemon), **(conf or {}), **settings.spark_settings}
    spark_conf = SparkConf().setMaster(settings.spark_master).setAppName(app)
    spark_conf.setAll([(key, str(value)) for key, value in own.items()])
    context = None
    try:
        context = SparkContext.getOrCreate(spark_conf)
        if not settings.spark_master.startswith("local"):
            _await_executor(context, settings.spark_master)
        yield context
    except (PySparkException, Py4JError) as error:
        if failure := lake.failure(str(error)) or _of_a_task(str(error)):
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
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}


def _jvm(settings: Settings, archive_to: str) -> dict[str, Any]:
    options = [
        f"-Dlog4j2.configurationFile={_LOG4J}",
        "-Duser.timezone=UTC",
        "-XX:+UseSerialGC",
        "-XX:ReservedCodeCacheSize=96m",
        "-XX:TieredStopAtLevel=1",  # the rows are Python's: the optimising compiler would cost more than it saves
        "-Xlog:disable",
        "-Xlog:all=error:stderr",
        "-Xlog:cds=off:stderr",  # it calls the modules that Spark opens an error; the archive works all the same
    ]
    archive = archive_path()
    if archive_to:
        options.append(f'"-XX:ArchiveClassesAtExit={archive_to}"')  # Spark splits at spaces, but for quotes
    elif archive.exists():
        options.append(f'"-XX:SharedArchiveFile={archive}"')
    return {
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.memory.fraction": 0.5,
        "spark.driver.extraJavaOptions": " ".join(options),
        "spark.executor.extraJavaOptions": " ".join(options),  # where there are executors, they have the job's image
    }


def _daemon(module: str) -> dict[str, Any]:
    """On Linux: elsewhere a fork of a process that has imported that much is not safe."""
    return {"spark.python.daemon.module": module} if module and sys.platform == "linux" else {}


def _of_a_task(said: str) -> JobError | None:
    """The job's own error that a task ended with."""
    name, _, sentence = _python_cause(said).partition(": ")
    kinds = {f"{kind.__module__}.{kind.__name__}": kind for kind in (JobError, WrongCall, BadData)}
    return kinds[name](sentence) if name in kinds else None


def _cause(error: BaseException) -> str:
    said = str(error)
    if "Python worker exited unexpectedly" in said:
        return (
            "a Python worker was killed, most often for want of memory. Allow the job more, or have fewer workers: "
            "SPARK_MASTER=local[1]."
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("Caused by:")]
    of_java = [
        line.removeprefix(": ") for line in lines if line.startswith(": ")
    ]  # below "An error occurred while calling"
    return (_python_cause(said) or [type(error).__name__, *lines[:1], *of_java[:1], *causes][-1])[:500]


def _python_cause(said: str) -> str:
    """The line of a task's Python trace that names its error; nothing where there is no such trace."""
    _, found, trace = said.rpartition("Traceback (most recent call last):\n")
    of_python = trace.partition("\n\tat ")[0] if found else ""
    return next((line.strip() for line in reversed(of_python.splitlines()) if line[:1].strip()), "")
