"""A side in a process of its own, seen from the outside and from the inside.

``python -m tests.bench.worker '{…}'`` sets one side up, says so, and then makes one run for each line it is sent. So the
imports, the heap and the garbage collector of one side are no other's, and runs of all sides can take turns.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
from dataclasses import asdict
from typing import Any

from tests.bench.side import ROOT, CannotRunError, Measured, Side, Work


class Worker:
    """A side in its own process, from the outside."""

    def __init__(self, name: str, place: str, work: Work) -> None:
        self.name = name
        work.scratch.mkdir(parents=True, exist_ok=True)
        self.log = work.scratch / "worker.log"
        self._log = self.log.open("w")
        call = json.dumps({"place": place, "work": work.to_json()})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.worker", call],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            text=True,
        )

    def ready(self) -> None:
        self._answer()

    def measure(self) -> Measured:
        return Measured(**self._ask("measure"))

    def outcome(self) -> Any:
        return self._ask("outcome")

    def close(self) -> None:
        """Ends the process and whatever it started."""
        if self._process.poll() is None and self._process.stdin:
            self._process.stdin.close()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    def _ask(self, what: str) -> Any:
        assert self._process.stdin
        try:
            self._process.stdin.write(what + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, and _answer says so
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise CannotRunError(f"Its process ended with exit code {self._process.wait()}; its log is {self.log}.")
        answer = json.loads(line)
        if "error" in answer:
            raise CannotRunError(answer["error"])
        return answer["value"]


def main(call: str) -> None:
    """The inside of ``Worker``. What a side prints goes to the log; answers have a stream of their own."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**what: Any) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    side: Side | None = None
    try:
        given = json.loads(call)
        module, name = given["place"].split(":")
        side = getattr(importlib.import_module(module), name)(Work.from_json(given["work"]))
        answer(value="ready")
        for line in sys.stdin:
            if line.strip() == "measure":
                side.before()
                answer(value=asdict(side.measure()))
            else:
                answer(value=side.outcome())
    except Exception as error:
        traceback.print_exc()
        answer(error=str(error) if isinstance(error, CannotRunError) else f"{type(error).__name__}: {error}"[:500])
    finally:
        if side:
            side.close()


if __name__ == "__main__":
    main(sys.argv[1])
