"""The features job: plans by manifests, computes in Spark, publishes each product a partition at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.common.cli import JobContext
from jobs.common.contract import CARDS, CHARGEBACKS, TRANSACTIONS
from jobs.common.digest import combine
from jobs.common.formulas import HISTORY_US
from jobs.common.lake import Lake, Manifest, event_partition, ingest_partition, partition_day, require
from jobs.common.products import (
    ACCOUNT_DAILY,
    CARD_DAILY,
    CARD_LAST_STATE,
    HISTORY,
    MCC_DAILY,
    MERCHANT_DAILY,
    PRODUCTS,
    TX_FEATURES,
    Product,
)
from jobs.common.staged import parquet_digest, staged_parquet
from jobs.common.version import code_version
from jobs.features import daily
from jobs.features.arrow import CHUNK_ROWS, Targets, midnight_us, whole_keys
from jobs.features.card import STATE_SCHEMA, card_states, tx_features
from jobs.features.plan import BronzeDay, Target, blocks, candidates, history, stale, target
from jobs.features.windows import Axis

if TYPE_CHECKING:  # importing Spark costs seconds, and an unchanged lake needs none of it
    from pyspark.sql import DataFrame, SparkSession

DUPLICATES = "silver/duplicates"
"""Which bronze lines repeat a transaction_id of a lower ingest day: transaction_id, per ingest_date."""
DUPLICATES_SCHEMA = pa.schema({"transaction_id": pa.string()})
VOUCHING = PRODUCTS[-1]
"""Of each event date its manifest is taken away first and written last, so it vouches for all products."""
ROWS_PER_TASK = 1_000_000


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
        if b.dataset == TRANSACTIONS.bronze and _is_judged_against(b.day, day)
    ]
    return combine([("code", version), *ids])


def _is_judged_against(earlier: date, day: date) -> bool:
    return day - HISTORY <= earlier <= day


def _duplicates_of(context: JobContext) -> int:
    found = context.lake.manifests(DUPLICATES, map(ingest_partition, context.days))
    return sum(m.rows for m in found.values())


# -- computing -----------------------------------------------------------------------------------------------


def _compute(context: JobContext, plan: Plan, began: float) -> dict[str, int]:
    from jobs.common.spark import spark_session

    rows = {product.name: 0 for product in PRODUCTS}
    rows_read = sum(b.rows for b in history(plan.bronze, TRANSACTIONS.bronze, plan.targets, plan.known_until))
    # Tasks by the number of rows alone, so that files come out the same on every machine.
    conf = {"spark.sql.shuffle.partitions": max(2, -(-rows_read // ROWS_PER_TASK))}
    for number, block in enumerate(list(blocks(plan.targets)) or [[]]):
        with context.lake.staging() as staging:
            with spark_session(context.settings, context.lake, "features", rows=rows_read, conf=conf) as spark:
                if plan.undecided and number == 0:
                    _decide_duplicates(context, plan, spark)
                if block:
                    _stage(context, plan, block, spark, staging)
            # Spark's workers end with its session: idle, they would stand beside what is read back now.
            for name, count in _publish(context, plan, block, staging, began).items():
                rows[name] += count
    return rows


def _decide_duplicates(context: JobContext, plan: Plan, spark: SparkSession) -> None:
    from jobs.features.frames import Bronze, duplicates

    partitions = [
        b
        for b in plan.bronze
        if b.dataset == TRANSACTIONS.bronze and any(_is_judged_against(b.day, day) for day in plan.undecided)
    ]
    ids = Bronze(spark, context.lake, partitions).transaction_ids()
    with context.lake.staging() as staging:
        if ids is not None:
            found = duplicates(ids, [d.isoformat() for d in plan.undecided], HISTORY.days)
            ordered = found.repartition(1).sortWithinPartitions("ingest_date", "transaction_id")
            ordered.write.partitionBy("ingest_date").parquet(context.lake.spark_url(f"{staging}/duplicates"))
        for day, inputs in plan.undecided.items():
            partition = ingest_partition(day)
            staged = staged_parquet(context.lake, f"{staging}/duplicates/{partition}")
            digest = parquet_digest(context.lake, staged, DUPLICATES_SCHEMA)
            manifest = Manifest(
                DUPLICATES, partition, "features", plan.version, inputs, digest.hexdigest(), digest.rows
            )
            context.lake.publish(manifest, staged)


def _stage(context: JobContext, plan: Plan, block: Sequence[Target], spark: SparkSession, staging: str) -> None:
    """Writes every product's partitions of the block below the staging folder."""
    from pyspark import StorageLevel
    from pyspark.sql import functions as F

    from jobs.features.frames import Bronze

    lake = context.lake
    targets = Targets({t.event_date: midnight_us(t.known_at) for t in block})
    needed = [
        b for d in (TRANSACTIONS, CARDS, CHARGEBACKS) for b in history(plan.bronze, d.bronze, block, plan.known_until)
    ]
    bronze = Bronze(spark, lake, needed)
    transactions = bronze.transactions(_known_duplicates(spark, lake, needed), targets.span_us)

    def write(rows: DataFrame, product: Product) -> None:
        order = (
            ["event_date", product.key]
            if product is not TX_FEATURES
            else ["event_date", "card_id", "event_timestamp", product.key]
        )
        columns = [F.col(name) for name in product.schema.names]
        date_of = (
            F.to_date("event_timestamp") if product is TX_FEATURES else F.date_sub(F.to_date("event_timestamp"), 1)
        )
        ordered = rows.select(*columns, date_of.alias("event_date")).sortWithinPartitions(*order)
        ordered.write.partitionBy("event_date").parquet(lake.spark_url(f"{staging}/{product.name}"))
        context.log.info("computed", product=product.name)

    cards = (
        transactions.unionByName(bronze.card_versions())
        .repartition("card_id")
        .sortWithinPartitions("card_id", "kind", "time_us", "order_key")
        .persist(StorageLevel.DISK_ONLY)
    )
    write(_map(cards, "card_id", lambda table: [tx_features(table, targets)], TX_FEATURES.schema, targets), TX_FEATURES)
    states = _map(cards, "card_id", lambda table: card_states(table, targets), STATE_SCHEMA, targets)
    states = states.persist(StorageLevel.DISK_ONLY)
    write(states, CARD_DAILY)
    write(states, CARD_LAST_STATE)
    states.unpersist()
    cards.unpersist()

    accounts = bronze.account_rows(transactions).repartition("account_id").sortWithinPartitions("account_id")
    write(
        _map(accounts, "account_id", lambda t: daily.account_daily(t, targets), ACCOUNT_DAILY.schema, targets),
        ACCOUNT_DAILY,
    )
    merchants = bronze.merchant_rows(transactions).repartition("merchant_id").sortWithinPartitions("merchant_id")
    write(
        _map(merchants, "merchant_id", lambda t: daily.merchant_daily(t, targets), MERCHANT_DAILY.schema, targets),
        MERCHANT_DAILY,
    )
    tiles = bronze.mcc_rows(transactions).toArrow().cast(daily.MCC_SCHEMA)
    for target_date, table in zip(sorted(targets.created_us), daily.mcc_daily(tiles, targets), strict=True):
        _write(lake, f"{staging}/{MCC_DAILY.name}/{event_partition(target_date)}/part.parquet", table)


