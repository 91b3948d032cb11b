"""Lakes made up by NumPy, column by column: silver as the loader reads it, bronze as the features job reads it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.common.contract import CARDS, CHARGEBACKS, TRANSACTIONS, LandingDataset
from jobs.common.lake import Lake, Manifest, Staged, event_partition, ingest_partition
from jobs.common.products import ONLINE_PRODUCTS, Feature, Product
from jobs.common.settings import Settings
from tests.features.bronze_lake import SCHEMAS

SILVER_DAY = date(2026, 11, 1)
SILVER_MIDNIGHT = datetime(2026, 11, 2, tzinfo=UTC)
FIRST_DAY = date(2026, 1, 1)
DAY_US = 86_400_000_000
MERCHANTS, MCCS = 20_000, (5411, 5812, 5541, 4111, 5999, 5732, 7011)


def lake_in(folder: Path) -> Lake:
    return Lake.open((folder / "lake").as_uri(), Settings())


# -- silver --------------------------------------------------------------------------------------------------


def write_silver(folder: Path, cards: int) -> None:
    """One midnight of all online products; made once."""
    done = folder / "lake" / ".made"
    if done.exists():
        return
    lake, rng = lake_in(folder), np.random.default_rng(11)
    keys = {"card_id": cards, "account_id": cards // 2, "merchant_id": min(MERCHANTS, cards), "mcc": len(MCCS)}
    for product in ONLINE_PRODUCTS:
        table = _silver(product, keys[product.key], rng)
        _publish(lake, product.dataset, event_partition(SILVER_DAY), table, "features")
    done.touch()


def _silver(product: Product, rows: int, rng: np.random.Generator) -> pa.Table:
    known = np.datetime64("2026-11-02T00:00:00", "us")
    stamp = pa.array(np.full(rows, known)).cast(pa.timestamp("us", tz="UTC"))
    key: Any = pa.array(MCCS) if product.key == "mcc" else pa.array([f"{product.key[0]}{i:012x}" for i in range(rows)])
    columns = [key, stamp, stamp, *(_column(feature, rows, rng) for feature in product.features)]
    return pa.table(columns, schema=product.schema)


def _column(feature: Feature, rows: int, rng: np.random.Generator) -> pa.Array:
    if pa.types.is_list(feature.type):
        lengths = rng.integers(0, 16, rows)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return pa.ListArray.from_arrays(offsets, _values(feature.type.value_type, int(offsets[-1]), rng))
    values = _values(feature.type, rows, rng)
    if not feature.nullable:
        return values
    return pc.if_else(pa.array(rng.random(rows) < 0.05), pa.scalar(None, feature.type), values)


def _values(kind: pa.DataType, count: int, rng: np.random.Generator) -> pa.Array:
    if pa.types.is_integer(kind):
        return pa.array(rng.integers(0, 2_000_000_000_000_000, count) >> rng.integers(0, 51, count))
    if pa.types.is_floating(kind):
        return pa.array(np.round(rng.gamma(2.0, 40.0, count), 4))
    return pa.array([f"m{i:012x}" for i in rng.integers(0, MERCHANTS, count)], pa.string())


# -- bronze --------------------------------------------------------------------------------------------------


def write_bronze(folder: Path, rows: int, cards: int, days: int) -> None:
    """Transactions, cards and chargebacks of ``days`` ingest days from ``FIRST_DAY``; made once.

    Some rows arrive a day late, some are landed twice, some are declined, some lack coordinates.
    """
    done = folder / "lake" / ".made"
    if done.exists():
        return
    lake, rng = lake_in(folder), np.random.default_rng(13)
    start_us = (FIRST_DAY - date(1970, 1, 1)).days * DAY_US
    bounds = np.linspace(0, rows, days + 1).astype(int)
    _publish_bronze(lake, CARDS, 0, _cards(cards, start_us))
    late: pa.Table | None = None
    for day in range(days):
        fresh = _transactions(int(bounds[day]), int(bounds[day + 1]), cards, start_us + day * DAY_US, rng)
        _publish_bronze(lake, CHARGEBACKS, day, _chargebacks(fresh, day, start_us, rng))
        is_late = pa.array(rng.random(fresh.num_rows) < 0.005)
        parts = [fresh.filter(pc.invert(is_late)) if day < days - 1 else fresh]
        if late is not None:
            parts.append(late)
        late = pa.concat_tables([fresh.filter(is_late), fresh.slice(0, -(-fresh.num_rows // 200))])
        _publish_bronze(lake, TRANSACTIONS, day, _distinct(pa.concat_tables(parts)))
    done.touch()


def _distinct(table: pa.Table) -> pa.Table:
    """Rows of the first of each transaction_id: bronze holds no key twice within a day."""
    ids = table.column("transaction_id").combine_chunks().dictionary_encode().indices.to_numpy()
    return table.take(np.sort(np.unique(ids, return_index=True)[1])).sort_by("event_time")


def _transactions(first: int, end: int, cards: int, midnight_us: int, rng: np.random.Generator) -> pa.Table:
    n = end - first
    card = rng.integers(0, cards, n)
    time = midnight_us + np.sort(rng.integers(0, DAY_US, n))
    merchant = np.minimum(rng.exponential(MERCHANTS / 8, n).astype(int), MERCHANTS - 1)
    present = rng.random(n) < 0.7
    placed = present & (rng.random(n) < 0.95)
    columns = {
        "transaction_id": _ids("t", np.arange(first, end)),
        "event_time": _times(time),
        "utc_offset_minutes": pa.array(np.where(merchant % 9 == 0, -300, 60).astype(np.int32)),
        "card_id": _ids("c", card),
        "account_id": _ids("a", card // 2),
        "merchant_id": _ids("m", merchant),
        "mcc": pa.array(np.array(MCCS, np.int32)[merchant % len(MCCS)]),
        "amount_cents": pa.array(rng.lognormal(8, 1.2, n).astype(np.int64) + 1),
        "currency": pa.array(["EUR"] * n),
        "channel": _choice(["ecom", "pos"], present.astype(int)),
        "card_present": pa.array(present),
        "merchant_country": _choice(["AT", "DE", "IT", "FR"], np.minimum(merchant % 13, 3)),
        "latitude": pa.array(np.round(merchant % 90 / 1.7, 5), mask=~placed),
        "longitude": pa.array(np.round(merchant % 180 / 1.3, 5), mask=~placed),
        "status": _choice(["approved", "declined"], (rng.random(n) < 0.05).astype(int)),
    }
    return pa.table(columns)


def _cards(cards: int, start_us: int) -> pa.Table:
    number = np.arange(cards)
    issued = start_us - (number % 900 + 1) * DAY_US
    return pa.table(
        {
            "card_id": _ids("c", number),
            "account_id": _ids("a", number // 2),
            "issuer_country": _choice(["AT", "DE"], number % 2),
            "issued_at": _times(issued),
            "expires_at": _times(issued + 1200 * DAY_US),
            "valid_from": _times(issued),
            "status": pa.array(["active"] * cards),
        }
    )


def _chargebacks(transactions: pa.Table, day: int, start_us: int, rng: np.random.Generator) -> pa.Table:
    """Reports of this day's ingest about a few of its transactions: known at its end."""
    chosen = transactions.filter(pa.array(rng.random(transactions.num_rows) < 0.002))
    end = start_us + (day + 1) * DAY_US - 1
    n = chosen.num_rows
    return pa.table(
        {
            "chargeback_id": _ids("b", np.arange(n) + day * 1_000_000),
            "transaction_id": chosen.column("transaction_id"),
            "reported_at": _times(np.full(n, end)),
            "reason": pa.array(["fraud"] * n, pa.string()),
        }
    )


