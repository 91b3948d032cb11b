"""The features job: plans by manifests, computes in Spark, publishes each product a partition at a time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jobs.common.cli import JobContext
from jobs.common.contract import CARDS, CHARGEBACKS, TRANSACTIONS
from jobs.common.digest import combine
from jobs.common.lake import Manifest, event_partition, ingest_partition, partition_day, require
from jobs.common.products import PRODUCTS, TX_FEATURES
from jobs.common.version import code_version
from jobs.common.workplace import Workplace
from jobs.features.arrow import EPOCH, Targets, midnight_us
from jobs.features.bronze import BronzeFile, first_reports, ids, shares
from jobs.features.duplicates import id_hashes
from jobs.features.exchange import Piece
from jobs.features.parts import Part, gathered
from jobs.features.plan import BronzeDay, Target, blocks, candidates, history, is_judged_against, stale, target
from jobs.features.tasks import FindDuplicates, MakeProducts

if TYPE_CHECKING:  # importing Spark costs seconds, and an unchanged lake needs none of it
    from pyspark import SparkContext

DUPLICATES = "silver/duplicates"
"""Which bronze lines repeat a transaction_id of a lower ingest day: transaction_id, per ingest_date."""
DUPLICATES_SCHEMA = pa.schema({"transaction_id": pa.string()})
VOUCHING = PRODUCTS[-1]
"""Of each event date its manifest is taken away first and written last, so it vouches for all products."""
ROWS_PER_SHARE = 500_000
"""Bronze rows that a task reads. It holds few of them at a time."""
ROWS_PER_TASK = 400_000
"""Rows of transactions and cards that one task owns: it holds them."""
TILES_PER_TASK, IDS_PER_TASK = 1_000_000, 2_000_000
FEW_IDS = 0.25
"""Share of the ids up to which it pays to leave out the others before any is moved."""
SPARK = {
    "spark.shuffle.compress": False,  # what is moved is compressed
}


@dataclass(frozen=True)
class Plan:
    """What a run has to do."""

    version: str
    bronze: list[BronzeDay]
    known_until: date
    targets: list[Target]
    undecided: dict[date, str]
    """Ingest days whose duplicates are to be found, with the fingerprint of what they are judged against."""


def run(context: JobContext) -> Mapping[str, Any]:
    """Computes the silver feature products of every event date that the given ingest days touch.

    --start and --end are ingest days. Late rows, reruns of old days and changed code lead to the event dates
    that they change; everything else stays as it is.
    """
    began = time.perf_counter()
    plan = _plan(context)
    rows_in = sum(b.rows for b in plan.bronze if b.dataset == TRANSACTIONS.bronze and b.day in set(context.days))
    if not plan.targets and not plan.undecided:
        context.log.info("unchanged", days=len(context.days))
        return {"rows_in": rows_in, "rows_out": 0, "event_dates": 0, "duplicates": _duplicates_of(context)}
    context.log.info(
        "computing", event_dates=len(plan.targets), first=plan.targets[0].event_date if plan.targets else None
    )
    rows_out = _compute(context, plan, began)
    return {
        "rows_in": rows_in,
        "rows_out": rows_out[TX_FEATURES.name],
        "event_dates": len(plan.targets),
        "duplicates": _duplicates_of(context),
        "rows": rows_out,
    }


# -- planning ------------------------------------------------------------------------------------------------


def _plan(context: JobContext) -> Plan:
    lake, version = context.lake, code_version("features", "common")
    manifests = [m for d in (TRANSACTIONS, CARDS, CHARGEBACKS) for m in lake.manifests(d.bronze).values()]
    bronze = [BronzeDay.of(m) for m in manifests]
    landed = {b.day for b in bronze if b.dataset == TRANSACTIONS.bronze}
    for day in context.days:
        if day not in landed:
            require(None, f"{TRANSACTIONS.bronze}/{ingest_partition(day)}", "run the bronze job for that day first")
    decided = lake.manifests(DUPLICATES)
    known_until = max(context.days[-1], *map(partition_day, decided), context.start)
    bronze = [b for b in bronze if b.day <= known_until]

    published = {partition_day(name) for product in PRODUCTS for name in lake.partitions(product.dataset)}
    targets = [target(d, bronze, version) for d in candidates(context.days, bronze, published, known_until)]
    if not context.force:
        made = lake.manifests(VOUCHING.dataset, [event_partition(t.event_date) for t in targets])
        targets = stale(targets, {partition_day(name): m for name, m in made.items()})
    judged = {b.day for b in history(bronze, TRANSACTIONS.bronze, targets, known_until)} | set(context.days)
    fingerprints = {day: _ids_before(day, bronze, version) for day in sorted(judged)}
    undecided = {
        day: inputs
        for day, inputs in fingerprints.items()
        if (known := decided.get(ingest_partition(day))) is None or known.inputs != inputs
    }
    return Plan(version, bronze, known_until, targets, undecided)


def _ids_before(day: date, bronze: Iterable[BronzeDay], version: str) -> str:
    ids = [
        (b.day.isoformat(), b.digest)
        for b in bronze
        if b.dataset == TRANSACTIONS.bronze and is_judged_against(b.day, day)
    ]
    return combine([("code", version), *ids])


def _duplicates_of(context: JobContext) -> int:
    found = context.lake.manifests(DUPLICATES, map(ingest_partition, context.days))
    return sum(m.rows for m in found.values())


# -- computing -----------------------------------------------------------------------------------------------


def _compute(context: JobContext, plan: Plan, began: float) -> dict[str, int]:
    from jobs.common.spark import spark_context

    rows = {product.name: 0 for product in PRODUCTS}
    for number, block in enumerate(list(blocks(plan.targets)) or [[]]):
        with context.lake.staging() as staging:
            with spark_context(
                context.settings, context.lake, "features", daemon="jobs.features.daemon", conf=SPARK
            ) as spark:
                place = Workplace(context.lake.uri, context.settings, staging)
                if plan.undecided and number == 0:
                    _decide_duplicates(context, plan, spark, place)
                parts = _make(context, plan, block, spark, place) if block else []
            # Spark's workers end with its context: idle, they would stand beside what is published now.
            for name, count in _publish(context, plan, block, parts, began).items():
                rows[name] += count
    return rows


def _decide_duplicates(context: JobContext, plan: Plan, spark: SparkContext, place: Workplace) -> None:
    lines = [
        b
        for b in plan.bronze
        if b.dataset == TRANSACTIONS.bronze and any(is_judged_against(b.day, day) for day in plan.undecided)
    ]
    wanted = tuple(sorted((day - EPOCH).days for day in plan.undecided))
    task = FindDuplicates(place, DUPLICATES, wanted, _owners(lines, IDS_PER_TASK))
    judged = [b for b in lines if b.day in plan.undecided]
    few = sum(b.rows for b in judged) < FEW_IDS * sum(b.rows for b in lines)
    sought = id_hashes(ids(context.lake, _files(judged))) if few else None
    known = spark.broadcast(sought)
    files = shares(lines, ROWS_PER_SHARE)
    found = _exchange(spark, files, lambda share: task.spread(known.value, share), task.make, task.owners)
    for day, inputs in plan.undecided.items():
        partition = ingest_partition(day)
        staged, digest = gathered((p for p in found if p.partition == partition), DUPLICATES_SCHEMA)
        manifest = Manifest(DUPLICATES, partition, "features", plan.version, inputs, digest.hexdigest(), digest.rows)
        context.lake.publish(manifest, staged)


def _make(
    context: JobContext, plan: Plan, block: Sequence[Target], spark: SparkContext, place: Workplace
) -> list[Part]:
    """Stages every product's partitions of the block."""
    targets = Targets({t.event_date: midnight_us(t.known_at) for t in block})
    lines, cards, chargebacks = (
        history(plan.bronze, d.bronze, block, plan.known_until) for d in (TRANSACTIONS, CARDS, CHARGEBACKS)
    )
    reports = first_reports(context.lake, _files(chargebacks))
    # Owners by the number of rows alone, so that files come out the same on every machine. Rows of cards are held, too:
    # on the day of a snapshot they are more than the transactions.
    rows = [*lines, *cards]
    task = MakeProducts(place, targets, DUPLICATES, _owners(rows, ROWS_PER_TASK, 2), _owners(rows, TILES_PER_TASK))
    known = spark.broadcast(reports)
    files = shares(rows, ROWS_PER_SHARE)
    parts = _exchange(spark, files, lambda share: task.spread(known.value, share), task.make, task.owners)
    context.log.info("computed", event_dates=len(block), files=len(parts))
    return parts


