"""What this machine must have before a cluster starts, each with what to do where it has not."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from compose.stack import MachineError, StackError, check_engine, check_ports
from kind.commands import Cluster, docker
from kind.config import NODE_IMAGE, Port, ports

MEMORY_GIB = 6.5
"""The platform requests 5 GiB, the cluster itself takes 1.2. A machine of 8 GB shows 7.4 GiB or more."""
CPUS = 2
DISK_GB = 10
"""Free for a new cluster: the node's images as they are stored and unpacked, and what `docker save` writes on the way."""
DISK_LATER_GB = 2
"""Free for a cluster that has them."""
INOTIFY = {"max_user_instances": 128, "max_user_watches": 32768}


@dataclass(frozen=True)
class Check:
    """
    Attributes:
        found: what there is, for a person.
        problem: a sentence that says what to do; empty when all is well.
    """

    name: str
    found: str
    problem: str = ""


def require(cluster: Cluster) -> None:
    """
    Raises:
        MachineError: with a sentence for each thing that must be mended first.
    """
    if problems := [check.problem for check in machine(cluster) if check.problem]:
        raise MachineError("\n".join(problems))


def machine(cluster: Cluster) -> list[Check]:
    """All checks; without Docker, that one alone."""
    engine = _check("docker", check_engine)
    if engine.problem:
        return [engine]
    info = json.loads(docker("info", "--format", "{{json .}}"))
    exists = bool(cluster.nodes())
    return [
        Check("docker", f"Engine {info['ServerVersion']}, cgroup {info['CgroupVersion']}"),
        memory(info["MemTotal"]),
        cpus(info["NCPU"]),
        disk(_free(info["DockerRootDir"]), DISK_LATER_GB if exists else DISK_GB),
        *inotify(Path("/proc/sys/fs/inotify")),
        _check("ports", lambda: free_ports(cluster, ports())),
    ]


def memory(total: int) -> Check:
    """Args: total: bytes that the Engine may use."""
    found = f"{total / 2**30:.1f} GiB"
    if total >= MEMORY_GIB * 2**30:
        return Check("memory", found)
    return Check(
        "memory",
        found,
        f"Docker has {found} of memory, the platform needs {MEMORY_GIB} GiB: give it more (Docker Desktop: Settings, "
        "Resources), or run `make compose-up`, which needs 4 GB, or `make demo`, which needs no container.",
    )


def cpus(count: int) -> Check:
    if count >= CPUS:
        return Check("cpus", str(count))
    return Check("cpus", str(count), f"Docker has {count} CPU, the platform needs {CPUS}: give it more.")


def disk(free: int | None, needed_gb: int) -> Check:
    """Args: free: bytes where Docker keeps its data; None when this cannot be seen from here."""
    if free is None:
        return Check("disk", "unknown")
    found = f"{free / 1e9:.0f} GB free"
    if free >= needed_gb * 1e9:
        return Check("disk", found)
    return Check(
        "disk",
        found,
        f"Where Docker keeps its data {found.replace(' free', ' are free')}, {needed_gb} GB are needed: `docker system df` shows "
        "what takes the room, `docker image prune` and `docker builder prune` free some of it.",
    )


def inotify(folder: Path) -> list[Check]:
    """Args: folder: of the kernel's limits; other systems have none."""
    checks = []
    for name, least in INOTIFY.items():
        if not (folder / name).exists():
            continue
        limit = int((folder / name).read_text())
        problem = (
            f"fs.inotify.{name} is {limit}, the cluster needs {least}: run `sudo sysctl fs.inotify.{name}={4 * least}`."
        )
        checks.append(Check(name, str(limit), problem if limit < least else ""))
    return checks


def free_ports(cluster: Cluster, wanted: Mapping[int, Port]) -> None:
    """Each port is free, or held by our own nodes.

    Raises:
        StackError: naming those that are not, and the containers that hold them.
    """
    running = [name for name, node in cluster.nodes().items() if node["State"]["Running"]]
    check_ports(
        {port: wanted[port].what for port in wanted}, [port.what for port in wanted.values()] if running else []
    )


def _check(name: str, check: Callable[[], object]) -> Check:
    try:
        check()
    except StackError as error:
        return Check(name, "not as needed", str(error))
    return Check(name, "as needed")


def _free(root: str) -> int | None:
    """Bytes free where the Engine keeps its data: seen from here, or from inside its virtual machine."""
    if sys.platform == "linux" and Path(root).exists():
        return shutil.disk_usage(root).free
    try:
        told = docker("run", "--rm", "--network=none", "--pull=never", "--entrypoint=df", NODE_IMAGE, "-Pk", "/")
    except StackError:
        return None
    return 1024 * int(told.splitlines()[-1].split()[3])
