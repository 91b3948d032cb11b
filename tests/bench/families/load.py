"""Load: a Parquet file of features into Redis, through Feast and below it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq

from tests.bench import feast_stores, ours
from tests.bench.comparison import Line
from tests.bench.harness import Case
from tests.bench.servers import tool
from tests.bench.side import CommandSide, Side, Work

SIZES = (20_000, 200_000, 1_000_000)
HERE = __name__


def cases(size: int | None, quick: bool) -> list[Case]:
    sizes = (size,) if size else (20_000,) if quick else SIZES
    made = []
    for cards in sizes:
        made.append(_first_load(cards, quick))
        if not quick:
            made.append(_unchanged(cards))
    if not quick:
        made += [_real_views(cards) for cards in sizes if cards <= 200_000]
    return made


def _first_load(cards: int, quick: bool) -> Case:
    at_200k = cards == 200_000
    peers = {} if quick else {"redis-cli": f"{HERE}:RedisCli"}
    if not quick and cards <= 200_000:  # a million encoded rows are too many Python objects
        peers["redis-py"] = f"{HERE}:RedisPy"
    lines = [
        Line("plug-in", "stock", target=20 if at_200k else None, floor=8),
        Line("plug-in, owner", "stock", target=45 if at_200k else None, floor=8),
        Line("plug-in", "stock", "cpu"),
    ]
    if not quick:
        lines += [
            *([Line("plug-in, owner", "redis-py")] if "redis-py" in peers else []),
            Line("plug-in, owner", "redis-cli", target=1 / 0.6 if at_200k else None),
            Line("plug-in", "redis-cli"),
            Line("plug-in", "redis-cli", "cpu"),
        ]
    return Case(
        "load",
        f"load-{cards}",
        f"First load of {cards:,} cards",
        cards,
        {
            "plug-in": f"{HERE}:PlugIn",
            "plug-in, owner": f"{HERE}:PlugInOwner",
            "stock": f"{HERE}:Stock",
            **peers,
        },
        tuple(lines),
        prepare,
        f"{cards:,} {feast_stores.WORDS}; the server is emptied before each run.",
        f"cards-{cards}",
        needs_redis=True,
    )


def _unchanged(cards: int) -> Case:
    return Case(
        "load",
        f"reload-{cards}",
        f"The same load again, nothing changed: {cards:,} cards",
        cards,
        {"plug-in": f"{HERE}:PlugIn", "stock": f"{HERE}:Stock"},
        (Line("plug-in", "stock", target=40 if cards == 200_000 else None), Line("plug-in", "stock", "cpu")),
        prepare,
        f"The server holds the same {cards:,} cards, of the same timestamps, before each run.",
        f"cards-{cards}",
        needs_redis=True,
        options={"again": True},
    )


def _real_views(cards: int) -> Case:
    from tests.bench import lake_data

    return Case(
        "load",
        f"views-{cards}",
        f"Our five views of {cards:,} cards",
        cards,
        {"ours": f"{HERE}:OurViews", "stock": f"{HERE}:StockViews"},
        (Line("ours", "stock"), Line("ours", "stock", "cpu")),
        lambda work: lake_data.write_silver(work.folder, work.size),
        f"One midnight of the five online views of `feature_repo/`, {cards:,} cards with lists of recent events, made up.",
        f"silver-{cards}",
        needs_redis=True,
    )


def prepare(work: Work) -> None:
    path = feast_stores.write_parquet(work.folder, work.size)
    feast_stores.write_commands(work.folder, pq.read_table(path))


class _Load(Side):
    """Empties the server before a run, or leaves the same load in it."""

    def before(self) -> None:
        import redis

        if not self.work.options.get("again"):
            with redis.Redis.from_url(self.work.redis_url) as client:
                client.flushall()
        else:
            feast_stores.send(self.work.redis_url, self.work.folder / f"{feast_stores.VIEW}.resp")

    def outcome(self) -> Any:
        return feast_stores.stored(self.work.redis_url)


class Stock(_Load):
    """Feast's local engine and Redis store, with the settings that are best for it."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self.store = feast_stores.open_store(
            work.folder / "card_features.parquet", work.scratch / "registry.db", **self.config()
        )

    def config(self) -> dict[str, Any]:
        return feast_stores.stock_config(self.work.redis_url)

    def run(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self.store.materialize(feast_stores.START, feast_stores.END)


class PlugIn(Stock):
    def config(self) -> dict[str, Any]:
        return ours.load_config(self.work.redis_url, owner=False)


class PlugInOwner(Stock):
    def config(self) -> dict[str, Any]:
        return ours.load_config(self.work.redis_url, owner=True)


class RedisPy(_Load):
    """redis-py's pipeline, 1,000 rows at a time, of rows that are encoded already: what it costs at least in Python."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self.rows_ = list(feast_stores.batches(work.folder / f"{feast_stores.VIEW}.resp", 1000))

    def run(self) -> None:
        import redis

        with redis.Redis.from_url(self.work.redis_url) as client:
            for rows in self.rows_:
                with client.pipeline(transaction=False) as pipe:
                    for key, row in rows:
                        pipe.hset(key, mapping=row)
                    pipe.execute()


class RedisCli(_Load, CommandSide):
    """``redis-cli --pipe`` of the same bytes, its start included."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self.program = tool("redis-cli")
        self.input = work.folder / f"{feast_stores.VIEW}.resp"

    def command(self) -> Sequence[str]:
        return [self.program, "-p", ours.address(self.work.redis_url).rpartition(":")[2], "--pipe"]


class OurViews(_Load):
    """The repo as the materialize job opens it."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        registry, lake = f"sqlite:///{work.scratch / 'registry.db'}", (work.folder / "lake").as_uri()
        self.store = self.open(registry, lake)

    def open(self, registry: str, lake: str) -> Any:
        from feature_repo.definitions import REPO
        from jobs.common.lake import Lake
        from jobs.common.settings import Settings
        from jobs.online.repo import open_store

        settings = Settings(redis_url=self.work.redis_url, feast_registry_url=registry)
        store = open_store(settings, Lake.open(lake, settings), patient=True)
        with contextlib.redirect_stdout(io.StringIO()):
            store.apply(list(REPO))
        return store

    def run(self) -> None:
        from tests.bench.lake_data import SILVER_MIDNIGHT

        with contextlib.redirect_stdout(io.StringIO()):
            self.store.materialize(SILVER_MIDNIGHT, SILVER_MIDNIGHT)


class StockViews(OurViews):
    """The same repo and the same offline store, with Feast's own engine and Redis store."""

    def open(self, registry: str, lake: str) -> Any:
        return open_stock_views(registry, lake, self.work.redis_url)


def open_stock_views(registry: str, lake: str, redis_url: str) -> Any:
    from feast import FeatureStore, RepoConfig

    from feature_repo.definitions import REPO as DEFINITIONS
    from jobs.online.repo import REPO

    store = FeatureStore(
        config=RepoConfig(
            repo_path=REPO,
            project="fti",
            provider="local",
            entity_key_serialization_version=3,
            registry={"registry_type": "sql", "path": registry},
            offline_store={"type": "jobs.online.lake_offline_store.LakeOfflineStore", "lake_uri": lake},
            batch_engine={"type": "local"},
            **feast_stores.stock_config(redis_url),
        )
    )
    with contextlib.redirect_stdout(io.StringIO()):
        store.apply(list(DEFINITIONS))
    return store
