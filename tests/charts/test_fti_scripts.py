"""The umbrella's two scripts, against servers on loopback that stand for what they ask.

`Kubernetes` answers as the API server does to `kubectl get --raw`: a PodList by pages whose token it makes, a Status for
each refusal, 404 for a pod that is gone. `Airflow` answers as Airflow 3's REST API does: a token for a login, a run that
passes through its states, the log of a task as a list of events. Neither knows more than the scripts use.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.charts.harness import CHARTS

FILES = CHARTS / "fti" / "files"
Answer = tuple[int, Any]


@contextmanager
def serve(answer: Callable[[str, str, dict[str, Any], str], Answer]) -> Iterator[str]:
    """A server's URL. It is asked with method, path with query, body and the Authorization header."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = json.loads(body) if body else {}
            code, said = answer(self.command, self.path, asked, self.headers.get("Authorization", ""))
            text = json.dumps(said).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


# cleanup.py


class Kubernetes:
    """A namespace's pods behind the API, `page` of them at a time."""

    def __init__(self, *pods: dict[str, Any], page: int = 200) -> None:
        self.pods = {pod["metadata"]["name"]: pod for pod in pods}
        self.page = page
        self.gone: set[str] = set()
        """Deleted by someone else since they were listed."""
        self.refused = ""
        """The verb that the account may not use."""
        self.asked: list[tuple[str, dict[str, list[str]]]] = []

    def answer(self, method: str, path: str, _: dict[str, Any], authorization: str) -> Answer:
        url = urlsplit(path)
        self.asked.append((f"{method} {url.path}", parse_qs(url.query)))
        verb = {"GET": "list", "DELETE": "delete"}[method]
        if authorization != "Bearer the-token" or verb == self.refused:
            message = f'pods is forbidden: User "system:serviceaccount:jobs:cleanup" cannot {verb} resource "pods"'
            return 403, {"kind": "Status", "status": "Failure", "message": message, "reason": "Forbidden", "code": 403}
        collection = "/api/v1/namespaces/jobs/pods"
        if method == "GET" and url.path == collection:
            return self._page(parse_qs(url.query).get("continue", [""])[0])
        name = url.path.removeprefix(f"{collection}/")
        if method == "DELETE" and name in self.pods and name not in self.gone:
            return 200, self.pods.pop(name)
        return 404, {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}

    def _page(self, token: str) -> Answer:
        """Pages are of the list as it was at the first one, as with etcd; the token would break if it were not quoted."""
        if not token:
            self.listed = list(self.pods.values())
        start = int(token.removeprefix("a+b/&=") or 0)
        end = start + self.page
        more = {"continue": f"a+b/&={end}"} if end < len(self.listed) else {}
        return 200, {"kind": "PodList", "metadata": more, "items": self.listed[start:end]}


def ago(hours: float) -> str:
    return f"{datetime.now(UTC) - timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


def pod(name: str, phase: str, *ended: float, created: float = 100) -> dict[str, Any]:
    """One whose containers ended so many hours ago."""
    statuses = [{"state": {"terminated": {"exitCode": 0, "finishedAt": ago(hours)}}} for hours in ended]
    status = {"phase": phase, **({"containerStatuses": statuses} if statuses else {})}
    return {"metadata": {"name": name, "creationTimestamp": ago(created)}, "status": status}


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("the-token\n", encoding="utf-8")
    (tmp_path / "namespace").write_text("jobs", encoding="utf-8")
    return tmp_path


def cleanup(account: Path, url: str, hours: str = "48") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, FILES / "cleanup.py", "--hours", hours],
        env={**os.environ, "KUBERNETES_API": url, "SERVICE_ACCOUNT_FOLDER": str(account)},
        text=True,
        capture_output=True,
        check=False,
    )


PODS = [
    pod("done-long-ago", "Succeeded", 49),
    pod("done-lately", "Succeeded", 47),
    pod("failed-long-ago", "Failed", 49),
    pod("failed-lately", "Failed", 47),
    pod("one-container-lately", "Succeeded", 49, 47),
    pod("both-long-ago", "Succeeded", 60, 49),
    pod("evicted-long-ago", "Failed", created=49),
    pod("evicted-lately", "Failed", created=47),
    pod("running-for-days", "Running", created=99),
    pod("waiting-for-days", "Pending", created=99),
    pod("lost-node", "Unknown", created=99),
]


def test_pods_that_finished_long_ago_are_deleted_and_no_other(account: Path) -> None:
    kubernetes = Kubernetes(*PODS)
    with serve(kubernetes.answer) as url:
        done = cleanup(account, url)
    assert (done.returncode, done.stderr) == (0, "")
    old = ["done-long-ago", "failed-long-ago", "both-long-ago", "evicted-long-ago"]
    assert done.stdout.startswith("Deleted 4 pods that finished before ")
    assert done.stdout.split(" UTC. ")[1].split() == old
    assert kubernetes.pods.keys() == {p["metadata"]["name"] for p in PODS} - set(old)


