"""The kernels without Spark: what may not change when the data change, and what must."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from jobs.common.digest import table_digest
from jobs.common.products import TX_FEATURES
from jobs.features.arrow import EPOCH, Targets, whole_keys
from jobs.features.card import CARD_VERSION, INPUT_SCHEMA, TRANSACTION, Cards, card_states, in_order, tx_features
from jobs.features.windows import Axis, Events, Ints, Maxima, Window, sample_std
from tests.features.bronze_lake import Row, awkward_cards, days_of

FIRST, LAST = date(2026, 2, 1), date(2026, 4, 2)
TARGETS = Targets(dict.fromkeys(days_of(FIRST, date(2026, 4, 3)), 0))
OF_THE_AMOUNT = {"amount_cents", "amt_z_30d", "amt_to_max_30d"}
"""The only columns of a row that its own amount may change."""


def kernel_rows(transactions: Sequence[Row], cards: Sequence[Row]) -> pa.Table:
    def us(time: datetime) -> int:
        return round((time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)

    rows = [
        {
            **{name: t[name] for name in INPUT_SCHEMA.names if name in t},
            "kind": TRANSACTION,
            "time_us": us(t["event_time"]),
            "order_key": t["transaction_id"],
            "country": t["merchant_country"],
        }
        for t in transactions
    ]
    rows += [
        {
            "card_id": c["card_id"],
            "kind": CARD_VERSION,
            "time_us": us(c["valid_from"]),
            "order_key": f"{i:06d}",
            "country": c["issuer_country"],
            "issued_day": (c["issued_at"].date() - EPOCH).days,
            "expires_day": (c["expires_at"].date() - EPOCH).days,
        }
        for i, c in enumerate(cards)
    ]
    return in_order(pa.Table.from_pylist(random.Random(4).sample(rows, len(rows)), INPUT_SCHEMA))


@pytest.fixture(scope="module")
def data() -> tuple[list[Row], list[Row]]:
    made = awkward_cards(FIRST, LAST)
    once = {row["transaction_id"]: row for rows in made.transactions.values() for row in rows}
    return list(once.values()), [row for rows in made.cards.values() for row in rows]


def training_rows(table: pa.Table) -> pa.Table:
    return tx_features(Cards(table, TARGETS), TARGETS.days)


def states(table: pa.Table, days: Ints = TARGETS.days) -> pa.Table:
    return card_states(Cards(table, TARGETS), days)


def features(transactions: Sequence[Row], cards: Sequence[Row]) -> dict[str, Row]:
    table = training_rows(kernel_rows(transactions, cards))
    return {row["transaction_id"]: row for row in table.to_pylist()}


def test_an_amount_changes_no_feature_of_its_own_transaction(data: tuple[list[Row], list[Row]]) -> None:
    transactions, cards = data
    before = features(transactions, cards)
    for changed in transactions[:: len(transactions) // 25]:
        others = [t if t is not changed else {**t, "amount_cents": 1_234_567} for t in transactions]
        after = features(others, cards)[changed["transaction_id"]]
        for name in set(after) - OF_THE_AMOUNT:
            assert after[name] == before[changed["transaction_id"]][name], name
        assert after["amount_cents"] == 1_234_567


def test_an_amount_changes_later_rows(data: tuple[list[Row], list[Row]]) -> None:
    """The counterpart: the test above would pass for features that look at nothing."""
    transactions, cards = data
    before = features(transactions, cards)
    after = features([{**t, "amount_cents": t["amount_cents"] + 1} for t in transactions], cards)
    assert sum(after[i]["amt_30d"] != before[i]["amt_30d"] for i in before) > len(before) / 2


def test_later_events_change_nothing_before_them(data: tuple[list[Row], list[Row]]) -> None:
    transactions, cards = data
    before = features(transactions, cards)
    times = sorted({t["event_time"] for t in transactions})
    for cut in times[:: len(times) // 10]:
        earlier = [t for t in transactions if t["event_time"] <= cut]  # ties of the cut stay: they are excluded anyway
        after = features(earlier, [c for c in cards if c["valid_from"] <= cut])
        assert after == {i: row for i, row in before.items() if row["event_timestamp"] <= cut}


def test_ties_do_not_see_each_other(data: tuple[list[Row], list[Row]]) -> None:
    transactions, cards = data
    before = features(transactions, cards)
    by_instant: dict[tuple[str, datetime], list[str]] = {}
    for t in transactions:
        by_instant.setdefault((t["card_id"], t["event_time"]), []).append(t["transaction_id"])
    tied = [ids for ids in by_instant.values() if len(ids) > 1]
    assert len(tied) > 20
    for ids in tied:
        for name in (
            "cnt_1h",
            "amt_1h",
            "cnt_30d",
            "max_30d",
            "secs_since_last",
            "distinct_merchants_7d",
            "declines_1h",
        ):
            assert len({before[i][name] for i in ids}) == 1, name


@pytest.mark.parametrize("rows", [1, 7, 500, 10**6])
def test_the_size_of_chunks_and_batches_does_not_matter(data: tuple[list[Row], list[Row]], rows: int) -> None:
    table = kernel_rows(*data)
    chunks = list(whole_keys(table.to_batches(max_chunksize=97), "card_id", rows))
    assert sum(c.num_rows for c in chunks) == table.num_rows
    owners = [set(c.column("card_id").to_pylist()) for c in chunks]
    assert sum(map(len, owners)) == len(set().union(*owners)), "a card was cut in two"
    order = [("card_id", "ascending"), ("event_timestamp", "ascending"), ("transaction_id", "ascending")]
    together = pa.concat_tables(map(training_rows, chunks)).sort_by(order)
    assert together.equals(training_rows(table).sort_by(order))
    of_chunks = table_digest(pa.concat_tables(map(states, chunks)).to_batches())
    assert of_chunks == table_digest(states(table).to_batches())


@pytest.mark.parametrize("at_once", [1, 7])
def test_how_many_days_are_made_together_does_not_matter(data: tuple[list[Row], list[Row]], at_once: int) -> None:
    cards = Cards(kernel_rows(*data), TARGETS)
    days = [TARGETS.days[i : i + at_once] for i in range(0, TARGETS.days.size, at_once)]
    for kernel in (tx_features, card_states):
        some = table_digest(batch for d in days for batch in kernel(cards, d).to_batches())
        assert some == table_digest(kernel(cards, TARGETS.days).to_batches())


def test_rows_are_ordered_as_arrow_orders_them(data: tuple[list[Row], list[Row]]) -> None:
    table = kernel_rows(*data)
    keys = [(name, "ascending") for name in ("card_id", "kind", "time_us", "order_key")]
    assert table.equals(table.sort_by(keys))


def test_amounts_too_large_for_64_bit_squares_are_still_exact() -> None:
    rows = [
        {**row, "amount_cents": 10**14 + i, "card_id": "c1", "status": "approved"}
        for i, row in enumerate(awkward_cards(LAST, LAST).transactions[LAST][:50])
    ]
    rows = list({row["event_time"]: row for row in rows}.values())
    last = max(features(rows, []).values(), key=lambda row: row["event_timestamp"])
    seen = [r["amount_cents"] for r in rows if r["event_time"] < last["event_timestamp"]]
    assert last["std_30d"] == pytest.approx(np.std([a - 10**14 for a in seen], ddof=1), rel=1e-12)
    assert last["amt_30d"] == sum(seen)


def test_a_chunk_without_transactions_or_without_approved_ones() -> None:
    data = awkward_cards(LAST, LAST)
    cards = [row for rows in data.cards.values() for row in rows]
    assert training_rows(kernel_rows([], cards)).num_rows == 0
    assert states(kernel_rows([], cards)).num_rows == 0
    declined = [{**row, "status": "declined"} for row in data.transactions[LAST]]
    table = training_rows(kernel_rows(declined, cards))
    assert table.num_rows == len(declined)
    assert set(table.column("cnt_30d").to_pylist()) == {0}
    assert table.column("secs_since_last").null_count == len(declined)
    assert max(table.column("declines_1d").to_pylist()) > 0
    assert states(kernel_rows(declined, cards)).num_rows == 0


def test_columns_are_those_of_the_catalogue(data: tuple[list[Row], list[Row]]) -> None:
    table = training_rows(kernel_rows(*data))
    assert [(f.name, f.type) for f in table.schema] == [(f.name, f.type) for f in TX_FEATURES.schema]
    for field in TX_FEATURES.schema:
        assert field.nullable or table.column(field.name).null_count == 0, field.name


def test_window_sums_and_maxima_against_loops() -> None:
    rng = np.random.default_rng(3)
    position = np.sort(rng.integers(0, 900, 400))
    query = np.sort(rng.integers(0, 1000, 300))
    values = rng.integers(-50, 50, 400)
    events = Events(position)
    for width in (0, 1, 17, 300, 1000):
        window = Window(events.before(query - width), events.before(query))
        inside = [values[(position >= q - width) & (position < q)] for q in query]
        assert window.count.tolist() == [v.size for v in inside]
        assert window.maximum(Maxima(values), -99).tolist() == [v.max() if v.size else -99 for v in inside]


def test_standard_deviation_of_near_equal_large_values() -> None:
    values = np.array([10**7] * 999 + [10**7 + 1])
    std = sample_std(np.array([1000]), np.array([values.sum()]), np.array([(values**2).sum()]))
    assert std[0] == pytest.approx(np.std(values - 10**7, ddof=1), rel=1e-14)


@pytest.mark.parametrize(
    ("seconds", "mean"),
    [
        ([0, 12 * 3600], None),
        ([0, 8 * 3600, 16 * 3600] * 9, None),
        ([0, 12 * 3600 + 1], 18 * 3600 + 0.5),
        ([0] * 500 + [12 * 3600] * 499, 0),
    ],
    ids=["two cancel", "many cancel", "two nearly cancel", "one more than cancel"],
)
def test_times_that_cancel_have_no_mean_hour(seconds: list[int], mean: float | None) -> None:
    data = awkward_cards(LAST, LAST)
    midnight = datetime(LAST.year, LAST.month, LAST.day, tzinfo=UTC)
    row = {**data.transactions[LAST][0], "card_id": "c1", "status": "approved", "utc_offset_minutes": 0}
    at = [midnight - timedelta(days=1 + i % 25) + timedelta(seconds=s) for i, s in enumerate(seconds)]
    rows = [{**row, "transaction_id": f"{i:03d}", "event_time": t} for i, t in enumerate([*at, midnight])]
    found = states(kernel_rows(rows[:-1], [])).to_pylist()[-1]
    deviation = features(rows, [])[rows[-1]["transaction_id"]]["hour_dev_30d"]
    if mean is None:
        assert (found["hour_sin_mean_30d"], found["hour_cos_mean_30d"], deviation) == (None, None, None)
    else:
        angle = 2 * np.pi * mean / 86_400
        expected = pytest.approx((np.sin(angle), np.cos(angle), 1 - np.cos(angle)), abs=1e-9)
        assert (found["hour_sin_mean_30d"], found["hour_cos_mean_30d"], deviation) == expected


def test_more_keys_than_an_axis_holds_are_refused() -> None:
    axis = Axis(0, 10**17, 10**13)
    axis.require_room(axis.keys)
    with pytest.raises(OverflowError, match="keys do not fit"):
        axis.require_room(axis.keys + 1)


def test_a_version_of_the_future_is_not_in_force_at_the_last_midnight(data: tuple[list[Row], list[Row]]) -> None:
    transactions, cards = data
    known = next(c for c in cards if c["card_id"] == transactions[0]["card_id"])
    midnight = datetime(LAST.year, LAST.month, LAST.day, tzinfo=UTC) + timedelta(days=1)
    mine = [{**t, "card_id": known["card_id"], "status": "approved"} for t in transactions[-5:]]

    def expires(valid_from: datetime) -> int:
        later = {**known, "valid_from": valid_from, "expires_at": known["expires_at"] + timedelta(days=5)}
        return int(states(kernel_rows(mine, [known, later])).column("expires_day")[-1].as_py())

    assert expires(midnight) == expires(midnight - timedelta(days=9)) == expires(midnight + timedelta(days=60)) + 5
