"""Where this project's own parts are called: the one file to change when one of their interfaces does.

A part that is not there is a ``CannotRunError`` of one sentence; its comparison then says so and does not vanish.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from tests.bench.side import CannotRunError

# -- feast_fast ----------------------------------------------------------------------------------------------


def load_config(redis_url: str, owner: bool) -> dict[str, Any]:
    """``batch_engine`` and ``online_store`` of the plug-in in a ``feature_store.yaml``.

    Args:
        owner: the view owns its keys and its file holds each once, so keys are written whole and nothing is read first.
    """
    _require("feast_fast.engine", "load")
    store = {"type": "feast_fast.store.FastRedisOnlineStore", "connection_string": address(redis_url)}
    engine: dict[str, Any] = {"type": "feast_fast.engine.FastComputeEngine"}
    if owner:
        return {
            "batch_engine": engine | {"one_row_per_key": True},
            "online_store": store | {"owns_keys": True},
        }
    return {"batch_engine": engine, "online_store": store}


def read_config(redis_url: str) -> dict[str, Any]:
    """``online_store`` of a Feast store whose ``get_online_features`` is the plug-in's."""
    _require("feast_fast.reads", "read")
    store = "feast_fast.store.FastRedisOnlineStore"
    return {"online_store": {"type": store, "connection_string": address(redis_url)}}


def address(redis_url: str) -> str:
    """What stock Feast calls a connection string."""
    return redis_url.removeprefix("redis://").removesuffix("/0")


# -- jobs ----------------------------------------------------------------------------------------------------


def serve_command() -> list[str]:
    """The HTTP service."""
    _require("jobs.serve", "HTTP")
    return [sys.executable, "-m", "jobs.serve"]


def serve_env(redis_url: str, port: int, as_of: str) -> dict[str, str]:
    """Its settings. ``as_of`` is the moment at which a value's age is judged: the bench's data do not grow old."""
    return {"REDIS_URL": redis_url, "SERVE_HOST": "127.0.0.1", "SERVE_PORT": str(port), "SERVE_AS_OF": as_of}


SERVE_PATH = "/features"


def serve_body(references: Sequence[str]) -> tuple[str, str]:
    """The JSON of a request, before and after the quoted cards."""
    return '{"features":' + json.dumps(list(references)) + ',"cards":[', "]}"


def served_columns(answer: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Feature → values, of an answer."""
    return {name: column["values"] for name, column in answer["features"].items()}


def job(name: str, lake_uri: str, start: date, end: date, *options: str) -> list[str]:
    """One job's command line."""
    return [
        sys.executable, "-m", f"jobs.{name}", "--lake", lake_uri,
        "--start", start.isoformat(), "--end", end.isoformat(), *options,
    ]  # fmt: skip


def stock_loader_env() -> dict[str, str]:
    """What makes the materialize job load through stock Feast."""
    from jobs.common.settings import Settings

    if "online_loader" not in Settings.model_fields:
        raise CannotRunError("There is no setting ONLINE_LOADER in this tree, so nothing loads through stock Feast.")
    return {"ONLINE_LOADER": "stock"}


def _require(module: str, what: str) -> None:
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise CannotRunError(f"There is no {module} in this tree, so our side of the {what} comparison cannot run.")
