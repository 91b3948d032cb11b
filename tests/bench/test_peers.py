"""The peers do the job's work: the same lines kept, the same features, by a second and a third reading of the contract."""

from __future__ import annotations

import hashlib
import math
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jobs.common.contract import TRANSACTIONS
from jobs.common.lake import Lake
from jobs.common.products import ACCOUNT_DAILY, CARD_DAILY, CARD_LAST_STATE, MCC_DAILY, MERCHANT_DAILY, TX_FEATURES
from jobs.common.settings import Settings
from jobs.generate.job import command as generate
from tests.bench.families import features
from tests.bench.harness import same
from tests.bench.peers import bronze_duckdb, bronze_polars, features_duckdb, features_polars, rows
from tests.bronze.second_reading import read_day
from tests.features.bronze_lake import awkward_cards, days_of
from tests.features.oracle import Oracle

DAY = date(2026, 1, 5)
FIRST, LAST = date(2026, 1, 1), date(2026, 2, 8)
MERCHANT_DAYS = timedelta(days=4)


@pytest.mark.parametrize("way", ["python", "numpy"])
def test_rows_of_the_loops_keep_the_contract(way: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.gz"
    rows.main(way, "200", str(file))
    reading = read_day(TRANSACTIONS, {file.name: file.read_bytes()})
    assert (len(reading.valid), len(reading.bad), reading.duplicates) == (200, 0, 0)


@pytest.mark.parametrize("peer", [bronze_duckdb, bronze_polars], ids=["DuckDB", "Polars"])
def test_peers_of_bronze_keep_the_same_lines(peer: Any, tmp_path: Path) -> None:
    range_ = ["--lake", tmp_path.as_uri(), "--start", DAY.isoformat(), "--end", (DAY + timedelta(days=1)).isoformat()]
    options = ["--cards", "3000", "--malformed-rate", "0.1", "--duplicate-rate", "0.05"]
    generate.main([*range_, *options], standalone_mode=False)
    landing = tmp_path / "landing" / "transactions"
    files = {file.name: file.read_bytes() for file in landing.glob("*/*.jsonl.gz")}
    expected = read_day(TRANSACTIONS, files)
    assert expected.bad
    assert expected.duplicates

    peer.main(str(landing), str(tmp_path / "out"))

    folder = tmp_path / "out" / f"ingest_date={DAY}"
    made = pq.ParquetFile(folder / "part.parquet").read().to_pylist()
    good = {row.pop("source_line"): row for row in made}
    assert good == {line: row for (_, line), row in expected.valid.items()}
    bad = pq.ParquetFile(folder / "quarantine.parquet").read()
    assert set(bad.column("source_line").to_pylist()) == {line for _, line in expected.bad}
    assert bad.column("reason").null_count == 0


@pytest.mark.parametrize("peer", [features_duckdb, features_polars], ids=["DuckDB", "Polars"])
def test_peers_of_features_compute_all_products_as_the_second_implementation_does(peer: Any, tmp_path: Path) -> None:
    data = awkward_cards(FIRST, LAST)
    data.write(Lake.open((tmp_path / "lake").as_uri(), Settings()), days_of(FIRST, LAST + timedelta(days=1)))
    days = (LAST - FIRST).days + 1

    peer.main(str(tmp_path / "lake" / "bronze"), str(tmp_path / "out"), FIRST.isoformat(), str(days))

    oracle = Oracle(data, LAST)
    states = oracle.card_states(FIRST, LAST)
    for product, expected in (
        (TX_FEATURES, oracle.tx_features(FIRST, LAST)),
        (CARD_DAILY, states),
        (CARD_LAST_STATE, states),
        (ACCOUNT_DAILY, oracle.account_daily(FIRST, LAST)),
        (MERCHANT_DAILY, oracle.merchant_daily(LAST - MERCHANT_DAYS, LAST)),  # its SQL is slow
        (MCC_DAILY, oracle.mcc_daily(FIRST, LAST)),
    ):
        names = [product.key, *(() if product is TX_FEATURES else ("event_date",))]
        columns = [*names, *(feature.name for feature in product.features)]
        made = _table(tmp_path / "out" / product.name, columns)
        if product is MERCHANT_DAILY:
            made = made.filter(pc.field("event_date") >= LAST - MERCHANT_DAYS)
        _assert_equal(_sorted(made, names), _sorted(expected.select(columns), names), names)


def test_a_summary_tells_a_value_that_differs(tmp_path: Path) -> None:
    def summary(amount: float) -> dict[str, Any]:
        folder = tmp_path / hashlib.sha256(str(amount).encode()).hexdigest()[:8] / "event_date=2026-01-01"
        folder.mkdir(parents=True)
        rows = {"mcc": [5411], "event_timestamp": [0], "mcc_cnt_90d": [3], "mcc_amt_90d": [7], "mcc_avg_90d": [amount]}
        pq.write_table(pa.table(rows), folder / "part.parquet")
        return features.summary(folder.parent, MCC_DAILY)

    assert not same(summary(1.5), summary(1.6))
    assert same(summary(2.5), summary(2.5 + 1e-12))


def _table(folder: Path, columns: list[str]) -> pa.Table:
    db = duckdb.connect()
    files = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
    return db.execute(f"select {', '.join(columns)} from {files}").to_arrow_table()


def _sorted(table: pa.Table, keys: list[str]) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=lambda row: [row[key] for key in keys])


def _assert_equal(made: list[dict[str, Any]], expected: list[dict[str, Any]], keys: list[str]) -> None:
    assert [[row[key] for key in keys] for row in made] == [[row[key] for key in keys] for row in expected]
    for mine, theirs in zip(made, expected, strict=True):
        for name, value in theirs.items():
            found = mine[name]
            if isinstance(value, float) and found is not None:
                # A spread of equal amounts is 0 in one sum and a rounding error in the other.
                assert math.isclose(found, value, rel_tol=1e-6, abs_tol=1e-5), (name, mine, theirs)
            else:
                assert found == value, (name, mine, theirs)
