"""The generate job: a range of days of the synthetic world, published as landing partitions."""

from __future__ import annotations

import hashlib
import multiprocessing
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import chain
from typing import Any

import click

from jobs.common.cli import Day, JobContext, job_command
from jobs.common.contract import CARDS, CHARGEBACKS, MERCHANTS, TRANSACTIONS
from jobs.common.lake import Lake, Manifest, Staged, ingest_partition
from jobs.common.log import track
from jobs.common.settings import load_settings
from jobs.common.version import code_version
from jobs.generate import fraud, text
from jobs.generate.day import World, add_up, counts
from jobs.generate.lines import LINES, Form, transaction_lines
from jobs.generate.parameters import EPOCH, MAX_RATE, Parameters, day_number
from jobs.generate.write import Written, truth, write_lines, write_truth

TRUTH = "ground_truth/transactions"
"""Beside the landing zone, and read by tests and training alone, never by the pipeline."""


@dataclass(frozen=True)
class Task:
    """One day to be made; small enough to be sent to another process."""

    lake: str
    parameters: Parameters
    horizon: int
    """Days of the world over which the fraud is planned, once for all days of a run."""
    day: date
    snapshot: bool

    @property
    def inputs(self) -> str:
        return self.parameters.fingerprint(self.day, self.snapshot)


@click.option(
    "--cards", type=click.IntRange(1, 1 << 31), default=5000, show_default=True, help="Card slots in the world."
)
@click.option(
    "--seed", type=click.IntRange(0, 1 << 32), default=7, show_default=True, help="Another seed, another world."
)
@click.option(
    "--format",
    type=click.Choice(["jsonl.gz", "jsonl", "csv", "csv.gz"]),
    default="jsonl.gz",
    show_default=True,
    help="Form of the landing files.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, MAX_RATE, min_open=True),
    default=0.57,
    show_default=True,
    help="Transactions per card and day.",
)
@click.option(
    "--fraud-rate",
    type=click.FloatRange(0, 0.1),
    default=0.0025,
    show_default=True,
    help="Fraudulent share of the transactions.",
)
@click.option(
    "--duplicate-rate",
    type=click.FloatRange(0, 0.5),
    default=0.002,
    show_default=True,
    help="Lines that are sent twice.",
)
@click.option(
    "--late-rate",
    type=click.FloatRange(0, 0.5),
    default=0.005,
    show_default=True,
    help="Events that arrive 1 to 72 hours late.",
)
@click.option("--malformed-rate", type=click.FloatRange(0, 0.5), default=0.001, show_default=True, help="Broken lines.")
@click.option(
    "--rows-per-file",
    type=click.IntRange(1000, 10_000_000),
    default=400_000,
    show_default=True,
    help="Lines in a file, at most.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Days made at the same time; the bytes are the same.",
)
@click.option("--snapshot", type=Day(), default=None, help=f"Day that also lands all cards and merchants; name the first day of a lake that begins after {EPOCH}, where they land in any case.")  # fmt: skip
def run(context: JobContext, processes: int, snapshot: date | None, **options: Any) -> Mapping[str, Any]:
    """Lands a synthetic world's card transactions, cards, merchants and chargebacks, day by day.

    Any day made alone equals the day made in a sequence, byte for byte. The world lasts from
    2025-01-01 to 2124-12-31.
    """
    parameters = Parameters(**options)
    parameters.check(context.start, context.end, fraud.days_between_frauds(parameters))
    horizon = day_number(context.end)
    tasks = [Task(context.lake.uri, parameters, horizon, day, day in (EPOCH, snapshot)) for day in context.days]
    todo = [task for task in tasks if context.force or not _is_current(context.lake, task)]
    if len(todo) < len(tasks):
        context.log.info("unchanged", days=len(tasks) - len(todo))
    made = add_up(list(_run(context.lake, todo, processes)))
    return {"days": len(todo), "unchanged": len(tasks) - len(todo)} | made


