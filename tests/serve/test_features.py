"""What the service answers is what the in-process reader answers; a bad request is told so in one sentence."""

from __future__ import annotations

import contextlib
import http.client
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from feast_fast.names import feature_field
from jobs.common.products import CARD_DAILY, CARD_LAST_STATE
from jobs.online.reader import Column
from jobs.serve.app import BODY_BYTES, CARD_BYTES
from tests.online.silver import KEYS, MIDNIGHT
from tests.online.test_request_time import NOON, request
from tests.serve.conftest import Service

CARDS = [*KEYS["card_id"], "unknown"]
OTHER_KEYS = {"account_id": "account-1", "merchant_id": "merchant-2", "mcc": 5812}


def as_json(columns: dict[str, Column]) -> dict[str, Any]:
    return {
        name: {"values": column.values, "statuses": [str(status) for status in column.statuses]}
        for name, column in columns.items()
    }


def same(ours: Any, theirs: Any) -> None:
    assert {name: repr(column) for name, column in ours.items()} == {name: repr(c) for name, c in theirs.items()}


def transactions() -> list[dict[str, Any]]:
    facts = [request(NOON + n, merchant_id=f"merchant-{n}", latitude=None if n else 51.5) for n in range(len(CARDS))]
    return [{**OTHER_KEYS, **fact} for fact in facts]


def test_a_service_of_everything_for_many_cards(service: Service) -> None:
    rows = transactions()
    answer = service.post(cards=CARDS, service="fraud_v1", request=rows)
    assert answer.status_code == 200, answer.text
    assert answer.json()["cards"] == CARDS
    wanted = service.reader.read(
        "fraud_v1", [{"card_id": card, **row} for card, row in zip(CARDS, rows, strict=True)], MIDNIGHT
    )
    same(answer.json()["features"], as_json(wanted))


def test_one_request_for_all_cards(service: Service) -> None:
    fact = {**OTHER_KEYS, **request()}
    answer = service.post(cards=CARDS, features=["request_features:cnt_1h", "mcc_daily:mcc_cnt_90d"], request=fact)
    rows = [{"card_id": card, **fact} for card in CARDS]
    wanted = service.reader.read(["request_features:cnt_1h", "mcc_daily:mcc_cnt_90d"], rows, MIDNIGHT)
    same(answer.json()["features"], as_json(wanted))


def test_a_feature_that_was_not_loaded_yet_is_not_found(service: Service) -> None:
    """The view's other features are there; a null that was loaded is another thing."""
    field = feature_field("card_daily", "cnt_1d")
    (key,) = (key for key in service.redis.scan_iter() if b"card_id" in key and b"card-1" in key)
    held = service.redis.hget(key, field)
    service.redis.hdel(key, field)
    try:
        answer = service.post(cards=["card-1"], features=[f"card_daily:{n}" for n in ("cnt_1d", "amt_1d", "max_30d")])
    finally:
        service.redis.hset(key, field, held)
    statuses = {name: column["statuses"] for name, column in answer.json()["features"].items()}
    assert statuses == {"cnt_1d": ["NOT_FOUND"], "amt_1d": ["PRESENT"], "max_30d": ["NULL"]}


@pytest.mark.parametrize("after", [timedelta(0), timedelta(days=2, seconds=1), timedelta(days=91)])
def test_age_is_judged_as_of_a_moment(service: Service, after: timedelta) -> None:
    wanted = [f"{p.name}:{f.name}" for p in (CARD_DAILY, CARD_LAST_STATE) for f in p.features]
    answer = service.post(cards=CARDS, features=wanted, as_of=(MIDNIGHT + after).isoformat())
    columns = service.reader.read(wanted, [{"card_id": card} for card in CARDS], MIDNIGHT + after)
    same(answer.json()["features"], as_json(columns))


