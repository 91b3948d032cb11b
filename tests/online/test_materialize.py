"""The materialize job: the newest state goes online, whatever is run again, cut short or taken away."""

from __future__ import annotations

import shutil
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
import redis

from jobs.common import version
from jobs.common.lake import Lake, event_partition
from jobs.common.products import ACCOUNT_DAILY, CARD_DAILY, CARD_LAST_STATE
from jobs.materialize import job
from jobs.online.reader import OnlineReader, Status
from jobs.online.redis_online_store import RedisUrlOnlineStore
from tests.feast_keys import entity_key
from tests.online.conftest import RunJob
from tests.online.silver import DAY, MIDNIGHT, publish, publish_day, row

NEXT = DAY + timedelta(days=1)


def card(reader: OnlineReader, card_id: str, feature: str = "cnt_1d") -> tuple[Any, Status]:
    """A daily feature of a card, a day after the first day's midnight."""
    column = reader.read([f"card_daily:{feature}"], [{"card_id": card_id}], MIDNIGHT + timedelta(days=1))[feature]
    return column.values[0], column.statuses[0]


def test_the_state_is_loaded_once_and_then_unchanged(lake: Lake, run_job: RunJob, reader: OnlineReader) -> None:
    publish_day(lake, cnt_1d=5)
    first = run_job("materialize")
    assert (first.code, '"loaded": 13' in first.log) == (0, True)
    assert card(reader, "card-1") == (5, Status.PRESENT)
    manifest = lake.manifest("online/fti", event_partition(DAY))
    assert manifest is not None
    assert manifest.counts["card_daily"] == 3
    assert datetime.fromisoformat(manifest.published_at).tzinfo
    began = time.process_time()
    again = run_job("materialize")
    assert time.process_time() - began < 1
    assert (again.code, '"unchanged"' in again.log) == (0, True)
    assert '"loading"' in run_job("materialize", DAY, "--force").log


def test_a_correction_at_the_same_timestamp_applies(lake: Lake, run_job: RunJob, reader: OnlineReader) -> None:
    publish_day(lake, cnt_1d=5)
    run_job("materialize")
    publish_day(lake, cnt_1d=6)
    assert run_job("materialize").code == 0
    assert card(reader, "card-1") == (6, Status.PRESENT)


def test_a_card_that_came_late_is_loaded(lake: Lake, run_job: RunJob, reader: OnlineReader) -> None:
    publish_day(lake, cards=("card-1",))
    run_job("materialize")
    publish_day(lake, cards=("card-1", "card-late"), cnt_1d=1)
    assert run_job("materialize").code == 0
    assert card(reader, "card-late") == (1, Status.PRESENT)


def test_a_vanished_card_is_removed_and_no_other_key(
    lake: Lake, run_job: RunJob, reader: OnlineReader, redis_url: str
) -> None:
    client = redis.Redis.from_url(redis_url)
    publish_day(lake, cards=("card-1", "card-2"), cnt_1d=1)
    run_job("materialize")
    foreign = {entity_key("another-fti", "card_id", "card-2"): {b"f": b"v"}, b"session:1": {b"f": b"v"}}
    for key, value in foreign.items():
        client.hset(key, mapping=value)
    publish_day(lake, cards=("card-1",), cnt_1d=1)
    ended = run_job("materialize")
    assert (ended.code, '"removed": 1' in ended.log) == (0, True)
    assert card(reader, "card-2") == (None, Status.NOT_FOUND)
    assert card(reader, "card-1") == (1, Status.PRESENT)
    assert all(client.exists(key) for key in foreign)


def test_a_card_that_vanished_from_one_view_keeps_the_other(lake: Lake, run_job: RunJob, reader: OnlineReader) -> None:
    publish_day(lake, cards=("card-1", "card-2"), cnt_1d=1, last_time_us=7)
    run_job("materialize")
    publish(lake, CARD_DAILY, [row(CARD_DAILY, "card-1", cnt_1d=1)])
    assert run_job("materialize").code == 0
    assert card(reader, "card-2") == (None, Status.NOT_FOUND)
    kept = reader.read(["card_last_state:last_time_us"], [{"card_id": "card-2"}], MIDNIGHT)["last_time_us"]
    assert kept.values == [7]


def test_loading_an_old_day_again_does_not_put_the_clock_back(
    lake: Lake, run_job: RunJob, reader: OnlineReader
) -> None:
    publish_day(lake, NEXT, cnt_1d=2)
    publish_day(lake, DAY, cnt_1d=1)
    assert run_job("materialize", NEXT).code == 0
    publish_day(lake, DAY, cnt_1d=3)
    assert '"unchanged"' in run_job("materialize", DAY).log
    assert card(reader, "card-1") == (2, Status.PRESENT)


def test_a_newer_day_that_is_not_whole_is_not_loaded(lake: Lake, run_job: RunJob, reader: OnlineReader) -> None:
    publish_day(lake, DAY, cnt_1d=1)
    publish(lake, CARD_DAILY, [row(CARD_DAILY, "card-1", NEXT, cnt_1d=2)], NEXT)
    assert run_job("materialize").code == 0
    assert card(reader, "card-1") == (1, Status.PRESENT)


def test_a_flushed_server_is_loaded_again(lake: Lake, run_job: RunJob, reader: OnlineReader, redis_url: str) -> None:
    publish_day(lake, cnt_1d=5)
    run_job("materialize")
    redis.Redis.from_url(redis_url).flushall()
    assert run_job("materialize").code == 0
    assert card(reader, "card-1") == (5, Status.PRESENT)


