"""What is checked before the stack starts, and its compose file, as text. The stack itself runs in `make e2e-compose`."""

from __future__ import annotations

import ast
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from compose import stack

COMPOSE = Path(stack.__file__).parent
PHASE_1 = {"postgres", "minio", "redis", "minio-mc", "airflow-init", "airflow-webserver", "airflow-scheduler"}
ONE_SHOT = {"minio-mc", "airflow-init"}
OPTIONAL = {"serve": ["serve"]}
"""Services that start only where their profile is asked for."""
LAPTOP_MIB = 8 * 1024


@pytest.fixture(scope="module")
def file() -> dict[str, Any]:
    return yaml.safe_load((COMPOSE / "docker-compose.yml").read_text(encoding="utf-8"))


def test_too_little_memory_is_said_with_what_to_do() -> None:
    stack.check_memory(int(3.8 * 2**30))  # what a machine of 4 GB shows
    with pytest.raises(stack.MachineError, match=r"Docker has 3\.0 GiB of memory, .* need 4 GB: give it more"):
        stack.check_memory(3 << 30)


def test_taken_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "docker", lambda *_: "other-1 127.0.0.1:7->6379/tcp\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(stack.MachineError, match=rf"are taken: {port} \(redis\)\. Stop what holds them"):
            stack.check_ports({port: "redis"}, [])
        stack.check_ports({port: "redis"}, ["redis"])
        monkeypatch.setattr(stack, "docker", lambda *_: f"other-1 127.0.0.1:{port}->6379/tcp\n")
        with pytest.raises(stack.MachineError, match=r"Containers that hold them: other-1\."):
            stack.check_ports({port: "redis"}, [])
    stack.check_ports({port: "redis"}, [])


@pytest.mark.parametrize(
    ("text", "version"), [("2.26.1-4", (2, 26, 1)), ("2.40.3", (2, 40, 3)), ("5.0.0+ds1", (5, 0, 0))]
)
def test_version_of_compose_is_read(text: str, version: tuple[int, ...]) -> None:
    assert stack.version_tuple(text) == version


def test_no_docker_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack.shutil, "which", lambda _: None)
    with pytest.raises(stack.MachineError, match="There is no docker on the PATH"):
        stack.check_engine()


@pytest.mark.parametrize(
    ("state", "health", "exit_code", "ready", "failed"),
    [
        ("running", "healthy", 0, True, False),
        ("running", "starting", 0, False, False),
        ("running", "unhealthy", 0, False, False),
        ("running", "", 0, True, False),
        ("exited", "", 0, True, False),
        ("exited", "", 1, False, True),
        ("created", "", 0, False, False),
        ("restarting", "", 1, False, False),
        ("dead", "", 0, False, True),
    ],
)
def test_service_is_ready_or_failed(state: str, health: str, exit_code: int, ready: bool, failed: bool) -> None:
    service = stack.Service("x", state, health, exit_code)
    assert (service.ready, service.failed) == (ready, failed)


def test_phase_1s_services_are_there_and_no_version(file: dict[str, Any]) -> None:
    assert "version" not in file
    assert set(file["services"]) >= PHASE_1


def test_what_is_optional_starts_by_a_profile_and_nothing_needs_it(file: dict[str, Any]) -> None:
    profiles = {name: service["profiles"] for name, service in file["services"].items() if "profiles" in service}
    assert profiles == OPTIONAL
    assert {profile for names in profiles.values() for profile in names} == set(stack.OPTIONAL)
    needed = {other for service in file["services"].values() for other in service.get("depends_on", {})}
    assert not needed & OPTIONAL.keys()


def test_features_over_http_read_the_redis_of_the_jobs_and_nothing_else(file: dict[str, Any]) -> None:
    service = file["services"]["serve"]
    jobs = file["services"]["airflow-scheduler"]["environment"]["REDIS_URL"]
    assert service["environment"] == {"SERVE_HOST": "0.0.0.0", "SERVE_PORT": 8090, "REDIS_URL": jobs}
    assert list(service["depends_on"]) == ["redis"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "build" not in service  # of shared stages, which only the bake file has


def test_ports_and_places_are_those_of_services_that_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A taken port of a service that nobody asked for is nobody's trouble, and its place is not shown."""
    checked: list[dict[int, str]] = []
    monkeypatch.setattr(stack, "check_engine", lambda: None)
    monkeypatch.setattr(stack, "check_compose", lambda: None)
    monkeypatch.setattr(stack, "docker", lambda *_: str(8 << 30))
    monkeypatch.setattr(stack, "check_ports", lambda ports, _: checked.append(ports))
    monkeypatch.setattr("sys.argv", ["stack", "up"])
    usual = ["airflow-webserver", "minio", "redis"]
    shown = []
    for names in (usual, [*usual, "serve"]):
        monkeypatch.setattr(stack, "compose", lambda *_, names=names, **__: "\n".join(names))
        running = [stack.Service(name, "running", "healthy", 0) for name in names]
        monkeypatch.setattr(stack, "services", lambda running=running: running)
        stack.main()
        shown.append(capsys.readouterr().out)
    assert [8090 in ports for ports in checked] == [False, True]
    assert ["localhost:8090" in text for text in shown] == [False, True]
    assert all("redis://localhost:6379/0" in text for text in shown)


def test_stopping_takes_what_a_profile_started_too(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, ...]] = []

    def compose(*arguments: str, **_: Any) -> str:
        called.append(arguments)
        return '{"networks": {"fti": {"name": "fti"}}}'

    monkeypatch.setattr(stack, "compose", compose)
    monkeypatch.setattr(stack, "docker", lambda *_: "")
    stack.stop(volumes=False)
    assert called[-1][0] == "--profile=serve"
    assert "down" in called[-1]


