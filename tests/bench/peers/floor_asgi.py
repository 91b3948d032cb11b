"""A bare ASGI application that answers like ``feast serve``, with no Feast in it: the floor of HTTP in Python.

Run by uvicorn; ``BENCH_REDIS``, ``BENCH_VIEW``, ``BENCH_PROJECT`` and ``BENCH_FEATURES`` (by commas) say what it serves.
"""

from __future__ import annotations

import os
from typing import Any

from pydantic_core import from_json, to_json
from redis import asyncio as redis

from tests.bench.peers.raw import decode, entity_key, fields

FEATURES = os.environ["BENCH_FEATURES"].split(",")
PROJECT = os.environ["BENCH_PROJECT"]
FIELDS = fields(os.environ["BENCH_VIEW"], FEATURES)
CLIENT = redis.Redis.from_url(os.environ["BENCH_REDIS"])


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    answer = to_json(await _answer(from_json(body)["entities"]["card_id"])) if body else b"{}"
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def _answer(cards: list[str]) -> dict[str, Any]:
    async with CLIENT.pipeline(transaction=False) as pipe:
        for card in cards:
            pipe.hmget(entity_key("card_id", card, PROJECT), FIELDS)
        rows = await pipe.execute()
    results = [{"values": cards, "statuses": ["PRESENT"] * len(cards)}]
    for column in list(zip(*rows, strict=True))[: len(FEATURES)]:
        values = [decode(value) for value in column]
        results.append({"values": values, "statuses": ["NULL_VALUE" if v is None else "PRESENT" for v in values]})
    return {"metadata": {"feature_names": ["card_id", *FEATURES]}, "results": results}
