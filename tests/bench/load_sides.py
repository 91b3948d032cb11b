"""Ways to load cards x 20 features into Redis, as sides of a comparison; alone, it prints one.

python -m tests.bench.load_sides --redis 127.0.0.1:6379 --rows 20000 --runs 3   # flushes that server

Each side is a callable that loads the same Parquet file once. A run times all sides one after another, so that their
ratios come from the same minutes; what each leaves in Redis is compared with what stock left.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import redis

START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=1)
FLOATS = [f"amount_sum_{at}" for at in range(12)]
INTEGERS = [f"count_{at}" for at in range(8)]
FAST_ENGINE = {"type": "feast_fast.engine.FastComputeEngine"}


@dataclass(frozen=True)
class Side:
    """One way to load.

    Attributes:
        name: of the table's line.
        load: loads all rows once.
        over: what is in Redis before: nothing, or what this load made before.
    """

    name: str
    load: Callable[[], Any]
    over: bool = False


def write_cards(path: Path, rows: int) -> Path:
    """A Parquet file of ``rows`` cards with 12 doubles and 8 integers, in groups of 100,000."""
    rng = np.random.default_rng(7)
    seconds = rng.integers(60, 86_000, rows)
    columns: dict[str, Any] = {"card_id": [f"card_{at:09d}" for at in range(rows)]}
    columns |= {name: np.round(rng.gamma(2.0, 40.0, rows), 2) for name in FLOATS}
    columns |= {name: rng.poisson(30, rows) for name in INTEGERS}
    times = (seconds + int(START.timestamp())) * 10**6
    columns["event_timestamp"] = pa.array(times, pa.int64()).cast(pa.timestamp("us", "UTC"))
    pq.write_table(pa.table(columns), path, compression="zstd", row_group_size=100_000)
    return path


def open_repo(folder: Path, parquet: Path, address: str, name: str, engine: Any, online: dict[str, Any]) -> Any:
    """An applied Feast repo over the file, with a registry of its own."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64, Int64, String

    card = Entity(name="card", join_keys=["card_id"], value_type=ValueType.STRING)
    types = {"card_id": String} | dict.fromkeys(FLOATS, Float64) | dict.fromkeys(INTEGERS, Int64)
    view = FeatureView(
        name="card_features",
        entities=[card],
        ttl=timedelta(0),
        schema=[Field(name=column, dtype=dtype) for column, dtype in types.items()],
        source=FileSource(name="cards", path=str(parquet), timestamp_field="event_timestamp"),
    )
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / f"{name}.db"),
        entity_key_serialization_version=3,
        online_store={"connection_string": address, **online},
        offline_store={"type": "duckdb"},
        batch_engine=engine,
        materialization={"online_write_batch_size": 10_000, "pull_latest_features": True},
        repo_path=folder,
    )
    store = FeatureStore(config=config)
    store.apply([card, view])
    return store


def sides(folder: Path, parquet: Path, address: str) -> list[Side]:
    """Stock first; ``redis-cli --pipe`` gets the commands that stock would send."""

    def loads(name: str, engine: Any, **online: Any) -> Callable[[], Any]:
        store = open_repo(folder, parquet, address, name, engine, online)

        def load() -> None:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                store.materialize(START, END)

        return load

    fast = {"type": "feast_fast.store.FastRedisOnlineStore"}
    stock = loads("stock", {"type": "local"}, type="redis")
    rule = loads("rule", FAST_ENGINE, **fast)
    owner = loads("owner", FAST_ENGINE | {"one_row_per_key": True}, **fast, owns_keys=True)
    return [
        Side("stock Feast", stock),
        Side("stock Feast, unchanged", stock, over=True),
        Side("feast_fast, stock's rule", rule),
        Side("feast_fast, stock's rule, unchanged", rule, over=True),
        Side("feast_fast, owner", owner),
        Side("feast_fast, owner, unchanged", owner, over=True),
        Side("redis-cli --pipe", _pipe(folder, parquet, address)),
    ]


def _pipe(folder: Path, parquet: Path, address: str) -> Callable[[], Any]:
    from feast_fast.cells import whole_buffer
    from feast_fast.layout import hset
    from feast_fast.views import layout_of

    store = open_repo(folder, parquet, address, "pipe", {"type": "local"}, {"type": "redis"})
    layout = layout_of(store.get_feature_view("card_features"), store.config)
    commands = folder / "commands.resp"
    with commands.open("wb") as out:
        for batch in pq.ParquetFile(parquet).iter_batches(10_000):
            out.write(whole_buffer(hset(layout.keys(batch), layout.fields(batch))))
    host, port = address.split(":")

    def load() -> None:
        with commands.open("rb") as source:
            subprocess.run(
                ["redis-cli", "-h", host, "-p", port, "--pipe"], stdin=source, check=True, capture_output=True
            )

    return load


def run_once(all_sides: list[Side], client: redis.Redis, rows: int) -> dict[str, dict[str, float]]:
    """Wall seconds, and CPU seconds of this process with its children and of the server, by side.

    Raises:
        AssertionError: a side left other bytes than stock.
    """
    found: dict[str, dict[str, float]] = {}
    wanted: Any = None
    for side in all_sides:
        if not side.over:
            client.flushall()
        before, server = os.times(), _server_cpu(client)
        began = time.perf_counter()
        side.load()
        wall, after = time.perf_counter() - began, os.times()
        found[side.name] = {
            "wall": wall,
            "client_cpu": sum(after[:4]) - sum(before[:4]),
            "server_cpu": _server_cpu(client) - server,
        }
        assert client.dbsize() == rows
        held = {key: client.hgetall(key) for key in sorted(client.scan(count=2_000)[1])} if wanted is None else wanted
        wanted = held
        assert {key: client.hgetall(key) for key in wanted} == wanted, f"{side.name} left other bytes than stock"
    return found


def _server_cpu(client: redis.Redis) -> float:
    used: Any = client.info("cpu")
    return float(used["used_cpu_sys"] + used["used_cpu_user"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis", required=True, metavar="HOST:PORT")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    host, port = options.redis.split(":")
    client = redis.Redis(host=host, port=int(port))
    with tempfile.TemporaryDirectory() as folder:
        parquet = write_cards(Path(folder) / "cards.parquet", options.rows)
        compared = sides(Path(folder), parquet, options.redis)
        runs = [run_once(compared, client, options.rows) for _ in range(options.runs)]
    client.flushall()
    base = {over: f"stock Feast{', unchanged' if over else ''}" for over in (False, True)}
    for side in compared:
        middle = {key: statistics.median(run[side.name][key] for run in runs) for key in runs[0][side.name]}
        ratios = [run[base[side.over]]["wall"] / run[side.name]["wall"] for run in runs]
        to_pipe = [run[side.name]["wall"] / run["redis-cli --pipe"]["wall"] for run in runs]
        per_row = {f"{key}_us": round(1e6 * middle[key] / options.rows, 2) for key in ("client_cpu", "server_cpu")}
        shown = {"x_stock": round(statistics.median(ratios), 1), "of_pipe": round(statistics.median(to_pipe), 2)}
        print(json.dumps({"side": side.name, "wall": round(middle["wall"], 3), **per_row, **shown}))


if __name__ == "__main__":
    main()
