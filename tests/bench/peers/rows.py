"""How transactions are made up row by row: ``python -m tests.bench.peers.rows faker|numpy|python ROWS FILE``.

The same 14 columns of the landing contract as one JSON object a line, gzip at level 1. Only what is named is imported.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY_SECONDS = 86_400
CHANNELS = ("pos", "atm", "ecom", "moto", "recurring")
COUNTRIES = ("AT", "DE", "IT", "FR")
MCCS = ("5411", "5812", "5541", "4111")
Row = dict[str, Any]


def with_faker(rows: int) -> Iterator[Row]:
    """Faker's own providers, one call a value."""
    from faker import Faker

    Faker.seed(7)
    fake = Faker()
    for _ in range(rows):
        channel = fake.random_element(CHANNELS)
        yield {
            "transaction_id": fake.uuid4(),
            "event_time": fake.date_time_between(START, START + timedelta(days=1), tzinfo=UTC).isoformat(),
            "card_id": f"c{fake.random_int(0, 99_999):016x}",
            "account_id": f"a{fake.random_int(0, 49_999):016x}",
            "merchant_id": f"m{fake.random_int(0, 19_999):012x}",
            "mcc": fake.random_element(MCCS),
            "amount": str(fake.pydecimal(right_digits=2, min_value=1, max_value=500)),
            "currency": "EUR",
            "channel": channel,
            "card_present": channel in ("pos", "atm"),
            "merchant_country": fake.country_code(),
            "latitude": str(fake.latitude()),
            "longitude": str(fake.longitude()),
            "status": "declined" if fake.boolean(5) else "approved",
        }


def with_numpy(rows: int) -> Iterator[Row]:
    """A NumPy generator, one call a value: the loop that a notebook begins with."""
    import numpy as np

    rng = np.random.default_rng(7)
    for number in range(rows):
        channel = str(rng.choice(CHANNELS))
        yield {
            "transaction_id": f"t{number:016x}",
            "event_time": (START + timedelta(seconds=float(rng.uniform(0, DAY_SECONDS)))).isoformat(),
            "card_id": f"c{rng.integers(100_000):016x}",
            "account_id": f"a{rng.integers(50_000):016x}",
            "merchant_id": f"m{rng.integers(20_000):012x}",
            "mcc": str(rng.choice(MCCS)),
            "amount": f"{rng.lognormal(3.5, 1.2) + 0.01:.2f}",
            "currency": "EUR",
            "channel": channel,
            "card_present": channel in ("pos", "atm"),
            "merchant_country": str(rng.choice(COUNTRIES)),
            "latitude": f"{rng.uniform(46, 49):.6f}",
            "longitude": f"{rng.uniform(9, 17):.6f}",
            "status": "declined" if rng.random() < 0.05 else "approved",
        }


def with_python(rows: int) -> Iterator[Row]:
    """The standard library alone, as one writes it first: ``uuid``, ``random``, ``datetime``."""
    random.seed(7)
    for _ in range(rows):
        channel = random.choice(CHANNELS)
        yield {
            "transaction_id": str(uuid.uuid4()),
            "event_time": (START + timedelta(seconds=random.uniform(0, DAY_SECONDS - 1))).isoformat(),
            "card_id": f"c{random.randint(0, 99_999):016x}",
            "account_id": f"a{random.randint(0, 49_999):016x}",
            "merchant_id": f"m{random.randint(0, 19_999):012x}",
            "mcc": random.choice(MCCS),
            "amount": f"{random.lognormvariate(3.5, 1.2) + 0.01:.2f}",
            "currency": "EUR",
            "channel": channel,
            "card_present": channel in ("pos", "atm"),
            "merchant_country": random.choice(COUNTRIES),
            "latitude": f"{random.uniform(46, 49):.6f}",
            "longitude": f"{random.uniform(9, 17):.6f}",
            "status": "declined" if random.random() < 0.05 else "approved",
        }


WAYS: dict[str, Callable[[int], Iterator[Row]]] = {"faker": with_faker, "numpy": with_numpy, "python": with_python}


def main(way: str, rows: str, file: str) -> None:
    with gzip.open(file, "wt", compresslevel=1, encoding="utf-8") as out:
        for row in WAYS[way](int(rows)):
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
