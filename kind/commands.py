"""Runs docker, kind, kubectl and helm: the last three against our own cluster alone, whatever the current context is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from compose.stack import MachineError, StackError

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".tools"
BIN = TOOLS / "bin"
SUFFIX = ".exe" if sys.platform == "win32" else ""
RELEASE = NAMESPACE = "fti"
JOBS_NAMESPACE = "fti-jobs"

Object = dict[str, Any]
Say = Callable[[str], object]

_children: set[subprocess.Popen[Any]] = set()
_stopping = threading.Event()
_starting = threading.Lock()
"""Held while a command starts: none comes into being behind the back of `stop`."""
_GENTLE_SECONDS = 3
"""For Helm to write down that it was stopped."""


class NoCluster(MachineError):
    """There is none, or it does not run."""


def call(*command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end and keeps what it says.

    Args:
        text: its standard input.

    Raises:
        StackError: it could not be started, or all work was stopped.
    """
    process = start(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        out, err = process.communicate((text or "").encode())
    _children.discard(process)
    return subprocess.CompletedProcess(
        command, process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
    )


def start(
    *command: str,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a command that ends when all work is stopped."""
    with _starting:
        if _stopping.is_set():
            raise StackError("Stopped.")
        try:
            process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, cwd=ROOT)
        except FileNotFoundError:
            hint = " Run `make tools` first." if Path(command[0]).parent == BIN else ""
            raise MachineError(f"There is no {Path(command[0]).stem} here.{hint}") from None
        _children.add(process)
        return process


def finish(process: subprocess.Popen[bytes]) -> int:
    """The exit code of what was started."""
    with process:
        code = process.wait()
    _children.discard(process)
    return code


def stop() -> None:
    """Ends all commands that run, and lets none start: another part of the same work failed, or a person interrupted."""
    with _starting:
        _stopping.set()
        running = list(_children)
    for process in running:
        process.terminate()
    deadline = time.monotonic() + _GENTLE_SECONDS
    for process in running:
        try:
            process.wait(max(deadline - time.monotonic(), 0.01))
        except subprocess.TimeoutExpired:
            process.kill()


def output(*command: str, text: str | None = None) -> str:
    """A command's standard output.

    Raises:
        StackError: it failed; with its own words.
    """
    done = call(*command, text=text)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "it said nothing")[-3000:]
        shown = " ".join([Path(command[0]).stem, *command[1:]])
        raise StackError(f"`{shown}` failed with exit code {done.returncode}: {words}")
    return done.stdout


def docker(*arguments: str) -> str:
    return output("docker", *arguments)


def program(name: str) -> str:
    """Of `make tools`, never one of the same name in the PATH, whose version nobody knows."""
    return str(BIN / f"{name}{SUFFIX}")


@dataclass(frozen=True)
class Cluster:
    """Ours, by its name in kind."""

    name: str

    @classmethod
    def from_env(cls) -> Cluster:
        """
        Raises:
            MachineError: FTI_CLUSTER is no name for a cluster.
        """
        name = os.environ.get("FTI_CLUSTER") or "fti"
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", name):
            raise MachineError(f"FTI_CLUSTER is {name!r}, use at most 40 lower-case letters, digits and hyphens.")
        return cls(name)

    @property
    def context(self) -> str:
        return f"kind-{self.name}"

    def nodes(self) -> dict[str, Object]:
        """Each node's container, as ``docker inspect`` shows it, by its name."""
        label = f"label=io.x-k8s.kind.cluster={self.name}"
        found = docker("ps", "--all", "--quiet", "--filter", label).split()
        described: list[Object] = json.loads(docker("inspect", *found)) if found else []
        return {container["Name"].lstrip("/"): container for container in described}

    def require(self) -> dict[str, Object]:
        """The nodes.

        Raises:
            NoCluster: there is none, or one is stopped.
        """
        nodes = self.nodes()
        if not nodes:
            raise NoCluster(f"There is no cluster {self.name}: run `make kind-up` first.")
        if stopped := [name for name, container in nodes.items() if not container["State"]["Running"]]:
            raise NoCluster(f"Of the cluster {self.name} is stopped: {', '.join(stopped)}. Run `make kind-up`.")
        return nodes

    def kind(self, *arguments: str) -> str:
        return output(program("kind"), *arguments, "--name", self.name)

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return output(program("kubectl"), "--context", self.context, *arguments, text=text)

    def try_kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return call(program("kubectl"), "--context", self.context, *arguments)

    def helm(self, *arguments: str) -> str:
        return output(*self._helm, *arguments)

    def try_helm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return call(*self._helm, *arguments)

    @property
    def _helm(self) -> tuple[str, ...]:
        return program("helm"), "--kube-context", self.context, "--namespace", NAMESPACE

    def get(self, what: str, namespace: str, *arguments: str) -> list[Object]:
        found: list[Object] = json.loads(
            self.kubectl("get", what, "--namespace", namespace, "--output=json", *arguments)
        )["items"]
        return found
