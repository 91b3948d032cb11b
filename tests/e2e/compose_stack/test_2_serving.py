"""The features over HTTP, by their profile, on the Redis that the pipeline loaded."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest

from tests.e2e.compose_stack.stack import Stack

SERVE = "http://localhost:8090"


@pytest.fixture(scope="module", autouse=True)
def _served(stack: Stack) -> Iterator[None]:
    assert "serve" not in stack.states()
    stack.shell(["docker", "compose", "--profile", "serve", "up", "-d", "serve"])
    stack.wait_until_healthy("serve")
    yield
    stack.shell(["docker", "compose", "--profile", "serve", "rm", "--stop", "--force", "serve"])


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_it_answers_on_its_port(path: str) -> None:
    with urllib.request.urlopen(f"{SERVE}{path}", timeout=10) as answer:
        assert answer.status == 200


def test_it_ends_at_once_when_it_is_told_to(stack: Stack) -> None:
    stack.shell(["docker", "compose", "--profile", "serve", "stop", "serve"])
    assert stack.states()["serve"] == "exited 0"
    stack.shell(["docker", "compose", "--profile", "serve", "start", "serve"])
    stack.wait_until_healthy("serve")