def test_every_server_restarts_and_is_watched(file: dict[str, Any]) -> None:
    for name, service in file["services"].items():
        if name not in ONE_SHOT:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"], name


def test_memory_is_limited_and_fits_a_laptop(file: dict[str, Any]) -> None:
    from dags.launchers.jobs import JOBS

    limits = {
        name: int(service["mem_limit"].removesuffix("m"))
        if service["mem_limit"].endswith("m")
        else 1024 * int(service["mem_limit"].removesuffix("g"))
        for name, service in file["services"].items()
    }
    servers = sum(limit for name, limit in limits.items() if name not in ONE_SHOT)
    assert servers + max(job.memory_mib for job in JOBS.values()) < LAPTOP_MIB


def test_ports_are_bound_to_loopback(file: dict[str, Any]) -> None:
    published = [port for service in file["services"].values() for port in service.get("ports", [])]
    assert sorted(int(port.split(":")[1]) for port in published) == sorted(stack.PORTS)
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_data_is_in_named_volumes(file: dict[str, Any]) -> None:
    for name in ("postgres", "minio", "redis"):
        assert [volume.split(":")[0] for volume in file["services"][name]["volumes"]] == [f"{name}-data"]
        assert f"{name}-data" in file["volumes"]


def test_docker_socket_is_the_proxys_alone(file: dict[str, Any]) -> None:
    holders = [name for name, service in file["services"].items() if "docker.sock" in str(service.get("volumes", []))]
    assert holders == ["docker-proxy"]
    neighbours = [name for name, service in file["services"].items() if "docker-proxy" in service.get("networks", [])]
    assert sorted(neighbours) == ["airflow-scheduler", "docker-proxy"]
    assert file["networks"]["docker-proxy"]["internal"] is True


def test_proxy_knows_the_jobs_and_the_launchers_prefix() -> None:
    from dags.launchers.jobs import JOBS

    config = (COMPOSE / "docker-proxy.cfg").read_text(encoding="utf-8")
    assert f"setenv JOBS '(?:{'|'.join(JOBS)})'" in config
    assert f"setenv VARIABLES '(?:HOME|LOG_FORMAT|{'|'.join(job_variables())})'" in config
    launcher = (COMPOSE.parent / "dags/launchers/docker.py").read_text(encoding="utf-8")
    assert 'NAME_PREFIX = "fti-job-"' in launcher
    assert config.count("fti-job-[a-z0-9-]+") == 4


def job_variables() -> list[str]:
    """``JOB_VARIABLES`` of the launcher, read from its source: it can only be imported where Airflow is set up."""
    tree = ast.parse((COMPOSE.parent / "dags/launchers/docker.py").read_text(encoding="utf-8"))
    return next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "JOB_VARIABLES"
    )


def test_failed_service_is_shown_with_its_last_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "last_lines", lambda name: f"words of {name}")
    well = stack.Service("redis", "running", "healthy", 0)
    stack.say_why([well])
    with pytest.raises(stack.StackError, match=r"words of airflow-init\nService airflow-init ended with exit code 1"):
        stack.say_why([well, stack.Service("airflow-init", "exited", "", 1)])


def test_old_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack.shutil, "which", lambda _: "/usr/bin/docker")
    monkeypatch.setattr(stack, "docker", lambda *_: "20.10.24+dfsg1")
    with pytest.raises(stack.MachineError, match=r"Docker Engine is 20\.10\.24\+dfsg1, too old: 25 or newer"):
        stack.check_engine()


def test_scheduler_gives_the_jobs_what_they_read(file: dict[str, Any]) -> None:
    from jobs.common.settings import Settings

    given = {name.lower() for name in file["services"]["airflow-scheduler"]["environment"]}
    assert {"lake_uri", "aws_endpoint_url", "s3_path_style", "redis_url", "feast_registry_url"} <= given & set(
        Settings.model_fields
    )
