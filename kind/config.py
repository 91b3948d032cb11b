"""What kind is given: ``cluster.yaml``, the node image of versions.env, and where the ports lead."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from compose.stack import MachineError
from images.offline.versions import VERSIONS

FILE = Path(__file__).with_name("cluster.yaml")
NODE_IMAGE = f"kindest/node:v{VERSIONS['KUBERNETES']}"
AIRFLOW, S3, CONSOLE, REDIS, SERVE = 30080, 30900, 30901, 30379, 30890
"""Ports of the node, as charts/fti/values-kind.yaml names them."""
_LINE = re.compile(
    r"(?P<before>hostPort: )(?P<port>\d+)(?P<after>, containerPort: (?P<node_port>\d+) } +# (?P<what>.+))"
)
_COMPOSE = 10000
"""How far the ports in cluster.yaml are from those of Docker Compose."""


@dataclass(frozen=True)
class Port:
    """
    Attributes:
        node_port: where it leads.
        what: such as ``Airflow``.
    """

    node_port: int
    what: str


def text() -> str:
    """What kind reads: cluster.yaml, with the ports moved where FTI_PORT_OFFSET says so."""
    return _LINE.sub(
        lambda found: f"{found['before']}{_moved(int(found['port']))}{found['after']}", FILE.read_text("utf-8")
    )


def ports() -> dict[int, Port]:
    """By the port of this machine."""
    lines = _LINE.finditer(FILE.read_text(encoding="utf-8"))
    return {_moved(int(line["port"])): Port(int(line["node_port"]), line["what"]) for line in lines}


def node_count() -> int:
    return len(re.findall(r"^ *- role: ", FILE.read_text(encoding="utf-8"), re.MULTILINE))


def _moved(port: int) -> int:
    offset = os.environ.get("FTI_PORT_OFFSET") or str(_COMPOSE)
    moved = port - _COMPOSE + int(offset) if offset.isdecimal() else 0
    if not 1024 <= moved <= 65535:
        raise MachineError(
            f"FTI_PORT_OFFSET is {offset!r}: use a number such as {_COMPOSE}, which is added to Compose's ports."
        )
    return moved
