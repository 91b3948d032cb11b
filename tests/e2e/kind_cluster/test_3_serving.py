"""The features over HTTP: they come where they are asked for, and lose no request when their pods change."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.request
from typing import Any

import pytest

from tests.e2e.kind_cluster.platform import OFFSET, PLATFORM, Platform, until

SERVE = f"http://localhost:{8090 + OFFSET}"


@pytest.fixture(scope="module", autouse=True)
def _served(platform: Platform, up: dict[str, Any], report: list[str]) -> None:
    """After the pipeline's tests: cards are loaded."""
    began = time.monotonic()
    said = json.loads(platform.kind("up", "--serve", "--json"))
    report.append(f"kind-up that turns the features over HTTP on: {time.monotonic() - began:.0f} s, {said['seconds']}")
    assert SERVE in json.dumps(said["places"])
    until(_answers, 30, "the node's port led to the pod")


def _answers() -> bool:
    """The pod is ready a moment before its node passes the port's connections on to it."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{SERVE}/healthz", timeout=10):
        return True
    return False


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_it_answers_on_its_port(path: str) -> None:
    with urllib.request.urlopen(f"{SERVE}{path}", timeout=10) as answer:
        assert answer.status == 200


def test_helm_test_reads_a_card(platform: Platform) -> None:
    said = platform.helm("test", "fti", "--filter", "name=fti-serve-test", "--timeout", "3m", "--logs", check=False)
    assert "has the features of c" in said, said


def test_no_request_is_lost_while_a_pod_takes_another_ones_place(platform: Platform, report: list[str]) -> None:
    stop, failed, asked = threading.Event(), [], 0

    def ask() -> None:
        nonlocal asked
        while not stop.wait(0.02):
            asked += 1
            try:
                urllib.request.urlopen(f"{SERVE}/healthz", timeout=30).close()  # slow is not lost
            except OSError as error:
                failed.append(f"{time.monotonic():.2f} {error}")

    caller = threading.Thread(target=ask)
    caller.start()
    try:
        platform.kubectl("rollout", "restart", "-n", PLATFORM, "deployment/fti-serve")
        platform.kubectl("rollout", "status", "-n", PLATFORM, "deployment/fti-serve", "--timeout=120s")
        time.sleep(8)  # the old pod serves on for five seconds, then ends
    finally:
        stop.set()
        caller.join()
    report.append(f"requests while a pod of the service was replaced: {asked}, of these failed {len(failed)}")
    assert failed == []