def _known_duplicates(spark: SparkSession, lake: Lake, needed: Iterable[BronzeDay]) -> DataFrame:
    days = [ingest_partition(b.day) for b in needed if b.dataset == TRANSACTIONS.bronze]
    paths = [lake.spark_url(f"{DUPLICATES}/{name}") for name, m in lake.manifests(DUPLICATES, days).items() if m.rows]
    if not paths:
        return spark.createDataFrame([], "transaction_id string, ingest_date date")
    return spark.read.option("basePath", lake.spark_url(DUPLICATES)).parquet(*paths)


Kernel = Callable[[pa.Table], Iterable[pa.Table]]


def _map(rows: DataFrame, key: str, kernel: Kernel, schema: pa.Schema, targets: Targets) -> DataFrame:
    """Runs a kernel over tables of whole keys, in frames that are sorted by the key."""
    from pyspark.sql.pandas.types import from_arrow_schema

    chunk = min(CHUNK_ROWS, Axis(*targets.span_us, HISTORY_US).keys // 2)

    def over(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in whole_keys(batches, key, chunk):
            for result in kernel(table):
                yield from result.to_batches(max_chunksize=2_000)

    nullable = pa.schema([pa.field(f.name, f.type) for f in schema])
    return rows.mapInArrow(over, from_arrow_schema(nullable))


# -- publishing ----------------------------------------------------------------------------------------------


def _publish(context: JobContext, plan: Plan, block: Sequence[Target], staging: str, began: float) -> dict[str, int]:
    rows = {product.name: 0 for product in PRODUCTS}
    for t in block:
        partition = event_partition(t.event_date)
        context.lake.retract(VOUCHING.dataset, partition)
        for product in PRODUCTS:
            staged = staged_parquet(context.lake, f"{staging}/{product.name}/{partition}")
            digest = parquet_digest(context.lake, staged, product.schema)
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


def _write(lake: Lake, relative: str, table: pa.Table) -> None:
    path = lake.path(relative)
    lake.make_folder_of(path)
    pq.write_table(table, path, filesystem=lake.filesystem, compression="zstd")