def _ids(letter: str, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(letter, pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 12, "0"), "")


def _times(us: np.ndarray) -> pa.Array:
    return pa.array(us.astype(np.int64)).cast(pa.timestamp("us", tz="UTC"))


def _choice(words: list[str], index: np.ndarray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32)), pa.array(words)).cast(pa.string())


def _publish_bronze(lake: Lake, dataset: LandingDataset, day: int, table: pa.Table) -> None:
    arrived = FIRST_DAY + timedelta(days=day)
    known = (arrived - date(1970, 1, 1) + timedelta(days=1)).days * DAY_US
    place = {
        "ingest_time": _times(np.full(table.num_rows, known)),
        "source_file": pa.array(["part-00000.jsonl"] * table.num_rows, pa.string()),
        "source_line": pa.array(np.arange(1, table.num_rows + 1)),
    }
    for name, values in place.items():
        table = table.append_column(name, values)
    table = table.cast(SCHEMAS[dataset])
    assert dataset.time
    dates = pc.value_counts(table.column(dataset.time).cast(pa.date32())).to_pylist()
    counts = {"dates": {d["values"].isoformat(): d["counts"] for d in dates}}
    _publish(lake, dataset.bronze, ingest_partition(arrived), table, "bronze", counts)


def _publish(
    lake: Lake, dataset: str, partition: str, table: pa.Table, job: str, counts: dict[str, Any] | None = None
) -> None:
    """One file, one partition. Digests are names here: nothing is compared with them."""
    with lake.staging() as staging:
        path = lake.path(f"{staging}/part.parquet")
        lake.make_folder_of(path)
        pq.write_table(table, path, filesystem=lake.filesystem, compression="zstd")
        digest = f"{dataset}/{partition}"
        manifest = Manifest(dataset, partition, job, "bench", digest, digest, table.num_rows, counts or {})
        lake.publish(manifest, [Staged(f"{staging}/part.parquet", "part-00000.zstd.parquet")])
