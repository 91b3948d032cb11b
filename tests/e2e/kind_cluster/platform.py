"""The platform on a kind cluster of its own, beside a person's: ``python -m kind`` with another name."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
NAME = "fti-e2e"
CONTEXT = f"kind-{NAME}"
PLATFORM, JOBS = "fti", "fti-jobs"
"""The two namespaces."""
OFFSET = 12_000
"""Added to Compose's ports: 10,000 is a person's own cluster, which may run meanwhile."""
AIRFLOW = f"http://localhost:{8080 + OFFSET}"
S3 = f"http://localhost:{9000 + OFFSET}"
CONSOLE = f"http://localhost:{9001 + OFFSET}"
REDIS_PORT = 6379 + OFFSET

Object = dict[str, Any]


class Platform:
    """What a person's commands show of it."""

    def __init__(self) -> None:
        path = f"{ROOT / '.tools' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "FTI_CLUSTER": NAME, "FTI_PORT_OFFSET": str(OFFSET), "PATH": path}

    def call(self, *command: str, check: bool = True, text: str | None = None, seconds: float = 1500) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, input=text, timeout=seconds
        )
        shown = " ".join(command)
        assert done.returncode == 0 or not check, f"{shown} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout if check else done.stdout + done.stderr

    def kind(self, *arguments: str, check: bool = True) -> str:
        """``python -m kind``: what the make verbs call."""
        return self.call(sys.executable, "-m", "kind", *arguments, check=check)

    def kubectl(self, *arguments: str, check: bool = True, text: str | None = None) -> str:
        return self.call("kubectl", "--context", CONTEXT, *arguments, check=check, text=text)

    def helm(self, *arguments: str, check: bool = True) -> str:
        return self.call("helm", "--kube-context", CONTEXT, "--namespace", PLATFORM, *arguments, check=check)

    def upgrade(self, *values: str) -> None:
        """Changes values of the release and waits until what they restart is there."""
        flags = [part for value in values for part in ("--set", value)]
        self.helm("upgrade", "fti", "charts/fti", "--reuse-values", *flags)
        self.wait_until_ready()

    def wait_until_ready(self, seconds: float = 180) -> None:
        """Until each Deployment and StatefulSet has rolled out."""
        for thing in self.get("deployments,statefulsets", PLATFORM):
            what = f"{thing['kind'].lower()}/{thing['metadata']['name']}"
            self.kubectl("rollout", "status", "-n", PLATFORM, what, f"--timeout={seconds}s")

    def get(self, what: str, namespace: str, *labels: str) -> list[Object]:
        selector = ("-l", ",".join(labels)) if labels else ()
        return json.loads(self.kubectl("get", what, "-n", namespace, *selector, "-o", "json"))["items"]

    def jobs_pods(self, run: str, job: str = "") -> list[Object]:
        """The pods of a run of the pipeline, the oldest first."""
        labels = [f"run_id={run}", *([f"app.kubernetes.io/component={job}"] if job else [])]
        return sorted(self.get("pods", JOBS, *labels), key=lambda pod: pod["metadata"]["creationTimestamp"])

    def running(self, run: str, job: str) -> Object | None:
        """The job's pod of the run, once its container runs."""
        for pod in self.jobs_pods(run, job):
            if pod["status"]["phase"] == "Running" and not pod["metadata"].get("deletionTimestamp"):
                return pod
        return None

    def secret(self, name: str, key: str) -> str:
        found = self.kubectl("get", "secret", "-n", PLATFORM, name, "-o", f"jsonpath={{.data.{key}}}")
        return base64.b64decode(found).decode()

    def revision(self) -> int:
        return json.loads(self.helm("status", "fti", "-o", "json"))["version"]

    def pod_ids(self) -> dict[str, str]:
        """Name → uid of the pods that are to run on and on."""
        return {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for pod in self.get("pods", PLATFORM)
            if pod["metadata"]["ownerReferences"][0]["kind"] != "Job"
        }

    def memory(self) -> dict[str, int]:
        """Pod → MiB of its containers' working set, as the kubelet counts it."""
        stats = json.loads(self.kubectl("get", "--raw", f"/api/v1/nodes/{NAME}-control-plane/proxy/stats/summary"))
        return {
            pod["podRef"]["name"]: round(pod["memory"]["workingSetBytes"] / 2**20)
            for pod in stats["pods"]
            if pod["podRef"]["namespace"] in (PLATFORM, JOBS) and "memory" in pod
        }


def container_seconds(pod: Object) -> float:
    """How long the job's own container ran, by the kubelet's clock of whole seconds."""
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return (moment(ended["finishedAt"]) - moment(ended["startedAt"])).total_seconds()


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The condition's first true value."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.5)