def _files(partitions: Iterable[BronzeDay]) -> list[BronzeFile]:
    return [file for share in shares(partitions, ROWS_PER_SHARE) for file in share]


def _owners(partitions: Iterable[BronzeDay], rows: int, at_least: int = 1) -> int:
    return max(at_least, -(-sum(b.rows for b in partitions) // rows))


def _exchange(
    spark: SparkContext,
    files: Sequence[Sequence[BronzeFile]],
    spread: Callable[[Sequence[BronzeFile]], Iterable[Piece]],
    make: Callable[[int, Iterable[Piece]], Iterable[Part]],
    owners: int,
) -> list[Part]:
    """Reads shares of files, brings each owner its pieces in one shuffle, and returns the parts that owners made."""
    if not files:
        return []
    pieces = spark.parallelize(files, len(files)).flatMap(spread).partitionBy(owners, int)
    return pieces.mapPartitionsWithIndex(make).collect()


# -- publishing ----------------------------------------------------------------------------------------------


def _publish(
    context: JobContext, plan: Plan, block: Sequence[Target], parts: Iterable[Part], began: float
) -> dict[str, int]:
    rows = {product.name: 0 for product in PRODUCTS}
    of_partition = defaultdict(list)
    for part in parts:
        of_partition[part.dataset, part.partition].append(part)
    for t in block:
        partition = event_partition(t.event_date)
        context.lake.retract(VOUCHING.dataset, partition)
        for product in PRODUCTS:
            staged, digest = gathered(of_partition[product.name, partition], product.schema)
            seconds = round(time.perf_counter() - began, 1)
            manifest = Manifest(
                product.dataset,
                partition,
                "features",
                plan.version,
                t.inputs,
                digest.hexdigest(),
                digest.rows,
                seconds=seconds,
            )
            context.lake.publish(manifest, staged)
            rows[product.name] += digest.rows
    return rows
