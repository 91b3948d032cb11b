"""T2 to T10 and T13: the traffic looks like card traffic. Targets are the published and configured bands."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from jobs.common.formulas import haversine_km
from jobs.generate import places
from jobs.generate.behaviour import SESSION_MEAN, hour_weights
from jobs.generate.categories import BY_PHONE, CASH, CATEGORIES, MU, ONLINE, SHARE, SIGMA
from jobs.generate.events import DECLINED_SHARE
from jobs.generate.parameters import day_number
from jobs.generate.world import FOREIGN_SHOPPING, MAX_ACTIVITY, RECURRING_SHARE, SPENDING_SIGMA, cards, whereabouts
from tests.generate.conftest import LandedWorld


@pytest.fixture(scope="module")
def everyday(world: LandedWorld) -> pl.DataFrame:
    """What people chose to buy when they chose to: no subscriptions."""
    return world.legit.filter(pl.col("channel") != "recurring")


def test_t2_hour_of_week_follows_the_configured_curve(world: LandedWorld, everyday: pl.DataFrame) -> None:
    offset = (everyday["local"].dt.replace_time_zone("UTC") - everyday["time"]).dt.total_minutes().to_numpy()
    cell = ((everyday["local"].dt.weekday().cast(pl.Int64) - 1) * 24 + everyday["local"].dt.hour()).to_numpy()
    observed, expected = np.zeros(168), np.zeros(168)
    for minutes in (0, 60, 120):
        country = int(np.flatnonzero(places.utc_offsets(day_number(world.days[0]))[:, 0] == minutes)[0])
        curve = np.zeros(168)
        for day in world.days:
            local = np.arange(24) + minutes // 60
            np.add.at(
                curve, (day.weekday() + local // 24) % 7 * 24 + local % 24, hour_weights(day_number(day))[country]
            )
        observed += np.bincount(cell[offset == minutes], minlength=168)
        expected += (offset == minutes).sum() * curve / curve.sum()
    # Purchases of one session share an hour: counts vary by E[L²]/E[L] more than independent ones would.
    design_effect = 2 * SESSION_MEAN - 1
    chi2 = ((observed - expected) ** 2 / expected).sum() / design_effect
    assert stats.chi2.sf(chi2, 167) > 0.001


def test_t2_nights_are_quiet_and_weekdays_differ(world: LandedWorld) -> None:
    hours = np.bincount(world.legit["local"].dt.hour().to_numpy(), minlength=24)
    days = np.bincount(world.legit["local"].dt.weekday().to_numpy(), minlength=8)[1:]
    assert 15 <= hours.max() / hours.min() <= 40
    assert 0.03 <= hours[:6].sum() / hours.sum() <= 0.06
    assert 1.2 <= days.max() / days.min() <= 1.5


@pytest.mark.parametrize(
    "index", [i for i, c in enumerate(CATEGORIES) if i != CASH and c.share >= 0.02], ids=lambda i: CATEGORIES[i].name
)
def test_t3_amounts_of_a_category_are_log_normal(everyday: pl.DataFrame, index: int) -> None:
    amounts = np.log(everyday.filter(pl.col("mcc") == CATEGORIES[index].mcc)["amount"].to_numpy())
    sigma = np.hypot(SIGMA[index], SPENDING_SIGMA)
    distance = stats.kstest(amounts, stats.norm(MU[index], sigma).cdf).statistic
    # 0.03 is what rounding to .00, .50, .95 and .99 may move; the rest is sampling, few busy cards counting most.
    assert distance < 0.03 + 1.63 / np.sqrt(len(amounts) / 4)


def test_t3_category_explains_a_quarter_to_half_of_log_amount(world: LandedWorld) -> None:
    logs = world.transactions.select("mcc", "card_id", log=pl.col("amount").log())
    total = logs["log"].var()
    by_category = logs.select(pl.col("log").mean().over("mcc")).to_series().var()
    assert 0.25 <= by_category / total <= 0.5
    amounts = world.transactions["amount"]
    assert 15 <= amounts.median() <= 35
    assert 35 <= amounts.mean() <= 60
    assert 300 <= amounts.quantile(0.99) <= 800


def test_t4_merchants_follow_zipf(world: LandedWorld) -> None:
    counts = np.sort(world.transactions["merchant_id"].value_counts()["count"].to_numpy())[::-1]
    rank = np.arange(1, len(counts) + 1)
    used = (rank >= 5) & (rank <= len(counts) // 5)
    exponent = -np.polyfit(np.log(rank[used]), np.log(counts[used]), 1)[0]
    assert 0.8 <= exponent <= 1.2
    assert 0.25 <= counts[: len(counts) // 100].sum() / counts.sum() <= 0.5


def test_t5_people_return_to_their_merchants(world: LandedWorld) -> None:
    pairs = world.transactions.select("card_id", "merchant_id")
    assert 0.55 <= 1 - pairs.unique().height / pairs.height <= 0.80


def test_t6_purchases_come_in_bursts(world: LandedWorld) -> None:
    gaps = world.transactions.select(
        "card_id", gap=pl.col("time").diff().over("card_id").dt.total_seconds(fractional=True)
    )
    by_card = gaps.drop_nulls().group_by("card_id").agg(mean=pl.col("gap").mean(), sd=pl.col("gap").std(), n=pl.len())
    by_card = by_card.filter(pl.col("n") > 20)
    burstiness = ((by_card["sd"] - by_card["mean"]) / (by_card["sd"] + by_card["mean"])).median()
    assert 0.1 <= burstiness <= 0.4
    assert 0.05 <= (gaps["gap"].drop_nulls() < 600).mean() <= 0.20


def test_t7_cards_differ_in_activity_within_the_cap(world: LandedWorld) -> None:
    counts = world.legit["card_id"].value_counts()["count"].to_numpy()
    mean = world.parameters.rate * len(world.days)
    cap = MAX_ACTIVITY * mean
    assert 0.8 <= counts.std() / counts.mean() <= 1.3
    assert 0.3 <= counts.mean() / len(world.days) <= 1.5
    assert counts.max() <= cap + 5 * np.sqrt(3 * cap)


def test_t8_attributes_that_should_be_independent_are(everyday: pl.DataFrame) -> None:
    here = everyday.filter("card_present").with_columns(
        date=pl.col("time").dt.date(),
        weekday=pl.col("local").dt.weekday(),
        hour=pl.col("local").dt.hour(),
        minute=pl.col("local").dt.minute() // 5,
        amount_band=pl.col("amount").rank().mul(10).floordiv(pl.len() + 1),
    )
    names = ("date", "mcc", "merchant_country", "minute", "declined")
    pairs = [
        *combinations(names, 2),
        ("weekday", "mcc"),
        ("hour", "mcc"),
        ("date", "amount_band"),
        ("hour", "amount_band"),
        ("merchant_country", "amount_band"),
    ]
    found = {pair: mutual_information(here, *pair) for pair in pairs}
    assert {pair: bits for pair, bits in found.items() if bits >= 0.05} == {}


def mutual_information(frame: pl.DataFrame, one: str, other: str) -> float:
    """Bits, less the bias of the plug-in estimate."""
    joint = (
        frame.group_by(one, other)
        .len()
        .pivot(other, index=one, values="len")
        .fill_null(0)
        .drop(one)
        .to_numpy()
        .astype(float)
    )
    share = joint / joint.sum()
    product = share.sum(1, keepdims=True) * share.sum(0, keepdims=True)
    bits = (share[share > 0] * np.log2(share[share > 0] / product[share > 0])).sum()
    bias = (joint.shape[0] - 1) * (joint.shape[1] - 1) / (2 * joint.sum() * np.log(2))
    return float(bits - bias)


def test_t9_no_cardholder_outruns_an_airliner(world: LandedWorld) -> None:
    present = world.legit.filter("card_present").with_columns(
        pl.col("latitude", "longitude", "time").shift(1).over("card_id").name.prefix("last_")
    ).drop_nulls("last_time")  # fmt: skip
    km = haversine_km(
        *(present[name].to_numpy() for name in ("last_latitude", "last_longitude", "latitude", "longitude"))
    )
    hours = (present["time"] - present["last_time"]).dt.total_microseconds().to_numpy() / 3.6e9
    speed = km / hours.clip(min=1e-6)
    assert (speed > 900).mean() < 0.001


def test_the_worlds_distances_are_those_of_the_features() -> None:
    here, there = np.divmod(np.arange(places.CITIES**2), places.CITIES)
    expected = haversine_km(
        places.LATITUDE[here], places.LONGITUDE[here], places.LATITUDE[there], places.LONGITUDE[there]
    )
    assert (places.DISTANCE.ravel() == expected).all()


def test_t10_shares_of_remote_foreign_and_declined_payments(world: LandedWorld) -> None:
    share = SHARE / SHARE.sum()
    remote = RECURRING_SHARE + (1 - RECURRING_SHARE) * (share * (ONLINE + (1 - ONLINE) * BY_PHONE)).sum()
    web = RECURRING_SHARE + (1 - RECURRING_SHARE) * (share * ONLINE).sum()
    facts = cards(world.parameters.seed, np.arange(world.parameters.cards))
    abroad = np.mean([
        (places.CITY_COUNTRY[whereabouts(world.parameters.seed, facts.slot, facts.city, day_number(day)).after] != facts.country).mean()
        for day in world.days
    ])  # fmt: skip
    legit = world.legit.join(world.cards.unique("card_id").select("card_id", "issuer_country"), on="card_id")
    assert 0.20 <= (~legit["card_present"]).mean() <= 0.35
    assert (~legit["card_present"]).mean() == pytest.approx(remote, abs=0.02)
    assert (legit["merchant_country"] != legit["issuer_country"]).mean() == pytest.approx(
        web * FOREIGN_SHOPPING + (1 - web) * abroad, abs=0.02
    )
    assert legit["declined"].mean() == pytest.approx(DECLINED_SHARE, abs=0.005)


def test_t13_prices_keep_benfords_law_and_shopkeepers_endings(world: LandedWorld) -> None:
    amounts = world.transactions["amount"].to_numpy()
    leading = (amounts / 10 ** np.floor(np.log10(amounts))).astype(int)
    found = np.bincount(leading, minlength=10)[1:10] / len(leading)
    assert np.abs(found - np.log10(1 + 1 / np.arange(1, 10))).mean() < 0.012
    endings = world.transactions["cents"].to_numpy() % 100
    assert 0.25 <= np.isin(endings, [0, 50, 95, 99]).mean() <= 0.45


def test_local_clocks_change_to_summer_time() -> None:
    from datetime import date

    germany, greece = places.COUNTRIES.index("DE"), places.COUNTRIES.index("GR")
    change = places.utc_offsets(day_number(date(2026, 3, 29)))
    assert list(change[germany]) == [60] + [120] * 23
    assert list(change[greece]) == [120] + [180] * 23