def test_the_hours_are_those_that_are_given(account: Path) -> None:
    kubernetes = Kubernetes(*PODS)
    with serve(kubernetes.answer) as url:
        assert cleanup(account, url, hours="46").stdout.startswith("Deleted 8 pods")
    assert kubernetes.pods.keys() == {"running-for-days", "waiting-for-days", "lost-node"}


def test_only_the_pods_of_jobs_are_asked_for(account: Path) -> None:
    kubernetes = Kubernetes()
    with serve(kubernetes.answer) as url:
        assert cleanup(account, url).stdout.startswith("Deleted 0 pods that finished before ")
    ((call, query),) = kubernetes.asked
    assert call == "GET /api/v1/namespaces/jobs/pods"
    assert query == {"labelSelector": ["app.kubernetes.io/name=fti-job"], "limit": ["200"]}


def test_pods_are_read_by_pages(account: Path) -> None:
    kubernetes = Kubernetes(*(pod(f"pod-{n}", "Succeeded", 49 if n % 2 else 1) for n in range(7)), page=2)
    with serve(kubernetes.answer) as url:
        assert "pod-1 pod-3 pod-5\n" in cleanup(account, url).stdout
    assert kubernetes.pods.keys() == {"pod-0", "pod-2", "pod-4", "pod-6"}
    pages = [query.get("continue") for call, query in kubernetes.asked if call.startswith("GET")]
    assert pages == [None, ["a+b/&=2"], ["a+b/&=4"], ["a+b/&=6"]]


def test_a_pod_that_is_gone_already_is_no_failure(account: Path) -> None:
    kubernetes = Kubernetes(pod("first", "Succeeded", 49), pod("second", "Succeeded", 49))
    kubernetes.gone = {"first"}
    with serve(kubernetes.answer) as url:
        done = cleanup(account, url)
    assert (done.returncode, done.stderr) == (0, "")
    assert kubernetes.pods.keys() == {"first"}


@pytest.mark.parametrize(("verb", "path"), [("list", "/pods?labelSelector="), ("delete", "/pods/first")])
def test_a_refusal_is_one_sentence_with_its_reason(account: Path, verb: str, path: str) -> None:
    kubernetes = Kubernetes(pod("first", "Succeeded", 49))
    kubernetes.refused = verb
    with serve(kubernetes.answer) as url:
        done = cleanup(account, url)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"The Kubernetes API answered 403 to {url}/api/v1/namespaces/jobs{path}")
    assert f"cannot {verb} resource" in line
    assert "first" in kubernetes.pods


def test_an_api_that_is_not_there_is_one_sentence(account: Path) -> None:
    with serve(Kubernetes().answer) as url:
        pass  # its port is free again
    done = cleanup(account, url)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("The Kubernetes API does not answer: ")


def test_without_a_token_it_is_one_sentence(account: Path) -> None:
    (account / "token").unlink()
    done = cleanup(account, "http://127.0.0.1:1")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


# pipeline.py


