"""What the Kubernetes API does for the pods of jobs, in memory. Real pods come in tests/e2e."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from kubernetes.client import ApiException
from kubernetes.client import models as k8s

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def state(**kind: Any) -> k8s.V1ContainerState:
    """``running={}``, ``waiting={"reason": …}`` or ``terminated={"exit_code": …}``."""
    ((name, fields),) = kind.items()
    return k8s.V1ContainerState(**{name: getattr(k8s, f"V1ContainerState{name.title()}")(**fields)})


def pod(
    container: k8s.V1ContainerState | None = None,
    phase: str = "Running",
    scheduled: Any = True,
    name: str = "fti-bronze-a",
    going: bool = False,
    **status: Any,
) -> k8s.V1Pod:
    """A pod of the bronze job. ``scheduled``: whether, or the condition that says why not."""
    if isinstance(scheduled, bool):
        on_node = k8s.V1PodCondition(type="PodScheduled", status=str(scheduled), last_transition_time=NOW)
        scheduled = [on_node] if scheduled else []
    statuses = [
        k8s.V1ContainerStatus(name="base", state=container, image="", image_id="", ready=False, restart_count=0)
    ]
    return k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(
            name=name, uid=name, creation_timestamp=NOW, deletion_timestamp=NOW if going else None, labels={}
        ),
        spec=k8s.V1PodSpec(
            containers=[k8s.V1Container(name="base", resources=k8s.V1ResourceRequirements(limits={"memory": "2560Mi"}))]
        ),
        status=k8s.V1PodStatus(
            phase=phase, conditions=scheduled, container_statuses=statuses if container else None, **status
        ),
    )


def ended(code: int, reason: str = "Error", phase: str = "Failed", **more: Any) -> k8s.V1Pod:
    message = more.pop("message", None)
    return pod(state(terminated={"exit_code": code, "reason": reason, "message": message}), phase=phase, **more)


class Cluster:
    """A client of the API and the cluster behind it."""

    def __init__(self) -> None:
        self.pods: dict[str, k8s.V1Pod] = {}
        self.calls: list[str] = []
        self.log: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.when_deleted: Callable[[k8s.V1Pod], None] = lambda pod: self.pods.pop(pod.metadata.name)
        self.fails: Exception | None = None

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.fails:
            raise self.fails

    def create_namespaced_pod(self, namespace: str, body: k8s.V1Pod) -> k8s.V1Pod:
        self._call("create")
        body.status = k8s.V1PodStatus(phase="Pending")
        body.metadata.creation_timestamp = NOW
        self.pods[body.metadata.name] = body
        return body

    def list_namespaced_pod(self, namespace: str, label_selector: str) -> k8s.V1PodList:
        self._call("list")
        wanted = dict(pair.split("=") for pair in label_selector.split(","))
        return k8s.V1PodList(items=[p for p in self.pods.values() if wanted.items() <= p.metadata.labels.items()])

    def read_namespaced_pod(self, name: str, namespace: str) -> k8s.V1Pod:
        self._call("read")
        if name not in self.pods:
            raise ApiException(404)
        return self.pods[name]

    def delete_namespaced_pod(self, name: str, namespace: str, **_: Any) -> None:
        self._call("delete")
        if name in self.pods:
            self.when_deleted(self.pods[name])

    def read_namespaced_pod_log(self, name: str, namespace: str, **asked: Any) -> Iterator[bytes]:
        self._call("log")
        assert asked["timestamps"]
        assert asked.get("since_seconds", 1) is not None, "the client refuses None"
        return iter([f"{line}\n".encode() for line in self.log])

    def list_namespaced_event(self, namespace: str, field_selector: str) -> k8s.CoreV1EventList:
        self._call("events")
        thing = k8s.V1ObjectReference()
        items = [
            k8s.CoreV1Event(involved_object=thing, metadata=k8s.V1ObjectMeta(), reason=reason, message=message)
            for reason, message in self.events
        ]
        return k8s.CoreV1EventList(items=items)
