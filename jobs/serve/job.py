"""The service's process: settings, a socket, a loop, and an end that lets running requests finish."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import os
import signal
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import structlog
import uvicorn

from jobs.common.errors import JobError
from jobs.common.log import setup_logging
from jobs.common.settings import Settings, load_settings

if TYPE_CHECKING:
    from jobs.serve.app import App

LEAVING_SECONDS = 2
"""For so long a stopped service still takes requests, and closes each connection with its next answer: those that are idle
are closed at the end, and a request that is on its way over one of them then would be lost."""
KEEP_ALIVE_SECONDS = 120
"""Longer than clients keep an idle connection, such as Go's 90 s: who closes first does not lose a request."""
DRAIN_SECONDS = 10
"""For so long at least a stopped service then waits for the requests that it has begun to answer."""


@click.command("python -m jobs.serve")
def command() -> None:
    """Serves online features over HTTP, from Redis alone, until it is told to stop.

    Settings: REDIS_URL, SERVE_HOST, SERVE_PORT, SERVE_DEADLINE_MS, SERVE_BATCH_LIMIT, SERVE_AS_OF.
    """
    # Until the loop hears it. Nothing is begun yet, and an exception may get lost in the middle of an import.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    settings = load_settings()
    setup_logging("serve", settings.log_format)
    with _listening(settings.serve_host, settings.serve_port) as listener:
        config = _config(settings)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(config, settings, listener))
    structlog.get_logger().info("stopped")


def _config(settings: Settings) -> uvicorn.Config:
    deadline = math.ceil(settings.serve_deadline_ms / 1000)
    return uvicorn.Config(
        _never,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(DRAIN_SECONDS, deadline + 1),
    )


async def _serve(config: uvicorn.Config, settings: Settings, listener: socket.socket) -> None:
    from jobs.serve.app import App  # takes seconds: Feast
    from jobs.serve.catalogue import Catalogue
    from jobs.serve.metrics import Metrics
    from jobs.serve.redis_link import RedisLink

    link = RedisLink(settings.redis_url, settings.serve_deadline_ms / 1000)
    catalogue = Catalogue()
    catalogue.warm_up()
    config.app = app = App(catalogue, link, Metrics(), settings.serve_batch_limit, settings.serve_as_of)
    server = _Server(config, app)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    # What is here now stays for good: the collector need not look at Feast's hundreds of thousands of objects again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 1_000)
    host, port = listener.getsockname()[:2]
    structlog.get_logger().info("serving", host=host, port=port, services=catalogue.services)
    await server.serve(sockets=[listener])
    await link.close()
    gc.unfreeze()  # libraries complain of what is left at the end


class _Server(uvicorn.Server):
    """Leaves the signals to the loop: uvicorn would raise them again once it has stopped."""

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self._app = app

    def stop(self) -> None:
        """Leaves first, which a second signal cuts short."""
        if self._app.leaving:
            self._end()
        self._app.leaving = True
        asyncio.get_running_loop().call_later(LEAVING_SECONDS, self._end)

    def _end(self) -> None:
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _never(*_: object) -> None:
    raise AssertionError("the application is set before the server starts")


def _listening(host: str, port: int) -> socket.socket:
    """The socket, not to be accepted from yet.

    Raises:
        JobError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise JobError(
            f"Cannot listen on {host}:{port}: {reason}. Name another address with SERVE_HOST and SERVE_PORT."
        ) from None
