"""Outages on demand: a TCP proxy that goes away and comes back, ports at which nobody listens."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from embedded.redis_server import _free_port as free_port
from jobs.common import services


class Proxy:
    """Passes connections on to a port of loopback, until it is cut: then it refuses new ones and drops the old.

    Frozen, it takes connections and bytes and passes nothing on, as a server does that is stopped or starved.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()

    def freeze(self) -> None:
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def mend(self) -> None:
        """Listens, from now on."""
        listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def mend_after(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self.mend)
        timer.daemon = True
        timer.start()

    def mend_when_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Listens from a job's second pause on: it has tried twice in vain then, however slow it is to begin."""
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 2:
                self.mend()
            time.sleep(seconds)

        monkeypatch.setattr(services, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pause))

    def cut(self) -> None:
        with self._lock:
            listener, self._listener = self._listener, None
            opened, self._open = self._open, []
        if listener:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
            listener.close()
        for connection in opened:
            _end(connection)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._pass_on(listener.accept()[0], listener)

    def _pass_on(self, client: socket.socket, listener: socket.socket) -> None:
        """Connects a client to the target; drops it where nobody listens there, and where the proxy was cut meanwhile."""
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            _end(client)
            return
        with self._lock:
            is_cut = self._listener is not listener
            if not is_cut:
                self._open += [client, server]
        if is_cut:
            _end(client)
            _end(server)
            return
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=_pump, args=(source, sink, self._flowing), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, flowing: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            flowing.wait()
            sink.sendall(data)
    _end(source)
    _end(sink)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
