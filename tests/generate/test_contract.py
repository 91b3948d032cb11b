"""T14 and T15: what lands follows the landing contract, and the manifests count it exactly."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs.common.contract import CARDS, CHARGEBACKS, MERCHANTS, TRANSACTIONS
from jobs.common.lake import ingest_partition
from jobs.generate import mess
from jobs.generate.behaviour import block
from jobs.generate.chance import identifier
from jobs.generate.day import World, batches
from jobs.generate.events import CHANNELS, Events
from jobs.generate.lines import Form, sound_lines
from jobs.generate.mess import DEFECTS, DELAY_HOURS
from jobs.generate.parameters import Parameters
from jobs.generate.text import ACCOUNT, CARD, TRANSACTION, Names, merchant_texts
from jobs.generate.world import owners
from tests.generate.conftest import START, LandedWorld, land
from tests.generate.reading import WrongLine, check


def total(world: LandedWorld, name: str) -> int:
    return sum(manifest.counts[name] for manifest in world.manifests())


def test_lines_are_unique_duplicate_or_malformed(world: LandedWorld) -> None:
    unique = {row["transaction_id"] for _, row in world.sound}
    assert total(world, "lines") == len(world.verdicts)
    assert total(world, "malformed") == len(world.verdicts) - len(world.sound)
    # A copy that comes the day after the range's first line of it was landed before the range began.
    before = world.truth.filter(pl.col("copy") == "cross_day", pl.col("arrived_at").dt.date() == START).height
    assert total(world, "unique") == len(unique) - before
    duplicates = total(world, "duplicates_same_day") + total(world, "duplicates_cross_day")
    assert total(world, "lines") == total(world, "unique") + duplicates + total(world, "malformed")


def test_the_contract_rejects_exactly_the_lines_marked_malformed(world: LandedWorld) -> None:
    marked = world.truth["defect"].is_not_null().to_list()
    rejected = [row is None for _, row in world.verdicts]
    assert rejected == marked
    assert world.truth["defect"].n_unique() == len(DEFECTS)  # all but the one of CSV, and null


@pytest.mark.parametrize("form", ["csv", "csv.gz"])
def test_csv_follows_the_contract_and_breaks_it_in_every_way(tmp_path: Path, form: str) -> None:
    parameters = Parameters(cards=2000, format=form, malformed_rate=0.1)
    landed = land(tmp_path, parameters, START, START + timedelta(days=1), snapshot=START)
    seen = set()
    for dataset in (TRANSACTIONS, CARDS, MERCHANTS, CHARGEBACKS):
        for file in landed.lake.files(f"{dataset.landing}/{ingest_partition(START)}"):
            data = Path(file.path).read_bytes()
            header, *lines = (gzip.decompress(data) if form == "csv.gz" else data).decode().splitlines()
            assert sorted(header.split(",")) == sorted(column.name for column in dataset.columns)
            defects = landed.truth["defect"].to_list() if dataset is TRANSACTIONS else [None] * len(lines)
            for line, defect in zip(lines, defects, strict=True):
                if defect is None:
                    check(line, dataset, header.split(","))
                    continue
                seen.add(defect)
                with pytest.raises(WrongLine):
                    check(line, dataset, header.split(","))
    assert seen == set(DEFECTS)


@pytest.mark.parametrize("dataset", [CARDS, MERCHANTS, CHARGEBACKS], ids=lambda dataset: dataset.name)
def test_the_other_feeds_follow_the_contract(world: LandedWorld, dataset) -> None:  # type: ignore[no-untyped-def]
    rows = [check(line, dataset) for _, line in world.lines(dataset.name)]
    keys = {tuple(row[name] for name in dataset.key) for row in rows}
    assert rows
    assert len(keys) == len(rows)
    assert sum(manifest.rows for manifest in world.manifests(dataset.landing)) == len(rows)


def plain_lines(seed: int, events: Events, is_csv: bool) -> list[str]:
    """The sound lines of events, value by value in plain Python."""
    names = (
        identifier(seed, TRANSACTION, events.number),
        identifier(seed, CARD, events.slot << 16 | events.generation),
        identifier(seed, ACCOUNT, owners(seed, events.slot)[1]),
    )
    shops = [dict(row) for row in merchant_texts(seed).iter_rows(named=True)]
    lines = []
    for i, (transaction, card, account) in enumerate(zip(*(name.tolist() for name in names), strict=True)):
        clock = timezone(timedelta(minutes=int(events.offset[i])))
        shop, cents = shops[events.merchant[i]], int(events.cents[i])
        place = (shop["latitude"], shop["longitude"]) if events.card_present[i] else ("", "")
        row = {
            "transaction_id": f"{transaction:016x}",
            "event_time": (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(events.time[i])))
            .astimezone(clock)
            .isoformat(timespec="microseconds"),
            "card_id": f"c{card:016x}",
            "account_id": f"a{account:016x}",
            "amount": Raw(f"{cents // 100}.{cents % 100:02d}"),
            "currency": "EUR",
            "channel": CHANNELS[events.channel[i]],
            "card_present": Raw("true" if events.channel[i] <= 1 else "false"),
            "status": "declined" if events.declined[i] else "approved",
            "merchant_id": shop["merchant_id"],
            "mcc": Raw(shop["mcc"]),
            "merchant_country": shop["country"],
            "latitude": Raw(place[0]),
            "longitude": Raw(place[1]),
        }
        said = [f'"{k}":{v if isinstance(v, Raw) else json.dumps(v)}' for k, v in row.items() if v]
        lines.append((",".join(row.values()) if is_csv else "{" + ",".join(said) + "}") + "\n")
    return lines


class Raw(str):
    """A value that JSON has without quotes."""


@pytest.mark.parametrize("is_csv", [False, True])
def test_the_fast_way_to_a_line_is_the_plain_way(is_csv: bool) -> None:
    parameters = Parameters(cards=3000)
    (blocks,) = batches(parameters)
    (events,) = World.until(parameters, 370).landed(369, blocks)
    fast = sound_lines(parameters.seed, events, Names.of(parameters.seed, events), Form(is_csv))
    assert fast.to_pylist() == plain_lines(parameters.seed, events, is_csv)


def test_lines_stand_in_order_of_arrival(world: LandedWorld) -> None:
    times = {row["transaction_id"]: row["event_time"] for _, row in world.sound}
    truth = world.truth.filter(pl.col("defect").is_null())
    events = pl.Series([times[t] for t in truth["transaction_id"]]).str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.6f%:z", time_zone="UTC"
    )
    arrivals = truth["arrived_at"].fill_null(events)
    day = arrivals.dt.date()
    assert arrivals.is_sorted()
    assert day.n_unique() == len(world.days)


def test_late_events_arrive_in_the_declared_range_on_their_landing_day(world: LandedWorld) -> None:
    late = world.transactions.filter("late")
    hours = ((late["arrived_at"] - late["time"]).dt.total_microseconds() / 3.6e9).to_numpy()
    assert len(late) == total(world, "late")
    assert (late["arrived_at"].dt.date() == late["day"]).all()
    assert hours.min() >= DELAY_HOURS[0]
    assert hours.max() <= DELAY_HOURS[1]
    assert total(world, "late") / total(world, "unique") == pytest.approx(world.parameters.late_rate, rel=0.15)


def test_duplicates_repeat_a_line_of_the_day_or_of_the_day_before(world: LandedWorld) -> None:
    first: dict[str, tuple[date, dict[str, str]]] = {}
    copies = {"same_day": 0, "cross_day": 0}
    marks = world.truth.filter(pl.col("defect").is_null())["copy"].to_list()
    for (day, row), mark in zip(world.sound, marks, strict=True):
        if mark is None:
            assert row["transaction_id"] not in first
            first[row["transaction_id"]] = (day, row)
        elif day > START:
            copies[mark] += 1
            back = timedelta(days=1 if mark == "cross_day" else 0)
            assert first[row["transaction_id"]] == (day - back, row)
    share = sum(copies.values()) / total(world, "unique")
    assert share == pytest.approx(world.parameters.duplicate_rate, rel=0.2)
    assert copies["cross_day"] / sum(copies.values()) == pytest.approx(mess.NEXT_DAY_SHARE, abs=0.07)


def test_fraud_is_never_malformed(world: LandedWorld) -> None:
    assert not world.truth.filter(pl.col("defect").is_not_null())["is_fraud"].any()


def test_every_transaction_names_known_cards_accounts_and_merchants(world: LandedWorld) -> None:
    cards = world.cards.filter(pl.col("status") == "active").unique("card_id")
    merchants = {row["merchant_id"]: row for row in (check(line, MERCHANTS) for _, line in world.lines("merchants"))}
    joined = world.transactions.join(cards, on="card_id", how="left", suffix="_of_card")
    assert joined["account_id_of_card"].null_count() == 0
    assert (joined["account_id"] == joined["account_id_of_card"]).all()
    assert (joined["time"] >= joined["issued_at"]).all()
    assert (joined["time"] <= joined["expires_at"]).all()
    for row in world.transactions.sample(2000, seed=1).iter_rows(named=True):
        merchant = merchants[row["merchant_id"]]
        assert (int(merchant["mcc"]), merchant["country"]) == (row["mcc"], row["merchant_country"])
        if row["card_present"]:
            assert float(merchant["latitude"]) == row["latitude"]


def test_coordinates_stand_where_the_card_was_present_and_only_there(world: LandedWorld) -> None:
    tx = world.transactions
    assert (tx["latitude"].is_not_null() == tx["card_present"]).all()
    assert (tx["card_present"] == tx["channel"].is_in(["pos", "atm"])).all()
    assert (tx.filter(pl.col("mcc") == 6011)["channel"] == "atm").all()


def test_wallets_hold_one_to_four_cards_on_one_or_two_accounts() -> None:
    slots = np.arange(8000)
    customer, account = owners(7, slots)
    cards = np.unique(customer, return_counts=True)[1]
    accounts = np.unique(np.unique(np.stack([customer, account]), axis=1)[0], return_counts=True)[1]
    assert set(cards) == {1, 2, 3, 4}
    assert set(accounts) == {1, 2}
    assert len(block(Parameters(cards=8000), 0).facts.slot) == 8000
