"""The generate job: a range of days of the synthetic world, published as landing partitions."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import signal
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import chain
from typing import Any

import click

from jobs.common.cli import Day, JobContext, job_command
from jobs.common.contract import CARDS, CHARGEBACKS, DATASETS, FORMATS, MERCHANTS, TRANSACTIONS, LandingDataset
from jobs.common.errors import JobError, WrongCall
from jobs.common.lake import Lake, Manifest, Staged, ingest_partition
from jobs.common.log import track
from jobs.common.settings import load_settings
from jobs.common.version import code_version
from jobs.generate import fraud, text
from jobs.generate.day import World, add_up, batches, counts
from jobs.generate.lines import LINES, Form, transaction_lines
from jobs.generate.parameters import EPOCH, MAX_RATE, Parameters, day_number
from jobs.generate.write import Written, truth, write_lines, write_truth

TRUTH = "ground_truth/transactions"
"""Beside the landing zone, and read by tests and training alone, never by the pipeline."""
_FILE = re.compile(rf"part-\d{{5,}}({'|'.join(map(re.escape, FORMATS))})")
"""Names of landing files that this job writes."""


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
    type=click.IntRange(0, 256),
    default=1,
    show_default=True,
    help="Files made at the same time, 0 for as many as there are cores; the bytes are the same.",
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
    _check_folders(context.lake, todo)
    made = add_up(list(_run(context.lake, todo, processes)))
    return {"days": len(todo), "unchanged": len(tasks) - len(todo)} | made


command = job_command("generate")(run)


def _is_current(lake: Lake, task: Task) -> bool:
    # The transactions are published last: where they are current, the rest of the day is.
    known = lake.manifest(TRANSACTIONS.landing, ingest_partition(task.day))
    return known is not None and (known.inputs, known.code_version) == (task.inputs, _code_version())


def _check_folders(lake: Lake, tasks: Sequence[Task]) -> None:
    """What is published takes the place of all that lies in its folder, so nobody else's file may lie there.

    Raises:
        WrongCall: a landing folder of these days holds a file that this job did not make.
    """
    folders = [(dataset.landing, ingest_partition(task.day)) for task in tasks for dataset in DATASETS]
    foreign = list(chain.from_iterable(lake.in_threads(lambda folder: _foreign_files(lake, *folder), folders)))
    if foreign:
        folder, _, name = foreign[0].rpartition("/")
        more = f" (and {len(foreign) - 1} more such files)" if len(foreign) > 1 else ""
        raise WrongCall(
            f"{folder} holds {name}, which generate did not make and would delete{more}: switch generate off where files "
            "of your own land (the run's param generate, or FTI_GENERATE=false for good), or name other days or another lake."
        )


def _foreign_files(lake: Lake, dataset: str, partition: str) -> list[str]:
    """Paths of the files in a landing partition that this job did not make."""
    folder = f"{dataset}/{partition}"
    paths = [lake.relative(file.path) for file in lake.files(folder)]
    manifest = lake.manifest(dataset, partition) if paths else None
    if manifest:
        own = {f"{folder}/{name}" for name in manifest.files}
        return [path for path in paths if path not in own]
    # A publication of this job that was cut short looks like this, too.
    return [path for path in paths if not _FILE.fullmatch(path[len(folder) + 1 :])]


def _code_version() -> str:
    return code_version("generate", "common")


def _run(lake: Lake, tasks: list[Task], processes: int) -> Iterator[dict[str, int]]:
    """Makes the days and publishes them one after the other; yields their counts."""
    jobs = sum(1 + len(batches(task.parameters)) for task in tasks)
    processes = min(processes or _cores(), jobs)
    if processes <= 1:
        yield from (make_day(lake, task) for task in track(tasks, "days made"))
        return
    with lake.staging() as folder, _pool(processes) as pool:
        days = (_Day.begin(lake, pool, task, f"{folder}/{task.day}") for task in tasks)
        begun: deque[_Day] = deque()
        for _ in track(tasks, "days made"):
            # Enough is begun ahead that no process waits, and no more: the disk holds few days twice.
            while not begun or sum(len(day.parts) for day in begun) < 3 * processes:
                if (day := next(days, None)) is None:
                    break
                begun.append(day)
            yield begun.popleft().publish(lake)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that are done with what they began when this ends, however it ends."""
    # Spawned, since a fork would copy the locks of Polars' and Arrow's threads. Ctrl-C reaches them too, and is
    # left to the parent.
    context, ignore = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=signal.signal, initargs=ignore)
    try:
        yield pool
    except BrokenProcessPool:
        raise JobError(
            "A process of the job was killed, most likely for want of memory: allow more, or lower --processes."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits for the end of this. A process that is started meanwhile never hears it, not even while it imports."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    known = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, known)


@dataclass(frozen=True)
class Part:
    """What some blocks of card slots add to a day: files in the staging area, in order, and counts."""

    lines: list[Written]
    truths: list[Written]
    counts: dict[str, int]


@dataclass(frozen=True)
class Feed:
    """A feed beside the transactions on one day: its file in the staging area, none without rows."""

    dataset: LandingDataset
    files: list[Written]
    rows: int


@dataclass(frozen=True)
class _Day:
    """A day that is being made by other processes."""

    task: Task
    began: float
    feeds: Future[list[Feed]]
    parts: list[Future[Part]]

    @classmethod
    def begin(cls, lake: Lake, pool: ProcessPoolExecutor, task: Task, folder: str) -> _Day:
        lake.make_folder_of(lake.path(f"{folder}/file"))
        with _interrupts_held_back():  # while the pool may start processes
            parts = [pool.submit(_make_part, task, folder, blocks) for blocks in batches(task.parameters)]
            return cls(task, time.perf_counter(), pool.submit(_make_feeds, task, folder), parts)

    def publish(self, lake: Lake) -> dict[str, int]:
        """Waits for the day and publishes it."""
        return publish_day(lake, self.task, [part.result() for part in self.parts], self.feeds.result(), self.began)


def _make_part(task: Task, folder: str, blocks: range) -> Part:
    return make_part(Lake.open(task.lake, load_settings()), task, folder, blocks)


def _make_feeds(task: Task, folder: str) -> list[Feed]:
    return make_feeds(Lake.open(task.lake, load_settings()), task, folder)


@lru_cache(maxsize=1)
def _world(parameters: Parameters, horizon: int) -> World:
    return World.until(parameters, horizon)


def make_day(lake: Lake, task: Task) -> dict[str, int]:
    """Makes and publishes one day in this process; returns its counts."""
    began = time.perf_counter()
    with lake.staging() as folder:
        parts = [make_part(lake, task, folder, blocks) for blocks in batches(task.parameters)]
        return publish_day(lake, task, parts, make_feeds(lake, task, folder), began)


def make_part(lake: Lake, task: Task, folder: str, blocks: range) -> Part:
    """Makes the transactions of some blocks on one day, and what is true of them, in the staging area."""
    world, seed, name = _world(task.parameters, task.horizon), task.parameters.seed, task.parameters.format
    form = _form(task)
    lines, truths, counted = [], [], []
    for number, events in enumerate(world.landed(day_number(task.day), blocks)):
        path = f"{folder}/{blocks.start:05d}-{number:05d}"
        names = text.Names.of(seed, events)
        chunks = chain([form.header(LINES)], transaction_lines(seed, events, names, form))
        lines.append(write_lines(lake, f"{path}.{name}", chunks))
        truths.append(write_truth(lake, f"{path}.parquet", truth(seed, events, names)))
        counted.append(counts(events))
    return Part(lines, truths, add_up(counted))


def make_feeds(lake: Lake, task: Task, folder: str) -> list[Feed]:
    """Makes one day of the feeds beside the transactions, in the staging area."""
    world, seed, day = _world(task.parameters, task.horizon), task.parameters.seed, day_number(task.day)
    form = _form(task)
    merchants = text.merchant_texts(seed)
    rows = [
        (CARDS, text.card_texts(seed, world.card_rows(day, task.snapshot))),
        (MERCHANTS, merchants if task.snapshot else merchants.clear()),
        (CHARGEBACKS, text.chargeback_texts(seed, world.chargebacks(day))),
    ]
    feeds = []
    for dataset, texts in rows:
        chunks = [form.header(dataset), form.lines(texts, dataset)]
        path = f"{folder}/{dataset.name}.{task.parameters.format}"
        feeds.append(Feed(dataset, [write_lines(lake, path, chunks)] if len(texts) else [], len(texts)))
    return feeds


def _form(task: Task) -> Form:
    return Form(is_csv=task.parameters.format.startswith("csv"))


def publish_day(lake: Lake, task: Task, parts: list[Part], feeds: list[Feed], began: float) -> dict[str, int]:
    """Publishes what was made of one day; returns its counts."""
    # The manifest of the transactions vouches for the whole day: a run that is killed from here on leaves a
    # mixture, which must not pass for the world that was there before.
    lake.retract(TRANSACTIONS.landing, ingest_partition(task.day))
    for feed in feeds:
        _publish(lake, task, feed.dataset.landing, feed.files, {"lines": feed.rows}, began)
    total = add_up([part.counts for part in parts])
    _publish(lake, task, TRUTH, [file for part in parts for file in part.truths], {"lines": total["lines"]}, began)
    _publish(lake, task, TRANSACTIONS.landing, [file for part in parts for file in part.lines], total, began)
    return total | {feed.dataset.name: feed.rows for feed in feeds}


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
    extension = "parquet" if dataset == TRUTH else task.parameters.format
    lake.publish(manifest, [Staged(file.path, f"part-{i:05d}.{extension}") for i, file in enumerate(files)])
