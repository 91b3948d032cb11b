"""Runs one DAG with ``dag.test()``: no scheduler, no server, each task in this process, states in SQLite.

``python -m embedded.run_dag DAG_ID CONF_JSON``. Standard output carries one JSON object an event, for the demo:
``{"step", "state"}``, ``{"step", "line"}`` (a line of the job) or ``{"error"}``. Airflow's own log goes to standard
error. It ends itself when its standard input does: its parent is gone.

This module stays outside the DAGs' folder: ``dag.test()`` parses that folder, and would start itself again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


class Events:
    """Writes events for the parent, and knows which step runs."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.step = ""

    def send(self, **event: Any) -> None:
        self.stream.write(json.dumps(event) + "\n")
        self.stream.flush()

    def on(self, state: str) -> Callable[[Any], None]:
        """A task callback that reports this state."""

        def report(context: Any) -> None:
            self.step = context["task"].task_id
            error = context.get("exception") if state == "failed" else None
            details = {"error": str(error), "exit_code": getattr(error, "exit_code", 1)} if error else {}
            self.send(step=self.step, state=state, **details)

        return report

    def line(self, line: str) -> None:
        """Passes on what the running job writes."""
        self.send(step=self.step, line=line)


def main(dag_id: str, conf: dict[str, Any]) -> int:
    """Runs the DAG; 0 when it succeeded."""
    events = Events(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)  # nothing but events goes to standard output, whatever a library prints
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    threading.Thread(target=_end_with_parent, daemon=True).start()

    from airflow.configuration import conf as settings
    from airflow.dag_processing.dagbag import BundleDagBag

    _prepare_database(Path(os.environ["AIRFLOW_HOME"]))
    folder = Path(settings.get_mandatory_value("core", "dags_folder"))
    bag = BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="dags-folder")
    dag = bag.dags.get(dag_id)
    if dag is None:
        broken = "; ".join(text.strip().splitlines()[-1] for text in bag.import_errors.values())
        events.send(error=f"DAG {dag_id} cannot be loaded: {broken or f'it is not in {folder}'}.")
        return 1
    for task in dag.tasks:
        task.on_execute_callback = [events.on("running")]
        task.on_success_callback = [events.on("success")]
        task.on_failure_callback = [events.on("failed")]
        task.on_skipped_callback = [events.on("skipped")]
        setattr(task, "on_line", events.line)  # noqa: B010 - only some operators look at it
    return 0 if dag.test(run_conf=conf).state == "success" else 1


def _prepare_database(home: Path) -> None:
    """Makes the database, or brings an older Airflow's up to date; no work when it is current."""
    from airflow import __version__
    from airflow.utils.db import initdb

    stamp = home / "migrated"
    if stamp.exists() and stamp.read_text() == __version__:
        return
    if not stamp.exists():  # none yet, or one whose making was cut short; it holds nothing but the demo's own runs
        (home / "airflow.db").unlink(missing_ok=True)
    initdb()
    stamp.write_text(__version__)


def _end_with_parent() -> None:
    while os.read(0, 1024):  # not sys.stdin: its lock would be held when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    code = main(sys.argv[1], json.loads(sys.argv[2]))
    sys.stderr.flush()
    os._exit(code)  # all is written; taking Airflow's modules apart would cost another two seconds