def test_every_load_renews_the_keys_life(lake: Lake, run_job: RunJob, redis_url: str) -> None:
    publish_day(lake)
    run_job("materialize")
    client = redis.Redis.from_url(redis_url)
    key = entity_key("fti", "card_id", "card-1")
    client.expire(key, 60)
    run_job("materialize", DAY, "--force")
    assert client.ttl(key) > 90 * 86_400


def test_stock_feast_is_one_setting_away(
    lake: Lake, run_job: RunJob, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where stock is exact: integers beside nulls pass through doubles there."""
    publish_day(lake, cnt_1d=5, max_30d=7)
    client = redis.Redis.from_url(redis_url)
    hashes = []
    for loader in ("fast", "stock"):
        monkeypatch.setenv("ONLINE_LOADER", loader)
        client.flushall()
        ended = run_job("materialize")
        assert (ended.code, '"loaded": 13' in ended.log) == (0, True), ended.log
        assert run_job("verify").code == 0
        hashes.append({key: client.hgetall(key) for key in client.scan_iter(_type="hash")})
        assert "WARNING" not in ended.log
    assert hashes[0] == hashes[1]


def test_a_missing_partition_is_named(lake: Lake, run_job: RunJob, redis_url: str) -> None:
    publish_day(lake)
    lake.retract(ACCOUNT_DAILY.dataset, event_partition(DAY))
    ended = run_job("materialize")
    assert ended.code == 2
    assert f"Missing partition {ACCOUNT_DAILY.dataset}/event_date={DAY}" in ended.log
    assert redis.Redis.from_url(redis_url).dbsize() == 0


def test_a_job_that_is_killed_in_the_middle_leaves_no_marker_and_a_rerun_is_right(
    lake: Lake, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_day(lake, cnt_1d=1)
    run_job("materialize")
    publish_day(lake, cnt_1d=2)
    with monkeypatch.context() as patch:

        def killed(*_: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr("jobs.materialize.job._remove_vanished", killed)
        assert run_job("materialize").code == 130
    assert run_job("verify").code == 2
    assert run_job("materialize").code == 0
    assert run_job("verify").code == 0


def test_silver_that_changes_while_it_is_loaded_fails_the_job(
    lake: Lake, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_day(lake, cnt_1d=1)
    with monkeypatch.context() as patch:
        patch.setattr("jobs.materialize.job._compare_sample", lambda *_: publish_day(lake, cnt_1d=2))
        ended = run_job("materialize")
    assert (ended.code, "published anew" in ended.log) == (1, True)
    assert run_job("materialize").code == 0


def test_a_lost_key_fails_the_job(lake: Lake, run_job: RunJob, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_day(lake)
    load = RedisUrlOnlineStore.load

    def without_one(layout: Any, batches: Any) -> Any:
        for batch in batches:
            yield batch.filter(pc.field("card_id") != "card-1") if layout.view == CARD_LAST_STATE.name else batch

    def lose_one(self: Any, config: Any, loads: Any, whole: bool) -> Any:
        return load(self, config, [(layout, without_one(layout, batches)) for layout, batches in loads], whole)

    monkeypatch.setattr(RedisUrlOnlineStore, "load", lose_one)
    ended = run_job("materialize")
    assert ended.code == 1
    assert "card_last_state has 2 keys online and 3 rows in silver" in ended.log


def test_a_registry_that_cannot_be_used_is_a_wrong_call(
    lake: Lake, run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_day(lake)
    (tmp_path / "registry.db").write_bytes(b"this is no SQLite file, and long enough to say so" * 9)
    monkeypatch.setenv("FEAST_REGISTRY_URL", f"sqlite:///{tmp_path}/registry.db")
    ended = run_job("materialize")
    assert ended.code == 2
    assert "Cannot use the Feast registry" in ended.log
    assert "Traceback" not in ended.log


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the registry that the jobs of a test use."""
    file = tmp_path / "registry" / "registry.db"
    monkeypatch.setenv("FEAST_REGISTRY_URL", f"sqlite:///{file}")
    return file


def test_a_registry_that_cannot_be_used_costs_no_good_state(lake: Lake, run_job: RunJob, registry: Path) -> None:
    publish_day(lake, cnt_1d=1)
    run_job("materialize")
    good = registry.with_name("good.db")
    shutil.copy(registry, good)
    registry.write_bytes(b"this is no SQLite file, and long enough to say so" * 9)
    assert run_job("materialize", DAY, "--force").code == 2
    shutil.copy(good, registry)
    assert run_job("verify").code == 0


@pytest.mark.parametrize("looked_at", [False, True], ids=["lost", "lost and looked for"])
def test_a_lost_registry_is_applied_again(lake: Lake, run_job: RunJob, registry: Path, looked_at: bool) -> None:
    publish_day(lake)
    run_job("materialize")
    registry.unlink()
    if looked_at:  # Feast makes an empty one
        ended = run_job("verify")
        assert (ended.code, "Traceback" in ended.log) == (2, False)
        assert f"registry sqlite:///{registry} does not hold the views" in ended.log
        assert "run materialize --force" in ended.log
    assert '"loaded": 13' in run_job("materialize").log
    assert run_job("verify").code == 0
    assert '"unchanged"' in run_job("materialize").log


def test_changed_products_are_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = job.loader_version()
    (tmp_path / "common").mkdir()
    products = tmp_path / "common" / "products.py"
    shutil.copy(version.JOBS / "common" / "products.py", products)
    monkeypatch.setattr(job, "JOBS", tmp_path)
    assert job.loader_version() == before
    products.write_text(products.read_text(encoding="utf-8").replace("timedelta(days=2)", "timedelta(days=3)"))
    assert job.loader_version() != before
