"""Bronze as Spark frames in the shape that the kernels take. Columns are fixed by ``select``, conditions have names."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.common.contract import CARDS, CHARGEBACKS, TRANSACTIONS, LandingDataset
from jobs.common.formulas import DAY_US, HOUR_US
from jobs.common.lake import Lake, ingest_partition
from jobs.features.card import CARD_VERSION, INPUT_SCHEMA, TRANSACTION
from jobs.features.plan import BronzeDay


class Bronze:
    """The bronze partitions that a run reads."""

    def __init__(self, spark: SparkSession, lake: Lake, partitions: Sequence[BronzeDay]) -> None:
        self.spark = spark
        self.lake = lake
        self.partitions = partitions

    def _read(self, dataset: LandingDataset) -> DataFrame | None:
        paths = [
            self.lake.spark_url(f"{p.dataset}/{ingest_partition(p.day)}")
            for p in self.partitions
            if p.dataset == dataset.bronze and p.rows
        ]
        return (
            self.spark.read.option("basePath", self.lake.spark_url(dataset.bronze)).parquet(*paths) if paths else None
        )

    def transaction_ids(self) -> DataFrame | None:
        """transaction_id and ingest_date of every row."""
        rows = self._read(TRANSACTIONS)
        return None if rows is None else rows.select("transaction_id", "ingest_date")

    def transactions(self, duplicates: DataFrame, span_us: tuple[int, int]) -> DataFrame:
        """Transactions with event times in ``[start, end)``, each once, as rows of the card kernel and ``ingest_date``."""
        rows = self._read(TRANSACTIONS)
        if rows is None:
            return self.spark.createDataFrame([], _schema_string())
        time_us = F.unix_micros("event_time")
        is_in_span = (time_us >= span_us[0]) & (time_us < span_us[1])
        once = rows.where(is_in_span).join(duplicates, ["transaction_id", "ingest_date"], "left_anti")
        return once.select(
            "card_id",
            F.lit(TRANSACTION).alias("kind"),
            F.unix_micros("event_time").alias("time_us"),
            F.col("transaction_id").alias("order_key"),
            F.col("merchant_country").alias("country"),
            "account_id",
            "merchant_id",
            F.col("mcc").cast("long"),
            "amount_cents",
            "channel",
            "card_present",
            "latitude",
            "longitude",
            F.col("utc_offset_minutes").cast("long"),
            "status",
            _missing("issued_day", "long"),
            _missing("expires_day", "long"),
        )

    def card_versions(self) -> DataFrame:
        """Rows of the cards table, as rows of the card kernel."""
        rows = self._read(CARDS)
        if rows is None:
            return self.spark.createDataFrame([], _schema_string())
        place = F.concat_ws(
            "|",
            F.col("ingest_date").cast("string"),
            "source_file",
            F.lpad(F.col("source_line").cast("string"), 12, "0"),
        )
        return rows.select(
            "card_id",
            F.lit(CARD_VERSION).alias("kind"),
            F.unix_micros("valid_from").alias("time_us"),
            place.alias("order_key"),
            F.col("issuer_country").alias("country"),
            "account_id",
            _missing("merchant_id", "string"),
            _missing("mcc", "long"),
            _missing("amount_cents", "long"),
            _missing("channel", "string"),
            _missing("card_present", "boolean"),
            _missing("latitude", "double"),
            _missing("longitude", "double"),
            _missing("utc_offset_minutes", "long"),
            _missing("status", "string"),
            F.unix_date(F.to_date("issued_at")).cast("long").alias("issued_day"),
            F.unix_date(F.to_date("expires_at")).cast("long").alias("expires_day"),
        )

    def account_rows(self, transactions: DataFrame) -> DataFrame:
        """Rows of ``daily.ACCOUNT_SCHEMA``: a tile per account and day, a row per card of an account."""
        tiles = _approved(transactions).groupBy("account_id", _unit("day", DAY_US)).agg(F.count("*").alias("n"))
        cards = self._read(CARDS)
        tiles = tiles.select(
            "account_id",
            "day",
            "n",
            _missing("card_id", "string"),
            _missing("issued_us", "long"),
            _missing("known_us", "long"),
        )
        if cards is None:
            return tiles
        issued = cards.groupBy("account_id", "card_id", F.unix_micros("issued_at").alias("issued_us")).agg(
            F.min(F.unix_micros("valid_from")).alias("known_us")
        )
        return tiles.unionByName(
            issued.select(
                "account_id", _missing("day", "long"), _missing("n", "long"), "card_id", "issued_us", "known_us"
            )
        )

    def merchant_rows(self, transactions: DataFrame) -> DataFrame:
        """Rows of ``daily.MERCHANT_SCHEMA``: a tile per merchant and hour, a row per charged-back transaction."""
        approved = _approved(transactions)
        tiles = approved.groupBy("merchant_id", _unit("hour", HOUR_US)).agg(F.count("*").alias("n"))
        tiles = tiles.select(
            "merchant_id", "hour", "n", _missing("charged_back_day", "long"), _missing("reported_us", "long")
        )
        chargebacks = self._read(CHARGEBACKS)
        if chargebacks is None:
            return tiles
        first_report = chargebacks.groupBy(F.col("transaction_id").alias("order_key")).agg(
            F.min(F.unix_micros("reported_at")).alias("reported_us")
        )
        charged_back = approved.join(first_report, "order_key", "inner").select(
            "merchant_id",
            _missing("hour", "long"),
            _missing("n", "long"),
            _unit("charged_back_day", DAY_US),
            "reported_us",
        )
        return tiles.unionByName(charged_back)

    def mcc_rows(self, transactions: DataFrame) -> DataFrame:
        """Rows of ``daily.MCC_SCHEMA``."""
        return (
            _approved(transactions)
            .groupBy("mcc", _unit("day", DAY_US))
            .agg(F.count("*").alias("n"), F.sum("amount_cents").alias("amount_cents"))
        )


def duplicates(ids: DataFrame, wanted: Sequence[str], within_days: int) -> DataFrame:
    """transaction_id and ingest_date of every wanted line whose id has a line of a lower ingest day within reach.

    Args:
        ids: transaction_id and ingest_date, unique.
        wanted: ingest dates to judge.
        within_days: how many ingest days back the earlier line may lie.
    """
    is_wanted = F.col("ingest_date").cast("string").isin(list(wanted))
    candidates = ids.where(is_wanted).select("transaction_id").distinct()
    dates = ids.join(candidates, "transaction_id", "left_semi").groupBy("transaction_id")
    seen = dates.agg(F.array_sort(F.collect_set("ingest_date")).alias("dates")).where(F.size("dates") > 1)
    lines = seen.select("transaction_id", "dates", F.posexplode("dates").alias("i", "ingest_date")).where("i > 0")
    is_within_reach = F.datediff("ingest_date", F.element_at("dates", F.col("i"))) <= within_days
    return lines.where(is_within_reach & is_wanted).select("transaction_id", "ingest_date")


def _approved(transactions: DataFrame) -> DataFrame:
    return transactions.where(F.col("status") == "approved")


def _unit(name: str, us: int) -> Column:
    """Whole units since 1970 of ``time_us``, in integers throughout."""
    return F.expr(f"(time_us - pmod(time_us, {us}L)) div {us}L").alias(name)


def _missing(name: str, kind: str) -> Column:
    return F.lit(None).cast(kind).alias(name)


def _schema_string() -> str:
    names = {"string": "string", "int32": "int", "int64": "long", "double": "double", "bool": "boolean"}
    return ", ".join(f"{f.name} {names[str(f.type)]}" for f in INPUT_SCHEMA)