command = job_command("generate")(run)


def _is_current(lake: Lake, task: Task) -> bool:
    # The transactions are published last: where they are current, the rest of the day is.
    known = lake.manifest(TRANSACTIONS.landing, ingest_partition(task.day))
    return known is not None and (known.inputs, known.code_version) == (task.inputs, _code_version())


def _code_version() -> str:
    return code_version("generate", "common")


def _run(lake: Lake, tasks: list[Task], processes: int) -> Iterator[dict[str, int]]:
    if processes == 1 or len(tasks) < 2:
        yield from (make_day(lake, task) for task in track(tasks, "days made"))
        return
    # Spawned, since a fork would copy the locks of Polars' and Arrow's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(tasks)), mp_context=context) as pool:
        yield from pool.map(_make_day_elsewhere, tasks)


def _make_day_elsewhere(task: Task) -> dict[str, int]:
    return make_day(Lake.open(task.lake, load_settings()), task)


@lru_cache(maxsize=1)
def _world(parameters: Parameters, horizon: int) -> World:
    return World.until(parameters, horizon)


def make_day(lake: Lake, task: Task) -> dict[str, int]:
    """Makes and publishes one day; returns its counts."""
    began = time.perf_counter()
    world, seed = _world(task.parameters, task.horizon), task.parameters.seed
    day, name = day_number(task.day), task.parameters.format
    form = Form(is_csv=name.startswith("csv"))
    with lake.staging() as folder:
        lines, truths, parts = [], [], []
        for number, events in enumerate(world.landed(day)):
            part = f"part-{number:05d}"
            staged = Staged(f"{folder}/{part}.{name}", f"{part}.{name}")
            names = text.Names.of(seed, events)
            chunks = chain([form.header(LINES)], transaction_lines(seed, events, names, form))
            lines.append(write_lines(lake, staged, chunks))
            staged = Staged(f"{folder}/{part}.parquet", f"{part}.parquet")
            truths.append(write_truth(lake, staged, truth(seed, events, names)))
            parts.append(counts(events))
        feeds = [
            (CARDS, text.card_texts(seed, world.card_rows(day, task.snapshot))),
            (MERCHANTS, text.merchant_texts(seed) if task.snapshot else text.merchant_texts(seed).clear()),
            (CHARGEBACKS, text.chargeback_texts(seed, world.chargebacks(day))),
        ]
        # The manifest of the transactions vouches for the whole day: a run that is killed from here on leaves a
        # mixture, which must not pass for the world that was there before.
        lake.retract(TRANSACTIONS.landing, ingest_partition(task.day))
        for dataset, texts in feeds:
            staged = Staged(f"{folder}/{dataset.name}.{name}", f"part-00000.{name}")
            chunks = [form.header(dataset), form.lines(texts, dataset)]
            files = [write_lines(lake, staged, chunks)] if len(texts) else []
            _publish(lake, task, dataset.landing, files, {"lines": len(texts)}, began)
        total = add_up(parts)
        _publish(lake, task, TRUTH, truths, {"lines": total["lines"]}, began)
        _publish(lake, task, TRANSACTIONS.landing, lines, total, began)
    return total | {dataset.name: len(texts) for dataset, texts in feeds}


def _publish(lake: Lake, task: Task, dataset: str, files: list[Written], counted: dict[str, int], began: float) -> None:
    """Publishes one partition. Where there is nothing to publish, only what an earlier world left is taken away."""
    partition = ingest_partition(task.day)
    if not files and not lake.files(f"{dataset}/{partition}"):
        return
    digest = hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest()
    manifest = Manifest(
        dataset=dataset,
        partition=partition,
        job="generate",
        code_version=_code_version(),
        inputs=task.inputs,
        digest=digest,
        rows=counted["lines"],
        counts=counted,
        seconds=round(time.perf_counter() - began, 3),
    )
    lake.publish(manifest, [file.staged for file in files])
