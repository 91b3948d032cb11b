"""The cluster: created where there is none, started where it is stopped, and deleted without a trace."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from compose.stack import MachineError, StackError
from images.build import exists, succeeds
from images.offline.versions import VERSIONS
from kind import config
from kind.commands import NAMESPACE, TOOLS, Cluster, Object, call, docker, output, program

READY_SECONDS = 180
WHOLE = "/kind/fti-whole"
"""A file in a node whose creation came to its end."""


@dataclass(frozen=True)
class Made:
    """
    Attributes:
        what: had to be done.
        started: when the nodes were, if they were there and stopped.
    """

    what: str
    started: datetime | None = None


def make(cluster: Cluster) -> Made:
    """Until the cluster answers and its nodes are ready.

    Raises:
        MachineError: it is of another Kubernetes, or there is no node image.
        StackError: kind could not create it, or it does not answer.
    """
    nodes = cluster.nodes()
    done, started = "there", None
    if nodes and not _whole(cluster, nodes):
        delete(cluster)  # an interrupted creation: nothing is in it yet
        nodes = {}
    if not nodes:
        _create(cluster)
        done = "created"
    elif other := {node["Config"]["Image"] for node in nodes.values()} - {config.NODE_IMAGE}:
        raise MachineError(
            f"The cluster {cluster.name} is of {', '.join(other)}, and {config.NODE_IMAGE} is wanted: `make kind-down` deletes it and its data, then run the same again."
        )
    elif stopped := [name for name, node in nodes.items() if not node["State"]["Running"]]:
        done, started = "started", datetime.now(UTC).replace(microsecond=0)
        docker("start", *stopped)
    _know(cluster)
    _await(cluster, started)
    return Made(f"{cluster.name}, Kubernetes {VERSIONS['KUBERNETES']}: {done}", started)


def delete(cluster: Cluster) -> bool:
    """Deletes its containers with their volumes, its context, and kind's network with the last cluster.

    Returns:
        Whether there was one.
    """
    existed = bool(cluster.nodes())
    with keeping_current_context(cluster):
        cluster.kind("delete", "cluster")
    if not docker("ps", "--all", "--quiet", "--filter", "label=io.x-k8s.kind.cluster").split():
        call("docker", "network", "rm", "kind")
    return existed


@contextmanager
def keeping_current_context(cluster: Cluster) -> Iterator[None]:
    """kind makes its cluster the current one: that stays whatever a person had chosen."""
    kubectl = program("kubectl")
    before = call(kubectl, "config", "current-context").stdout.strip()
    try:
        yield
    finally:
        if before and before != cluster.context:
            call(kubectl, "config", "use-context", before)


def _create(cluster: Cluster) -> None:
    require_node_image()
    command = ("create", "cluster", "--name", cluster.name, "--image", config.NODE_IMAGE, "--config=-")
    with keeping_current_context(cluster):
        done = call(program("kind"), *command, text=config.text())
    TOOLS.mkdir(exist_ok=True)
    log = TOOLS / f"kind-{cluster.name}.log"
    log.write_text(done.stderr + done.stdout, encoding="utf-8")
    if done.returncode:
        last = "\n".join((done.stderr + done.stdout).splitlines()[-15:])
        raise StackError(
            f"{last}\nkind could not create the cluster {cluster.name}: see above, and all of it in {log}."
        )
    for node in cluster.nodes():
        docker("exec", node, "touch", WHOLE)


def require_node_image() -> None:
    """
    Raises:
        MachineError: it is neither here nor can be pulled.
    """
    if not exists(config.NODE_IMAGE) and not succeeds("docker", "pull", "--quiet", config.NODE_IMAGE):
        raise MachineError(
            f"{config.NODE_IMAGE} is not here and no registry is reached: run `make offline-images` first."
        )


def _whole(cluster: Cluster, nodes: dict[str, Object]) -> bool:
    """Whether its creation came to its end. A stopped node was whole once, or its file says so when it runs."""
    running = [name for name, node in nodes.items() if node["State"]["Running"]]
    if len(running) < len(nodes) or all(succeeds("docker", "exec", name, "test", "-e", WHOLE) for name in running):
        return True
    return cluster.try_kubectl("get", "namespace", NAMESPACE).returncode == 0  # made by hand, and in use


def _know(cluster: Cluster) -> None:
    """Brings its context into the kubeconfig of this shell, where it is missing."""
    contexts = output(program("kubectl"), "config", "get-contexts", "--output=name").split()
    if cluster.context not in contexts:
        with keeping_current_context(cluster):
            cluster.kind("export", "kubeconfig")


def _await(cluster: Cluster, since: datetime | None) -> None:
    """Until the API answers and every node is ready, and has said so since it was started."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        told = cluster.try_kubectl("get", "nodes", "--output=json", "--request-timeout=5s")
        words = told.stderr.strip()
        if told.returncode == 0:
            late = not_ready(json.loads(told.stdout)["items"], since)
            if not late:
                return
            words = f"not ready: {', '.join(late)}"
        if time.monotonic() > deadline:
            raise StackError(
                f"The cluster {cluster.name} does not come up within {READY_SECONDS} s ({words}): `make doctor` collects why; `make kind-down` deletes it."
            )
        time.sleep(0.5)


def not_ready(nodes: list[Object], since: datetime | None = None) -> list[str]:
    """Names of nodes that do not say that they are ready, or said it before that moment."""
    late = []
    for node in nodes:
        ready = next((c for c in node["status"].get("conditions", []) if c["type"] == "Ready"), None)
        heard = ready and (since is None or datetime.fromisoformat(ready["lastHeartbeatTime"]) >= since)
        if not (ready and heard and ready["status"] == "True"):
            late.append(node["metadata"]["name"])
    return late if nodes else ["the first node"]
