"""Nothing is left behind."""

from __future__ import annotations

import subprocess
from typing import Any

from tests.e2e.kind_cluster.platform import CONTEXT, NAME, Platform


def shown(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_reset_keeps_the_cluster_and_throws_the_data_away(platform: Platform, up: dict[str, Any]) -> None:
    container = shown("docker", "inspect", "--format", "{{.Id}}", f"{NAME}-control-plane")
    claims = {claim["metadata"]["uid"] for claim in platform.get("pvc", "fti")}
    platform.kind("reset")
    assert shown("docker", "inspect", "--format", "{{.Id}}", f"{NAME}-control-plane") == container
    assert claims.isdisjoint(claim["metadata"]["uid"] for claim in platform.get("pvc", "fti"))


def test_down_leaves_nothing(platform: Platform, up: dict[str, Any]) -> None:
    volumes = shown(
        "docker", "inspect", "--format", "{{range .Mounts}}{{.Name}} {{end}}", f"{NAME}-control-plane"
    ).split()
    assert volumes
    platform.kind("down")
    assert NAME not in shown("docker", "ps", "--all", "--format", "{{.Names}}")
    assert set(volumes).isdisjoint(shown("docker", "volume", "ls", "--quiet").split())
    assert CONTEXT not in platform.kubectl("config", "view", check=False)


def test_down_again_is_no_error(platform: Platform) -> None:
    platform.kind("down")
