"""Child processes that never outlive their parent. No Airflow in here: the embedded mode uses it too."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1


def start(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    output: IO[bytes] | int = subprocess.PIPE,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[str]:
    """Starts a command as the leader of its own process group, standard error going where its output goes.

    On Linux the kernel sends ``death_signal`` when the parent is gone, however it went.
    """
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        preexec_fn=_die_with_parent(death_signal),
    )


def sweep_when_it_ends(process: subprocess.Popen[str]) -> None:
    """Kills what is left of the group as soon as its leader ends.

    A grandchild (Spark's JVM) that survives holds the output pipe open, and its reader would wait forever.
    """

    def sweep() -> None:
        process.wait()
        _signal_group(process, signal.SIGKILL)

    threading.Thread(target=sweep, daemon=True).start()


def stop_group(process: subprocess.Popen[str], grace_seconds: float = 10) -> None:
    """Asks the group to end, then makes it; returns when its leader is gone. Harmless on one that has ended."""
    if process.poll() is None:
        _signal_group(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        os.killpg(process.pid, number)


def _die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork: the child must only call
    return lambda: prctl(_PR_SET_PDEATHSIG, int(number))
