"""The contract as Spark conditions: which rule a line breaks first, and what its texts mean as typed columns."""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn
from pyspark.sql import functions as F

from jobs.common.contract import Column, Kind, LandingDataset

MAX_VALUE = 80
"""Characters of a bad value that a reason quotes."""
TIMESTAMPS = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")
"""The UTC times that both Python and Spark can hold."""


def first_fault(dataset: LandingDataset) -> SparkColumn:
    """``struct<rule, reason, raw_line>`` of what is wrong with a parsed line; null for a good one.

    ``rule`` is the same text for all lines that break it; ``reason`` quotes this line's value.
    """
    is_no_record = F.col("fault").isNotNull()
    chain = F.when(is_no_record, _fault(F.col("fault"), F.concat_ws(": ", "fault", "detail")))
    for column in dataset.columns:
        text = F.col(column.name)
        expected = f"expected {column.kind.words}"
        if column.required:
            missing = F.lit(f"{column.name} is missing")
            chain = chain.when(text.isNull(), _fault(missing, missing))
        if column.kind is not Kind.TEXT:
            rule = F.lit(f"{column.name}: {expected}")
            reason = F.concat(F.lit(f'{column.name} "'), _shortened(text), F.lit(f'": {expected}'))
            chain = chain.when(text.isNotNull() & ~_holds(column), _fault(rule, reason))
    return chain


def typed_columns(dataset: LandingDataset) -> list[SparkColumn]:
    """The bronze columns of a dataset; null where a text has no value of the type."""
    columns: list[SparkColumn] = []
    for column in dataset.columns:
        columns += _typed(column)
    return columns


def _fault(rule: SparkColumn, reason: SparkColumn) -> SparkColumn:
    return F.struct(rule.alias("rule"), reason.alias("reason"), "raw_line")


def _shortened(text: SparkColumn) -> SparkColumn:
    is_short = F.length(text) <= MAX_VALUE
    return F.when(is_short, text).otherwise(F.concat(F.substring(text, 1, MAX_VALUE - 1), F.lit("…")))


def _holds(column: Column) -> SparkColumn:
    """Whether a value that is there keeps its rule."""
    text = F.col(column.name)
    matches = text.rlike(rf"\A(?:{column.kind.pattern})\z")
    match column.kind:
        case Kind.TIME:
            return matches & F.coalesce(_time(text).between(*map(F.lit, TIMESTAMPS)), F.lit(False))
        case Kind.AMOUNT:
            return matches & F.coalesce(_cents(text) > 0, F.lit(False))
        case Kind.LATITUDE:
            return matches & F.coalesce(_degrees(text).between(-90, 90), F.lit(False))
        case Kind.LONGITUDE:
            return matches & F.coalesce(_degrees(text).between(-180, 180), F.lit(False))
    return matches


def _typed(column: Column) -> list[SparkColumn]:
    text = F.col(column.name)
    match column.kind:
        case Kind.TIME:
            time = _time(text).alias(column.name)
            return [time, _offset_minutes(text).alias("utc_offset_minutes")] if column.name == "event_time" else [time]
        case Kind.MCC:
            return [text.try_cast("int").alias(column.name)]
        case Kind.AMOUNT:
            return [_cents(text).alias("amount_cents")]
        case Kind.BOOLEAN:
            return [(F.translate(text, "TRUE", "true") == "true").alias(column.name)]
        case Kind.LATITUDE | Kind.LONGITUDE:
            return [_degrees(text).alias(column.name)]
    return [F.coalesce(text, F.lit(column.default)).alias(column.name) if column.default else text]


def _time(text: SparkColumn) -> SparkColumn:
    """The instant; null where the calendar or the clock has no such time, or the offset is beyond 18 hours."""
    return F.translate(text, "tz", "TZ").try_cast("timestamp")  # upper() would load the tables of all alphabets: 3 s


def _offset_minutes(text: SparkColumn) -> SparkColumn:
    is_utc = F.right(text, F.lit(1)).isin("Z", "z")
    hours, minutes = (F.substring(text, start, 2).try_cast("int") for start in (-5, -2))
    sign = F.when(F.substring(text, -6, 1) == "-", -1).otherwise(1)
    return F.when(is_utc, 0).otherwise(sign * (hours * 60 + minutes))


def _cents(text: SparkColumn) -> SparkColumn:
    """Exact: decimal arithmetic, never a double."""
    return (text.try_cast("decimal(15,2)") * 100).try_cast("bigint")


def _degrees(text: SparkColumn) -> SparkColumn:
    return text.try_cast("double")
