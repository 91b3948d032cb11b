"""Landed JSON lines → bronze and quarantine by Polars: ``python -m tests.bench.peers.bronze_polars LANDING OUT``.

The same work as ``bronze_duckdb``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from jobs.common.contract import TRANSACTIONS, Column, Kind
from tests.bench.peers.reading import WANTED, day_folders, pattern_of


def main(landing: str, out: str) -> None:
    for folder in day_folders(Path(landing)):
        target = Path(out) / folder.name
        target.mkdir(parents=True)
        judged = _judged(folder)
        good = judged.filter(pl.col("reason").is_null()).drop("reason", "raw_line")
        good = good.unique("transaction_id", keep="first", maintain_order=True)
        good.sort("event_time", "source_line").write_parquet(target / "part.parquet", compression="zstd")
        bad = judged.filter(pl.col("reason").is_not_null()).select("source_line", "reason", "raw_line")
        bad.write_parquet(target / "quarantine.parquet", compression="zstd")


def _judged(folder: Path) -> pl.DataFrame:
    lines = pl.concat(
        pl.read_csv(
            path,
            has_header=False,
            separator="\x01",
            quote_char=None,
            new_columns=["raw_line"],
            schema={"raw_line": pl.String},
        )
        for path in sorted(folder.glob("*.jsonl.gz"))
    ).with_row_index("source_line", 1)
    raw = pl.col("raw_line")
    texts = lines.lazy().with_columns(raw.str.json_path_match(f"$.{name}").alias(name) for name in WANTED)
    texts = texts.with_columns(
        pl.when(pl.col(name).str.strip_chars() != "").then(pl.col(name)).alias(name) for name in WANTED
    )
    is_json = raw.str.json_path_match("$").is_not_null()
    reasons = [pl.when(~is_json).then(pl.lit("not JSON")), *(w for c in TRANSACTIONS.columns for w in _rules(c))]
    typed = [expression for column in TRANSACTIONS.columns for expression in _typed(column)]
    return texts.select(
        "source_line",
        pl.coalesce(reasons).alias("reason"),
        pl.when(pl.coalesce(reasons).is_not_null()).then(raw).alias("raw_line"),
        *typed,
    ).collect()


def _rules(column: Column) -> list[pl.Expr]:
    text, rules = pl.col(column.name), []
    if column.required:
        rules.append(pl.when(text.is_null()).then(pl.lit(f"{column.name} is missing")))
    if column.kind is not Kind.TEXT:
        holds = text.str.contains(f"^(?:{pattern_of(column)})$")
        match column.kind:
            case Kind.TIME:
                holds &= _time(text).is_not_null()
            case Kind.AMOUNT:
                holds &= _cents(text) > 0
            case Kind.LATITUDE | Kind.LONGITUDE:
                holds &= _degrees(text).abs() <= (90 if column.kind is Kind.LATITUDE else 180)
        wrong = text.is_not_null() & ~holds.fill_null(False)
        rules.append(pl.when(wrong).then(pl.lit(f"{column.name}: expected {column.kind.words}")))
    return rules


def _typed(column: Column) -> list[pl.Expr]:
    name, text = column.name, pl.col(column.name)
    match column.kind:
        case Kind.TIME:
            sign = pl.when(text.str.slice(-6, 1) == "-").then(-1).otherwise(1)
            hours, minutes = (text.str.slice(at, 2).cast(pl.Int32, strict=False) for at in (-5, -2))
            offset = (
                pl.when(text.str.to_uppercase().str.ends_with("Z")).then(0).otherwise(sign * (hours * 60 + minutes))
            )
            return [_time(text).alias(name), offset.cast(pl.Int32).alias("utc_offset_minutes")]
        case Kind.MCC:
            return [text.cast(pl.Int32, strict=False).alias(name)]
        case Kind.AMOUNT:
            return [_cents(text).alias("amount_cents")]
        case Kind.BOOLEAN:
            return [(text.str.to_lowercase() == "true").alias(name)]
        case Kind.LATITUDE | Kind.LONGITUDE:
            return [_degrees(text).alias(name)]
    return [text.fill_null(column.default).alias(name) if column.default else text]


def _time(text: pl.Expr) -> pl.Expr:
    return (
        text.str.to_uppercase()
        .str.replace(" ", "T")
        .str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    )


def _cents(text: pl.Expr) -> pl.Expr:
    return (text.cast(pl.Decimal(17, 2), strict=False) * 100).cast(pl.Int64, strict=False)


def _degrees(text: pl.Expr) -> pl.Expr:
    return text.cast(pl.Float64, strict=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
