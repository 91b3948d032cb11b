"""Asks the service for a card's features: ``helm test``. ``card.py http://host:8090 [CARD]``; the card: else any in Redis."""

from __future__ import annotations

import json
import os
import struct
import sys
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen


def main(base: str, card: str = "") -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        ask(f"{base}{path}")
    card = card or any_card()
    if not card:
        print(f"{base} is ready. No card is loaded yet: run the pipeline.")
        return
    features = json.loads(ask(f"{base}/features", {"cards": [card]}))["features"]
    if {status for column in features.values() for status in column["statuses"]} == {"NOT_FOUND"}:
        sys.exit(f"{base} knows no card {card}: check the name, and whether it reads the Redis that materialize loads.")
    print(f"{base} has the features of {card}:")
    for name, column in features.items():
        print(f"  {name:<32} {column['statuses'][0]:<16} {json.dumps(column['values'][0])}")


def any_card() -> str:
    """One that Redis holds, by Feast's layout of a key: u32 1, u32 2, a join key, u32 2, a value, the project."""
    import redis

    head = struct.pack("<III", 1, 2, 7) + b"card_id"
    with redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=10) as client:
        for key in client.scan_iter(match=head + b"*", count=1000):
            (length,) = struct.unpack_from("<I", key, len(head) + 4)
            return key[len(head) + 8 :][:length].decode()
    return ""


def ask(url: str, body: object = None) -> str:
    data = json.dumps(body).encode() if body else None
    try:
        with urlopen(Request(url, data, {"Content-Type": "application/json"}), timeout=30) as response:
            return response.read().decode()
    except HTTPError as error:
        sys.exit(f"{url} answered {error.code}: {error.read(500).decode(errors='replace')}")
    except URLError as error:
        sys.exit(f"{url} does not answer: {error.reason}")


if __name__ == "__main__":
    main(*sys.argv[1:])
