"""SIGTERM and Ctrl-C while Spark starts and while its tasks work: obeyed at once, in a sentence, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.common.errors import JobError, interrupt_of

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from pyspark import java_gateway
from jobs.common.cli import job_command, main
from jobs.common.spark import spark_context

processes, sent = Path(os.environ["PROCESSES"]), int(os.environ["SENT"])

def popen(*arguments, of_os=java_gateway.Popen, **options):
    process = of_os(*arguments, **options)
    (processes / str(process.pid)).touch()
    if sent:
        os.kill(os.getpid(), sent)
    return process

def work(_):
    (processes / str(os.getpid())).touch()
    time.sleep(250)

@job_command("sleeper")
def command(context):
    lake = context.lake
    with lake.staging() as staging, spark_context(context.settings, lake, "sleeper") as spark:
        lake.make_folder_of(lake.path(f"{staging}/folder/x"))
        if "HANGS" in os.environ:
            os.kill(spark._gateway.proc.pid, signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGTERM)
        spark.parallelize([0, 1], 2).map(lambda n: work(n)).collect()
    return {}

java_gateway.Popen = popen
main(command)
"""
"""A job of two tasks that sleep. Where it is told a signal, it sends it to itself as the JVM starts.

Its JVM and its tasks leave their process ids as names of files.
"""
JVM_AND_TASKS = 3


def begin(tmp_path: Path, sent: int) -> subprocess.Popen[str]:
    (tmp_path / "processes").mkdir()
    environment = {
        **os.environ,
        "PROCESSES": str(tmp_path / "processes"),
        "SENT": str(sent),
        "SPARK_MASTER": "local[2]",
        "LOG_FORMAT": "json",
    }
    days = ["--start", "2026-01-01", "--end", "2026-01-02"]
    command = [sys.executable, "-c", PROGRAM, "--lake", (tmp_path / "lake").as_uri(), *days]
    with (tmp_path / "said").open("w") as said:  # no pipe: who stays behind would hold it open
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=said, stderr=said, text=True, start_new_session=True
        )


def check_its_end(process: subprocess.Popen[str], tmp_path: Path, code: int) -> None:
    found = process.wait(timeout=120)
    said = (tmp_path / "said").read_text()
    assert found == code, said
    word = {143: "Terminated", 130: "Interrupted"}[code]
    assert said.count(f"{word}. Nothing half-done was published; the same call finishes the work.") == 1
    lines = [
        line for line in said.splitlines() if line and not line.startswith(("WARNING: Using", "Setting", "To adj"))
    ]
    assert len(lines) == 1, said
    assert list((tmp_path / "lake").glob("_staging/*")) == []
    until = time.monotonic() + 30
    while left := [pid for pid in pids(tmp_path) if is_alive(pid)]:
        assert time.monotonic() < until, left
        time.sleep(0.05)


def pids(tmp_path: Path) -> list[int]:
    return [int(path.name) for path in (tmp_path / "processes").iterdir()]


def is_alive(pid: int) -> bool:
    """A dead process that nobody has asked about yet is none that is alive."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return state.strip()[:1] not in ("", "Z")


def end_what_is_left(process: subprocess.Popen[str], tmp_path: Path) -> None:
    for pid in filter(is_alive, [process.pid, *pids(tmp_path)]):
        os.kill(pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize(
    ("sent", "to_all", "code"),
    [(signal.SIGTERM, False, 143), (signal.SIGTERM, True, 143), (signal.SIGINT, True, 130)],
    ids=["container stopped", "process group stopped", "Ctrl-C"],
)
def test_while_tasks_work(tmp_path: Path, sent: signal.Signals, to_all: bool, code: int) -> None:
    process = begin(tmp_path, sent=0)
    try:
        while len(pids(tmp_path)) < JVM_AND_TASKS:
            assert process.poll() is None, (tmp_path / "said").read_text()
            time.sleep(0.05)
        if to_all:
            os.killpg(process.pid, sent)
        else:
            process.send_signal(sent)
        check_its_end(process, tmp_path, code)
    finally:
        end_what_is_left(process, tmp_path)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["stopped", "Ctrl-C"])
def test_while_the_jvm_starts(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    process = begin(tmp_path, sent)
    try:
        check_its_end(process, tmp_path, code)
    finally:
        end_what_is_left(process, tmp_path)


def test_a_jvm_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANGS", "1")
    process = begin(tmp_path, sent=0)
    try:
        check_its_end(process, tmp_path, 143)
    finally:
        end_what_is_left(process, tmp_path)


def test_an_error_in_an_interrupts_wake_is_the_interrupt() -> None:
    interrupt = KeyboardInterrupt()
    with pytest.raises(JobError) as caught:  # noqa: PT012
        try:
            raise interrupt
        finally:
            raise JobError("The JVM is gone.")
    assert interrupt_of(caught.value) is interrupt
    assert interrupt_of(JobError("By itself.")) is None
