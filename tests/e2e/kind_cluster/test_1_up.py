"""From no cluster to a working platform, and a second call that has nothing to do."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

import pytest

from tests.e2e.airflow_api import Airflow
from tests.e2e.kind_cluster.platform import AIRFLOW, CONSOLE, JOBS, PLATFORM, REDIS_PORT, S3, Platform


def test_everything_is_ready_and_nothing_restarted(platform: Platform, up: dict[str, Any], report: list[str]) -> None:
    pods = platform.get("pods", PLATFORM)
    restarts = {
        status["name"]: status["restartCount"]
        for pod in pods
        for status in (*pod["status"].get("initContainerStatuses", []), *pod["status"]["containerStatuses"])
    }
    assert {"api-server", "scheduler", "dag-processor", "triggerer", "postgres", "minio", "redis"} <= restarts.keys()
    assert set(restarts.values()) == {0}
    not_ready = [
        pod["metadata"]["name"]
        for pod in pods
        if pod["status"]["phase"] != "Succeeded" and not all(s["ready"] for s in pod["status"]["containerStatuses"])
    ]
    assert not_ready == []
    report.extend(f"memory, MiB, idle: {name:<45} {used:5}" for name, used in sorted(platform.memory().items()))


def test_it_says_where_everything_is(up: dict[str, Any]) -> None:
    text = json.dumps(up["places"])
    assert all(url in text for url in (AIRFLOW, S3, CONSOLE, str(REDIS_PORT)))


def test_no_password_is_said(platform: Platform, up: dict[str, Any]) -> None:
    for secret, key in (
        ("fti-airflow-admin", "password"),
        ("fti-redis-auth", "password"),
        ("fti-minio-auth", "root-password"),
    ):
        assert platform.secret(secret, key) not in json.dumps(up)


def test_login_shows_the_passwords_when_asked(platform: Platform, up: dict[str, Any]) -> None:
    assert platform.secret("fti-airflow-admin", "password") in platform.kind("login")


def test_the_console_answers_on_its_port(up: dict[str, Any]) -> None:
    with urllib.request.urlopen(CONSOLE, timeout=10) as answer:
        assert answer.status == 200
        assert b"MinIO Console" in answer.read()


def test_the_pages_need_a_login(airflow: Airflow) -> None:
    with urllib.request.urlopen(f"{AIRFLOW}/api/v2/version", timeout=10) as answer:
        assert answer.status == 200
    with pytest.raises(AssertionError, match="Invalid credentials"):
        Airflow(AIRFLOW, "airflow", "airflow").get("dags")


def test_both_namespaces_enforce_the_restricted_standard(platform: Platform, up: dict[str, Any]) -> None:
    bad = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bad"},
        "spec": {"containers": [{"name": "bad", "image": "redis:8", "securityContext": {"privileged": True}}]},
    }
    for namespace in (PLATFORM, JOBS):
        said = platform.kubectl(
            "create", "-n", namespace, "--dry-run=server", "-f", "-", text=json.dumps(bad), check=False
        )
        assert 'violates PodSecurity "restricted' in said


def test_a_second_call_changes_nothing(platform: Platform, up: dict[str, Any], report: list[str]) -> None:
    revision, pods = platform.revision(), platform.pod_ids()
    began = time.monotonic()
    said = json.loads(platform.kind("up", "--json"))
    report.append(f"kind-up again: {time.monotonic() - began:.1f} s, {said['seconds']}")
    assert (platform.revision(), platform.pod_ids()) == (revision, pods)
