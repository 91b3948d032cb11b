"""The service as a plain ASGI application: a few endpoints, JSON in and out, every failure one sentence.

POST /features           many cards, any features, data of the transaction
GET  /features/{card}    one card
GET  /healthz /readyz /metrics
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any
from urllib.parse import parse_qs

import structlog
from pydantic_core import from_json, to_json

from feast_fast.plan import Answer, Plan, Status, Unsupported
from jobs.online.reader import STATUSES
from jobs.serve.catalogue import Catalogue, Refusal
from jobs.serve.metrics import CONTENT_TYPE, Metrics
from jobs.serve.redis_link import RedisLink, RedisUnavailable

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

BODY_BYTES, CARD_BYTES = 64 << 10, 2 << 10
"""What a body may hold at most, and for each card that it may name. JSON takes up to some thirty times its size once it is read."""
_JSON = b"application/json"
_FEATURES, _CARD = "/features", "/features/"
_METHODS = {_FEATURES: "POST", _CARD: "GET"}
_FIELDS = {"cards", "features", "service", "request", "as_of"}
_WORDS = ("", *(str(STATUSES[status]) for status in sorted(Status)))
"""Of a status by its number; to look an Enum up in a dict costs more than all else in a value's way."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Gone(Exception):
    """The client has left before its request was whole; nobody hears an answer."""


