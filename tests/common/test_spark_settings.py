"""Where Spark runs, and what is said to it beyond the jobs' own settings."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.common.errors import BadData, JobError, Unreachable, WrongCall
from jobs.common.lake import Lake
from jobs.common.settings import Settings, load_settings


def test_further_settings_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_CONF", "spark.executor.memory=1g\n\n  spark.driver.extraJavaOptions=-Da=b -Dc=d\n")
    assert load_settings().spark_settings == {
        "spark.executor.memory": "1g",
        "spark.driver.extraJavaOptions": "-Da=b -Dc=d",
    }


@pytest.mark.parametrize("wrong", ["spark.executor.memory 1g", "executor.memory=1g", "=1g"])
def test_wrong_lines_are_refused_by_name(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("SPARK_CONF", wrong)
    with pytest.raises(WrongCall, match=r"SPARK_CONF must be lines such as spark\.executor\.memory=1g\."):
        load_settings()


def test_executors_elsewhere_do_not_share_a_folder(tmp_path: Path) -> None:
    from jobs.common.spark import spark_context

    settings = Settings(spark_master="k8s://https://kubernetes.default.svc:443")
    lake = Lake.open(tmp_path.as_uri(), settings)
    with pytest.raises(WrongCall, match="do not share a folder of this machine"), spark_context(settings, lake, "x"):
        pass


def test_a_cluster_that_gives_no_executor_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.common import spark

    known = [1, 1, 2]

    def context() -> Any:
        scala = SimpleNamespace(getExecutorMemoryStatus=lambda: SimpleNamespace(size=lambda: known.pop(0)))
        return SimpleNamespace(_jsc=SimpleNamespace(sc=lambda: scala))

    monkeypatch.setattr(spark.time, "sleep", lambda _: None)
    spark._await_executor(context(), "k8s://here")
    known[:] = [1]
    monkeypatch.setattr(spark, "EXECUTOR_SECONDS", -1)
    with pytest.raises(JobError, match="Spark got no executor from k8s://here within"):
        spark._await_executor(context(), "k8s://here")


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            "An error occurred while calling o9.parquet.\n: java.io.IOException: gone\n\tat x",
            "java.io.IOException: gone",
        ),
        ("[X] Job aborted.\n\tat x\nCaused by: a\nCaused by: b\n\t... 4 more", "Caused by: b"),
        ("one line", "one line"),
        (
            "An error occurred while calling o9.collect.\n: org.apache.spark.SparkException: Job aborted\n\tat x\n"
            "Caused by: org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n"
            '  File "a.py", line 1, in b\n    c()\nzlib.error: Error -3\n\n\tat y\n\t... 1 more\n',
            "zlib.error: Error -3",
        ),
        ("", "ValueError"),
    ],
)
def test_the_cause_of_a_failure_is_the_line_that_tells(said: str, cause: str) -> None:
    from jobs.common.spark import _cause

    assert _cause(ValueError(said)) == cause


@pytest.mark.parametrize("kind", [JobError, WrongCall, BadData])
def test_what_a_task_raises_is_what_the_job_ends_with(lake: Lake, kind: type[JobError]) -> None:
    from jobs.common.spark import _of_a_task

    try:
        raise kind("A sentence: with a colon.")
    except JobError:
        trace = traceback.format_exc()
    failure = _of_a_task(f"Job aborted: org.apache.spark.api.python.PythonException: {trace}\n\tat x\n")
    assert type(failure) is kind
    assert str(failure) == "A sentence: with a colon."


@pytest.mark.parametrize("deed", ["raise", "die"])
def test_what_happens_to_a_task_of_spark_is_told(lake: Lake, deed: str) -> None:
    from jobs.common.spark import spark_context

    def task(_: int) -> None:
        if deed == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise WrongCall("No such thing.")

    told = {"raise": "^No such thing.$", "die": "a Python worker was killed, most often for want of memory"}
    with (
        pytest.raises(WrongCall if deed == "raise" else JobError, match=told[deed]),
        spark_context(Settings(spark_master="local[1]"), lake, "x") as spark,
    ):
        spark.parallelize([0], 1).map(task).collect()


def test_errors_come_back_from_another_process() -> None:
    for error in (JobError("a"), Unreachable("a", "b"), WrongCall("a"), BadData("a")):
        back = pickle.loads(pickle.dumps(error))
        assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))