@pytest.mark.parametrize("card", CARDS)
def test_one_card(service: Service, card: str) -> None:
    answer = service.http.get(f"/features/{httpx.URL('/').copy_with(path='/' + card).path[1:]}")
    assert answer.status_code == 200
    assert answer.json()["card"] == card
    wanted = [f"{p.name}:{f.name}" for p in (CARD_DAILY, CARD_LAST_STATE) for f in p.features]
    columns = service.reader.read(wanted, [{"card_id": card}], MIDNIGHT)
    found = {name: {"values": [f["value"]], "statuses": [f["status"]]} for name, f in answer.json()["features"].items()}
    same(found, as_json(columns))


def test_some_features_of_one_card(service: Service) -> None:
    answer = service.http.get("/features/card-1?features=card_daily:cnt_1d,card_daily:max_30d")
    assert answer.json() == {
        "card": "card-1",
        "features": {"cnt_1d": {"value": 3, "status": "PRESENT"}, "max_30d": {"value": None, "status": "NULL"}},
    }


FACT = {**OTHER_KEYS, **request()}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ({}, '"cards" must be a list'),
        ({"cards": []}, '"cards" must be a list'),
        ({"cards": "c1"}, '"cards" must be a list'),
        ({"cards": ["c1", 5]}, "card 1 is 5"),
        ({"cards": ["c"] * 101}, "holds 101 cards; at most 100"),
        ({"cards": ["c"], "features": ["card_daily:nothing"]}, "no feature 'card_daily:nothing'"),
        ({"cards": ["c"], "features": "card_daily:cnt_1d"}, '"features" must be a list'),
        ({"cards": ["c"], "features": [1]}, '"features" must be a list'),
        ({"cards": ["c"], "service": "fraud_v0"}, "There is no service 'fraud_v0'; there are fraud_v1, state_v1"),
        ({"cards": ["c"], "service": ["fraud_v1"]}, '"service" must be a text'),
        ({"cards": ["c"], "service": "fraud_v1", "features": ["card_daily:cnt_1d"]}, "not both"),
        ({"cards": ["c"], "service": "state_v1"}, 'need account_id, mcc, merchant_id in "request"'),
        ({"cards": ["c"], "service": "fraud_v1", "request": []}, "a list of as many objects as cards"),
        ({"cards": ["c", "d"], "service": "fraud_v1", "request": [FACT, {}]}, "must have account_id"),
        ({"cards": ["c"], "service": "fraud_v1", "request": {**FACT, "mcc": "5411"}}, "mcc must be an integer, not '5411'"),
        ({"cards": ["c"], "service": "fraud_v1", "request": {**FACT, "mcc": 2**63}}, "mcc must be an integer"),
        ({"cards": ["c"], "service": "fraud_v1", "request": {**FACT, "amount_cents": None}}, "amount_cents must be an integer, not null"),
        ({"cards": ["c"], "service": "fraud_v1", "request": {**FACT, "latitude": "N"}}, "latitude must be a number or null"),
        ({"cards": ["c"], "service": "fraud_v1", "request": {**FACT, "card_present": 1}}, "card_present must be true or false"),
        ({"cards": ["c"], "service": "fraud_v1", "request": {**FACT, "latitude": 10**400}}, "latitude must be a number or null, not 1000"),
        ({"cards": ["c"], "service": "fraud_v1", "request": {**FACT, "amount_cents": -(10**400)}}, "amount_cents must be an integer"),
        ({"cards": ["c"], "features": ["card_daily:cnt_1d"] * 1_000}, '"features" holds 1000 features; there are'),
        ({"cards": ["c"], "as_of": "yesterday"}, '"as_of" must be a time'),
        ({"cards": ["c"], "as_of": 5}, '"as_of" must be a time'),
        ({"cards": ["c"], "entities": {}}, "'entities', which means nothing here"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_told(service: Service, call: dict[str, Any], sentence: str) -> None:
    answer = service.post(**call)
    assert answer.status_code == 422
    assert list(answer.json()) == ["error"]
    assert sentence in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/features", b"", 400),
        ("POST", "/features", b"{", 400),
        ("POST", "/features", b"\xff", 400),
        ("POST", "/features", b'{"cards": ["c"], "as_of": NaN}', 400),
        ("POST", "/features", b"[]", 422),
        ("GET", "/features/%ff", None, 400),
        ("GET", "/features", None, 405),
        ("POST", "/features/card-1", b"", 405),
        ("GET", "/features/", None, 404),
        ("GET", "/nothing", None, 404),
        ("GET", "/features/card-1?feature=x", None, 422),
        ("GET", "/features/card-1?service=fraud_v1", None, 422),
        ("GET", "/features/card-1?features=", None, 422),
    ],
)
def test_a_bad_request_is_told(service: Service, method: str, path: str, body: bytes | None, status: int) -> None:
    answer = service.http.request(method, path, content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"].endswith(".")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_may_be_as_large_as_many_cards_want(service: Service, chunked: bool) -> None:
    """Each card brings a request of its own; the service was started for 100 of them."""
    most = BODY_BYTES + 100 * CARD_BYTES
    wanted = {"cards": ["c" * 100] * 100, "service": "fraud_v1", "request": [{**FACT, "merchant_id": "m" * 100}] * 100}
    body = json.dumps(wanted, indent=4).encode().ljust(most)
    for sent, status in ((body, 200), (body + b" ", 413)):
        answer = service.http.post("/features", content=iter([sent[:70_000], sent[70_000:]]) if chunked else sent)
        assert answer.status_code == status
    assert answer.json() == {"error": "The body is larger than 264 KiB, the most for 100 cards."}


def test_a_length_that_is_too_large_is_told_before_the_body_is_sent(service: Service) -> None:
    connection = http.client.HTTPConnection(service.http.base_url.host, service.http.base_url.port, timeout=30)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/features")
        connection.putheader("content-length", str(1 << 30))
        connection.endheaders()
        assert connection.getresponse().status == 413


@pytest.mark.parametrize(("method", "path", "allowed"), [("GET", "/features", "POST"), ("PUT", "/features/c", "GET")])
def test_another_method_is_told_which_one(service: Service, method: str, path: str, allowed: str) -> None:
    answer = service.http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("path", "card"),
    [
        ("/%66eatures/card-1", "card-1"),
        ("/features%2Fcard-1", "card-1"),
        ("/features/a%2Fb", "a/b"),
        ("/features/a/b", "a/b"),
        ("/features/a%252Fb", "a%2Fb"),
        ("/features/%3Fa%3D%23", "?a=#"),
        ("/features/%C3%BC%20%2B+", "\u00fc ++"),
    ],
)
def test_a_path_is_decoded_once(service: Service, path: str, card: str) -> None:
    connection = http.client.HTTPConnection(service.http.base_url.host, service.http.base_url.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", f"{path}?features=card_daily:cnt_1d")
        answer = json.load(connection.getresponse())
    assert (answer["card"], answer["features"]["cnt_1d"]["value"]) == (card, 3 if card == "card-1" else None)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1e308"])
def test_an_infinity_is_no_number(service: Service, number: str) -> None:
    body = json.dumps({"cards": ["c"], "service": "fraud_v1", "request": {**FACT, "latitude": "?"}})
    answer = service.http.post("/features", content=body.replace('"?"', number))
    assert answer.status_code == 422
    assert "latitude must be a number or null, not" in answer.json()["error"]


def test_a_feature_named_twice_is_answered_once(service: Service) -> None:
    answer = service.post(cards=["card-1"], features=["card_daily:cnt_1d"] * 2)
    assert answer.json()["features"] == {"cnt_1d": {"values": [3], "statuses": ["PRESENT"]}}


def test_an_integer_will_do_for_a_number(service: Service) -> None:
    calls = [{**FACT, "latitude": latitude} for latitude in (51, 51.0)]
    answers = [service.post(cards=["card-1"], service="fraud_v1", request=call).json() for call in calls]
    assert answers[0] == answers[1]
    assert "error" not in answers[0]
