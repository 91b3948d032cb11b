"""What goes on in the cluster, for a person: logs, status, a card's features, logins."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
import time
from typing import Any

from compose.stack import MachineError, StackError
from kind import commands
from kind.airflow import ADMIN, USER, Airflow, secret
from kind.commands import JOBS_NAMESPACE, NAMESPACE, Cluster, Object, program
from kind.run import DAG
from kind.waiting import KINDS, troubles, unready

COMPONENT = "app.kubernetes.io/component"
JOB_PODS = "app.kubernetes.io/name=fti-job"
UID = 10001
_POD_SECONDS = 180
_RUNS = 3


def login(cluster: Cluster) -> str:
    """All logins, passwords too."""
    rows = [
        ("Airflow", USER, secret(cluster, ADMIN, "password")),
        ("MinIO", secret(cluster, "fti-minio-auth", "root-user"), secret(cluster, "fti-minio-auth", "root-password")),
        ("Redis", "", secret(cluster, "fti-redis-auth", "password")),
    ]
    return rows_of([("what", "user", "password"), *rows])


def logs(cluster: Cluster, job: str, follow: bool) -> None:
    """Prints the log of the job's newest pod.

    Raises:
        MachineError: there is none; it says which jobs have one.
    """
    pods = cluster.get("pods", JOBS_NAMESPACE, f"--selector={COMPONENT}")
    of_job = [pod for pod in pods if pod["metadata"]["labels"][COMPONENT] == job]
    if not of_job:
        others = sorted({pod["metadata"]["labels"][COMPONENT] for pod in pods})
        known = (
            f"There are pods of {', '.join(others)}." if others else "No job has run yet: `make run DATE=2026-01-01`."
        )
        raise MachineError(f"No pod of a job {job!r} is in {JOBS_NAMESPACE}. {known}")
    newest = max(of_job, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))["metadata"]["name"]
    print(f"Pod {newest}:", file=sys.stderr, flush=True)
    stream(cluster, newest, *(["--follow"] if follow else []))


def stream(cluster: Cluster, pod: str, *arguments: str) -> None:
    """A job pod's log, as it comes."""
    command = ("--context", cluster.context, "logs", "--namespace", JOBS_NAMESPACE, pod, "--container=base", *arguments)
    if commands.finish(commands.start(program("kubectl"), *command)) > 0:  # below: ended by a signal, as by `| head`
        raise StackError(f"The log of {pod} cannot be read: see above.")


