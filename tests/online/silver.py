"""Makes small silver partitions as the features job publishes them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.common.digest import table_digest
from jobs.common.lake import Lake, Manifest, Staged, event_partition
from jobs.common.products import ONLINE_PRODUCTS, Product
from jobs.online.silver import midnight_after

DAY = date(2026, 3, 10)
MIDNIGHT = midnight_after(DAY)
KEYS: Mapping[str, Sequence[Any]] = {
    "card_id": ("card-1", "card-2", "кар\u0442\u0430-\u0434\u043b\u0438\u043d\u043d\u0430\u044f \N{CREDIT CARD}"),
    "account_id": ("account-1", "account-2"),
    "merchant_id": ("merchant-1", "merchant-2"),
    "mcc": (5411, 5812, 742),
}


def micros(moment: datetime) -> int:
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))


def some_value(kind: pa.DataType, rng: random.Random) -> Any:
    if pa.types.is_list(kind):
        return [some_value(kind.value_type, rng) for _ in range(rng.choice((0, 1, 3, 64)))]
    if pa.types.is_int64(kind):
        return rng.choice((0, 1, -1, rng.randrange(10**6), 2**53 + 1, -(2**63), 2**63 - 1))
    if pa.types.is_float64(kind):
        return rng.choice((0.0, -0.0, rng.random(), 1e300, -1.5, 5e-324))
    if pa.types.is_boolean(kind):
        return rng.random() < 0.5
    return rng.choice(("", "a", "\u00e9\u00e8", "x" * 200))


def row(
    product: Product, key: Any, day: date = DAY, created: datetime | None = None, **features: Any
) -> dict[str, Any]:
    """One silver row with made-up values, the same for the same key, but for the features that are given."""
    rng = random.Random(f"{product.name} {key}")
    values = {
        feature.name: None if feature.nullable and rng.random() < 0.3 else some_value(feature.type, rng)
        for feature in product.features
    }
    if unknown := set(features) - set(values):
        raise KeyError(f"{product.name} has no {sorted(unknown)}")
    moment = midnight_after(day)
    return {
        product.key: key,
        "event_timestamp": moment,
        "created_timestamp": created or moment,
        **values,
        **features,
    }


def publish(lake: Lake, product: Product, rows: Sequence[Mapping[str, Any]], day: date = DAY) -> None:
    """Publishes a partition of the given rows."""
    publish_table(lake, product, pa.Table.from_pylist([dict(r) for r in rows], product.schema), day)


def publish_table(lake: Lake, product: Product, table: pa.Table, day: date = DAY) -> None:
    with lake.staging() as folder:
        path = f"{folder}/part.parquet"
        pq.write_table(table, lake.path(path), filesystem=lake.filesystem, compression="zstd")
        digest = table_digest(table.to_batches())
        lake.publish(
            Manifest(
                dataset=product.dataset,
                partition=event_partition(day),
                job="features",
                code_version="test",
                inputs="test",
                digest=digest.hexdigest(),
                rows=digest.rows,
            ),
            [Staged(path, "part-00000.parquet")],
        )


def publish_day(lake: Lake, day: date = DAY, cards: Sequence[str] = KEYS["card_id"], **features: Any) -> None:
    """Publishes every online product for a day; the features given go to whichever product has them."""
    for product in ONLINE_PRODUCTS:
        keys = cards if product.key == "card_id" else KEYS[product.key]
        names = {feature.name for feature in product.features}
        own = {name: value for name, value in features.items() if name in names}
        publish(lake, product, [row(product, key, day, **own) for key in keys], day)