class Airflow:
    """Two DAGs whose runs pass through the given states, one at each look, and stay in the last."""

    def __init__(self, *states: str, paused: bool = True, failed: str = "") -> None:
        self.states = states or ("success",)
        self.paused = {"00_smoke_test_stack": paused, "feature_pipeline": paused}
        self.failed = failed
        """The task that fails, and its DAG with it."""
        self.password = "the-password"
        self.runs: dict[str, dict[str, Any]] = {}
        """By DAG, what its run was asked for."""
        self.changes: list[tuple[str, bool]] = []
        self.looks = 0
        self.stored = 0
        """Lines of the failed task's log: more at each look, up to 9."""

    def answer(self, method: str, path: str, body: dict[str, Any], authorization: str) -> Answer:
        if (method, path) == ("POST", "/auth/token"):
            good = body == {"username": "airflow", "password": self.password}
            return (201, {"access_token": "jwt"}) if good else (401, {"detail": "Invalid credentials"})
        if authorization != "Bearer jwt":
            return 401, {"detail": "Not authenticated"}
        dag, *rest = path.removeprefix("/api/v2/dags/").split("/")
        if dag not in self.paused:
            return 404, {"detail": f"The Dag with ID: `{dag}` was not found"}
        if method == "PATCH":
            self.changes.append((dag, body["is_paused"]))
            self.paused[dag] = body["is_paused"]
            return 200, {}
        if method == "POST":
            self.runs[dag] = body
            return 200, {"state": "queued"}
        if not rest:
            return 200, {"dag_id": dag, "is_paused": self.paused[dag]}
        assert rest[1] == self.runs[dag]["dag_run_id"]
        return 200, self._run(dag, rest[2:])

    def _run(self, dag: str, rest: list[str]) -> dict[str, Any]:
        if not rest:
            state = self.states[min(self.looks, len(self.states) - 1)]
            self.looks += 1
            return {"state": "failed" if state == "success" and self._fails(dag) else state}
        if rest == ["taskInstances"]:
            return {"task_instances": [self._task(task) for task in self._tasks(dag)]}
        assert rest == ["taskInstances", self.failed, "logs", "2"]
        self.stored = min(9, self.stored + 4)
        return {"content": [{"event": f"line {number}"} for number in range(self.stored)]}

    def _tasks(self, dag: str) -> list[str]:
        return ["check_minio"] if dag.startswith("00") else ["generate", "bronze"]

    def _fails(self, dag: str) -> bool:
        return self.failed in self._tasks(dag)

    def _task(self, task: str) -> dict[str, Any]:
        state = "failed" if task == self.failed else "success"
        return {"task_id": task, "state": state, "start_date": None, "duration": 1.25, "try_number": 2}


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, which waits for nothing."""
    spec = importlib.util.spec_from_file_location("chart_pipeline", FILES / "pipeline.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    monkeypatch.setenv("ADMIN_USERNAME", "airflow")
    monkeypatch.setenv("ADMIN_PASSWORD", "the-password")
    return module


@pytest.fixture
def ended(pipeline: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """How the script ends with an Airflow: None, or the sentence with which it exits with 1."""

    def run(airflow: Airflow, *arguments: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["pipeline.py", *arguments])
        with serve(airflow.answer) as url:
            monkeypatch.setenv("AIRFLOW_URL", url)
            try:
                pipeline.main()
            except SystemExit as stop:
                return stop.code
        return None

    return run


def test_both_dags_run_for_the_day_and_their_tasks_are_told(
    ended: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    airflow = Airflow("queued", "running", "success")
    assert ended(airflow, "--day=2026-02-28", "--cards=70", "--generate") is None
    assert list(airflow.runs) == ["00_smoke_test_stack", "feature_pipeline"]
    assert airflow.runs["00_smoke_test_stack"]["conf"] == {}
    conf = {"start": "2026-02-28", "end": "2026-03-01", "cards": 70, "snapshot": "2026-02-28"}
    assert airflow.runs["feature_pipeline"]["conf"] == conf
    assert {run["logical_date"] for run in airflow.runs.values()} == {None}
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == [
        "00_smoke_test_stack", "check_minio", "00_smoke_test_stack:",
        "feature_pipeline", "generate", "bronze", "feature_pipeline:",
    ]  # fmt: skip
    assert told[-1].startswith("feature_pipeline: success after ")


def test_without_generated_transactions_the_day_is_yesterday_and_the_lake_is_left_alone(
    ended: Callable[..., Any],
) -> None:
    airflow = Airflow()
    before = datetime.now(UTC).date()
    assert ended(airflow, "--day=", "--cards=70") is None
    conf = airflow.runs["feature_pipeline"]["conf"]
    assert conf.keys() == {"start", "end", "generate"}
    assert conf["generate"] is False
    assert conf["end"] in {before.isoformat(), datetime.now(UTC).date().isoformat()}
    assert conf["start"] == (datetime.fromisoformat(conf["end"]).date() - timedelta(days=1)).isoformat()


@pytest.mark.parametrize("paused", [True, False])
def test_a_paused_dag_is_started_first_and_paused_again(ended: Callable[..., Any], paused: bool) -> None:
    airflow = Airflow(paused=paused)
    assert ended(airflow) is None
    dags = ("00_smoke_test_stack", "feature_pipeline")
    assert airflow.changes == ([(dag, change) for dag in dags for change in (False, True)] if paused else [])


@pytest.mark.parametrize(("task", "dag"), [("check_minio", "00_smoke_test_stack"), ("bronze", "feature_pipeline")])
def test_a_failed_run_is_named_and_the_last_lines_of_its_task_are_told(
    ended: Callable[..., Any], capsys: pytest.CaptureFixture[str], task: str, dag: str
) -> None:
    airflow = Airflow(failed=task)
    assert ended(airflow) == f"Failed: {dag}. The reasons are above."
    assert len(airflow.runs) == 2  # the other one ran all the same
    told = capsys.readouterr().out
    assert "    line 4\n    line 5\n    line 6\n    line 7\n    line 8\n" in told
    assert "line 3" not in told


def test_a_run_without_an_end_fails_the_test(
    ended: Callable[..., Any], pipeline: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MINUTES", dict.fromkeys(pipeline.MINUTES, 0))
    said = ended(Airflow("running"))
    assert said == "Failed: 00_smoke_test_stack, feature_pipeline. The reasons are above."
    assert capsys.readouterr().out.count("no end after 0 minutes") == 2


def test_a_login_that_is_refused_is_one_sentence(ended: Callable[..., Any]) -> None:
    airflow = Airflow()
    airflow.password = "another"
    assert ended(airflow) == 'POST /auth/token answered 401: {"detail": "Invalid credentials"}'
    assert not airflow.runs


def test_a_dag_that_is_not_there_is_one_sentence(ended: Callable[..., Any]) -> None:
    airflow = Airflow()
    del airflow.paused["feature_pipeline"]
    assert ended(airflow).startswith("GET /api/v2/dags/feature_pipeline answered 404: ")


def test_an_airflow_that_is_not_there_is_one_sentence(pipeline: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(Airflow().answer) as url:
        pass  # its port is free again
    monkeypatch.setenv("AIRFLOW_URL", url)
    monkeypatch.setattr(sys, "argv", ["pipeline.py"])
    with pytest.raises(SystemExit, match=f"^{url} does not answer: "):
        pipeline.main()
