"""Bronze partitions made by hand, and a data set of awkward cards to put into them."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.common.contract import CARDS, CHARGEBACKS, TRANSACTIONS, LandingDataset
from jobs.common.digest import table_digest
from jobs.common.lake import Lake, Manifest, Staged, ingest_partition

Row = dict[str, Any]
UTC_US = pa.timestamp("us", tz="UTC")
_PLACE = {"ingest_time": UTC_US, "source_file": pa.string(), "source_line": pa.int64()}
SCHEMAS = {
    TRANSACTIONS: pa.schema(
        {
            "transaction_id": pa.string(),
            "event_time": UTC_US,
            "utc_offset_minutes": pa.int32(),
            "card_id": pa.string(),
            "account_id": pa.string(),
            "merchant_id": pa.string(),
            "mcc": pa.int32(),
            "amount_cents": pa.int64(),
            "currency": pa.string(),
            "channel": pa.string(),
            "card_present": pa.bool_(),
            "merchant_country": pa.string(),
            "latitude": pa.float64(),
            "longitude": pa.float64(),
            "status": pa.string(),
            **_PLACE,
        }
    ),
    CARDS: pa.schema(
        {
            "card_id": pa.string(),
            "account_id": pa.string(),
            "issuer_country": pa.string(),
            "issued_at": UTC_US,
            "expires_at": UTC_US,
            "valid_from": UTC_US,
            "status": pa.string(),
            **_PLACE,
        }
    ),
    CHARGEBACKS: pa.schema(
        {
            "chargeback_id": pa.string(),
            "transaction_id": pa.string(),
            "reported_at": UTC_US,
            "reason": pa.string(),
            **_PLACE,
        }
    ),
}


def write_bronze(lake: Lake, dataset: LandingDataset, day: date, rows: Sequence[Row]) -> None:
    """Publishes one bronze partition the way the bronze job does."""
    arrived = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    placed = [
        {"ingest_time": arrived, "source_file": "part-000.jsonl", "source_line": i + 1, **row}
        for i, row in enumerate(rows)
    ]
    table = pa.Table.from_pylist(placed, SCHEMAS[dataset])
    dates = Counter(row[dataset.time].astimezone(UTC).date().isoformat() for row in rows) if dataset.time else {}
    with lake.staging() as staging:
        staged = []
        if rows:
            path = lake.path(f"{staging}/part.parquet")
            lake.make_folder_of(path)
            pq.write_table(table, path, filesystem=lake.filesystem)
            staged.append(Staged(f"{staging}/part.parquet", "part-00000.zstd.parquet"))
        digest = table_digest(table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]).hexdigest()
        manifest = Manifest(
            dataset.bronze, ingest_partition(day), "bronze", "test", digest, digest, len(rows), {"dates": dict(dates)}
        )
        lake.publish(manifest, staged)


@dataclass
class Data:
    """Rows by ingest day."""

    transactions: dict[date, list[Row]] = field(default_factory=lambda: defaultdict(list))
    cards: dict[date, list[Row]] = field(default_factory=lambda: defaultdict(list))
    chargebacks: dict[date, list[Row]] = field(default_factory=lambda: defaultdict(list))

    def write(self, lake: Lake, days: Sequence[date]) -> None:
        for day in days:
            write_bronze(lake, TRANSACTIONS, day, self.transactions.get(day, []))
            for dataset, rows in ((CARDS, self.cards), (CHARGEBACKS, self.chargebacks)):
                if rows.get(day):
                    write_bronze(lake, dataset, day, rows[day])


def days_of(start: date, end: date) -> list[date]:
    return [start + timedelta(days=i) for i in range((end - start).days)]


def awkward_cards(first: date, last: date, seed: int = 11) -> Data:
    """Interleaved cards with ties, gaps, exact window lengths, dense days, late rows, clock changes and repeats.

    Args:
        first, last: UTC days of the first and the last event.
    """
    rng = random.Random(seed)
    data = Data()
    midnight = datetime(first.year, first.month, first.day, tzinfo=UTC)
    end = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)
    span = (end - midnight) // timedelta(microseconds=1)
    numbers = iter(range(10**9))

    def tx(card: str, time: datetime, late: int = 0, **fixed: Any) -> Row:
        present = rng.random() < 0.7
        row = {
            "transaction_id": f"t{next(numbers):06d}",
            "event_time": time,
            "utc_offset_minutes": 120
            if time >= datetime(2026, 3, 29, 1, tzinfo=UTC)
            else rng.choice([60, 60, 60, -300, 345]),
            "card_id": card,
            "account_id": f"a{int(card[1:]) // 2:03d}",
            "merchant_id": f"m{min(int(rng.expovariate(0.15)), 60):03d}",
            "mcc": rng.choice([5411, 5812, 5541, 4111]),
            "amount_cents": rng.choice([1, 499, 500, int(rng.lognormvariate(8, 1.2)) + 1]),
            "currency": "EUR",
            "channel": "pos" if present else "ecom",
            "card_present": present,
            "merchant_country": rng.choice(["AT", "AT", "AT", "DE", "IT"]),
            "latitude": round(rng.uniform(-60, 60), 5) if present and rng.random() < 0.9 else None,
            "longitude": round(rng.uniform(-180, 180), 5) if present else None,
            "status": "declined" if rng.random() < 0.08 else "approved",
            **fixed,
        }
        day = min(time.date() + timedelta(days=late), last)
        data.transactions[day].append(row)
        return row

    def somewhere() -> datetime:
        return midnight + timedelta(microseconds=rng.randrange(span))

    for number in range(24):  # ordinary cards, some of them rarely used
        card = f"c{number:03d}"
        for _ in range(rng.choice([1, 4, 30, 90])):
            time = somewhere()
            tx(card, time, late=rng.choice([0] * 12 + [1, 3]))
            if rng.random() < 0.15:  # a burst, with ties to the microsecond
                for gap in (0, 0, 1, 59_999_999, 60_000_000, 600_000_000):
                    if (later := time + timedelta(microseconds=gap)) < end:
                        tx(card, later)
    for number, width in enumerate(
        [timedelta(minutes=10), timedelta(hours=1), timedelta(hours=2), *map(timedelta, (1, 7, 30, 90))]
    ):
        card, time = f"c{30 + number:03d}", midnight + timedelta(hours=5, microseconds=7)
        for step in (
            timedelta(0),
            width,
            width + timedelta(microseconds=1),
            2 * width,
        ):  # exactly a window apart, and 1 µs more
            if time + step < end:
                tx(
                    card,
                    time + step,
                    status="approved",
                    card_present=True,
                    merchant_id="m001",
                    latitude=48.2,
                    longitude=16.4,
                )
    for number in (40, 41):  # dense cards: some hundreds of transactions in two days near the end
        start = end - timedelta(days=3)
        for _ in range(400):
            tx(
                f"c{number:03d}",
                start + timedelta(microseconds=rng.randrange(2 * 86_400_000_000)),
                merchant_id=f"m{rng.randrange(400):03d}",
            )
    tx(
        "c050", datetime(last.year, last.month, last.day, tzinfo=UTC)
    )  # at midnight itself, and a card that is nowhere known
    for number in (51, 52):  # one amount again and again: its spread is 0
        for i in range(5):
            tx(f"c{number:03d}", end - timedelta(days=9, hours=i), amount_cents=10**9 + 1, status="approved")

    for number in range(50):
        issued = midnight - timedelta(days=rng.randrange(-40, 900))
        versions = [issued, issued, issued + timedelta(days=200)][
            : rng.choice([1, 2, 3])
        ]  # two of one moment: the later line stands
        for i, valid_from in enumerate(versions):
            row = {
                "card_id": f"c{number:03d}",
                "account_id": f"a{number // 2:03d}",
                "issuer_country": ["AT", "DE", "IT"][i],
                "issued_at": issued,
                "expires_at": issued + timedelta(days=1200 + i),
                "valid_from": valid_from,
                "status": "active",
            }
            data.cards[min(max(valid_from.date(), first), last)].append(row)

    _repeat_some(data, rng, first, last)
    everything = [row for rows in data.transactions.values() for row in rows]
    for number, row in enumerate(rng.sample(everything, len(everything) // 12)):
        for repeat in range(rng.choice([1, 1, 2])):
            reported = row["event_time"] + timedelta(days=rng.randrange(0, 30), hours=rng.randrange(24))
            if reported < end:
                report = {
                    "chargeback_id": f"b{number}-{repeat}",
                    "transaction_id": row["transaction_id"],
                    "reported_at": reported,
                    "reason": "fraud",
                }
                data.chargebacks[reported.date()].append(report)
    return data


def _repeat_some(data: Data, rng: random.Random, first: date, last: date) -> None:
    """Lands some lines again on a later day, some with other content or an earlier time: the earlier line must stand."""
    for day in days_of(first, last):
        for row in list(data.transactions.get(day, [])):
            if rng.random() < 0.02:
                again = min(day + timedelta(days=rng.choice([1, 2, 5])), last)
                if again > day and all(r["transaction_id"] != row["transaction_id"] for r in data.transactions[again]):
                    earlier = row["event_time"] - timedelta(days=rng.choice([1, 2]))
                    moved = {"event_time": earlier} if earlier.date() >= first else {}
                    changed = rng.choice([{}, {"amount_cents": 77, "card_id": "c000"}, moved])
                    data.transactions[again].append({**row, **changed})
