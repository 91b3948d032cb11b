"""The verify job: what is served equals silver, or the run fails and says where."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
import redis
from click.testing import CliRunner
from feast.protos.feast.types.Value_pb2 import Value

from jobs.common.lake import Lake, event_partition
from jobs.online.readback import same
from jobs.verify import show
from tests.feast_keys import entity_key, feature_field
from tests.online.conftest import RunJob
from tests.online.silver import DAY, publish_day


@pytest.fixture
def loaded(lake: Lake, run_job: RunJob) -> RunJob:
    publish_day(lake, cnt_1d=5)
    assert run_job("materialize").code == 0
    return run_job


def digest(lake: Lake) -> str:
    manifest = lake.manifest("verify/fti", event_partition(DAY))
    assert manifest is not None
    return manifest.digest


def test_a_loaded_state_is_found_whole(loaded: RunJob, lake: Lake) -> None:
    assert loaded("verify").code == 0
    manifest = lake.manifest("verify/fti", event_partition(DAY))
    assert manifest is not None
    assert (manifest.counts["cards_online"], manifest.counts["mismatches"]) == (3, 0)
    assert manifest.counts["values_compared"] == 3 * 17 + 3 * 12 + 2 * 2 + 2 * 5 + 3 * 3
    assert manifest.counts["keys_mcc_daily"] == 3
    assert datetime.fromisoformat(manifest.published_at).tzinfo


def test_the_digest_is_of_the_values(loaded: RunJob, lake: Lake) -> None:
    loaded("verify")
    first = digest(lake)
    loaded("materialize", DAY, "--force")
    loaded("verify")
    assert digest(lake) == first
    publish_day(lake, cnt_1d=6)
    loaded("materialize")
    loaded("verify")
    assert digest(lake) != first


def test_no_more_cards_are_read_than_asked_for(loaded: RunJob) -> None:
    assert '"keys_card_daily": 2' in loaded("verify", DAY, "--cards", "2").log


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (Value(int64_val=6), "online 6, silver 5"),
        (Value(double_val=5.0), "online 5.0, silver 5"),
        (Value(), "online NULL, silver 5"),
    ],
)
def test_a_corrupted_value_is_named(loaded: RunJob, redis_url: str, stored: Value, shown: str) -> None:
    key, name = entity_key("fti", "card_id", "card-2"), feature_field("card_daily", "cnt_1d")
    redis.Redis.from_url(redis_url).hset(key, name, stored.SerializeToString())
    ended = loaded("verify")
    assert ended.code == 1
    assert "1 values online differ" in ended.log
    assert f"card-2, card_daily:cnt_1d: {shown}" in ended.log


def test_a_deleted_card_is_named(loaded: RunJob, redis_url: str) -> None:
    redis.Redis.from_url(redis_url).delete(entity_key("fti", "card_id", "card-1"))
    ended = loaded("verify")
    assert ended.code == 1
    assert "card-1, card_daily:cnt_1d: online NOT_FOUND, silver 5" in ended.log


def test_nothing_loaded_is_a_wrong_call(lake: Lake, run_job: RunJob) -> None:
    publish_day(lake)
    ended = run_job("verify")
    assert (ended.code, "run materialize" in ended.log) == (2, True)


def test_a_newer_day_than_the_loaded_one_is_a_wrong_call(loaded: RunJob, lake: Lake) -> None:
    publish_day(lake, DAY + timedelta(days=1))
    ended = loaded("verify", DAY + timedelta(days=1))
    assert (ended.code, f"the state of {DAY}" in ended.log) == (2, True)


@pytest.mark.parametrize(
    "pair", [(1, 1.0), (0.0, -0.0), (True, 1), ([1], [1.0]), ([], None), ("1", 1), ([1, 2], [2, 1])]
)
def test_what_looks_alike_is_not_the_same(pair) -> None:
    assert not same(*pair)
    assert all(same(value, value) for value in pair)


def test_show_prints_a_card(loaded: RunJob) -> None:
    ended = CliRunner().invoke(show.command, ["--card", "card-1"], catch_exceptions=False)
    assert ended.exit_code == 0
    assert "cnt_1d" in ended.output
    assert "PRESENT" in ended.output
