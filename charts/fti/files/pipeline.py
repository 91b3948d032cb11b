"""``helm test``: runs the smoke test's DAG and one day of the pipeline through Airflow's REST API, and waits for both."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

SMOKE_TEST, PIPELINE = "00_smoke_test_stack", "feature_pipeline"
MINUTES = {SMOKE_TEST: 5, PIPELINE: 30}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--day", default="")
    parser.add_argument("--cards", type=int, default=5000)
    parser.add_argument("--generate", action="store_true")
    options = parser.parse_args()
    day = options.day or (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
    conf: dict[str, Any] = {"start": day, "end": (date.fromisoformat(day) + timedelta(days=1)).isoformat()}
    if options.generate:
        conf |= {"cards": options.cards, "snapshot": day}
    else:
        conf["generate"] = False
    airflow = Airflow(os.environ["AIRFLOW_URL"])
    failed = [dag for dag, given in ((SMOKE_TEST, {}), (PIPELINE, conf)) if not airflow.run(dag, given)]
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}. The reasons are above.")


class Airflow:
    def __init__(self, url: str) -> None:
        self.url = url
        login = {"username": os.environ["ADMIN_USERNAME"], "password": os.environ["ADMIN_PASSWORD"]}
        self.token = ""
        self.token = self.ask("POST", "/auth/token", login)["access_token"]

    def run(self, dag: str, conf: dict[str, Any]) -> bool:
        """Whether the run ended well."""
        run = f"helm-test-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        paused = self.api("GET", f"dags/{dag}")["is_paused"]
        if paused:
            self.api("PATCH", f"dags/{dag}", {"is_paused": False})
        try:
            return self._run(dag, run, conf)
        finally:
            if paused:  # whoever unpauses it switches the schedule on
                self.api("PATCH", f"dags/{dag}", {"is_paused": True})

    def _run(self, dag: str, run: str, conf: dict[str, Any]) -> bool:
        self.api("POST", f"dags/{dag}/dagRuns", {"logical_date": None, "dag_run_id": run, "conf": conf})
        print(f"{dag} {json.dumps(conf)}", flush=True)
        began, shown = time.monotonic(), {}
        while True:
            state = self.api("GET", f"dags/{dag}/dagRuns/{run}")["state"]
            tasks = self.api("GET", f"dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
            for task in sorted(tasks, key=lambda task: task["start_date"] or "9"):
                if (
                    task["state"] in ("success", "failed", "skipped", "upstream_failed")
                    and task["task_id"] not in shown
                ):
                    shown[task["task_id"]] = task
                    print(f"  {task['task_id']:<12} {task['state']} {task['duration'] or 0:6.1f} s", flush=True)
            if state in ("success", "failed"):
                break
            if time.monotonic() - began > 60 * MINUTES[dag]:
                print(f"  no end after {MINUTES[dag]} minutes")
                return False
            time.sleep(2)
        for name, task in shown.items():
            if task["state"] == "failed":
                path = f"dags/{dag}/dagRuns/{run}/taskInstances/{name}/logs/{task['try_number']}"
                print(*(f"    {line}" for line in self._whole_log(path)[-5:]), sep="\n", flush=True)
        print(f"{dag}: {state} after {time.monotonic() - began:.0f} s", flush=True)
        return state == "success"

    def _whole_log(self, path: str) -> list[str]:
        """Of a try that has ended: Airflow stores its last lines a moment later, so it is read until it grows no more."""
        lines: list[str] = []
        for _ in range(10):
            before, lines = lines, [entry["event"] for entry in self.api("GET", path)["content"]]
            if lines and lines == before:
                break
            time.sleep(2)
        return lines

    def api(self, method: str, path: str, body: object = None) -> Any:
        return self.ask(method, f"/api/v2/{path}", body)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self.token}"} if self.token else {}
        )
        data = None if body is None else json.dumps(body).encode()
        try:
            with urlopen(Request(self.url + path, data, headers, method=method), timeout=30) as response:
                return json.load(response)
        except HTTPError as error:
            sys.exit(f"{method} {path} answered {error.code}: {error.read(500).decode(errors='replace')}")
        except URLError as error:
            sys.exit(f"{self.url} does not answer: {error.reason}")


if __name__ == "__main__":
    main()
