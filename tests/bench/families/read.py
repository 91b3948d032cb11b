"""Read: features of 1, 10 and 100 cards in one call, in process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.bench import feast_stores, ours
from tests.bench.comparison import Line
from tests.bench.families.load import prepare as write_files
from tests.bench.harness import Case
from tests.bench.side import Side, Work

CARDS = 200_000
CALLS = {1: 3000, 10: 1500, 100: 300}
HERE = __name__
Read = Callable[[Sequence[str]], Mapping[str, Sequence[Any]]]


def cases(size: int | None, quick: bool) -> list[Case]:
    return [_case(width, size or (20_000 if quick else CARDS), quick) for width in ((1,) if quick else CALLS)]


def _case(width: int, cards: int, quick: bool) -> Case:
    return Case(
        "read",
        f"read-{width}",
        f"{width} card{'s' if width > 1 else ''} a call" + ("" if cards == CARDS else f", of {cards:,}"),
        cards,
        {"plug-in": f"{HERE}:PlugIn", "stock": f"{HERE}:Stock", "raw HMGET": f"{HERE}:Raw"},
        (
            Line("plug-in", "stock", "p50_ms", target=5, floor=2),
            Line("plug-in", "stock", "p99_ms", target=10, floor=2),
            Line("plug-in", "raw HMGET", "p50_ms"),
            Line("plug-in", "raw HMGET", "p99_ms"),
        ),
        prepare,
        f"{CALLS[width] // (3 if quick else 1):,} calls a run, each of {width} of {cards:,} cards at random, all 20 features, "
        "to a dictionary of columns.",
        f"cards-{cards}",
        needs_redis=True,
        options={"width": width, "calls": CALLS[width] // (3 if quick else 1)},
    )


def prepare(work: Work) -> None:
    write_files(work)
    feast_stores.send(work.redis_url, work.folder / f"{feast_stores.VIEW}.resp")


class _Reads(Side):
    """The same calls in the same order on every side."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        rng = np.random.default_rng(5)
        width, calls = work.options["width"], work.options["calls"]
        self.calls = [[feast_stores.card(i) for i in row] for row in rng.integers(0, work.size, (calls, width))]
        self.read = self.open()
        for cards in self.calls[:50]:
            self.read(cards)

    def open(self) -> Read:
        raise NotImplementedError

    @property
    def rows(self) -> int:
        return len(self.calls) * self.work.options["width"]

    def run(self) -> Mapping[str, float]:
        took = np.empty(len(self.calls))
        for number, cards in enumerate(self.calls):
            began = time.perf_counter_ns()
            self.read(cards)
            took[number] = time.perf_counter_ns() - began
        return {f"p{q:g}_ms": float(np.percentile(took, q)) / 1e6 for q in (50, 99, 99.9)}

    def outcome(self) -> Any:
        """The first answers, by feature. Lists are lists, whatever the side calls them."""
        answers = [self.read(cards) for cards in self.calls[:20]]
        return [{name: list(answer[name]) for name in feast_stores.FEATURES} for answer in answers]


class Stock(_Reads):
    """``get_online_features(…).to_dict()``."""

    def config(self) -> dict[str, Any]:
        return feast_stores.stock_config(self.work.redis_url)

    def open(self) -> Read:
        source, registry = self.work.folder / "card_features.parquet", self.work.scratch / "registry.db"
        store = feast_stores.open_store(source, registry, **self.config())

        def read(cards: Sequence[str]) -> Mapping[str, Sequence[Any]]:
            rows = [{feast_stores.KEY: name} for name in cards]
            return store.get_online_features(feast_stores.REFERENCES, rows).to_dict()

        return read


class PlugIn(Stock):
    def config(self) -> dict[str, Any]:
        return ours.read_config(self.work.redis_url)


class Raw(_Reads):
    """Pipelined HMGET with redis-py, and the least decoding that makes numbers of the answer: the floor in Python."""

    def open(self) -> Read:
        import redis

        from tests.bench.peers.raw import decode, entity_key, fields

        client = redis.Redis.from_url(self.work.redis_url)
        wanted = fields(feast_stores.VIEW, feast_stores.FEATURES)

        def read(cards: Sequence[str]) -> Mapping[str, Sequence[Any]]:
            with client.pipeline(transaction=False) as pipe:
                for name in cards:
                    pipe.hmget(entity_key(feast_stores.KEY, name, feast_stores.PROJECT), wanted)
                rows = pipe.execute()
            columns = list(zip(*rows, strict=True))
            return {
                name: [decode(value) for value in column]
                for name, column in zip(feast_stores.FEATURES, columns, strict=False)
            }

        return read
