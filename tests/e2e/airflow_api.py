"""Airflow's REST API, as a person's script would use it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import requests

ENDED = ("success", "failed")


class GoingError(Exception):
    """The API server stops or starts: it has no database yet, or something else answered in its place.

    A connection made between a pod's end and the moment at which its node knows of it leads to an address that nobody has.
    There are networks whose gateway answers for it, with 404 and no word, as long as the connection lives.
    """


class Airflow:
    """A client of the running API server."""

    def __init__(self, url: str = "http://localhost:8080", user: str = "airflow", password: str = "airflow") -> None:
        self.url = url
        self.login = {"username": user, "password": password}
        self._session = requests.Session()

    def wait_for_dag(self, dag: str, seconds: float) -> float:
        """Seconds until the DAG is listed."""
        began = time.monotonic()
        while True:
            try:
                listed = self.get("dags")["dags"]
            except requests.ConnectionError:
                listed = []
            waited = time.monotonic() - began
            if any(entry["dag_id"] == dag for entry in listed):
                return waited
            assert waited < seconds, f"{dag} did not show within {seconds} s; import errors: {self.get('importErrors')}"
            time.sleep(0.5)

    def pause(self, dag: str) -> None:
        """From now on no task begins, of the runs that are under way neither."""
        self.patient(f"dags/{dag}", "PATCH", {"is_paused": True})

    def unpause(self, dag: str) -> None:
        self.patient(f"dags/{dag}", "PATCH", {"is_paused": False})

    def trigger(self, dag: str, run: str, **conf: Any) -> None:
        self.patient(f"dags/{dag}/dagRuns", "POST", {"logical_date": None, "dag_run_id": run, "conf": conf})

    def clear(self, dag: str, run: str, task: str) -> None:
        """Has the task of a run done again."""
        self.patient(
            f"dags/{dag}/clearTaskInstances",
            "POST",
            {"dry_run": False, "dag_run_id": run, "task_ids": [task], "only_failed": False},
        )

    def end_runs(self, dag: str) -> None:
        """Marks the runs that are not over as failed, which ends their tasks."""
        for run in self.patient(f"dags/{dag}/dagRuns?state=running&state=queued")["dag_runs"]:
            self.patient(f"dags/{dag}/dagRuns/{run['dag_run_id']}", "PATCH", {"state": "failed"})

    def wait(self, dag: str, run: str, seconds: float, each_time: Callable[[], None] = lambda: None) -> str:
        """The run's last state.

        Args:
            each_time: called between two looks, such as for what a test does to a run.
        """
        deadline = time.monotonic() + seconds
        while True:
            state = self.patient(f"dags/{dag}/dagRuns/{run}")["state"]
            if state in ENDED:
                return state
            assert time.monotonic() < deadline, (
                f"run {run} of {dag} is {state} after {seconds} s: {self.tasks(dag, run)}"
            )
            each_time()
            time.sleep(1)

    def tasks(self, dag: str, run: str) -> dict[str, dict[str, Any]]:
        found = self.patient(f"dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return {entry["task_id"]: entry for entry in found}

    def log(self, dag: str, run: str, task: str, attempt: int) -> list[str]:
        """The lines of a try's log, with their level before them."""
        content = self.patient(f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}")["content"]
        return [
            f"{entry.get('level', '')} {entry['event']} {entry.get('error_detail', '')}".strip() for entry in content
        ]

    def patient(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Calls what may be called twice, and waits out a restart of the API server."""
        deadline = time.monotonic() + 240
        again = False
        while True:
            try:
                return self._call(method, path, body, again)
            except (requests.RequestException, GoingError) as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"the API server does not come back: {error}") from error
                self._session.close()  # the next try is to find its own way
                time.sleep(1)
                again = True

    def get(self, path: str) -> Any:
        return self._call("GET", path)

    def _call(self, method: str, path: str, body: Any = None, again: bool = False) -> Any:
        """The answer, which must be a good one.

        Args:
            again: the same call was made before and its answer lost; that what it makes is there already is good then.
        """
        for _ in range(2):
            answer = self._request(method, f"api/v2/{path}", body)
            if answer.status_code != 401:
                break
            token = self._request("POST", "auth/token", self.login)
            assert token.status_code == 201, token.text
            self._session.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
        done = answer.ok or (again and answer.status_code == 409)
        assert done, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json()

    def _request(self, method: str, path: str, body: Any) -> requests.Response:
        answer = self._session.request(method, f"{self.url}/{path}", json=body, timeout=30)
        if answer.status_code >= 500 or (answer.status_code == 404 and not answer.text):
            raise GoingError(f"{method} {path}: {answer.status_code} {answer.text[:2000]}")
        return answer
