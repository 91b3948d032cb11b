"""The process launcher with real child processes: streaming, every way to end, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SPAWNS_A_GRANDCHILD = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); "


@pytest.fixture
def operator(tmp_path: Path) -> Callable[[str], Any]:
    """An operator whose job is the given Python source; its lines are in ``operator.lines``."""
    from launchers.process import ProcessJobOperator
    from launchers.settings import LauncherSettings

    def make(source: str) -> Any:
        (tmp_path / "jobs").mkdir()
        (tmp_path / "jobs" / "__init__.py").touch()
        (tmp_path / "jobs" / "bronze.py").write_text(source)
        settings = LauncherSettings(jobs_home=tmp_path)
        made = ProcessJobOperator(task_id="bronze", job="bronze", arguments=["--start", "x"], settings=settings)
        made.lines = []
        made.on_line = made.lines.append
        return made

    return make


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def executing(task: Any) -> threading.Thread:
    """Executes a task in the background; it will be killed, so how it fails does not matter."""

    def execute() -> None:
        with contextlib.suppress(Exception):
            task.execute({})

    thread = threading.Thread(target=execute, daemon=True)
    thread.start()
    return thread


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            return False
        return True


def test_job_gets_its_arguments_and_its_lines_come_from_both_streams(operator: Callable[[str], Any]) -> None:
    task = operator("import sys; print(sys.argv[1:]); print('err', file=sys.stderr)")
    task.execute({})
    assert task.lines == ["['--start', 'x']", "err"]


def test_lines_come_while_the_job_still_runs(operator: Callable[[str], Any]) -> None:
    task = operator("import time; print('first'); time.sleep(60)")
    thread = executing(task)
    try:
        assert wait_until(lambda: task.lines == ["first"]), "the line must not wait for the job's end"
        assert thread.is_alive()
    finally:
        task.on_kill()
        thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("source", "code", "kind", "sentence"),
    [
        ("exit(1)", 1, "JobFailed", "exit code 1: failed, see its last error above"),
        ("exit(2)", 2, "JobRefused", "exit code 2: wrong call or settings"),
        ("exit(3)", 3, "JobRefused", "exit code 3: more bad data than the run allows"),
        (
            "import os; os.kill(os.getpid(), 9)",
            -9,
            "JobFailed",
            r"exit code -9: killed by SIGKILL \(often out of memory\)",
        ),
        ("exit(77)", 77, "JobFailed", "exit code 77: unknown"),
    ],
)
def test_exit_code_ends_the_task_with_its_meaning(
    operator: Callable[[str], Any], source: str, code: int, kind: str, sentence: str
) -> None:
    from airflow.sdk.exceptions import AirflowException

    with pytest.raises(AirflowException, match=sentence) as caught:
        operator(source).execute({})
    assert type(caught.value).__name__ == kind
    assert caught.value.exit_code == code


def test_kill_ends_the_whole_group(operator: Callable[[str], Any]) -> None:
    task = operator(SPAWNS_A_GRANDCHILD + "time.sleep(60)")
    thread = executing(task)
    assert wait_until(lambda: bool(task.lines))
    task.on_kill()
    thread.join(20)
    assert is_gone(task._process.pid)
    assert wait_until(lambda: is_gone(int(task.lines[0])))


def test_grandchild_that_survives_its_parent_does_not_hold_the_task(operator: Callable[[str], Any]) -> None:
    task = operator(SPAWNS_A_GRANDCHILD)
    began = time.monotonic()
    task.execute({})
    assert time.monotonic() - began < 30
    assert wait_until(lambda: is_gone(int(task.lines[0])))


def test_job_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    import sys

    from launchers import child

    source = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    process = child.start([sys.executable, "-c", source], cwd=tmp_path)
    assert process.stdout.readline() == "up\n"
    child.stop_group(process, grace_seconds=0.3)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ('{"event": "x", "level": "error"}', 40),
        ('{"event": "x", "level": "warning"}', 30),
        ('{"event": "x", "level": "info"}', 20),
        ("{not json", 20),
        ("WARN Spark says something", 20),
    ],
)
def test_line_keeps_its_level(line: str, level: int) -> None:
    from launchers.lines import level as level_of

    assert level_of(line) == level


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "done"),
        (130, "interrupted"),
        (-15, "killed by SIGTERM"),
        (139, "killed by SIGSEGV"),
        (255, "unknown, not one of the job's own codes"),
    ],
)
def test_meaning_of_other_codes(code: int, words: str) -> None:
    from launchers.exit_codes import meaning

    assert meaning(code) == words
