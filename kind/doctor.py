"""One zip that helps to find a fault, also from afar: ``make doctor``. Useful without a cluster too. No password is in it."""

from __future__ import annotations

import base64
import re
import sys
import time
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

from compose.stack import StackError
from images.build import Missing, commit_tag
from kind import checks, tools
from kind.commands import JOBS_NAMESPACE, NAMESPACE, RELEASE, TOOLS, Cluster, Object, call, program

NAMESPACES = (NAMESPACE, JOBS_NAMESPACE)
HIDDEN = "(hidden)"
_SHORTEST_SECRET = 5
_LOGIN_IN_URL = re.compile(r"(://[^/\s:@\"']*:)[^/\s@\"']+(@)")
_LOG_LINES = 5000
_AT_ONCE = 4


def write(cluster: Cluster) -> str:
    """Writes the bundle; returns a sentence on where it is and what the checks found."""
    found = _checks(cluster)
    parts = dict(collect(cluster))
    parts["checks.txt"] = "\n".join(f"{check.name}: {check.found}. {check.problem}".rstrip() for check in found)
    hide = hider(secret_values(cluster))
    folder = TOOLS / "doctor"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{cluster.name}-{time.strftime('%Y%m%d-%H%M%S')}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, text in sorted(parts.items()):
            bundle.writestr(name, hide(text))
    problems = "".join(f"\n{check.problem}" for check in found if check.problem)
    return f"{path}: {len(parts)} files, {path.stat().st_size / 1e3:.0f} kB, without passwords.{problems}"


def collect(cluster: Cluster) -> Iterable[tuple[str, str]]:
    """Name and content of each part. What cannot be had says why in its place."""
    yield "when.txt", datetime.now(UTC).isoformat(timespec="seconds")
    yield "versions.txt", _versions()
    asked = dict(_questions(cluster))
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # most of each is the start of its program
        yield from zip(asked, pool.map(lambda command: said(*command), asked.values()), strict=True)


def _questions(cluster: Cluster) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Name of each part and the command that says it."""
    ours = (program("kubectl"), "--context", cluster.context, "--request-timeout=20s")
    yield "docker/info.txt", ("docker", "info")
    yield "docker/disk.txt", ("docker", "system", "df")
    yield "docker/images.txt", ("docker", "images")
    yield "docker/containers.txt", ("docker", "ps", "--all")
    for node in _or_nothing(cluster.nodes):
        yield f"nodes/{node}/container.txt", ("docker", "logs", "--tail", str(_LOG_LINES), node)
        yield f"nodes/{node}/disk.txt", ("docker", "exec", node, "df", "-h", "/", "/var")
        yield f"nodes/{node}/images.txt", ("docker", "exec", node, "ctr", "--namespace", "k8s.io", "images", "ls")
        for unit in ("kubelet", "containerd"):
            journal = ("journalctl", "--no-pager", "--lines", str(_LOG_LINES), "--unit", unit)
            yield f"nodes/{node}/{unit}.txt", ("docker", "exec", node, *journal)
    yield "cluster/nodes.txt", (*ours, "describe", "nodes")
    yield "cluster/all.txt", (*ours, "get", "pods,persistentvolumes", "--all-namespaces", "--output=wide")
    for namespace in NAMESPACES:
        of = (*ours, "--namespace", namespace)
        yield f"{namespace}/all.txt", (*of, "get", _KINDS, "--output=wide")
        yield f"{namespace}/events.txt", (*of, "get", "events", "--sort-by=.lastTimestamp")
        yield f"{namespace}/describe.txt", (*of, "describe", _KINDS)
        yield from _logs(cluster, namespace, of)
    release = (program("helm"), "--kube-context", cluster.context, "--namespace", NAMESPACE)
    for verb in ("status", "history", "get values"):
        yield f"helm/{verb.split()[-1]}.txt", (*release, *verb.split(), RELEASE)


_KINDS = (
    "deployments,statefulsets,jobs,cronjobs,pods,services,persistentvolumeclaims,configmaps,networkpolicies,"
    "serviceaccounts,roles,rolebindings"
)
"""Of everything but Secrets."""


def said(*command: str) -> str:
    """What a command answers, be it an error."""
    try:
        done = call(*command)
    except StackError as error:
        return str(error)
    code = f"\n(exit code {done.returncode})" if done.returncode else ""
    return f"{done.stdout}{done.stderr}{code}"


def hider(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that takes secrets out of a text, and logins out of its URLs."""
    known = sorted({value for value in secrets if len(value) >= _SHORTEST_SECRET}, key=len, reverse=True)

    def hide(text: str) -> str:
        for value in known:
            text = text.replace(value, HIDDEN)
        return _LOGIN_IN_URL.sub(rf"\1{HIDDEN}\2", text)

    return hide


def secret_values(cluster: Cluster) -> list[str]:
    """All that the platform's Secrets hold, as they stand there and decoded: to find them in what a program logged."""
    values = []
    for namespace in NAMESPACES:
        found = _or_nothing(partial(cluster.get, "secrets", namespace))
        values += [value for secret in found for value in decoded(secret)]
    return values


def decoded(secret: Object) -> list[str]:
    """The values of one Secret in each form in which one may meet them."""
    if str(secret.get("type", "")).startswith("helm.sh/"):  # Helm's own record: no password, and large
        return []
    values = []
    for key, encoded in (secret.get("data") or {}).items():
        if "user" in key:  # a name, which may be a word of many texts
            continue
        plain = base64.b64decode(encoded).decode("utf-8", "replace")
        values += [encoded, plain, *plain.splitlines()]
    return values


def _logs(cluster: Cluster, namespace: str, of: tuple[str, ...]) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Each container's log, and that of its run before."""
    for pod in _or_nothing(partial(cluster.get, "pods", namespace)):
        status = pod["status"]
        for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
            name = f"{namespace}/logs/{pod['metadata']['name']}.{container['name']}"
            log = (*of, "logs", pod["metadata"]["name"], f"--container={container['name']}", f"--tail={_LOG_LINES}")
            yield f"{name}.txt", log
            if container["restartCount"]:
                yield f"{name}.previous.txt", (*log, "--previous")


def _checks(cluster: Cluster) -> list[checks.Check]:
    try:
        return checks.machine(cluster)
    except StackError as error:
        return [checks.Check("machine", "not checked", str(error))]


def _versions() -> str:
    lines = [f"python {sys.version}", f"system {sys.platform}", f"source {_source()}"]
    lines += [f"{tool.name} {tool.version}: {'there' if tool.there else 'not there'}" for tool in tools.wanted()]
    return "\n".join([*lines, said("docker", "version")])


def _source() -> str:
    try:
        return commit_tag()
    except Missing as error:  # no Git, or no commit
        return str(error)


def _or_nothing(ask: Callable[[], Iterable[Any]]) -> Iterable[Any]:
    try:
        return ask()
    except StackError:  # no Docker, no cluster: another part says why
        return ()
