"""Steps with progress, times and a log each; a step whose result is there is skipped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

_LAST_LINES = 15


class Missing(Exception):
    """Something that this machine must have first; the message says what to do."""


class StepFailed(Exception):
    """A step did not come to its end; the message is for a person."""


class CommandFailed(Exception):
    """A command of a step ended with an error; the step's log has its words."""


class Log:
    """Runs the commands of a step and keeps what they say."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def run(
        self,
        *command: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        text: str | None = None,
    ) -> None:
        """Runs a command, all of its output into the log.

        Args:
            env: what is added to this process's environment.
            text: its standard input.

        Raises:
            CommandFailed: its exit code is not zero.
        """
        self._call(command, cwd, env, text, self._file)

    def read(self, *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """Runs a command and returns its standard output; the rest goes into the log."""
        return self._call(command, cwd, env, None, subprocess.PIPE).decode()

    def say(self, text: str) -> None:
        self._file.write(f"{text}\n".encode())
        self._file.flush()

    def _call(
        self,
        command: tuple[str | Path, ...],
        cwd: Path | None,
        env: Mapping[str, str] | None,
        text: str | None,
        output: IO[bytes] | int,
    ) -> bytes:
        self.say("$ " + " ".join(map(str, command)))
        done = subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | dict(env or {}),
            input=(text or "").encode(),
            stdout=output,
            stderr=self._file,
        )
        if done.returncode:
            raise CommandFailed(f"{Path(command[0]).name} ended with exit code {done.returncode}")
        return done.stdout or b""


class Steps:
    """One line for each step while they run, and a table at the end."""

    def __init__(self, logs: Path, again: str) -> None:
        """
        Args:
            again: the command that goes on from where a failure stopped.
        """
        self._logs, self._again = logs, again
        self._rows: list[tuple[str, str, Callable[[], str]]] = []

    def run(
        self,
        name: str,
        there: str | None,
        make: Callable[[Log], object],
        *,
        hint: str = "",
        size: Callable[[], str] = lambda: "",
    ) -> None:
        """Makes what the step is for, unless it is there.

        Args:
            there: how the result that is there already is called; None when there is none.
            hint: what to expect of a long step.
            size: measures the result, for the table.

        Raises:
            StepFailed: it could not be made.
            Missing: this machine lacks something.
        """
        if there is not None:
            print(f"{name} ... {there}", flush=True)
            self._rows.append((name, there, size))
            return
        print(f"{name} ... {f'({hint}) ' if hint else ''}", end="", flush=True)
        begin = time.monotonic()
        path = self._log(name)
        try:
            with path.open("wb", buffering=0) as file:
                make(Log(file))
        except (CommandFailed, OSError) as error:
            print("failed", flush=True)
            raise StepFailed(self._failure(name, error, path)) from error
        except BaseException:  # the message that follows begins a line
            print(flush=True)
            raise
        took = f"{time.monotonic() - begin:.0f} s"
        print(took, flush=True)
        self._rows.append((name, took, size))

    def attempt(self, name: str, make: Callable[[Log], object], otherwise: str) -> bool:
        """Tries something that there is another way for; it gets no row in the table."""
        print(f"{name} ... ", end="", flush=True)
        begin = time.monotonic()
        try:
            with self._log(name).open("wb", buffering=0) as file:
                make(Log(file))
        except CommandFailed:
            print(otherwise, flush=True)
            return False
        print(f"{time.monotonic() - begin:.0f} s", flush=True)
        return True

    def _log(self, name: str) -> Path:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self._logs / f"{re.sub(r'[^0-9A-Za-z.]+', '-', name)}.log"

    def _failure(self, name: str, error: Exception, path: Path) -> str:
        last = path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        said = "".join(f"\n    {line}" for line in last)
        return (
            f"{name} failed: {error}. The last lines of its log:{said}\n"
            f"The whole log is {path}. Mend that and run `{self._again}` again: what is done stays done."
        )

    def table(self) -> str:
        """What each step gave, how long it took, and how big it is."""
        rows = [(name, took, size()) for name, took, size in self._rows]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        return "\n".join(
            f"  {name:<{widths[0]}}  {took:>{widths[1]}}  {size:>{widths[2]}}".rstrip() for name, took, size in rows
        )


def tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
