"""T11 and T12: fraud at its declared rate, reported late or never, told neither by a field nor perfectly."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, roc_auc_score

from jobs.common.contract import CHARGEBACKS
from jobs.generate import fraud, places
from jobs.generate.day import World, batches
from jobs.generate.events import concat
from jobs.generate.fraud import LONGEST_EPISODE_DAYS, REPORT_CAP_DAYS, SCENARIOS
from jobs.generate.parameters import DAYS_BETWEEN_FRAUDS, Parameters
from tests.generate.conftest import LandedWorld, land
from tests.generate.reading import check


@pytest.mark.parametrize(("cards", "days"), [(2_000, 80), (10_000, 20), (80_000, 4)])
def test_t11_fraud_share_does_not_depend_on_the_number_of_cards(cards: int, days: int) -> None:
    parameters = Parameters(cards=cards, rows_per_file=10_000_000)
    world = World.until(parameters, 400 + days)
    events = concat(
        [
            batch
            for day in range(400, 400 + days)
            for blocks in batches(world.parameters)
            for batch in world.landed(day, blocks)
        ]
    )
    unique = (events.copy == 0) & (events.defect < 0)
    share = (events.scenario[unique] >= 0).mean()
    assert share == pytest.approx(parameters.fraud_rate, rel=0.10)


@pytest.mark.parametrize("cards", [1_000, 30_000, 3_000_000])
def test_t11_scenarios_keep_their_shares(cards: int) -> None:
    plan = fraud.plan(Parameters(cards=cards), 20 if cards > 1_000_000 else 500)
    sizes = np.bincount(plan.scenario, plan.size, minlength=len(SCENARIOS))
    slack = 12 / plan.size.sum()  # one episode more or less
    assert sizes / sizes.sum() == pytest.approx([s.share for s in SCENARIOS], rel=0.08, abs=slack)


def test_t11_every_scenario_lands(world: LandedWorld) -> None:
    seen = world.transactions.filter("is_fraud")["scenario"].value_counts()
    shares = {row[0]: row[1] / seen["count"].sum() for row in seen.iter_rows()}
    for scenario in SCENARIOS:
        assert shares[scenario.name] == pytest.approx(scenario.share, abs=0.05), scenario.name
    episodes = (
        world.transactions.filter("is_fraud").select("card_id").n_unique() / world.transactions["card_id"].n_unique()
    )
    assert 0.003 <= episodes * 90 / len(world.days) <= 0.04


def test_t11_reports_come_late_and_not_for_all() -> None:
    plan = fraud.plan(Parameters(cards=200_000), 200)
    reported = plan.take(plan.reported >= 0)
    share = reported.size.sum() / plan.size.sum()
    delay = (reported.reported - reported.last) / places.DAY_US
    assert 0.80 <= share <= 0.95
    assert delay.min() > 0
    assert delay.max() <= REPORT_CAP_DAYS + 1
    for index, scenario in enumerate(SCENARIOS):
        of_scenario = delay[reported.scenario == index] - 1 / 24
        assert np.median(of_scenario) == pytest.approx(scenario.delay, rel=0.25), scenario.name
        assert np.log(of_scenario).std() == pytest.approx(scenario.spread, abs=0.15), scenario.name


def test_a_longer_plan_begins_with_the_shorter_one() -> None:
    parameters = Parameters(cards=20_000)
    short, long = fraud.plan(parameters, 90), fraud.plan(parameters, 300)
    for name, values in vars(short).items():
        assert (getattr(long, name)[: len(values)] == values).all(), name


def test_episodes_are_short_and_victims_are_not_hit_twice_in_a_row() -> None:
    plan = fraud.plan(Parameters(cards=400, rate=5, fraud_rate=0.005), 600)
    assert ((plan.last - places.midnight(plan.day)) / places.DAY_US).max() <= LONGEST_EPISODE_DAYS
    order = np.lexsort((plan.day, plan.slot))
    same = np.diff(plan.slot[order]) == 0
    assert same.any()
    assert np.diff(plan.day[order])[same].min() >= DAYS_BETWEEN_FRAUDS - 1


@pytest.fixture(scope="module")
def half_a_year(tmp_path_factory: pytest.TempPathFactory) -> LandedWorld:
    """Long enough for reports to come in and cards to be blocked and reissued: from the epoch, so complete."""
    parameters = Parameters(cards=250, fraud_rate=0.02, duplicate_rate=0, malformed_rate=0)
    start = date(2025, 1, 1)
    return land(tmp_path_factory.mktemp("half_a_year"), parameters, start, start + timedelta(days=130), snapshot=start)


def disputes(world: LandedWorld) -> pl.DataFrame:
    rows = [check(line, CHARGEBACKS) | {"day": day} for day, line in world.lines("chargebacks")]
    return pl.DataFrame(rows).with_columns(
        pl.col("reported_at").str.to_datetime("%Y-%m-%dT%H:%M:%S%.6fZ", time_zone="UTC")
    )


def test_chargebacks_name_approved_fraud_and_come_after_it(half_a_year: LandedWorld) -> None:
    found = disputes(half_a_year)
    joined = found.join(half_a_year.transactions, on="transaction_id", how="left")
    assert joined["is_fraud"].all()
    assert joined["is_fraud"].null_count() == 0
    assert not joined["declined"].any()
    assert (joined["reported_at"] > joined["time"]).all()
    assert (found["reported_at"].dt.date() == found["day"]).all()
    early = half_a_year.transactions.filter("is_fraud", ~pl.col("declined"), pl.col("day") < date(2025, 2, 15))
    told = early["transaction_id"].is_in(found["transaction_id"].to_list()).mean()
    assert 0.70 <= told <= 1.0  # some ten episodes, each whole


def test_a_reported_card_is_blocked_and_another_one_takes_its_place(half_a_year: LandedWorld) -> None:
    cards, tx = half_a_year.cards, half_a_year.transactions
    blocks = cards.filter(pl.col("status") == "blocked")
    reports = disputes(half_a_year)["reported_at"].unique()
    assert len(blocks) > 10
    assert reports.is_in(blocks["valid_from"].to_list()).all()
    used = tx.join(blocks.select("card_id", blocked_at="valid_from"), on="card_id")
    assert len(used) > 100
    assert (used["time"] < used["blocked_at"]).all()
    for block in blocks.filter(pl.col("valid_from") < pl.lit(date(2025, 5, 1))).iter_rows(named=True):
        new = cards.filter(
            pl.col("account_id") == block["account_id"],
            pl.col("status") == "active",
            pl.col("issued_at").is_between(block["valid_from"], block["valid_from"] + timedelta(days=5)),
        )
        assert len(new) >= 1
        assert block["card_id"] not in new["card_id"]


def test_a_snapshot_holds_what_the_feed_has_said_so_far(half_a_year: LandedWorld, tmp_path: Path) -> None:
    day = date(2025, 5, 5)
    snapshot = land(tmp_path, half_a_year.parameters, day, day + timedelta(days=1), snapshot=day).cards
    said = half_a_year.cards.filter(pl.col("day") <= day)
    rows = ["card_id", "valid_from", "status", "account_id", "issued_at", "expires_at"]
    assert snapshot.join(said, on=rows, how="anti").is_empty()
    latest = said.filter(pl.col("status") == "active").sort("issued_at").group_by("account_id").last()
    assert latest["card_id"].is_in(snapshot["card_id"].to_list()).all()


def test_impossible_travel_and_common_points_of_purchase_have_their_genuine_side(world: LandedWorld) -> None:
    episodes = world.transactions.filter(pl.col("episode_id").is_not_null())
    for scenario in ("counterfeit", "compromised_merchant"):
        ids = episodes.filter(pl.col("scenario") == scenario)["episode_id"].unique().to_list()
        genuine = episodes.filter(~pl.col("is_fraud"), pl.col("episode_id").is_in(ids))
        assert len(genuine) >= 3, scenario
    breached = episodes.filter(~pl.col("is_fraud"), pl.col("compromise_id").is_not_null())
    assert (breached.group_by("compromise_id").agg(pl.col("merchant_id").n_unique())["merchant_id"] == 1).all()
    fakes = episodes.filter((pl.col("scenario") == "counterfeit").any().over("episode_id")).sort("episode_id", "time")
    fakes = fakes.filter((~pl.col("is_fraud")).any().over("episode_id"))
    assert fakes.group_by("episode_id").agg(pl.col("merchant_country").n_unique())["merchant_country"].min() >= 2


def test_t12_no_raw_field_gives_fraud_away(world: LandedWorld) -> None:
    tx = world.transactions
    label = tx["is_fraud"].to_numpy()
    numbers = {
        "amount": tx["amount"], "mcc": tx["mcc"], "hour": tx["local"].dt.hour(), "weekday": tx["local"].dt.weekday(),
        "minute": tx["local"].dt.minute(), "latitude": tx["latitude"].fill_null(0), "longitude": tx["longitude"].fill_null(0),
        "ends_in": tx["cents"] % 100, "declined": tx["declined"], "card_present": tx["card_present"],
        "transaction_id": tx["transaction_id"].rank(), "card_id": tx["card_id"].rank(), "merchant_id": tx["merchant_id"].rank(),
    }  # fmt: skip
    kinds = {
        f"{name}={value}": tx[name] == value
        for name in ("mcc", "channel", "merchant_country")
        for value in tx[name].unique()
    }
    found = {name: roc_auc_score(label, values.to_numpy().astype(float)) for name, values in numbers.items()}
    for name, values in kinds.items():  # of a yes or no, the area is this
        found[name] = 0.5 + (values.to_numpy()[label].mean() - values.to_numpy()[~label].mean()) / 2
    telling = {name: auc for name, auc in found.items() if max(auc, 1 - auc) > 0.85}
    assert telling == {}


def test_t12_a_model_on_window_features_finds_fraud_but_not_all(world: LandedWorld) -> None:
    features = window_features(world.transactions)
    names = [name for name in features.columns if name not in ("is_fraud", "time")]
    train = features["time"].dt.date() < world.days[18]
    X, y = features.select(names).to_numpy().astype(float), features["is_fraud"].to_numpy()
    model = HistGradientBoostingClassifier(
        class_weight="balanced", l2_regularization=10, learning_rate=0.05, max_leaf_nodes=8, random_state=0
    )
    model.fit(X[train.to_numpy()], y[train.to_numpy()])
    score = model.predict_proba(X[~train.to_numpy()])[:, 1]
    y = y[~train.to_numpy()]
    assert 5 * y.mean() <= average_precision_score(y, score) < 0.95


def window_features(tx: pl.DataFrame) -> pl.DataFrame:
    """A few of the usual features, each over what came before the transaction."""
    tx = tx.sort("card_id", "time")
    before = {"index_column": "time", "group_by": "card_id", "closed": "left"}
    hour = tx.rolling(period="1h", **before).agg(n=pl.len(), small=(pl.col("amount") < 5).sum())
    day = tx.rolling(period="1d", **before).agg(
        n=pl.len(), spent=pl.col("amount").sum(), declined=pl.col("declined").sum()
    )
    home = pl.col("merchant_country").mode().first().over("card_id")
    return tx.select(
        "is_fraud", "time", "amount", "mcc", "card_present", "declined",
        hour=pl.col("local").dt.hour(),
        channel=pl.col("channel").cast(pl.Categorical).to_physical(),
        gap=pl.col("time").diff().over("card_id").dt.total_seconds(),
        new_merchant=pl.col("merchant_id").cum_count().over("card_id", "merchant_id") == 1,
        abroad=pl.col("merchant_country") != home,
        against_mean=pl.col("amount") / pl.col("amount").shift(1).rolling_mean(10, min_samples=1).over("card_id"),
        n_1h=hour["n"], small_1h=hour["small"], n_1d=day["n"], spent_1d=day["spent"], declined_1d=day["declined"],
    )  # fmt: skip
