"""Where this project's own parts are called: the one file to change when one of their interfaces does.

A part that is not there is a ``CannotRunError`` of one sentence; its comparison then says so and does not vanish.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from tests.bench.side import CannotRunError

# -- feast_fast: loads ---------------------------------------------------------------------------------------


def load_config(redis_url: str, owner: bool) -> dict[str, Any]:
    """``batch_engine`` and ``online_store`` of the plug-in in a ``feature_store.yaml``.

    Args:
        owner: the view is told to own its keys, so a key is written whole and nothing is read first.
    """
    _require("feast_fast", "load")
    return {
        "batch_engine": {"type": "feast_fast.engine.FastComputeEngine"},
        "online_store": {
            "type": "feast_fast.store.FastRedisOnlineStore",
            "url": redis_url,
            **({"owner": True} if owner else {}),
        },
    }


# -- feast_fast: reads ---------------------------------------------------------------------------------------


def reader(store: Any, redis_url: str, references: Sequence[str]) -> Callable[[Sequence[str]], Mapping[str, Any]]:
    """A function from card ids to a dictionary of columns, by the plug-in's read path."""
    _require("feast_fast.reads", "read")
    from feast_fast.reads import FastReads

    reads = FastReads(store)

    def read(cards: Sequence[str]) -> Mapping[str, Any]:
        return reads.read(references, {"card_id": list(cards)}).to_dict()

    return read


# -- jobs ----------------------------------------------------------------------------------------------------


def serve_command(port: int) -> list[str]:
    """The HTTP service on a port; it reads the same settings as the jobs."""
    _require("jobs.serve", "HTTP")
    return [sys.executable, "-m", "jobs.serve", "--port", str(port)]


SERVE_PATH = "/features"


def serve_body(references: Sequence[str], cards: Sequence[str]) -> bytes:
    return json.dumps({"features": list(references), "entities": {"card_id": list(cards)}}).encode()


def served_columns(answer: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Feature → values, of an answer of the HTTP service."""
    names = answer["metadata"]["feature_names"]
    return {name.rpartition("__")[2]: r["values"] for name, r in zip(names, answer["results"], strict=True)}


def job(name: str, lake_uri: str, start: date, end: date, *options: str) -> list[str]:
    """One job's command line."""
    return [
        sys.executable, "-m", f"jobs.{name}", "--lake", lake_uri,
        "--start", start.isoformat(), "--end", end.isoformat(), *options,
    ]  # fmt: skip


def _require(module: str, what: str) -> None:
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise CannotRunError(f"There is no {module} in this tree, so our side of the {what} comparison cannot run.")
