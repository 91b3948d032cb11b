"""Airflow's REST API on the port of this machine, as a person's script would use it. The standard library alone."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from typing import Any

from compose.stack import StackError
from kind.commands import NAMESPACE, Cluster
from kind.config import AIRFLOW

ADMIN = "fti-airflow-admin"
USER = "airflow"
ENDED = ("success", "failed")
_PATIENCE = 240
"""Seconds for which a call waits out a restart of the API server."""


class Airflow:
    """A client, logged in at the first call."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        self._token = ""

    @classmethod
    def of(cls, cluster: Cluster) -> Airflow:
        """With the password from its Secret."""
        return cls(f"http://localhost:{host_port(cluster, AIRFLOW)}", USER, secret(cluster, ADMIN, "password"))

    def get(self, path: str) -> Any:
        return self._patient("GET", path, None)

    def post(self, path: str, body: Any) -> Any:
        return self._patient("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        return self._patient("PATCH", path, body)

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """The run's task instances, in their order."""
        found: list[dict[str, Any]] = self.get(f"dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return sorted(found, key=lambda task: (task["start_date"] is None, task["start_date"] or ""))

    def last_line(self, dag: str, run: str, task: str, attempt: int) -> str:
        """Of a try's log: the reason, where it failed."""
        content = self.get(f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}")["content"]
        said = [str(entry["event"]) for entry in content if isinstance(entry, dict) and entry.get("event")]
        lines = [line for line in said if line.strip() and not line.startswith("::")]
        return lines[-1].strip() if lines else "its log is empty"

    def _patient(self, method: str, path: str, body: Any) -> Any:
        deadline = time.monotonic() + _PATIENCE
        again = False
        while True:
            try:
                return self._call(method, path, body, again)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise StackError(
                        f"Airflow at {self.url} does not answer for {_PATIENCE} s ({error}): see `make status`."
                    ) from None
                time.sleep(1)
                again = True

    def _call(self, method: str, path: str, body: Any, again: bool) -> Any:
        """The answer.

        Args:
            again: the same call was made before and its answer lost; what it makes may be there already.

        Raises:
            OSError: the API server stops or starts.
            StackError: it refuses the call.
        """
        for _ in range(2):
            status, answer = self._send(method, f"api/v2/{path}", body)
            if status != 401:
                break
            status, answer = self._send("POST", "auth/token", self._login)
            if status != 201:
                break
            self._token = answer["access_token"]
        if status >= 500:
            raise OSError(f"it answers {status}")
        if status >= 400 and not (again and status == 409):
            raise StackError(f"Airflow refused {method} {path} with {status}: {json.dumps(answer)[:500]}")
        return answer

    def _send(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        try:
            with _DIRECT.open(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode("utf-8", "replace")
            try:
                return error.code, json.loads(text)
            except ValueError:
                return error.code, text


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""To this machine's own port: never by a proxy."""


def secret(cluster: Cluster, name: str, key: str) -> str:
    """A value of one of the platform's Secrets."""
    found = json.loads(cluster.kubectl("get", "secret", name, "--namespace", NAMESPACE, "--output=json"))
    return base64.b64decode(found["data"][key]).decode()


def host_port(cluster: Cluster, node_port: int) -> int:
    """The port of this machine that leads to one of the node's.

    Raises:
        StackError: none does.
    """
    for node in cluster.require().values():
        for bound in node["NetworkSettings"]["Ports"].get(f"{node_port}/tcp") or ():
            return int(bound["HostPort"])
    raise no_port(cluster, node_port)


def no_port(cluster: Cluster, node_port: int) -> StackError:
    return StackError(
        f"No port of this machine leads to {node_port} of the cluster {cluster.name}: it was made by another `make kind-up`, or by none. `make kind-down` deletes it and its data."
    )
