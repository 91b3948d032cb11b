"""The registry's database is late, gone, or refuses: which error that is, and what the job waits for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from jobs.common import services
from jobs.common.errors import JobError, Unreachable, WrongCall
from jobs.common.lake import Lake
from jobs.common.settings import Settings
from jobs.online.repo import open_store
from tests.online.conftest import RunJob
from tests.online.silver import publish_day
from tests.outages import free_port


@contextmanager
def postgres_that_says(code: str, words: str) -> Iterator[int]:
    """A server that answers every login with one error, as PostgreSQL words it (protocol 3, ErrorResponse)."""
    fields = b"SFATAL\0VFATAL\0C" + code.encode() + b"\0M" + words.encode() + b"\0\0"
    answer = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    while int.from_bytes(connection.recv(4096)[4:8], "big") >= 80877103:  # TLS or GSS? neither
                        connection.sendall(b"N")
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def url_of(port: int, host: str = "127.0.0.1") -> str:
    return f"postgresql+psycopg://feast:hush-hush@{host}:{port}/feast"


@pytest.mark.parametrize(
    ("code", "words", "kind"),
    [
        ("28P01", 'password authentication failed for user "feast"', WrongCall),
        ("3D000", 'database "feast" does not exist', WrongCall),
        ("28000", 'no pg_hba.conf entry for host "10.0.0.1", user "feast"', WrongCall),
        ("57P03", "the database system is starting up", Unreachable),
        ("53300", "sorry, too many clients already", Unreachable),
        ("53100", "could not extend file: No space left on device", JobError),
    ],
)
def test_what_the_server_says(
    code: str, words: str, kind: type[JobError], lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "PATIENCE", 0.3)
    with postgres_that_says(code, words) as port, pytest.raises(kind) as raised:
        open_store(Settings(feast_registry_url=url_of(port)), lake)
    assert type(raised.value) is kind
    assert f"Feast registry at 127.0.0.1:{port}" in str(raised.value)
    assert "hush-hush" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "reason"), [("127.0.0.1", "it refuses connections"), ("postgres.invalid", "its name does not resolve")]
)
def test_a_server_that_is_not_there_fails_the_job(
    host: str, reason: str, lake: Lake, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_day(lake)
    monkeypatch.setattr(services, "PATIENCE", 0.3)
    port = free_port()
    monkeypatch.setenv("FEAST_REGISTRY_URL", url_of(port, host))
    ended = run_job("materialize")
    assert ended.code == 1
    assert (
        f"Feast registry at {host}:{port} cannot be reached: {reason}. "
        "Check that it runs and that FEAST_REGISTRY_URL names it, then run the same call again." in ended.log
    )
    assert ended.log.count("waiting for a service") == 1
    assert "hush-hush" not in ended.log
    assert "Traceback" not in ended.log
