"""The features over HTTP: they come where they are asked for, and lose no request when their pods change."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.kind_cluster.platform import OFFSET, PLATFORM, Platform, until

SERVE = f"http://localhost:{8090 + OFFSET}"
SERVER = "app.kubernetes.io/name=serve,app.kubernetes.io/component=server"


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


class Caller(threading.Thread):
    """Asks for a card's features again and again, as clients do: over one connection, until an answer says that it closes.

    Slow is not lost: where a busy machine keeps Redis longer than a request's deadline, a 503 says so.
    """

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._stop_asking = stop
        self.asked = self.slow = self.connections = 0
        self.failed: list[str] = []

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._stop_asking.wait(0.02):
            if connection is None:
                connection = http.client.HTTPConnection(urlsplit(SERVE).netloc, timeout=30)
                self.connections += 1
            self.asked += 1
            try:
                connection.request("POST", "/features", json.dumps({"cards": ["any"]}))
                answer = connection.getresponse()
                said = answer.read()
                ends = answer.getheader("connection") == "close"
                if answer.status == 503 and b" not answer " in said:
                    self.slow += 1
                elif answer.status != 200:
                    self.failed.append(f"{time.monotonic():.2f} {answer.status} {said!r:.200}")
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{time.monotonic():.2f} {error!r}")
                ends = True
            if ends:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()


def test_no_request_is_lost_while_a_pod_takes_another_ones_place(platform: Platform, report: list[str]) -> None:
    stop = threading.Event()
    callers = [Caller(stop) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        platform.kubectl("rollout", "restart", "-n", PLATFORM, "deployment/fti-serve")
        platform.kubectl("rollout", "status", "-n", PLATFORM, "deployment/fti-serve", "--timeout=120s")
        # The old pod serves on for five seconds, two more for who kept a connection, then ends.
        until(lambda: len(platform.get("pods", PLATFORM, SERVER)) == 1, 60, "the old pod was gone")
        time.sleep(1)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    asked, slow = sum(caller.asked for caller in callers), sum(caller.slow for caller in callers)
    failed = [failure for caller in callers for failure in caller.failed]
    report.append(
        f"requests over kept connections while a pod of the service was replaced: {asked}, "
        f"of these failed {len(failed)}, of these 503 for a slow Redis {slow}"
    )
    assert failed == []
    assert slow <= asked / 100
    assert min(caller.connections for caller in callers) > 1, "the old pod told each to come by another connection"