def status(cluster: Cluster) -> str:
    """Nodes, pods, claims and the last runs; a line each."""
    lines = []
    for node in json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"]:
        ready = next((c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"), "Unknown")
        lines.append(
            (
                node["metadata"]["name"],
                "ready" if ready == "True" else "not ready",
                node["status"]["nodeInfo"]["kubeletVersion"],
            )
        )
    objects = cluster.get(KINDS, NAMESPACE)
    jobs = cluster.get("pods", JOBS_NAMESPACE)
    lines += [pod_row(thing) for thing in objects if thing["kind"] == "Pod"]
    lines += [
        (thing["metadata"]["name"], thing["status"].get("phase", ""), thing["spec"]["resources"]["requests"]["storage"])
        for thing in objects
        if thing["kind"] == "PersistentVolumeClaim"
    ]
    lines += [pod_row(pod) for pod in jobs if pod["status"]["phase"] in ("Pending", "Running")]
    late = unready(objects)
    said = [rows_of(lines), f"Not ready: {', '.join(late)}." if late else "All of the platform is ready."]
    said += [f"{trouble.what}." for trouble in troubles(objects)]
    if not any(name.startswith("fti-airflow-api-server") for name in late):
        said += runs(Airflow.of(cluster))
    return "\n".join(said)


def runs(airflow: Airflow) -> list[str]:
    """The last runs of the pipeline, the newest first, with their tasks' states."""
    found = airflow.get(f"dags/{DAG}/dagRuns?order_by=-run_after&limit={_RUNS}")["dag_runs"]
    lines = []
    for run in found:
        tasks = airflow.tasks(DAG, run["dag_run_id"])
        states = ", ".join(f"{task['task_id']} {task['state'] or 'waits'}" for task in tasks)
        lines.append(f"Run {run['dag_run_id']}: {run['state']} ({states})")
    return lines or ["The pipeline has not run yet: `make run DATE=2026-01-01`."]


def pod_row(pod: Object) -> tuple[str, str, str]:
    """Name, state, and its containers' restarts."""
    containers = pod["status"].get("containerStatuses", [])
    waiting = [c["state"]["waiting"].get("reason", "") for c in containers if "waiting" in c["state"]]
    phase = pod["status"]["phase"]
    ready = containers and all(container["ready"] for container in containers)
    state = (
        "ready"
        if ready
        else "done"
        if phase == "Succeeded"
        else (waiting or [phase if phase != "Running" else "not ready"])[0]
    )
    restarts = sum(container["restartCount"] for container in containers)
    return pod["metadata"]["name"], state, f"{restarts} restarts" if restarts else ""


def card(cluster: Cluster, wanted: str | None) -> None:
    """Prints a card's online features, read by a pod that is deleted afterwards.

    Args:
        wanted: its card_id; None picks one of the loaded state.

    Raises:
        StackError: the pod did not start or ended with an error.
    """
    name = f"fti-card-{secrets.token_hex(3)}"
    image = job_image(cluster, "verify")
    pod = card_pod(name, image, wanted, shutil.get_terminal_size((110, 24)).columns)
    cluster.kubectl("create", "--namespace", JOBS_NAMESPACE, "--filename=-", text=json.dumps(pod))
    try:
        _follow(cluster, name)
    finally:
        cluster.try_kubectl("delete", "pod", name, "--namespace", JOBS_NAMESPACE, "--wait=false", "--grace-period=1")


def card_pod(name: str, image: str, wanted: str | None, columns: int) -> Object:
    """As a job's pod: its settings by the names of objects, no rights, nothing to write but its scratch space."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/name": "fti-card", COMPONENT: "card", "app.kubernetes.io/part-of": "fti"},
        },
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": "fti-jobs",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "activeDeadlineSeconds": _POD_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": UID,
                "runAsGroup": UID,
                "fsGroup": UID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "base",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-m", "jobs.verify.show"],
                    "args": ["--card", wanted] if wanted else [],
                    "env": [{"name": "HOME", "value": "/tmp"}, {"name": "COLUMNS", "value": str(columns)}],
                    "envFrom": [{"configMapRef": {"name": "fti-jobs"}}, {"secretRef": {"name": "fti-jobs"}}],
                    "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
        },
    }


def job_image(cluster: Cluster, job: str) -> str:
    """As Airflow would start it."""
    values = json.loads(cluster.helm("get", "values", "fti", "--all", "--output=json"))
    airflow: dict[str, Any] = values["airflow"]
    tag = airflow["jobs"]["imageTag"] or values["global"]["imageTag"]
    return f"{values['global']['imagePrefix']}{job}:{tag}"


def _follow(cluster: Cluster, name: str) -> None:
    deadline = time.monotonic() + _POD_SECONDS
    while True:
        pod = json.loads(cluster.kubectl("get", "pod", name, "--namespace", JOBS_NAMESPACE, "--output=json"))
        phase = pod["status"].get("phase", "Pending")
        if phase in ("Succeeded", "Failed"):
            break
        if (
            stuck := [trouble for trouble in troubles([pod]) if not trouble.pod]
        ) and time.monotonic() > deadline - _POD_SECONDS + 20:
            raise StackError(f"{stuck[0].what}.")
        if time.monotonic() > deadline:
            raise StackError(f"The pod {name} did not end within {_POD_SECONDS} s: see `make status`.")
        time.sleep(0.3)
    stream(cluster, name)
    if phase == "Failed":
        raise StackError("The card could not be read: see above.")


def rows_of(rows: list[tuple[str, str, str]]) -> str:
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
