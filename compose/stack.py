"""Starts and stops the stack with checks before and a table after: ``python -m compose.stack up``.

Only what Compose itself cannot say well is here; ``docker compose up -d`` in this folder starts the same stack. The
standard library is enough, so that it runs where nothing is installed yet, on Windows too.

Exit codes: 0 done, 1 the stack did not come up, 2 something on this machine must be mended first.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
OLDEST_ENGINE = (25,)
"""The first that starts a container only as it was described: what the proxy looked at is what runs."""
OLDEST_COMPOSE = (2, 23, 1)
"""The first that takes a configuration file's content from the compose file."""
MEMORY_GB = 4
"""Airflow, the stores and one Spark job, as measured; the limits add up to more. A machine of 4 GB shows a little less."""
UP_SECONDS = 300
PORTS = {8080: "airflow-webserver", 9000: "minio", 9001: "minio", 6379: "redis", 8090: "serve"}
PLACES = {
    "airflow-webserver": [("Airflow", "http://localhost:8080", "airflow / airflow")],
    "minio": [
        ("MinIO console", "http://localhost:9001", "minioadmin / minioadmin"),
        ("MinIO (S3)", "http://localhost:9000", "minioadmin / minioadmin, bucket lake"),
    ],
    "redis": [("Redis", "redis://localhost:6379/0", "no password")],
    "serve": [("Features over HTTP", "http://localhost:8090/features", "no login")],
}
OPTIONAL = ("serve",)
"""Profiles with services that start where COMPOSE_PROFILES asks for them."""


class StackError(Exception):
    """One sentence for a person."""

    exit_code = 1


class MachineError(StackError):
    """Something on this machine must be mended first."""

    exit_code = 2


@dataclass(frozen=True)
class Service:
    """A service's container as ``docker compose ps`` shows it."""

    name: str
    state: str
    health: str
    exit_code: int

    @property
    def ready(self) -> bool:
        ended_well = self.state == "exited" and self.exit_code == 0
        return ended_well or (self.state == "running" and self.health in ("", "healthy"))

    @property
    def failed(self) -> bool:
        return self.state in ("dead", "removing") or (self.state == "exited" and self.exit_code != 0)


