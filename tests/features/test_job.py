"""The features job over a lake: whatever the order of runs, silver is the same; killed and rerun, it is too."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

import jobs.features.job as job
from jobs.common.cli import JobContext
from jobs.common.errors import WrongCall
from jobs.common.lake import Lake
from jobs.common.products import PRODUCTS, Product
from jobs.common.settings import Settings
from tests.features.bronze_lake import Data, awkward_cards, days_of

FIRST, LAST = date(2026, 3, 27), date(2026, 3, 31)
END = LAST + timedelta(days=1)
SETTINGS = Settings(spark_master="local[2]")
MakeLake = Callable[[Data], Lake]


@pytest.fixture(scope="module")
def data() -> Data:
    return awkward_cards(FIRST, LAST, seed=5)


@pytest.fixture(scope="module")
def make_lake(tmp_path_factory: pytest.TempPathFactory) -> MakeLake:
    def make(data: Data) -> Lake:
        lake = Lake.open(tmp_path_factory.mktemp("lake").as_uri(), SETTINGS)
        data.write(lake, days_of(FIRST, END))
        return lake

    return make


def run(lake: Lake, start: date = FIRST, end: date = END, force: bool = False) -> dict[str, object]:
    return dict(job.run(JobContext(SETTINGS, lake, start, end, force)))


def digests(lake: Lake) -> dict[tuple[str, str], str]:
    return {(p.name, name): m.digest for p in PRODUCTS for name, m in lake.manifests(p.dataset).items()}


@pytest.fixture(scope="module")
def undisturbed(data: Data, make_lake: MakeLake) -> Lake:
    lake = make_lake(data)
    run(lake)
    return lake


def bytes_of(lake: Lake) -> dict[str, bytes]:
    return {lake.relative(f.path): Path(f.path).read_bytes() for f in lake.files("silver")}


def test_a_second_run_changes_nothing_and_says_so(undisturbed: Lake) -> None:
    before = bytes_of(undisturbed)
    assert run(undisturbed)["event_dates"] == 0
    assert bytes_of(undisturbed) == before
    assert run(undisturbed, force=True)["event_dates"] == len(days_of(FIRST, END))
    assert bytes_of(undisturbed) == before, "the same call must give the same bytes"


def test_day_by_day_in_any_order_equals_one_range(data: Data, make_lake: MakeLake, undisturbed: Lake) -> None:
    lake = make_lake(data)
    days = days_of(FIRST, END)
    random.Random(1).shuffle(days)
    assert days != sorted(days)
    for day in days:
        run(lake, day, day + timedelta(days=1))
    assert digests(lake) == digests(undisturbed)


def test_a_line_that_lands_after_its_repeat_takes_an_earlier_date_back(
    data: Data, make_lake: MakeLake, tmp_path: Path
) -> None:
    """The repeat has an earlier time than anything of the day of which it is a repeat."""
    late_day = LAST - timedelta(days=1)
    moved = Data(cards=data.cards, chargebacks=data.chargebacks)
    for day, rows in data.transactions.items():
        moved.transactions[day] = [row for row in rows if row["event_time"].date() == day]
    ids = Counter(row["transaction_id"] for rows in moved.transactions.values() for row in rows)
    line = next(row for row in moved.transactions[late_day] if ids[row["transaction_id"]] == 1)
    moved.transactions[LAST].append({**line, "event_time": line["event_time"] - timedelta(days=1)})
    in_order, lake = make_lake(moved), Lake.open(tmp_path.as_uri(), SETTINGS)
    run(in_order)
    moved.write(lake, [day for day in days_of(FIRST, END) if day != late_day])
    run(lake, LAST, END)
    moved.write(lake, [late_day])
    run(lake)
    assert digests(lake) == digests(in_order)


def test_shuffled_bronze_rows_give_the_same_digests(data: Data, make_lake: MakeLake, undisturbed: Lake) -> None:
    shuffled = Data(cards=data.cards, chargebacks=data.chargebacks)
    for day, rows in data.transactions.items():
        shuffled.transactions[day] = random.Random(2).sample(rows, len(rows))
    lake = make_lake(shuffled)
    run(lake)
    assert digests(lake) == digests(undisturbed)


def test_a_late_row_recomputes_the_dates_it_touches_and_no_other(data: Data, make_lake: MakeLake) -> None:
    late_day = LAST - timedelta(days=1)
    on_time, with_late = (Data(cards=data.cards, chargebacks=data.chargebacks) for _ in range(2))
    for day, rows in data.transactions.items():
        on_time.transactions[day] = [row for row in rows if row["event_time"].date() == day]
        with_late.transactions[day] = [row for row in rows if row["event_time"].date() in (day, late_day)]
    lake = make_lake(on_time)
    run(lake)
    before = {name: m.inputs for name, m in lake.manifests("silver/features/tx_features").items()}
    with_late.write(lake, [LAST])
    assert run(lake, LAST, END)["event_dates"] == 2
    after = {name: m.inputs for name, m in lake.manifests("silver/features/tx_features").items()}
    assert {name for name in after if after[name] != before[name]} == {f"event_date={late_day}", f"event_date={LAST}"}
    assert lake.manifests("silver/features/tx_features")[f"event_date={late_day}"].rows > 0


def test_a_day_landed_anew_without_its_late_row_takes_the_row_back(data: Data, make_lake: MakeLake) -> None:
    on_time = Data(cards=data.cards, chargebacks=data.chargebacks)
    for day, rows in data.transactions.items():
        on_time.transactions[day] = [row for row in rows if row["event_time"].date() == day]
    lake = make_lake(data)
    run(lake)
    on_time.write(lake, days_of(FIRST, END))
    run(lake)
    fresh = make_lake(on_time)
    run(fresh)
    assert digests(lake) == digests(fresh)


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda p: p.name)
@pytest.mark.parametrize("moment", ["retracted", "moved"])
def test_a_repair_cut_short_at_any_product_is_planned_again(
    undisturbed: Lake, product: Product, moment: str, tmp_path: Path
) -> None:
    """Whatever publication was cut short, planning sees it; that computing mends it, the kills below show."""
    shutil.copytree(undisturbed.root, tmp_path / "lake")
    lake = Lake.open((tmp_path / "lake").as_uri(), SETTINGS)
    middle, last = (f"event_date={d}" for d in (FIRST + timedelta(days=1), LAST))
    lake.retract(job.VOUCHING.dataset, middle)  # what a publication does first
    if moment == "moved":
        lake.retract(product.dataset, middle)
    plan = job._plan(JobContext(SETTINGS, lake, LAST, END))
    assert [t.event_date for t in plan.targets] == [FIRST + timedelta(days=1)]
    assert lake.manifest(job.VOUCHING.dataset, last) is not None


def test_changed_code_computes_again(undisturbed: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "code_version", lambda *_: "another")
    context = JobContext(SETTINGS, undisturbed, FIRST, END)
    assert len(job._plan(context).targets) == len(days_of(FIRST, END))


def test_a_lake_of_one_card(data: Data, make_lake: MakeLake) -> None:
    """It has fewer cards than there are tasks to own them."""
    alone = Data()
    for every, own in ((data.transactions, alone.transactions), (data.cards, alone.cards)):
        for day, rows in every.items():
            own[day] = [row for row in rows if row["card_id"] == "c040"]
    lake = make_lake(alone)
    landed = len({row["transaction_id"] for rows in alone.transactions.values() for row in rows})
    assert run(lake)["rows_out"] == landed > 0


def test_a_missing_day_stops_before_anything_is_written(data: Data, make_lake: MakeLake) -> None:
    lake = make_lake(data)
    with pytest.raises(
        WrongCall, match="Missing partition bronze/transactions/ingest_date=2026-04-01: run the bronze job"
    ):
        run(lake, FIRST, END + timedelta(days=1))
    assert lake.files("silver") == []


KILLED = """
import os, runpy, signal, sys
from jobs.common.lake import Lake

publish, moment = Lake.publish, sys.argv.pop(1)

def publish_and_die(lake, manifest, staged):
    publish(lake, manifest, staged)
    if manifest.dataset == moment:
        os.killpg(0, signal.SIGKILL)

Lake.publish = publish_and_die
runpy.run_module("jobs.features", run_name="__main__", alter_sys=True)
"""
"""The job as a program that kills itself, with its Spark, once a partition of the first argument's dataset is there."""


@pytest.mark.parametrize("moment", ["silver/duplicates", "silver/features/card_daily"])
def test_killed_and_run_again_gives_the_same_digests(
    data: Data, make_lake: MakeLake, undisturbed: Lake, moment: str
) -> None:
    lake = make_lake(data)
    arguments = ["--lake", lake.uri, "--start", FIRST.isoformat(), "--end", END.isoformat()]
    command = [sys.executable, "-c", KILLED, moment, *arguments]
    done = subprocess.run(command, start_new_session=True, stderr=subprocess.DEVNULL, timeout=120)
    assert done.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    assert lake.partitions(moment)
    assert digests(lake) != digests(undisturbed)
    run(lake)
    assert digests(lake) == digests(undisturbed)
