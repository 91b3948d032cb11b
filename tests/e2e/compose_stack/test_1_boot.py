"""Phase 1: four commands, and the smoke test goes green."""

from __future__ import annotations

import socket

import pytest
import requests

from tests.e2e.airflow_api import Airflow
from tests.e2e.compose_stack.stack import Stack, docker

SMOKE = "00_smoke_test_stack"
SERVERS = (
    "postgres",
    "minio",
    "redis",
    "airflow-webserver",
    "airflow-dag-processor",
    "airflow-triggerer",
    "docker-proxy",
)


def test_smoke_test_shows_within_half_a_minute_of_the_scheduler(
    stack: Stack, airflow: Airflow, report: list[str]
) -> None:
    report.append(f"{SMOKE} shows: {airflow.wait_for_dag(SMOKE, 30):.0f} s after the last command")
    assert airflow.get("importErrors")["import_errors"] == []


def test_every_service_works(stack: Stack) -> None:
    stack.wait_until_healthy(*SERVERS, "airflow-scheduler")
    states = stack.states()
    assert {name: state for name, state in states.items() if state == "exited 0"}.keys() == {"minio-mc", "airflow-init"}
    stack.memory.start()


def test_smoke_test_goes_green_and_its_logs_say_so(airflow: Airflow) -> None:
    airflow.unpause(SMOKE)
    airflow.trigger(SMOKE, "by-rest")
    assert airflow.wait(SMOKE, "by-rest", 120) == "success"
    assert "info MinIO ready: http://minio:9000/minio/health/ready -> 200" in airflow.log(
        SMOKE, "by-rest", "check_minio", 1
    )
    assert "info Redis ping ok: redis:6379" in airflow.log(SMOKE, "by-rest", "check_redis", 1)


def test_the_pages_answer(stack: Stack) -> None:
    assert "Airflow" in requests.get("http://localhost:8080/", timeout=30).text
    assert "MinIO Console" in requests.get("http://localhost:9001/login", timeout=30).text
    login = {"accessKey": "minioadmin", "secretKey": "minioadmin"}
    assert requests.post("http://localhost:9001/api/v1/login", json=login, timeout=30).status_code == 204


@pytest.mark.parametrize("port", [8080, 9000, 9001, 6379])
def test_ports_are_on_loopback_alone(stack: Stack, port: int) -> None:
    outside = own_address()
    for address, answers in (("127.0.0.1", True), (outside, False)):
        with socket.socket() as probe:
            probe.settimeout(2)
            assert (probe.connect_ex((address, port)) == 0) == answers, address


def own_address() -> str:
    """This machine's address in Docker's own network: another than loopback, there wherever the Engine is local."""
    gateway = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").stdout.strip()
    assert gateway
    assert not gateway.startswith("127.")
    return gateway
