"""Every feature of every product against a second implementation: integers equal, doubles within 1e-12."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from jobs.common.cli import JobContext
from jobs.common.lake import Lake
from jobs.common.products import (
    ACCOUNT_DAILY,
    CARD_DAILY,
    CARD_LAST_STATE,
    MCC_DAILY,
    MERCHANT_DAILY,
    TX_FEATURES,
    Product,
)
from jobs.common.settings import Settings
from jobs.features.job import run
from tests.features.bronze_lake import Data, awkward_cards, days_of
from tests.features.oracle import Oracle

FIRST_EVENT, FIRST, LAST = date(2025, 12, 20), date(2026, 3, 24), date(2026, 4, 2)
TOLERANCE = 1e-12


@pytest.fixture(scope="module")
def data() -> Data:
    return awkward_cards(FIRST_EVENT, LAST)


@pytest.fixture(scope="module")
def silver(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    settings = Settings(spark_master="local[2]")
    lake = Lake.open(tmp_path_factory.mktemp("oracle").as_uri(), settings)
    data.write(lake, days_of(FIRST_EVENT, date(2026, 4, 3)))
    run(JobContext(settings, lake, FIRST, date(2026, 4, 3)))
    return lake


@pytest.fixture(scope="module")
def oracle(data: Data) -> Oracle:
    return Oracle(data, LAST)


def read(lake: Lake, product: Product) -> pa.Table:
    table = ds.dataset(lake.path(product.dataset), filesystem=lake.filesystem, partitioning="hive").to_table()
    days = table.column("event_date").cast(pa.string()).cast(pa.date32())
    table = table.set_column(table.schema.get_field_index("event_date"), "event_date", days)
    keep = pc.and_(pc.greater_equal(days, FIRST), pc.less_equal(days, LAST))
    order = [(product.key, "ascending"), ("event_date", "ascending")]
    return table.filter(keep).sort_by(order)


def assert_equal(ours: pa.Table, expected: pa.Table, product: Product, *also: str) -> None:
    names = [product.key, *also, *(f.name for f in (*product.carried, *product.features))]
    assert ours.num_rows == expected.num_rows, f"{product.name}: {ours.num_rows} rows, expected {expected.num_rows}"
    assert ours.num_rows > 0
    problems = []
    for name in names:
        for row, (a, b) in enumerate(
            zip(ours.column(name).to_pylist(), expected.column(name).to_pylist(), strict=True)
        ):
            if not same(a, b):
                problems.append(
                    f"{product.name}.{name} of {ours.column(product.key)[row].as_py()} row {row}: {a!r}, expected {b!r}"
                )
                break
    assert not problems, "\n".join(problems)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float | int):
        return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(a, datetime):
        return a.timestamp() == b.timestamp()
    return bool(a == b)


def test_training_rows(silver: Lake, oracle: Oracle) -> None:
    assert_equal(read(silver, TX_FEATURES), oracle.tx_features(FIRST, LAST), TX_FEATURES, "event_timestamp")


def test_every_null_rule_and_branch_was_met(silver: Lake) -> None:
    """The comparison above proves little about a column that is always null, never null where it may be, or constant."""
    table = read(silver, TX_FEATURES)
    for feature in TX_FEATURES.features:
        values = table.column(feature.name)
        assert pc.count_distinct(values).as_py() > 1, f"{feature.name} is constant"
        if feature.nullable:
            assert 0 < values.null_count < len(values), f"{feature.name}: {values.null_count} nulls of {len(values)}"


def test_card_states(silver: Lake, oracle: Oracle) -> None:
    expected = oracle.card_states(FIRST, LAST)
    assert_equal(read(silver, CARD_DAILY), expected, CARD_DAILY, "event_date")
    assert_equal(read(silver, CARD_LAST_STATE), expected, CARD_LAST_STATE, "event_date")
    longest = max(len(v) for v in expected.column("recent_time_us").to_pylist())
    assert longest == 64, "no card was dense enough to fill its list"


def test_accounts(silver: Lake, oracle: Oracle) -> None:
    assert_equal(read(silver, ACCOUNT_DAILY), oracle.account_daily(FIRST, LAST), ACCOUNT_DAILY, "event_date")


def test_merchants(silver: Lake, oracle: Oracle) -> None:
    assert_equal(read(silver, MERCHANT_DAILY), oracle.merchant_daily(FIRST, LAST), MERCHANT_DAILY, "event_date")


def test_categories(silver: Lake, oracle: Oracle) -> None:
    assert_equal(read(silver, MCC_DAILY), oracle.mcc_daily(FIRST, LAST), MCC_DAILY, "event_date")


def test_midnight_rows_are_stamped_with_the_midnight_that_ends_their_day(silver: Lake) -> None:
    for product in (CARD_DAILY, CARD_LAST_STATE, ACCOUNT_DAILY, MERCHANT_DAILY, MCC_DAILY):
        table = read(silver, product)
        for event_date, stamp in zip(
            table.column("event_date").to_pylist(), table.column("event_timestamp").to_pylist(), strict=True
        ):
            assert stamp == datetime.combine(event_date + timedelta(days=1), datetime.min.time(), UTC), product.name
