"""Spark as the bronze and features jobs use it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer, current_thread, main_thread
from typing import Any

import structlog
from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException

from jobs.common.errors import BadData, JobError, WrongCall, interrupt_of
from jobs.common.java import archive_path, ensure_java
from jobs.common.lake import Lake
from jobs.common.settings import Settings

EXECUTOR_SECONDS = 300
STOP_SECONDS = 5
"""How long an interrupted job lets Spark tidy up, such as its executors: a stopped container has ten seconds, or thirty."""


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
    _silence_py4j()
    try:
        with _held_back():
            context = SparkContext.getOrCreate(spark_conf)
        with _stopped_at_the_end(context):
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


@contextmanager
def _held_back() -> Iterator[None]:
    """Lets SIGTERM and Ctrl-C wait for the end of this, and leaves SIGINT as it was.

    A JVM that has nobody to tell its address to would stay for ever. And Spark has a handler of its own for SIGINT, which
    talks to the JVM in the middle of another talk.
    """
    if current_thread() is not main_thread():
        yield
        return
    came: list[int] = []
    known = {n: signal.signal(n, lambda number, _: came.append(number)) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in known.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


@contextmanager
def _stopped_at_the_end(context: SparkContext) -> Iterator[None]:
    """Stops Spark, with a JVM that is killed if it does not tidy up within STOP_SECONDS of an interrupt."""
    killing = Timer(STOP_SECONDS, context._gateway.proc.kill)  # type: ignore[union-attr]
    killing.daemon = True  # who interrupts again waits for nothing
    try:
        yield
    except BaseException as error:
        if interrupt := interrupt_of(error):  # what failed after it did so for want of a JVM that got the signal, too
            killing.start()
            with suppress(ConnectionError, Py4JError):
                context.setLogLevel("OFF")  # of tasks that are cut short
            raise interrupt from None
        raise
    finally:
        with suppress(ConnectionError, Py4JError), warnings.catch_warnings(action="ignore"):
            context.stop()
        killing.cancel()


def _silence_py4j() -> None:
    """It logs traces of what it raises as well, some of them as the root logger."""
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    logging.getLogger().addFilter(_is_not_of_py4j)


def _is_not_of_py4j(record: logging.LogRecord) -> bool:
    return record.module != "java_gateway"


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