class App:
    """Answers HTTP requests from a catalogue of plans and a link to Redis.

    Args:
        batch_limit: the most cards in one request.
        as_of: the moment at which age is judged where a request names none; None is now.
    """

    def __init__(
        self, catalogue: Catalogue, link: RedisLink, metrics: Metrics, batch_limit: int, as_of: datetime | None = None
    ) -> None:
        self._catalogue, self._link, self._metrics = catalogue, link, metrics
        self._batch_limit, self._as_of = batch_limit, as_of
        self._body_limit = BODY_BYTES + batch_limit * CARD_BYTES
        self.leaving = False
        """Whether each answer asks its caller to come by another connection next time."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError("HTTP alone is served")
        began = time.perf_counter()
        endpoint, content_type = _endpoint(scope["path"]), _JSON
        try:
            if endpoint == _FEATURES:
                _allow(scope, endpoint)
                body = await self._features(await self._body(scope, receive))
            elif endpoint == _CARD:
                _allow(scope, endpoint)
                body = await self._card(scope)
            elif endpoint == "/healthz":
                body = to_json({"status": "ok"})
            elif endpoint == "/readyz":
                await self._ask_redis(self._link.ping())
                body = to_json({"status": "ok"})
            elif endpoint == "/metrics":
                body, content_type = self._metrics.text(), CONTENT_TYPE
            else:
                raise Refusal(404, f"There is nothing at {scope['path'][:80]}; features are at {_FEATURES}.")
            status = 200
        except _Gone:
            return
        except Refusal as refusal:
            status, body = refusal.status, to_json({"error": str(refusal)})
        except RedisUnavailable as error:
            status, body = 503, to_json({"error": f"{error}. Try again later."})
        except Exception:
            structlog.get_logger().exception("a request failed", path=scope["path"])
            status, body = 500, to_json({"error": "The service failed; its log says why."})
        headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
        if status == 405:
            headers.append((b"allow", _METHODS[endpoint].encode()))
        if self.leaving:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._metrics.answered(endpoint, status, time.perf_counter() - began)

    async def _features(self, body: bytes) -> bytes:
        call = _parsed(body)
        cards = call.get("cards")
        if not isinstance(cards, list) or not cards:
            raise Refusal(422, '"cards" must be a list of at least one card_id.')
        if len(cards) > self._batch_limit:
            raise Refusal(422, f'"cards" holds {len(cards)} cards; at most {self._batch_limit} are allowed.')
        plan = self._plan(call.get("features"), call.get("service"))
        rows = _request_rows(call.get("request"), len(cards))
        answer = await self._read(plan, cards, rows, self._moment(call.get("as_of")))
        statuses = _statuses(answer)
        self._metrics.served(chain.from_iterable(statuses.values()))
        features = {name: {"values": answer.values[name], "statuses": column} for name, column in statuses.items()}
        return to_json({"cards": cards, "features": features}, inf_nan_mode="strings")

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """
        Raises:
            Refusal: it is too large, told before it is read where its length is given.
            _Gone: it breaks off.
        """
        size = next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)
        parts, read, more = [], 0, True
        while more and max(size, read) <= self._body_limit:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            parts.append(message.get("body", b""))
            read += len(parts[-1])
            more = message.get("more_body", False)
        if max(size, read) > self._body_limit:
            most = f"{self._body_limit >> 10} KiB, the most for {self._batch_limit} cards"
            raise Refusal(413, f"The body is larger than {most}.")
        return b"".join(parts)

    async def _card(self, scope: Scope) -> bytes:
        card = scope["path"].removeprefix(_CARD)
        if "\ufffd" in card:  # what the server puts where the bytes are none
            raise Refusal(400, "The card in the path is no UTF-8.")
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        _known(query, {"features", "service", "as_of"}, "The query")
        features = [name for part in query.get("features", ()) for name in part.split(",")]
        plan = self._plan(features or None, query.get("service", [None])[-1])
        answer = await self._read(plan, [card], [{}], self._moment(query.get("as_of", [None])[-1]))
        statuses = _statuses(answer)
        self._metrics.served(chain.from_iterable(statuses.values()))
        found = {name: {"value": answer.values[name][0], "status": column[0]} for name, column in statuses.items()}
        return to_json({"card": card, "features": found}, inf_nan_mode="strings")

    def _plan(self, features: Any, service: Any) -> Plan:
        if features is not None and service is not None:
            raise Refusal(422, 'Name "features" or a "service", not both.')
        if service is not None:
            if not isinstance(service, str):
                raise Refusal(422, '"service" must be a text.')
            return self._catalogue.plan_of_service(service)
        if features is None:
            return self._catalogue.plan_of(self._catalogue.of_card)
        if not isinstance(features, list) or not features or set(map(type, features)) != {str}:
            raise Refusal(422, '"features" must be a list of texts such as "card_daily:cnt_1d".')
        if len(features) > (most := len(self._catalogue.references)):
            raise Refusal(422, f'"features" holds {len(features)} features; there are {most}.')
        return self._catalogue.plan_of(tuple(dict.fromkeys(features)))

    def _moment(self, text: Any) -> int:
        """Nanoseconds since 1970 of the moment at which age is judged."""
        moment = self._as_of
        if text is not None:
            try:
                moment = datetime.fromisoformat(text)
            except (TypeError, ValueError):
                raise Refusal(
                    422, f'"as_of" must be a time such as "2026-01-31T12:00:00Z", not {text!r:.40}.'
                ) from None
        if moment is None:
            return time.time_ns()
        since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
        return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000

    async def _read(self, plan: Plan, cards: Sequence[Any], rows: Sequence[Mapping[str, Any]], now_ns: int) -> Answer:
        self._metrics.observe_cards(len(cards))
        columns = self._catalogue.columns(plan, cards, rows)
        try:
            lookup = plan.lookup(columns)
        except Unsupported as reason:
            raise Refusal(422, f"This cannot be looked up: {reason}.") from None
        began = time.perf_counter()
        try:
            replies = await self._ask_redis(self._link.call(lookup.packed(), lookup.count))
        except RedisUnavailable:
            self._metrics.redis_failed()
            raise
        self._metrics.observe_redis(time.perf_counter() - began)
        return plan.answer(lookup, replies, now_ns)

    async def _ask_redis(self, call: Awaitable[Any]) -> Any:
        """What Redis says; whether it says anything goes into the metrics."""
        try:
            replies = await call
        except RedisUnavailable as error:
            self._metrics.redis_up(error.answered)
            raise
        self._metrics.redis_up(True)
        return replies


def _endpoint(path: str) -> str:
    """The endpoint of a path, by the name under which it is counted."""
    if path.startswith(_CARD) and len(path) > len(_CARD):
        return _CARD
    return path if path in (_FEATURES, "/healthz", "/readyz", "/metrics") else "other"


def _allow(scope: Scope, endpoint: str) -> None:
    if scope["method"] != (method := _METHODS[endpoint]):
        raise Refusal(405, f"{scope['path'][:80]} takes {method}, not {scope['method'][:20]}.")


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        call = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(400, f"The body is no JSON: {error}.") from None
    if not isinstance(call, dict):
        raise Refusal(422, 'The body must be a JSON object such as {"cards": ["c1"], "service": "fraud_v1"}.')
    _known(call, _FIELDS, "The body")
    return call


def _known(given: Mapping[str, Any], allowed: set[str], what: str) -> None:
    if unknown := sorted(given.keys() - allowed):
        raise Refusal(422, f"{what} has {unknown[0]!r:.40}, which means nothing here; {', '.join(sorted(allowed))} do.")


def _request_rows(given: Any, cards: int) -> Sequence[Mapping[str, Any]]:
    """One object for all cards, or one a card."""
    if given is None:
        return [{}]
    if isinstance(given, dict):
        return [given]
    if isinstance(given, list) and len(given) == cards and all(isinstance(row, dict) for row in given):
        return given
    raise Refusal(422, '"request" must be an object, for all cards alike, or a list of as many objects as cards.')


def _statuses(answer: Answer) -> dict[str, list[str]]:
    """The statuses of the features, not of the request's own keys."""
    said, of_view, words = {}, None, []
    for name, values in answer.values.items():
        statuses = answer.row_statuses.get(name)
        if statuses is not None and None not in values:
            if statuses is not of_view:  # the features of a view share theirs, and follow each other: say them once
                of_view, words = statuses, [_WORDS[status] for status in statuses]
            said[name] = words
        elif name not in answer.echoed:
            said[name] = [_WORDS[status] for status in answer.statuses(name)]
    return said
