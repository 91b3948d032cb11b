"""`make run` against a server that answers as Airflow's REST API does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import date
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from compose.stack import MachineError, StackError
from kind import airflow as api
from kind import run
from kind.airflow import Airflow

PASSWORD = "a password"
FIRST, NEXT = date(2026, 1, 1), date(2026, 1, 2)
RUNS = "/api/v2/dags/feature_pipeline/dagRuns"


class Server:
    """An Airflow with one DAG, whose run goes through the given states, one each time that it is asked for."""

    def __init__(self) -> None:
        self.succeeded: list[dict[str, str]] = []
        self.running: list[dict[str, str]] = []
        self.states = ["queued", "running", "success"]
        self.tasks: list[dict[str, Any]] = []
        self.log: list[Any] = []
        self.paused = True
        self.triggered: dict[str, Any] = {}
        self.failures = 0
        self.lost = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                token = self.headers.get("Authorization")
                status, content = server.answer(self.command, self.path, json.loads(body) if body else None, token)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            do_GET = do_POST = do_PATCH = answer  # noqa: N815 -- the base class calls them so

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=partial(self.http.serve_forever, 0.02), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, method: str, path: str, body: Any, token: str | None) -> tuple[int, Any]:
        if self.failures:
            self.failures -= 1
            return 503, "starting"
        if path == "/auth/token":
            right = body == {"username": "airflow", "password": PASSWORD}
            return (201, {"access_token": "t"}) if right else (401, {"detail": "Invalid credentials"})
        if token != "Bearer t":
            return 401, {"detail": "Not authenticated"}
        if method == "PATCH":
            self.paused = body["is_paused"]
            return 200, {}
        if method == "POST":
            taken, self.triggered = self.triggered == body, body
            if self.lost:
                self.lost = False
                return 503, "stopping"
            return (409, {"detail": "exists"}) if taken else (200, {})
        if path == "/api/v2/dags/feature_pipeline":
            return 200, {"is_paused": self.paused}
        if path.startswith(f"{RUNS}?state=success"):
            return 200, {"dag_runs": self.succeeded}
        if path.startswith(f"{RUNS}?"):
            return 200, {"dag_runs": self.running}
        if path.endswith("/taskInstances"):
            return 200, {"task_instances": self.tasks}
        if "/logs/" in path:
            return 200, {"content": self.log}
        if path.startswith(f"{RUNS}/"):
            return 200, {"state": self.states.pop(0) if len(self.states) > 1 else self.states[0]}
        return 404, {"detail": f"no {path}"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(run.time, "sleep", lambda _: None)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def task(name: str, state: str | None, attempt: int = 1, seconds: float | None = None) -> dict[str, Any]:
    started = None if state is None else "2026-01-02T00:00:00Z"
    return {"task_id": name, "state": state, "try_number": attempt, "duration": seconds, "start_date": started}


def started(server: Server, **conf: Any) -> tuple[int, str]:
    said: list[str] = []
    code = run.run(Airflow(server.url, "airflow", PASSWORD), FIRST, NEXT, conf, said.append)
    return code, "\n".join(said)


def test_a_fresh_lake_gets_the_card_and_merchant_tables(server: Server) -> None:
    code, said = started(server, cards=500)
    assert code == 0
    assert server.triggered["conf"] == {
        "start": "2026-01-01",
        "end": "2026-01-02",
        "cards": 500,
        "snapshot": "2026-01-01",
    }
    assert server.triggered["logical_date"] is None
    assert server.paused is False
    assert said.startswith("The lake is fresh: 2026-01-01 also lands the full card and merchant tables.")
    assert "Read a card's features back: `make card`" in said


@pytest.mark.parametrize("conf", [{}, {"generate": False}, {"snapshot": "2025-12-01"}])
def test_a_lake_in_use_and_ones_own_transactions_get_no_tables(server: Server, conf: dict[str, Any]) -> None:
    if not conf:
        server.succeeded = [{"dag_run_id": "before"}]
    started(server, **conf)
    assert server.triggered["conf"] == {"start": "2026-01-01", "end": "2026-01-02", **conf}


def test_each_state_of_a_task_is_told_once(server: Server) -> None:
    server.tasks = [task("bronze", "deferred"), task("generate", "success", seconds=12.4), task("verify", None)]
    _, said = started(server)
    assert said.count("✓ generate     success after 12 s") == 1
    assert said.count("· bronze       running") == 1
    assert "verify" not in said


def test_a_failed_run_ends_with_the_reason_of_its_task(server: Server) -> None:
    server.states = ["running", "failed"]
    server.tasks = [task("generate", "success"), task("bronze", "failed", 3), task("features", "upstream_failed")]
    reason = "Job bronze ended with exit code 3: more bad data than allowed."
    server.log = [
        {"event": "::group::Log message source"},
        {"event": "a line"},
        {"event": reason},
        {"event": "::endgroup::"},
    ]
    with pytest.raises(StackError) as error:
        started(server)
    assert f", in bronze: {reason}\nMore: `make logs JOB=bronze`" in str(error.value)


def test_a_reason_that_comes_after_the_state_is_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.states = ["failed"]
    server.tasks = [task("bronze", "failed")]
    server.log = [{"event": "trigger bronze/1 (ID 7) starting"}]
    reason = "Job bronze was stopped: its pod fti-bronze-x was deleted."
    monkeypatch.setattr(run.time, "sleep", lambda _: server.log.append({"event": reason}))
    with pytest.raises(StackError, match=f", in bronze: {reason}\n"):
        started(server)
    assert len(server.log) == 2, "asked once more, and not again"


def test_a_log_without_a_reason_is_told_as_it_is(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_LATE", 0)
    server.states = ["failed"]
    server.tasks = [task("bronze", "failed")]
    server.log = [{"event": "Task was killed by the scheduler"}]
    with pytest.raises(StackError, match=", in bronze: Task was killed by the scheduler\n"):
        started(server)


def test_a_run_before_it_is_named(server: Server) -> None:
    server.running = [{"dag_run_id": "nightly"}]
    assert "It waits for the end of run nightly." in started(server)[1]


def test_a_restart_of_the_server_is_waited_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.failures = 3
    assert started(server)[0] == 0
    server.failures = 10
    monkeypatch.setattr(api, "_PATIENCE", 0)
    with pytest.raises(StackError, match=r"does not answer for 0 s \(it answers 503\): see `make status`"):
        started(server)


def test_a_run_whose_answer_is_lost_is_followed_and_not_asked_for_twice(server: Server) -> None:
    server.lost = True
    assert started(server)[0] == 0
    with pytest.raises(StackError, match=r"Airflow refused POST .* with 409"):
        Airflow(server.url, "airflow", PASSWORD).post("dags/feature_pipeline/dagRuns", server.triggered)


def test_a_refusal_is_said_in_airflows_words(server: Server) -> None:
    with pytest.raises(StackError, match=r"Airflow refused GET dags/feature_pipeline.* with 401.*Invalid credentials"):
        run.run(Airflow(server.url, "airflow", "another"), FIRST, NEXT, {}, str)


def test_the_last_runs_are_shown_with_their_tasks(server: Server) -> None:
    from kind import show

    client = Airflow(server.url, "airflow", PASSWORD)
    assert show.runs(client) == ["The pipeline has not run yet: `make run DATE=2026-01-01`."]
    server.running = [{"dag_run_id": "r", "state": "running"}]
    server.tasks = [task("generate", "success"), task("bronze", None)]
    assert show.runs(client) == ["Run r: running (generate success, bronze waits)"]


@pytest.mark.parametrize(
    ("first", "last", "range_"),
    [
        ("2026-01-31", None, (date(2026, 1, 31), date(2026, 2, 1))),
        ("2026-01-01", "2026-01-08", (FIRST, date(2026, 1, 8))),
    ],
)
def test_days_are_a_half_open_range(first: str, last: str | None, range_: tuple[date, date]) -> None:
    assert run.days(first, last) == range_


@pytest.mark.parametrize(("first", "last"), [("today", None), ("2026-02-30", None), ("2026-01-01", "soon")])
def test_what_is_no_day_is_said(first: str, last: str | None) -> None:
    with pytest.raises(MachineError, match=f"are days such as 2026-01-01, not '{first}'"):
        run.days(first, last)


def test_an_end_before_the_start_is_said() -> None:
    with pytest.raises(MachineError, match="2026-01-01 is not behind 2026-01-01"):
        run.days("2026-01-01", "2026-01-01")
