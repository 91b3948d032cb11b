"""From nothing to a working platform: ``make kind-up``. What is done already is seen and left alone."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from compose.stack import StackError
from kind import checks, cluster, commands, config, images, job, release, tools, waiting
from kind.airflow import host_port, no_port
from kind.commands import Cluster, Say

Result = TypeVar("Result")
_WORTH_A_LINE = 1.0
"""Seconds from which the building of an image is told."""


@dataclass(frozen=True)
class Place:
    """Where a part of the platform is, and who may log in. The password is said by `make kind-login`."""

    what: str
    where: str
    user: str


def up(ours: Cluster, say: Say, serve: bool = False) -> dict[str, Any]:
    """Makes the platform work; returns what there is to know, for `table`.

    Args:
        serve: with the features over HTTP. Without, they go where they were.
    """
    phases = Phases(say)
    with phases.phase("checks"):
        checks.require(ours)
        if serve:
            _require_serve_port(ours)
    with phases.phase("tools"):
        phases.found("tools", tools.ensure(say))
    with phases.side_by_side() as begin:
        made = begin("cluster", lambda: _make(ours, phases))
        with phases.phase("images built"):
            built = build(say)
            wanted = release.Wanted(built["prefix"], built["tag"], airflow_port(ours), serve)
            of_jobs = {f"{built['prefix']}{name}:{built['tag']}" for name in job.JOBS}
            platform = sorted(set(wanted.images()) - of_jobs)
            phases.found("images built", f"tag {built['tag']}")
        _until_it_takes_images(ours, made)
        begin("platform's images loaded", lambda: images.load(ours, platform)).result()
        # Only then: they would take turns on the node's disk with what the platform waits for.
        second = begin("jobs' images loaded", lambda: images.load(ours, sorted(of_jobs)))
        since = made.result()
        with phases.phase("release"):
            phases.found("release", release.ensure(ours, wanted))
        with phases.phase("ready"):
            ready = waiting.until_ready(ours, say, since, lambda: second.done() and second.result())
            phases.found("ready", ready)
        second.result()
    return {
        "cluster": ours.name,
        "context": ours.context,
        "tag": built["tag"],
        "places": [vars(place) for place in places(ours, serve)],
        "seconds": phases.seconds,
        "total": phases.total,
    }


class Phases:
    """How long each took, and what was found, in the order of their beginnings. Several may run at once."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._began = time.monotonic()
        self._found: dict[str, str] = {}
        self._cause: BaseException | None = None
        self._lock = threading.Lock()
        self.seconds: dict[str, float] = {}

    @property
    def total(self) -> float:
        return round(time.monotonic() - self._began, 1)

    def found(self, name: str, what: str) -> None:
        self._found[name] = what

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.seconds[name] = 0.0
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 1)
        self._say(f"{name:<25} {self.seconds[name]:6.1f} s  {self._found.get(name, '')}".rstrip())

    @contextmanager
    def side_by_side(self) -> Iterator[Callable[[str, Callable[[], Result]], Future[Result]]]:
        """Lets phases run beside each other. When one fails, or a person interrupts, all commands are ended."""
        with ThreadPoolExecutor() as pool:

            def begin(name: str, work: Callable[[], Result]) -> Future[Result]:
                return pool.submit(self._run, name, work)

            try:
                yield begin
            except BaseException as error:
                self._fail(error)
                assert self._cause
                raise self._cause from None

    def _run(self, name: str, work: Callable[[], Result]) -> Result:
        try:
            with self.phase(name):
                result = work()
        except BaseException as error:
            self._fail(error)
            raise
        return result

    def _fail(self, error: BaseException) -> None:
        """The first failure is the reason; the others follow from its end of all commands."""
        with self._lock:
            self._cause = self._cause or error
        commands.stop()


def build(say: Say) -> dict[str, Any]:
    """Builds what changed of the images.

    Returns:
        ``prefix``, ``tag`` and ``images``, their names.

    Raises:
        StackError: a build failed; its last lines are on standard error.
    """
    process = commands.start(
        sys.executable, "-m", "images.build", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    assert process.stderr
    words: list[str] = []
    for line in process.stderr:
        words.append(line.decode("utf-8", "replace").rstrip())
        if words[-1].endswith(" s") and float(words[-1].split()[-2]) >= _WORTH_A_LINE:
            say(words[-1])
    answer = process.stdout.read()
    if code := commands.finish(process):
        error = commands.MachineError if code == 2 else StackError
        raise error("\n".join(words[-31:]))
    told = json.loads(answer)
    names = [image["image"] for image in told["images"]]
    return {
        "prefix": names[0].removesuffix(f"{told['images'][0]['name']}:{told['tag']}"),
        "tag": told["tag"],
        "images": names,
    }


def runs(ours: Cluster) -> bool:
    return any(node["State"]["Running"] for node in ours.nodes().values())


def airflow_port(ours: Cluster) -> int:
    """Of the cluster that is there, else of the one to be made."""
    if runs(ours):
        return host_port(ours, config.AIRFLOW)
    return next(port for port, leads in config.ports().items() if leads.node_port == config.AIRFLOW)


def _require_serve_port(ours: Cluster) -> None:
    """A cluster that was made before there was this port has none, running or stopped."""
    nodes = ours.nodes().values()
    if nodes and not any(f"{config.SERVE}/tcp" in (node["HostConfig"]["PortBindings"] or ()) for node in nodes):
        raise no_port(ours, config.SERVE)


def places(ours: Cluster, serve: bool = False) -> list[Place]:
    port = {
        node_port: host_port(ours, node_port) for node_port in (config.AIRFLOW, config.CONSOLE, config.S3, config.REDIS)
    }
    optional = (
        [Place("Features over HTTP", f"http://localhost:{host_port(ours, config.SERVE)}/features", "none")]
        if serve
        else []
    )
    return [
        Place("Airflow", f"http://localhost:{port[config.AIRFLOW]}", "airflow"),
        Place("MinIO console", f"http://localhost:{port[config.CONSOLE]}", "see `make kind-login`"),
        Place("MinIO (S3)", f"http://localhost:{port[config.S3]}, bucket lake", "see `make kind-login`"),
        Place("Redis", f"redis://localhost:{port[config.REDIS]}/0", "none"),
        *optional,
    ]


def table(found: dict[str, Any]) -> str:
    """For a person, at the end."""
    rows = [("what", "where", "user"), *((place["what"], place["where"], place["user"]) for place in found["places"])]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    times = ", ".join(f"{name} {seconds:.0f}" for name, seconds in found["seconds"].items())
    return "\n".join(
        [
            f"The platform works, after {found['total']:.0f} s ({times}; some side by side).",
            "",
            *lines,
            "",
            "Passwords: `make kind-login`. A day's pipeline: `make run DATE=2026-01-01`. A job's log: `make logs JOB=bronze`.",
            f"kubectl and helm are in .tools/bin; the cluster's context is {found['context']}, the namespaces are fti and fti-jobs.",
        ]
    )


def _make(ours: Cluster, phases: Phases) -> datetime | None:
    """When the nodes were started; None where they ran already."""
    made = cluster.make(ours)
    phases.found("cluster", made.what)
    return made.started


def _until_it_takes_images(ours: Cluster, made: Future[Any]) -> None:
    """Until a cluster of one node runs containerd: images come in while Kubernetes starts. Else, until it is made."""
    while not made.done():
        nodes = ours.nodes()
        if len(nodes) == config.node_count() == 1 and all(map(images.answers, nodes)):
            return
        time.sleep(0.3)
