"""Asks the service for a card's features: ``helm test``. ``card.py http://host:8090 [CARD]``; the card: else any in Redis."""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path
from urllib.error import HTTPError
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
    import yaml

    project = yaml.safe_load(Path("feature_repo/feature_store.yaml").read_text())["project"].encode()
    head = struct.pack("<III", 1, 2, 7) + b"card_id"
    try:
        with redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=10) as client:
            for key in client.scan_iter(match=head + b"*" + project, count=1000):
                (length,) = struct.unpack_from("<I", key, len(head) + 4)
                card, its_project = key[len(head) + 8 :][:length], key[len(head) + 8 + length :]
                if its_project == project:  # not one whose name only ends alike
                    return card.decode()
    except redis.RedisError as error:
        sys.exit(f"The service is ready, but this pod cannot look for a card in Redis: {error}")
    return ""


def ask(url: str, body: object = None) -> str:
    data = json.dumps(body).encode() if body else None
    try:
        with urlopen(Request(url, data, {"Content-Type": "application/json"}), timeout=30) as response:
            return response.read().decode()
    except HTTPError as error:
        sys.exit(f"{url} answered {error.code}: {error.read(500).decode(errors='replace')}")
    except OSError as error:  # an URLError, or one while the answer is read
        sys.exit(f"{url} does not answer: {getattr(error, 'reason', error)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
