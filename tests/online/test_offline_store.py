"""Training sets: point in time, exact, and from no more partitions than needed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
from feast import FeatureStore

from jobs.common.lake import Lake
from jobs.common.products import CARD_DAILY, MCC_DAILY, TX_FEATURES
from jobs.online.silver import midnight_after, partitions_between
from tests.online.silver import DAY, MIDNIGHT, publish, row

FEATURES = ["cnt_1d", "max_30d", "avg_30d"]
TTL = CARD_DAILY.ttl or timedelta(0)


def historical(store: FeatureStore, rows: Sequence[tuple[str, datetime]]) -> list[dict[str, Any]]:
    """The features of each (card, moment), in that order."""
    entities = pd.DataFrame(
        {"n": range(len(rows)), "card_id": [c for c, _ in rows], "event_timestamp": [t for _, t in rows]}
    )
    job = store.get_historical_features(entities, [f"card_daily:{name}" for name in FEATURES])
    return sorted(job.to_arrow().to_pylist(), key=lambda found: found["n"])


def brute_force(silver: Sequence[dict[str, Any]], card: str, moment: datetime) -> dict[str, Any]:
    """The newest row of the card that is not in the future and not older than the ttl; of a tie, the one made last."""
    fit = [r for r in silver if r["card_id"] == card and moment - TTL <= r["event_timestamp"] <= moment]
    newest = max(fit, key=lambda r: (r["event_timestamp"], r["created_timestamp"]), default=dict.fromkeys(FEATURES))
    return {name: newest[name] for name in FEATURES}


def test_point_in_time_equals_brute_force_over_gaps_ties_and_edges(lake: Lake, store: FeatureStore) -> None:
    rng = random.Random(3)
    days = [DAY + timedelta(days=i) for i in (0, 1, 2, 4, 5, 9)]  # with gaps
    cards = [f"card-{i}" for i in range(6)]
    silver: list[dict[str, Any]] = []
    for day in days:
        today = []
        for card in cards:
            for late in range(rng.choice((0, 1, 1, 2))):  # 2: the same event time, made at different times
                values = {
                    "cnt_1d": rng.choice((2**53 + 1, -7, rng.randrange(100))),
                    "max_30d": rng.choice((None, 2**53 + 1)),
                    "avg_30d": rng.choice((None, rng.random())),
                }
                made = midnight_after(day) + timedelta(days=late)
                today.append(row(CARD_DAILY, card, day, created=made, **values))
        rng.shuffle(today)
        publish(lake, CARD_DAILY, today, day)
        silver += today
    micro = timedelta(microseconds=1)
    edges = [
        midnight_after(day) + shift + step
        for day in days
        for shift in (timedelta(0), TTL)
        for step in (-micro, timedelta(0), micro)
    ]
    rows = [(card, moment) for card in [*cards, "unknown"] for moment in [*edges, midnight_after(days[0]) - 9 * TTL]]
    rows += rows[:5]  # a training set may hold a row twice
    rng.shuffle(rows)
    found = historical(store, rows)
    assert len(found) == len(rows)
    for answer, (card, moment) in zip(found, rows, strict=True):
        assert {name: answer[name] for name in FEATURES} == brute_force(silver, card, moment), (card, moment)


def test_integers_stay_integers_in_a_data_frame(lake: Lake, store: FeatureStore) -> None:
    publish(lake, CARD_DAILY, [row(CARD_DAILY, "a", max_30d=2**53 + 1), row(CARD_DAILY, "b", max_30d=None)])
    entities = pd.DataFrame({"card_id": ["a", "b"], "event_timestamp": [MIDNIGHT, MIDNIGHT]})
    frame = store.get_historical_features(entities, ["card_daily:max_30d"]).to_df().set_index("card_id")
    assert frame["max_30d"].dtype == "Int64"
    assert frame["max_30d"]["a"] == 2**53 + 1
    assert frame["max_30d"].isna()["b"]


def test_only_partitions_that_can_matter_are_read(lake: Lake, store: FeatureStore) -> None:
    for shift in (-3, -1, 0, 1):
        publish(lake, CARD_DAILY, [row(CARD_DAILY, "a", DAY + timedelta(days=shift))], DAY + timedelta(days=shift))
    for shift in (-3, 1):  # too old, and from the future: their files cannot be read
        (broken,) = lake.files(f"{CARD_DAILY.dataset}/event_date={DAY + timedelta(days=shift)}")
        with lake.filesystem.open_output_stream(broken.path) as stream:
            stream.write(b"not Parquet")
    assert historical(store, [("a", MIDNIGHT)])[0]["cnt_1d"] is not None
    provider = store._get_provider()
    pulled = provider.offline_store.pull_all_from_table_or_query(
        store.config,
        store.get_feature_view("card_daily").batch_source,
        ["card_id"],
        FEATURES,
        "event_timestamp",
        "created_timestamp",
        MIDNIGHT - timedelta(days=1),
        MIDNIGHT,
    ).to_arrow()
    assert sorted(pulled["event_timestamp"].to_pylist()) == [MIDNIGHT - timedelta(days=1), MIDNIGHT]


def test_a_partition_without_a_manifest_is_not_read(lake: Lake, store: FeatureStore) -> None:
    publish(lake, CARD_DAILY, [row(CARD_DAILY, "a")])
    lake.retract(CARD_DAILY.dataset, f"event_date={DAY}")
    assert historical(store, [("a", MIDNIGHT)])[0]["cnt_1d"] is None


def test_a_view_with_an_integer_key(lake: Lake, store: FeatureStore) -> None:
    publish(lake, MCC_DAILY, [row(MCC_DAILY, 742, mcc_cnt_90d=5)])
    entities = pd.DataFrame({"mcc": [742, 5411], "event_timestamp": [MIDNIGHT, MIDNIGHT]})
    found = store.get_historical_features(entities, ["mcc_daily:mcc_cnt_90d"]).to_arrow()
    assert found.schema.field("mcc_cnt_90d").type == pa.int64()
    assert dict(zip(found["mcc"].to_pylist(), found["mcc_cnt_90d"].to_pylist(), strict=True)) == {742: 5, 5411: None}


def test_partitions_between() -> None:
    names = [f"event_date={date(2026, 1, d)}" for d in range(1, 8)]
    noon, midnight = datetime(2026, 1, 4, 12, tzinfo=UTC), datetime(2026, 1, 4, tzinfo=UTC)
    assert partitions_between(CARD_DAILY, names, midnight, midnight) == names[2:3]
    assert partitions_between(CARD_DAILY, names, noon, noon) == []
    assert partitions_between(CARD_DAILY, names, None, noon) == names[:3]
    assert partitions_between(CARD_DAILY, names, noon, None) == names[3:]
    assert partitions_between(CARD_DAILY, names, noon.replace(tzinfo=None), None) == names[3:]
    assert partitions_between(TX_FEATURES, names, noon, noon) == names[3:4]
    assert partitions_between(TX_FEATURES, names, None, midnight) == names[:4]