def main() -> None:
    parser = argparse.ArgumentParser("python -m compose.stack", description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("check", help="see whether this machine can run it")
    verbs.add_parser("up", help="start it, wait until it works, say where everything is")
    down = verbs.add_parser("down", help="stop it; its data stays")
    down.add_argument("--volumes", action="store_true", help="delete its data too")
    options = parser.parse_args()
    try:
        check_engine()
        check_compose()
        if options.verb == "down":
            stop(options.volumes)
        else:
            check_memory(int(docker("info", "--format", "{{.MemTotal}}")))
            wanted = compose("config", "--services").split()
            ports = {port: service for port, service in PORTS.items() if service in wanted}
            check_ports(ports, {service.name for service in services() if service.state == "running"})
            if options.verb == "up":
                up()
    except StackError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("Interrupted; the same call goes on from here.", file=sys.stderr)
        sys.exit(130)


def up() -> None:
    began = time.monotonic()
    print("Starting the stack: about a minute", flush=True)
    try:
        compose("--progress", progress(), "up", "--detach", passthrough=True)
    except StackError:
        say_why(services())  # of a service that ended, where there is one: Compose names it and no reason
        raise
    wait(began)
    there = {service.name for service in services()}
    places = [row for service, rows in PLACES.items() if service in there for row in rows]
    width = [max(len(row[i]) for row in places) for i in range(3)]
    print(f"\nThe stack works, after {time.monotonic() - began:.0f} s.\n")
    for row in places:
        print("  " + "  ".join(cell.ljust(w) for cell, w in zip(row, width, strict=True)).rstrip())
    print("\nThese logins are for this machine alone: every port is bound to loopback.")


def stop(volumes: bool) -> None:
    network = json.loads(compose("config", "--format", "json"))["networks"]["fti"]["name"]
    jobs = docker("ps", "--all", "--quiet", "--filter", "name=^fti-job-", "--filter", f"network={network}").split()
    if jobs:  # not Compose's own, and lost without the stack
        docker("rm", "--force", "--volumes", *jobs)
    profiles = [f"--profile={name}" for name in OPTIONAL]  # without, what such a one started would stay
    compose(
        *profiles,
        "--progress",
        progress(),
        "down",
        "--remove-orphans",
        *(["--volumes"] if volumes else []),
        passthrough=True,
    )
    print("The stack is gone, and its data." if volumes else "The stack is stopped; its data stays for the next start.")


def wait(began: float) -> None:
    """Until every service is ready.

    Raises:
        StackError: one ended, or it takes too long; with that service's last lines.
    """
    while True:
        found = services()
        say_why(found)
        late = [service.name for service in found if not service.ready]
        if not late:
            return
        if time.monotonic() - began > UP_SECONDS:
            raise StackError(
                f"{last_lines(late[0])}\nAfter {UP_SECONDS} s these are not ready: {', '.join(late)}. The last lines of {late[0]} are above."
            )
        time.sleep(1)


def say_why(found: list[Service]) -> None:
    """Raises StackError with the last lines of a service that ended, where one did."""
    if failed := next((service for service in found if service.failed), None):
        raise StackError(
            f"{last_lines(failed.name)}\nService {failed.name} ended with exit code {failed.exit_code}; its last lines are above."
        )


def check_engine() -> None:
    """Docker answers, and is new enough."""
    if not shutil.which("docker"):
        raise MachineError("There is no docker on the PATH: install Docker Desktop, or on Debian run `make engine`.")
    try:
        engine = docker("version", "--format", "{{.Server.Version}}").strip()
    except StackError:
        raise MachineError("No Docker Engine answers: start Docker Desktop, or on Debian run `make engine`.") from None
    if version_tuple(engine) < OLDEST_ENGINE:
        raise MachineError(f"Docker Engine is {engine}, too old: {OLDEST_ENGINE[0]} or newer is needed.")


def check_compose() -> None:
    """Docker's Compose is there, and new enough."""
    try:
        version = docker("compose", "version", "--short").strip().lstrip("v")
    except StackError:
        raise MachineError(
            "Docker has no compose plug-in: install docker-compose-plugin, or on Debian run `make engine`."
        ) from None
    if version_tuple(version) < OLDEST_COMPOSE:
        raise MachineError(
            f"Docker Compose is {version}, too old: {'.'.join(map(str, OLDEST_COMPOSE))} or newer is needed."
        )


def check_memory(total: int) -> None:
    """Args: total: bytes that the Engine may use."""
    if total < 0.875 * MEMORY_GB * 2**30:
        raise MachineError(
            f"Docker has {total / 2**30:.1f} GiB of memory, the stack and one job need {MEMORY_GB} GB: "
            "give it more (Docker Desktop: Settings, Resources), or run `make demo`, which needs no container."
        )


def check_ports(ports: dict[int, str], running: Iterable[str]) -> None:
    """Each port is free, or held by the stack's own service."""
    taken = [port for port, service in ports.items() if service not in running and not is_free(port)]
    if taken:
        names = ", ".join(f"{port} ({ports[port]})" for port in taken)
        holders = [
            line
            for line in docker("ps", "--format", "{{.Names}} {{.Ports}}").splitlines()
            if any(f":{port}->" in line for port in taken)
        ]
        by = f" Containers that hold them: {', '.join(line.split()[0] for line in holders)}." if holders else ""
        raise MachineError(
            f"Ports of this machine that the stack needs are taken: {names}.{by} Stop what holds them, then start again."
        )


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def progress() -> str:
    """Compose's live display for a terminal; elsewhere it would be a line for each move of each container."""
    return "auto" if sys.stdout.isatty() else "quiet"


def services() -> list[Service]:
    lines = compose("ps", "--all", "--format", "json").splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines if line.startswith("{")]
    return [Service(row["Service"], row["State"], row["Health"], row["ExitCode"]) for row in rows]


def last_lines(service: str) -> str:
    return compose("logs", "--no-log-prefix", "--tail", "15", service).rstrip()


def compose(*arguments: str, passthrough: bool = False) -> str:
    return docker("compose", *arguments, passthrough=passthrough)


def docker(*arguments: str, passthrough: bool = False) -> str:
    """Runs the docker command in this folder.

    Args:
        passthrough: its output goes to the terminal as it comes.

    Raises:
        StackError: it failed; with its own words.
    """
    done = subprocess.run(
        ["docker", *arguments], cwd=FOLDER, env=os.environ, text=True, encoding="utf-8", capture_output=not passthrough
    )
    if done.returncode:
        words = (done.stderr or "").strip() or "see above"
        raise StackError(f"docker {' '.join(arguments)} failed with exit code {done.returncode}: {words}")
    return done.stdout or ""


def version_tuple(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("-")[0].split("+")[0].split("."))


if __name__ == "__main__":
    main()
