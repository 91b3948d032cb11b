"""Landed JSON lines → bronze and quarantine by DuckDB: ``python -m tests.bench.peers.bronze_duckdb LANDING OUT``.

The same work as the bronze job on ``landing/transactions``: every line parsed, every rule of the contract, bad lines set
aside with a reason, of the lines of one key and ingest day the first, typed and sorted, one file a day.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

from jobs.common.contract import TRANSACTIONS, Column, Kind
from tests.bench.peers.reading import WANTED, day_folders, pattern_of

TIME = r"try_cast(upper({0}) as timestamptz)"


def main(landing: str, out: str) -> None:
    db = duckdb.connect()
    db.execute("set timezone = 'UTC'; set preserve_insertion_order = true")
    paths = ", ".join(f"'$.{name}'" for name in WANTED)
    texts = ", ".join(f"nullif(trim(v[{i}]), '') as {name}" for i, name in enumerate(WANTED, 1))
    for folder in day_folders(Path(landing)):
        target = Path(out) / folder.name
        target.mkdir(parents=True)
        db.execute(f"""
            create or replace temp table judged as
            with line as (
                select line as raw_line, row_number() over () as source_line
                from read_csv('{folder}/*.jsonl.gz', columns = {{'line': 'varchar'}}, delim = '\x01', quote = '', escape = '',
                              header = false, auto_detect = false, max_line_size = 1000000)
            ), parsed as (
                select *, json_valid(raw_line) as is_json,
                       case when is_json then json_extract_string(raw_line, [{paths}]) end as v
                from line
            ), texts as (select raw_line, source_line, is_json, {texts} from parsed),
            judged as (select *, case when not is_json then 'not JSON' {_rules()} end as reason from texts)
            select source_line, reason, case when reason is not null then raw_line end as raw_line, {_typed()}
            from judged""")
        db.execute(f"""
            copy (
                select * exclude (reason, raw_line) from judged where reason is null
                qualify row_number() over (partition by transaction_id order by source_line) = 1
                order by event_time, source_line
            ) to '{target}/part.parquet' (compression zstd)""")
        db.execute(f"""
            copy (select source_line, reason, raw_line from judged where reason is not null order by source_line)
            to '{target}/quarantine.parquet' (compression zstd)""")


def _rules() -> str:
    return " ".join(_rule(column) for column in TRANSACTIONS.columns)


def _rule(column: Column) -> str:
    name, rules = column.name, ""
    if column.required:
        rules += f" when {name} is null then '{name} is missing'"
    if column.kind is not Kind.TEXT:
        holds = f"regexp_full_match({name}, '{pattern_of(column)}')"
        holds += {
            Kind.TIME: f" and {TIME.format(name)} is not null",
            Kind.AMOUNT: f" and try_cast({name} as decimal(15, 2)) > 0",
            Kind.LATITUDE: f" and abs(try_cast({name} as double)) <= 90",
            Kind.LONGITUDE: f" and abs(try_cast({name} as double)) <= 180",
        }.get(column.kind, "")
        rules += (
            f" when {name} is not null and not coalesce({holds}, false) then '{name}: expected {column.kind.words}'"
        )
    return rules


def _typed() -> str:
    made = []
    for column in TRANSACTIONS.columns:
        name = column.name
        match column.kind:
            case Kind.TIME:
                offset = (
                    f"case when upper(right({name}, 1)) = 'Z' then 0 else (case when {name}[-6] = '-' then -1 else 1 end) * "
                    f"(60 * try_cast({name}[-5:-4] as int) + try_cast({name}[-2:] as int)) end"
                )
                made += [f"{TIME.format(name)} as {name}", f"{offset} as utc_offset_minutes"]
            case Kind.MCC:
                made.append(f"try_cast({name} as int) as {name}")
            case Kind.AMOUNT:
                made.append(f"cast(try_cast({name} as decimal(15, 2)) * 100 as bigint) as amount_cents")
            case Kind.BOOLEAN:
                made.append(f"lower({name}) = 'true' as {name}")
            case Kind.LATITUDE | Kind.LONGITUDE:
                made.append(f"try_cast({name} as double) as {name}")
            case _:
                made.append(f"coalesce({name}, '{column.default}') as {name}" if column.default else name)
    return ", ".join(made)


if __name__ == "__main__":
    main(*sys.argv[1:])
