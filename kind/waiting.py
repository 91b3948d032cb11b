"""Waits until the platform works, and ends at once with the reason where it never will."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from compose.stack import StackError
from kind.commands import NAMESPACE, Cluster, Object, Say

SECONDS = 300
KINDS = "deployments,statefulsets,jobs,pods,persistentvolumeclaims"
_LAST_LINES = 15
_NEVER_STARTS = {
    "ErrImagePull": "its image cannot be had",
    "ImagePullBackOff": "its image cannot be had",
    "ErrImageNeverPull": "its image is not on the node",
    "InvalidImageName": "its image has no valid name",
    "CreateContainerConfigError": "what it refers to is missing",
    "CreateContainerError": "its container cannot be made",
}
CRASHES = 2
"""Restarts from which a container that waits for its next one counts as failed."""
PATIENCE = 20
"""Seconds for which something may be seen that can still change: a claim without a volume, a pod without a node."""


@dataclass(frozen=True)
class Trouble:
    """Something that stands in the way.

    Attributes:
        what: a sentence.
        after: seconds for which it must be seen before it is believed.
        pod: whose last lines say more.
        container: of the pod.
        claim: whose events say more; without one the claim still comes.
    """

    what: str
    after: float = 0
    pod: str = ""
    container: str = ""
    claim: str = ""


def until_ready(
    cluster: Cluster, say: Say, since: datetime | None = None, busy: Callable[[], object] = lambda: None
) -> str:
    """Until every pod is ready and every Job is done; returns how many there are.

    Args:
        since: what has run since before that moment is not believed: the node was stopped.
        busy: called between two looks; what it raises ends the waiting.

    Raises:
        StackError: something will never be ready, or not within 300 s; with its pod's last lines.
    """
    began = time.monotonic()
    seen: dict[Trouble, float] = {}
    shown: list[str] = []
    while True:
        objects = cluster.get(KINDS, NAMESPACE)
        now = time.monotonic()
        seen = {trouble: seen.get(trouble, now) for trouble in troubles(objects)}
        for trouble, first in seen.items():
            if now - first >= trouble.after:
                _give_up(cluster, trouble)
        late = unready(objects, since)
        if not late:
            return f"{sum(_alive(thing) for thing in objects if thing['kind'] == 'Pod')} pods ready"
        if late != shown:
            say(f"Waiting for {', '.join(late)}")
            shown = late
        if now - began > SECONDS:
            raise StackError(
                f"{_why(cluster, late[0])}Not ready after {SECONDS} s: {', '.join(late)}. `make status` shows how it goes on, `make doctor` collects why."
            )
        busy()
        time.sleep(0.5)


def unready(objects: Sequence[Object], since: datetime | None = None) -> list[str]:
    """Names of what is not as it is wanted yet; before anything is there, that alone."""
    late = []
    for thing in objects:
        kind, spec, status = thing["kind"], thing["spec"], thing.get("status", {})
        if kind in ("Deployment", "StatefulSet"):
            wanted = spec.get("replicas", 1)
            current = status.get("observedGeneration", 0) >= thing["metadata"]["generation"]
            counts = [status.get(count, 0) for count in ("replicas", "updatedReplicas", "readyReplicas")]
            done = current and counts == [wanted] * 3
        elif kind == "Job":
            done = _owner(thing) == "CronJob" or _condition(thing, "Complete")
        elif kind == "Pod":  # of a workload, which counts it itself
            done = since is None or not _alive(thing) or _owner(thing) == "Job" or _ready(thing, since)
        else:
            done = True
        if not done:
            late.append(thing["metadata"]["name"])
    return late if objects else ["the first object"]


def troubles(objects: Sequence[Object]) -> list[Trouble]:
    """What stands in the way of readiness, as far as the objects themselves say it."""
    found = []
    for thing in objects:
        name = thing["metadata"]["name"]
        if thing["kind"] == "Pod" and _alive(thing):
            found += _of_pod(thing)
        elif thing["kind"] == "Job" and _condition(thing, "Failed") and _owner(thing) != "CronJob":
            pods = [pod for pod in objects if pod["kind"] == "Pod" and _owner(pod, name) == "Job"]
            last = max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)
            found.append(Trouble(f"Job {name} failed", pod=last["metadata"]["name"] if last else ""))
        elif thing["kind"] == "PersistentVolumeClaim" and thing["status"].get("phase") != "Bound":
            found.append(Trouble(f"Claim {name} has no volume", after=PATIENCE, claim=name))
    return found


def _of_pod(pod: Object) -> list[Trouble]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    found = []
    for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        waiting = container["state"].get("waiting", {})
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if meaning := _NEVER_STARTS.get(reason):
            what = f"Pod {name} does not start, {meaning}: {reason}, {message or container['image']}"
            found.append(Trouble(what, after=5))  # a Secret may come a moment after its reader
        elif reason == "CrashLoopBackOff" and container["restartCount"] >= CRASHES:
            what = f"Pod {name}: its container {container['name']} ends again and again, {_end(container)}"
            found.append(Trouble(what, pod=name, container=container["name"]))
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            found.append(Trouble(f"Pod {name} finds no node: {condition.get('message', '')}", after=PATIENCE))
    return found


def _end(container: Object) -> str:
    last = container.get("lastState", {}).get("terminated", {})
    return f"{last.get('reason', 'Error')}, exit code {last.get('exitCode', '?')}"


def _alive(thing: Object) -> bool:
    """A pod that is neither being deleted nor at its end; another takes the place of an evicted one."""
    ended = thing.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return "deletionTimestamp" not in thing["metadata"] and not ended


def _ready(pod: Object, since: datetime) -> bool:
    started = [
        datetime.fromisoformat(container["state"]["running"]["startedAt"])
        for container in pod.get("status", {}).get("containerStatuses", [])
        if "running" in container["state"]
    ]
    return _condition(pod, "Ready") and all(moment >= since for moment in started)


def _condition(thing: Object, kind: str) -> bool:
    conditions = thing.get("status", {}).get("conditions", [])
    return any(condition["type"] == kind and condition["status"] == "True" for condition in conditions)


def _owner(thing: Object, name: str | None = None) -> str:
    """Kind of its owner, of that name where one is given."""
    owners = thing["metadata"].get("ownerReferences", [])
    return next((str(owner["kind"]) for owner in owners if name in (None, owner["name"])), "")


def _give_up(cluster: Cluster, trouble: Trouble) -> None:
    """Raises StackError, unless a claim's volume may still come."""
    what = trouble.what
    if trouble.claim:
        warning = _warning(cluster, trouble.claim)
        if not warning:
            return
        what += f": {warning}"
    lines = _last_lines(cluster, trouble.pod, trouble.container) if trouble.pod else ""
    raise StackError(f"{lines}\n{what}.{' Its last lines are above.' if lines else ''}".strip())


def _why(cluster: Cluster, pod: str) -> str:
    """What can be said of a pod that is late, line by line; its name may be that of something else."""
    said = [_last_lines(cluster, pod), _warning(cluster, pod)]
    return "".join(f"{text}\n" for text in said if text)


def _warning(cluster: Cluster, name: str) -> str:
    """The newest warning of the cluster about something."""
    events = cluster.get("events", NAMESPACE, f"--field-selector=involvedObject.name={name},type=Warning")
    return f"{events[-1].get('reason')}, {events[-1].get('message')}" if events else ""


def _last_lines(cluster: Cluster, pod: str, container: str = "") -> str:
    """Of a container's newest run that has any; of the pod's own choice where none is named."""
    which = ["--container", container] if container else ["--all-containers"]
    logs = ("logs", "--namespace", NAMESPACE, pod, f"--tail={_LAST_LINES}", *which)
    now = cluster.try_kubectl(*logs).stdout.rstrip()
    return now or cluster.try_kubectl(*logs, "--previous").stdout.rstrip()
