"""HTTP: the features of some cards under load, by our service, by ``feast serve`` and by a bare application."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jobs.common.products import CARD_DAILY
from tests.bench import feast_stores, lake_data, ours
from tests.bench.comparison import Line
from tests.bench.harness import Case
from tests.bench.job_cost import Watch
from tests.bench.servers import free_port, tool
from tests.bench.side import ROOT, CannotRunError, Measured, Side, Work

CARDS, PROJECT, SERVICE = 20_000, "fti", "card_v1"
FEATURES = [feature.name for feature in CARD_DAILY.features]
REFERENCES = [f"{CARD_DAILY.name}:{name}" for name in FEATURES]
SECONDS, QUICK_SECONDS, START_SECONDS = 8, 2, 120
DRIFT_ROUNDS, DRIFT_SECONDS = 10, 60
HERE = __name__
OURS, DEFAULTS, BEST, FLOOR = "serve", "feast serve, defaults", "feast serve, best", "bare ASGI"
RECYCLED = f' "{DEFAULTS}" replaces its one worker after 1,000 requests, which is what its p99 shows.'
# Feast's documented hook, which it runs in each worker: the heap of its imports is left out of garbage collection.
FROZEN_HEAP = "import gc\n\n\ndef load_artifacts(app):\n    gc.collect()\n    gc.freeze()\n    gc.set_threshold(20000, 50, 1000)\n"


def cases(size: int | None, quick: bool) -> list[Case]:
    cards = size or CARDS
    if quick:
        return [_case(1, 8, cards, QUICK_SECONDS, with_defaults=False)]
    loads = [_case(width, connections, cards, SECONDS) for width, connections in ((1, 1), (1, 8), (10, 8), (100, 8))]
    return [*loads, _drift(cards)]


def _case(width: int, connections: int, cards: int, seconds: int, with_defaults: bool = True) -> Case:
    aimed = (width, connections) == (1, 8)
    lines = [
        Line(OURS, BEST, "p99_ms", target=10 if aimed else None, floor=1.5),
        Line(OURS, BEST, "requests_per_s", target=5 if aimed else None, floor=2),
        Line(OURS, BEST, "p50_ms"),
        Line(OURS, FLOOR, "p99_ms"),
        Line(OURS, FLOOR, "requests_per_s"),
        Line(OURS, FLOOR, "peak_mib"),
    ]
    if with_defaults:
        lines += [Line(OURS, DEFAULTS, "p99_ms"), Line(OURS, DEFAULTS, "requests_per_s")]
    return Case(
        "http",
        f"http-{width}-c{connections}",
        f"{width} card{'s' if width > 1 else ''} a request, {connections} connection{'s' if connections > 1 else ''}"
        + _of(cards),
        cards,
        _sides(DEFAULTS) if with_defaults else _sides(),
        tuple(lines),
        prepare,
        f"wrk for {seconds} s a run on the same machine; the {len(FEATURES)} features of `card_daily` of random ones of "
        f"{cards:,} cards." + (RECYCLED if with_defaults else ""),
        f"http-{cards}",
        needs_redis=True,
        options={"width": width, "connections": connections, "seconds": seconds},
    )


def _drift(cards: int) -> Case:
    options = {"width": 1, "connections": 8, "seconds": DRIFT_SECONDS}
    return Case(
        "http",
        "http-drift",
        f"{DRIFT_ROUNDS} minutes of load: 1 card, 8 connections{_of(cards)}",
        cards,
        {name: place for name, place in _sides().items() if name != FLOOR},
        (Line(OURS, BEST, "p99_ms"), Line(OURS, BEST, "requests_per_s")),
        prepare,
        f"{DRIFT_ROUNDS} runs of {DRIFT_SECONDS} s on each side, in turns, without a restart.",
        f"http-{cards}",
        needs_redis=True,
        options=options,
        pairs=DRIFT_ROUNDS,
    )


def _of(cards: int) -> str:
    """Tables of other numbers of cards have other titles."""
    return "" if cards == CARDS else f", of {cards:,}"


def _sides(*more: str) -> dict[str, str]:
    places = {OURS: "Serve", BEST: "FeastBest", DEFAULTS: "FeastDefaults", FLOOR: "Floor"}
    return {name: f"{HERE}:{place}" for name, place in places.items() if name != DEFAULTS or name in more}


def prepare(work: Work) -> None:
    lake_data.write_silver(work.folder, work.size)
    (file,) = (work.folder / "lake" / CARD_DAILY.dataset).glob("*/*.parquet")
    table = pq.ParquetFile(file).read(["card_id", "event_timestamp", *FEATURES])
    feast_stores.send(
        work.redis_url, feast_stores.write_commands(work.folder, table, CARD_DAILY.name, "card_id", PROJECT)
    )


class _Server(Side):
    """Starts a server; a run is wrk's load on it. CPU and memory are those of the server and its workers meanwhile."""

    path = "/get-online-features"

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self.wrk = shutil.which("wrk")
        self.port = free_port()
        command, env = self.command(), {**os.environ, "PYTHONPATH": str(ROOT), **self.env()}
        self.log = work.scratch / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=env, stdout=log, stderr=log, start_new_session=True, cwd=work.scratch
            )
        until = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, KeyError):
                self.ask(["c000000000000"])
                break
            if self.process.poll() is not None or time.monotonic() > until:
                said = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
                self.close()
                raise CannotRunError(f"{' '.join(command[-3:])} does not answer: {said[0][:300]}")
            time.sleep(0.2)

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def env(self) -> Mapping[str, str]:
        return {}

    def body(self) -> tuple[str, str]:
        """The JSON of a request, before and after the quoted cards."""
        return '{"features":' + json.dumps(REFERENCES) + ',"entities":{"card_id":[', "]}}"

    def columns(self, answer: Mapping[str, Any]) -> dict[str, list[Any]]:
        names = [name.rpartition("__")[2] for name in answer["metadata"]["feature_names"]]
        return {name: result["values"] for name, result in zip(names, answer["results"], strict=True)}

    def ask(self, cards: Sequence[str]) -> dict[str, list[Any]]:
        before, after = self.body()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            body = before + ",".join(f'"{card}"' for card in cards) + after
            connection.request("POST", self.path, body, {"Content-Type": "application/json"})
            return self.columns(json.loads(connection.getresponse().read()))
        finally:
            connection.close()

    def measure(self) -> Measured:
        options, (before, after) = self.work.options, self.body()
        said = {"BENCH_BEFORE": before, "BENCH_AFTER": after}
        said |= {"BENCH_WIDTH": str(options["width"]), "BENCH_CARDS": str(self.work.size)}
        lua = Path(__file__).parents[1] / "latency.lua"
        command = [tool("wrk"), "-t1", f"-c{options['connections']}", f"-d{options['seconds']}s", "-s", str(lua)]
        command.append(f"http://127.0.0.1:{self.port}{self.path}")
        watch, began = Watch(self.process.pid, memory_every=1.0), time.monotonic()
        try:
            output = subprocess.run(
                command, env={**os.environ, **said}, capture_output=True, text=True, check=True
            ).stdout
            wall = time.monotonic() - began
        finally:
            watch.stop()
        figures = json.loads(output.strip().splitlines()[-1])
        return Measured(wall, watch.cpu, watch.peak_mib, int(figures["requests"]), figures)

    def outcome(self) -> Any:
        answers = self.ask([f"c{number:012x}" for number in range(0, self.work.size, max(1, self.work.size // 50))])
        return {name: [_plain(value) for value in answers[name]] for name in FEATURES}

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _plain(value: Any) -> Any:
    """JSON has one kind of number: 3 and 3.0 are the same."""
    return float(value) if isinstance(value, int | float) else value


class Serve(_Server):
    """``python -m jobs.serve``."""

    path = ours.SERVE_PATH

    def command(self) -> Sequence[str]:
        return ours.serve_command()

    def env(self) -> Mapping[str, str]:
        return ours.serve_env(self.work.redis_url, self.port, lake_data.SILVER_MIDNIGHT.isoformat())

    def body(self) -> tuple[str, str]:
        return ours.serve_body(REFERENCES)

    def columns(self, answer: Mapping[str, Any]) -> dict[str, list[Any]]:
        return ours.served_columns(answer)


class FeastDefaults(_Server):
    """``feast serve`` as it comes, asked for a feature service by its name."""

    def __init__(self, work: Work) -> None:
        _write_repo(work, self.files())
        super().__init__(work)

    def files(self) -> Mapping[str, str]:
        return {}

    def command(self) -> Sequence[str]:
        feast = str(Path(sys.executable).with_name("feast"))
        return [feast, "-c", str(self.work.scratch), "serve", "--port", str(self.port), *self.options()]

    def options(self) -> Sequence[str]:
        return ()

    def body(self) -> tuple[str, str]:
        return '{"feature_service":"' + SERVICE + '","entities":{"card_id":[', "]}}"


class FeastBest(FeastDefaults):
    """Feast's server with what makes it quick.

    No recycling of workers, no access log, the registry read anew once an hour and not once a minute, a frozen heap, and
    features by reference.
    """

    def files(self) -> Mapping[str, str]:
        return {"static_artifacts.py": FROZEN_HEAP}

    def options(self) -> Sequence[str]:
        return ("--workers", "1", "--max-requests", "1000000000", "--no-access-log", "--registry_ttl_sec", "3600")

    def body(self) -> tuple[str, str]:
        return _Server.body(self)


class Floor(_Server):
    def command(self) -> Sequence[str]:
        app = "tests.bench.peers.floor_asgi:app"
        return [
            sys.executable,
            "-m",
            "uvicorn",
            app,
            "--port",
            str(self.port),
            "--log-level",
            "warning",
            "--no-access-log",
        ]

    def env(self) -> Mapping[str, str]:
        return {
            "BENCH_REDIS": self.work.redis_url,
            "BENCH_VIEW": CARD_DAILY.name,
            "BENCH_PROJECT": PROJECT,
            "BENCH_FEATURES": ",".join(FEATURES),
        }


def _write_repo(work: Work, files: Mapping[str, str]) -> None:
    """A stock Feast repo of ``card_daily``, applied."""
    import yaml
    from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, Int64, String

    config = {
        "project": PROJECT,
        "provider": "local",
        "registry": str(work.scratch / "registry.db"),
        "entity_key_serialization_version": 3,
        "offline_store": {"type": "duckdb"},
        "online_store": {"type": "redis", "connection_string": ours.address(work.redis_url)},
    }
    (work.scratch / "feature_store.yaml").write_text(yaml.safe_dump(config))
    for name, text in files.items():
        (work.scratch / name).write_text(text)
    kinds = {"int64": Int64, "double": Float64}
    card = Entity(name="card", join_keys=["card_id"], value_type=ValueType.STRING)
    fields = [Field(name=feature.name, dtype=kinds[str(feature.type)]) for feature in CARD_DAILY.features]
    view = FeatureView(
        name=CARD_DAILY.name,
        entities=[card],
        schema=[Field(name="card_id", dtype=String), *fields],
        source=FileSource(name="cards", path=str(work.folder / "none.parquet"), timestamp_field="event_timestamp"),
    )
    objects: list[Any] = [card, view, FeatureService(name=SERVICE, features=[view])]
    with contextlib.redirect_stdout(io.StringIO()):
        _apply(FeatureStore(repo_path=str(work.scratch)), objects)


def _apply(store: Any, objects: Sequence[Any]) -> None:
    """Into the registry alone: ``apply`` would look for the source's file."""
    registry, project = store.registry, store.project
    registry.apply_entity(objects[0], project)
    registry.apply_feature_view(objects[1], project)
    registry.apply_feature_service(objects[2], project)
