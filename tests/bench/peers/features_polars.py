"""Bronze → all six feature products by Polars: ``python -m tests.bench.peers.features_polars BRONZE OUT FIRST DAYS``.

The same columns of the same rows as the features job and ``features_duckdb``, all of them as expressions. A rolling
expression for each of some thirty columns would go through all transactions and midnights each time. So the time lines of
all keys lie end to end in one sorted column, windows are looked up in it by ``join_asof``, once a row and span, and what is
added over a window is the difference of two cumulative sums, however much it holds. Only the maximum, which has no
difference, is a rolling expression. Rows are written day by day: the lists of all days are too much for memory.

Every window is ``[t - w, t)``. Times are µs since 1970, days are days since 1970.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from math import pi
from pathlib import Path

import polars as pl
import pyarrow as pa

from jobs.common.products import (
    ACCOUNT_DAILY,
    CARD_DAILY,
    CARD_LAST_STATE,
    MCC_DAILY,
    MERCHANT_DAILY,
    RECENT_DECLINES,
    RECENT_EVENTS,
    RECENT_MERCHANTS,
    TX_FEATURES,
    Product,
)

HOUR, DAY = 3_600_000_000, 86_400_000_000
EPOCH = date(1970, 1, 1)
SPANS = {"10m": 600_000_000, "1h": HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "37d": 37 * DAY, "90d": 90 * DAY}
HISTORY = SPANS["90d"]
CHARGEBACK_DAYS = (37, 7)
UNIT = 2.0**40
"""Sines and cosines are added as integers of this unit: exact to 12 digits, over millions of events a window."""
LONG = {
    "1d": ("cnt", "amt", "declined"),
    "7d": ("cnt", "amt"),
    "30d": ("cnt", "amt", "squares", "cnp", "foreign", "night", "sin", "cos"),
}
SHORT = {"10m": ("cnt", "amt"), "1h": ("cnt", "amt", "small", "declined")}
"""Span → what is added over it."""
TEXTS = ("card_id", "account_id", "merchant_id", "channel", "merchant_country", "status")


@dataclass(frozen=True)
class Run:
    """What one call computes. The time lines of all keys lie end to end on one axis, each after a gap of 90 days."""

    bronze: Path
    out: Path
    first: int  # day
    days: int

    @property
    def span(self) -> tuple[int, int]:
        """Times that matter, and the last midnight."""
        return self.first * DAY - HISTORY, (self.first + self.days) * DAY

    @property
    def line(self) -> int:
        """Room on the axis that one key takes."""
        return self.span[1] - self.span[0] + HISTORY + 2

    def place(self, key: pl.Expr, time: pl.Expr) -> pl.Expr:
        return key.cast(pl.Int64) * self.line + (time - self.span[0] + HISTORY)

    def midnights(self, keys: int) -> pl.DataFrame:
        """Every key's every midnight that ends a day, in order: key, day, axis."""
        all_keys = pl.LazyFrame({"key": pl.int_range(keys, dtype=pl.UInt32, eager=True)})
        days = pl.LazyFrame({"day": pl.int_range(self.first, self.first + self.days, dtype=pl.Int32, eager=True)})
        grid = all_keys.join(days, how="cross", maintain_order="left_right")
        axis = self.place(pl.col("key"), midnight_after(pl.col("day")))
        return grid.with_columns(axis=axis).collect().with_columns(pl.col("axis").set_sorted())

    def scan(self, dataset: str) -> pl.LazyFrame:
        return pl.scan_parquet(self.bronze / dataset / "*" / "*.parquet", hive_partitioning=True)

    def write(self, product: Product, day: int, rows: pl.DataFrame) -> None:
        """Rows of one day, in order."""
        midnight = pl.lit((day + 1) * DAY).cast(pl.Datetime("us", "UTC"))
        stamps = {name: midnight for name in ("created_timestamp", "event_timestamp") if name not in rows.columns}
        folder = self.out / product.name / f"event_date={EPOCH + timedelta(days=day)}"
        folder.mkdir(parents=True)
        made = rows.with_columns(**stamps).select(product.schema.names)
        # Polars' own level is 3: half as much time again, and files no smaller. The job's writer has 1, too.
        made.write_parquet(folder / "part.parquet", compression="zstd", compression_level=1)

    def write_days(self, product: Product, rows: pl.DataFrame) -> None:
        """Rows with their day."""
        for day, part in by_day(rows):
            self.write(product, day, part)


def main(bronze: str, out: str, first: str, days: str) -> None:
    run = Run(Path(bronze), Path(out), (date.fromisoformat(first) - EPOCH).days, int(days))
    tx = _transactions(run)
    versions = _versions(run)
    _write_accounts(run, tx, versions)
    _write_merchants(run, tx)
    _write_mccs(run, tx)
    _write_cards(run, tx, versions)


# -- bronze --------------------------------------------------------------------------------------------------


def _transactions(run: Run) -> pl.DataFrame:
    """Each transaction once, by card, time and id. Texts are Enums in their order, so that codes sort as they do."""
    time = pl.col("event_time").dt.epoch("us")
    rows = (
        run.scan("transactions")
        # The files come in the order of their days. Of lines that landed again on a later day the first stands.
        .unique("transaction_id", keep="first", maintain_order=True)
        .filter(time >= run.span[0], time < run.span[1])
        .select(
            "transaction_id",
            *(pl.col(c.name).cast(pl.Int64) if c.type == pa.int64() else c.name for c in TX_FEATURES.carried),
            t=time,
            day=(time // DAY).cast(pl.Int32),
            ok=pl.col("status") == "approved",
        )
        .collect()
    )
    rows = rows.with_columns(pl.col(name).cast(pl.Enum(rows[name].unique().sort())) for name in TEXTS)
    if len(ids(rows, "card_id")) * run.line >= 2**63:
        raise OverflowError("The time lines of so many cards do not fit into 64 bits.")
    rows = rows.with_columns(key=code("card_id"))
    return rows.with_columns(axis=run.place(pl.col("key"), pl.col("t"))).sort("axis", "transaction_id")


def _versions(run: Run) -> pl.DataFrame:
    """Card versions, by card and time: of those of one moment the last line stands."""
    last = run.scan("cards").sort("ingest_date", "source_file", "source_line")
    times = ("issued_at", "expires_at", "valid_from")
    return (
        last.unique(["card_id", "valid_from"], keep="last", maintain_order=True)
        .select("card_id", "account_id", "issuer_country", *(pl.col(name).dt.epoch("us") for name in times))
        .with_columns(issued_day=pl.col("issued_at") // DAY, expires_day=pl.col("expires_at") // DAY)
        .sort("card_id", "valid_from")
        .collect()
    )


# -- windows -------------------------------------------------------------------------------------------------


def before(events: pl.Series, queries: pl.Series) -> pl.Series:
    """How many of the sorted events lie before each of the sorted queries."""
    counted = events.alias("axis").to_frame().with_columns(before=pl.int_range(1, pl.len() + 1, dtype=pl.UInt32))
    found = queries.alias("axis").to_frame().join_asof(counted, on="axis", allow_exact_matches=False)
    return found["before"].fill_null(0)


def windows(events: pl.Series, queries: pl.Series, spans: Iterable[str]) -> pl.DataFrame:
    """For sorted places on the axis: of each query, the events before it (``to``), and before its windows (``from_…``)."""
    starts = {f"from_{span}": before(events, queries - SPANS[span]) for span in spans}
    return pl.DataFrame({"to": before(events, queries), **starts})


def cumulative(events: pl.DataFrame, **columns: pl.Expr) -> pl.DataFrame:
    """Row i holds the sums over the first i events. They may run over 64 bits: differences are right all the same."""
    sums = events.select(**columns).select(pl.all().cum_sum())
    return pl.concat([sums.clear(1).fill_null(0), sums], rechunk=True)


def over(sums: pl.DataFrame, rows: pl.DataFrame, wanted: Mapping[str, Iterable[str]]) -> pl.DataFrame:
    """``column_span`` for the wanted spans and columns: the sum over each row's window."""
    high, low = rows["to"], {span: rows[f"from_{span}"] for span in wanted}
    return sums.select(
        (pl.col(column).gather(high) - pl.col(column).gather(low[span])).cast(pl.Int64).alias(f"{column}_{span}")
        for span, columns in wanted.items()
        for column in columns
    )


def by_day(rows: pl.DataFrame) -> list[tuple[int, pl.DataFrame]]:
    parts = rows.partition_by("day", as_dict=True, include_key=False)
    return [(key[0], part) for key, part in parts.items()]


def ids(rows: pl.DataFrame, name: str) -> pl.Series:
    """The values of an Enum, in the order of their codes."""
    kind = rows.schema[name]
    assert isinstance(kind, pl.Enum)
    return pl.Series(name, kind.categories, kind)


def code(name: str) -> pl.Expr:
    return pl.col(name).to_physical().cast(pl.UInt32)


def midnight_after(day: pl.Expr) -> pl.Expr:
    return (day.cast(pl.Int64) + 1) * DAY


def ratio(top: pl.Expr, bottom: pl.Expr) -> pl.Expr:
    return pl.when(bottom != 0).then(top / bottom)


# -- cards ---------------------------------------------------------------------------------------------------


def _write_cards(run: Run, tx: pl.DataFrame, versions: pl.DataFrame) -> None:
    """``tx_features``, ``card_daily`` and ``card_last_state``."""
    cards = ids(tx, "card_id")
    versions = versions.with_columns(pl.col("card_id").cast(cards.dtype, strict=False)).filter(
        pl.col("card_id").is_not_null()
    )
    # A version from before the span is in force when it begins.
    valid_from = pl.col("valid_from").clip(run.span[0] - 1, run.span[1] + 1)
    versions = versions.with_columns(key=code("card_id"), axis=run.place(code("card_id"), valid_from))
    tx = tx.hstack([_version_at(versions, tx)]).with_columns(_time_of_day()).hstack(_visits(tx, ids(tx, "merchant_id")))
    sums = _card_sums(tx, versions)
    ends = _ends_of_visits(tx)
    midnights = run.midnights(len(cards))
    largest = _largest(tx, midnights)

    def found(rows: pl.DataFrame, spans: Iterable[str], is_tx: bool) -> pl.DataFrame:
        at = windows(tx["axis"], rows["axis"], [*spans, "90d"])
        visits_ended = before(ends, rows["axis"])
        return at.with_columns(
            largest.filter(pl.col("is_tx") == is_tx)["max_30d"],
            distinct_merchants_7d=sums["cnt"].gather(at["to"]).cast(pl.Int64) - visits_ended.cast(pl.Int64),
        )

    midnights = midnights.hstack([_version_at(versions, midnights)]).hstack(found(midnights, LONG, False)).drop("axis")
    active = sums["cnt"].gather(midnights["to"]) > sums["cnt"].gather(midnights["from_90d"])
    states = _States.of(tx, sums, versions)
    for day, rows in by_day(midnights.filter(active)):
        rows = rows.with_columns(cards.gather(rows["key"]))
        run.write(CARD_DAILY, day, _with_long_features(rows, sums, LONG))
        run.write(CARD_LAST_STATE, day, states.at(day, rows))
    del midnights, states
    for day, rows in by_day(tx.hstack(found(tx, SHORT | LONG, True))):
        rows = _with_long_features(rows, sums, SHORT | LONG)
        run.write(TX_FEATURES, day, _training_rows(day, rows, sums, tx, versions))


def _version_at(versions: pl.DataFrame, rows: pl.DataFrame) -> pl.Series:
    """Where the card's version in force at each row is in the versions, if there is one."""
    index = pl.int_range(pl.len(), dtype=pl.UInt32)
    found = rows.select("axis", "key").join_asof(versions.select("axis", of="key", version=index), on="axis")
    return found.select(pl.when(pl.col("of") == pl.col("key")).then("version").alias("version")).to_series()


def _time_of_day() -> list[pl.Expr]:
    local = (pl.col("t") + pl.col("utc_offset_minutes").cast(pl.Int64) * 60_000_000) % DAY
    angle = local * (2 * pi / DAY)
    return [(local < 6 * HOUR).alias("night"), angle.sin().alias("hour_sin"), angle.cos().alias("hour_cos")]


def _visits(tx: pl.DataFrame, merchants: pl.Series) -> pl.DataFrame:
    """Of each transaction: whether the merchant is new to the card, and when it is next visited."""
    pair = code("card_id").cast(pl.Int64) * len(merchants) + code("merchant_id")
    visits = tx.select("t", "ok", pair=pair, index=pl.int_range(pl.len(), dtype=pl.UInt32))
    visits = visits.sort("pair", maintain_order=True).lazy()
    t, pair = pl.col("t"), pl.col("pair")

    def earlier(column: pl.Expr) -> pl.Expr:
        return pl.when("ok").then(column).forward_fill().shift(1)

    def later(column: pl.Expr) -> pl.Expr:
        return pl.when("ok").then(column).backward_fill().shift(-1)

    seen = ((earlier(pair) == pair) & (t - earlier(t) <= HISTORY)).fill_null(False)
    # What the first of one instant has seen, all of it have.
    is_first = ((pair != pair.shift(1)) | (t != t.shift(1))).fill_null(True)
    visits = visits.select(
        "index",
        is_new_merchant_90d=pl.when(is_first).then(~seen).forward_fill(),
        next_visit=pl.when(later(pair) == pair).then(later(t)),
    )
    return visits.sort("index").drop("index").collect()


def _ends_of_visits(tx: pl.DataFrame) -> pl.Series:
    """Where visits end to stand for their merchant in a window of 7 days: 7 days on, or with the next one.

    The different merchants in such a window are the visits before its end less those that have ended before.
    """
    stays = pl.min_horizontal(pl.lit(SPANS["7d"]), pl.col("next_visit") - pl.col("t"))
    return tx.lazy().filter("ok").select(pl.col("axis") + stays).collect().to_series().sort()


def _card_sums(tx: pl.DataFrame, versions: pl.DataFrame) -> pl.DataFrame:
    """Cumulative sums over approved events (``declined`` over the others), and where the last of them is."""
    ok, amount = pl.col("ok"), pl.when("ok").then("amount_cents").otherwise(0)
    issuer = versions["issuer_country"].gather(tx["version"])
    index = pl.int_range(pl.len(), dtype=pl.UInt32)
    sums = cumulative(
        tx,
        cnt=ok,
        amt=amount,
        squares=amount * amount,
        small=ok & (pl.col("amount_cents") < 500),
        declined=~ok,
        cnp=ok & ~pl.col("card_present"),
        foreign=(ok & (pl.col("merchant_country").cast(pl.String) != issuer)).fill_null(False),
        night=ok & pl.col("night"),
        sin=pl.when("ok").then(pl.col("hour_sin") * UNIT).otherwise(0).round().cast(pl.Int64),
        cos=pl.when("ok").then(pl.col("hour_cos") * UNIT).otherwise(0).round().cast(pl.Int64),
    )
    last = tx.select(
        last=pl.when("ok").then(index).forward_fill(),
        last_cp=pl.when(ok & pl.col("card_present")).then(index).forward_fill(),
    )
    return sums.hstack(pl.concat([last.clear(1), last], rechunk=True))


def _largest(tx: pl.DataFrame, midnights: pl.DataFrame) -> pl.DataFrame:
    """``max_30d`` of all transactions and of all midnights: is_tx, max_30d."""
    events = tx.lazy().select("axis", amount=pl.when("ok").then("amount_cents"), is_tx=True)
    others = midnights.lazy().select("axis", amount=pl.lit(None, pl.Int64), is_tx=False)
    largest = pl.col("amount").rolling_max_by("axis", f"{SPANS['30d']}i", closed="left")
    return events.merge_sorted(others, "axis").select("is_tx", max_30d=largest).collect()


def _with_long_features(rows: pl.DataFrame, sums: pl.DataFrame, wanted: Mapping[str, Iterable[str]]) -> pl.DataFrame:
    """The rows with what is added over their windows, and what transactions and midnights share beyond it."""
    n, total, sin, cos = (pl.col(f"{name}_30d") for name in ("cnt", "amt", "sin", "cos"))
    # Around the rounded mean: sums of squares of large amounts would cancel.
    mean = (2 * total + n) // (2 * n)
    rest = total - n * mean
    squares = pl.col("squares_30d") - mean * total - mean * rest
    std = ((squares - rest.cast(pl.Float64) * rest / n) / (n - 1)).clip(0).sqrt()
    length = (sin.cast(pl.Float64) ** 2 + cos.cast(pl.Float64) ** 2).sqrt()
    length = pl.when(length >= 1e-9 * UNIT * n).then(length)  # else the times cancel
    names = {f"declined_{span}": f"declines_{span}" for span in ("1h", "1d") if span in wanted}
    return (
        rows.hstack(over(sums, rows, wanted))
        .rename(names)
        .with_columns(
            avg_30d=ratio(total, n),
            std_30d=pl.when(n > 1).then(std),
            spend_accel=ratio(pl.col("amt_1d"), total / 30),
            cnp_share_30d=ratio(pl.col("cnp_30d"), n),
            foreign_share_30d=ratio(pl.col("foreign_30d"), n),
            night_share_30d=ratio(pl.col("night_30d"), n),
            hour_sin_mean_30d=ratio(sin, length),
            hour_cos_mean_30d=ratio(cos, length),
        )
    )


def _last(rows: pl.DataFrame, sums: pl.DataFrame, which: str) -> pl.Series:
    """Where each row's last event of the 90 days before it is in the transactions, if there is one."""
    last = pl.DataFrame({"last": sums[which].gather(rows["to"]), "first": rows["from_90d"]})
    return last.select(pl.when(pl.col("last") >= pl.col("first")).then("last")).to_series()


def _training_rows(
    day: int, rows: pl.DataFrame, sums: pl.DataFrame, tx: pl.DataFrame, versions: pl.DataFrame
) -> pl.DataFrame:
    last, last_cp, version = _last(rows, sums, "last"), _last(rows, sums, "last_cp"), rows["version"]
    t, amount, km = pl.col("t"), pl.col("amount_cents"), pl.col("km_since_last_cp")
    cp = {f"cp_{name}": tx[name].gather(last_cp) for name in ("t", "latitude", "longitude", "merchant_country")}
    gap = pl.when("card_present").then((t - pl.col("cp_t")) / 1e6)
    dev = pl.col("hour_sin") * pl.col("hour_sin_mean_30d") + pl.col("hour_cos") * pl.col("hour_cos_mean_30d")
    return (
        rows.lazy()
        .with_columns(**cp)
        .with_columns(km_since_last_cp=pl.when("card_present").then(_haversine_km()), gap=gap)
        .with_columns(
            t.cast(pl.Datetime("us", "UTC")).alias("event_timestamp"),
            secs_since_last=(t - tx["t"].gather(last)) / 1e6,
            speed_kmh=km / (pl.col("gap").clip(60) / 3600),
            country_changed_2h=pl.when(pl.col("gap").is_not_null()).then(
                (pl.col("merchant_country") != pl.col("cp_merchant_country")) & (pl.col("gap") < 7200)
            ),
            amt_z_30d=ratio(amount - pl.col("avg_30d"), pl.col("std_30d")),
            amt_to_max_30d=amount / pl.col("max_30d"),
            hour_dev_30d=1 - dev,
            small_cnt_1h="small_1h",
            days_to_expiry=versions["expires_day"].gather(version) - day,
            card_age_days=day - versions["issued_day"].gather(version),
        )
        .collect()
    )


def _haversine_km() -> pl.Expr:
    to_phi, phi = pl.col("latitude").radians(), pl.col("cp_latitude").radians()
    half_dlambda = (pl.col("longitude") - pl.col("cp_longitude")).radians() / 2
    a = ((to_phi - phi) / 2).sin() ** 2 + phi.cos() * to_phi.cos() * half_dlambda.sin() ** 2
    return 2 * 6371 * a.sqrt().arcsin()


@dataclass(frozen=True)
class _States:
    """What the lists of ``card_last_state`` are made of, each entry with the midnights on which it is in its list.

    So a day's lists are the entries of that day, however many a card has had.
    """

    tx: pl.DataFrame
    sums: pl.DataFrame
    versions: pl.DataFrame
    events: pl.DataFrame
    declines: pl.DataFrame
    merchants: pl.DataFrame

    @classmethod
    def of(cls, tx: pl.DataFrame, sums: pl.DataFrame, versions: pl.DataFrame) -> _States:
        rows = tx.lazy().select("key", "t", "ok", "amount_cents", "merchant_id", "next_visit")
        approved, declined = rows.filter("ok"), rows.filter(~pl.col("ok"))
        return cls(
            tx,
            sums,
            versions,
            _entries(approved, _pushed_out(RECENT_EVENTS))
            .select("since", "until", "key", "t", "amount_cents")
            .collect(),
            _entries(declined, _pushed_out(RECENT_DECLINES)).select("since", "until", "key", "t").collect(),
            _entries(approved, pl.col("next_visit")).select("since", "until", "key", "t", "merchant_id").collect(),
        )

    def at(self, day: int, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of ``card_last_state`` for rows of one day."""
        last_cp, tx, versions = _last(rows, self.sums, "last_cp"), self.tx, self.versions
        t = pl.col("t")
        recent = _on(self.events, day, recent_time_us=t, recent_amount_cents=pl.col("amount_cents"))
        newest = {"merchant_ids": pl.col("merchant_id"), "merchant_time_us": t}
        merchants = _on(self.merchants, day, **{name: c.tail(RECENT_MERCHANTS) for name, c in newest.items()})
        declined = rows.select("key").join(_on(self.declines, day, times=t), "key", "left", maintain_order="left")
        # Cards of the day are those with an event in the 90 days before: the same in all of these.
        return rows.select(
            "card_id",
            last_time_us=tx["t"].gather(_last(rows, self.sums, "last")),
            last_cp_time_us=tx["t"].gather(last_cp),
            last_cp_latitude=tx["latitude"].gather(last_cp),
            last_cp_longitude=tx["longitude"].gather(last_cp),
            last_cp_country=tx["merchant_country"].gather(last_cp),
            declined_time_us=declined["times"].fill_null([]),
            issued_day=versions["issued_day"].gather(rows["version"]),
            expires_day=versions["expires_day"].gather(rows["version"]),
        ).hstack([*recent.drop("key"), *merchants.drop("key")])


def _pushed_out(places: int) -> pl.Expr:
    """When a list of so many places is full of the card's later events."""
    return pl.when(pl.col("key").shift(-places) == pl.col("key")).then(pl.col("t").shift(-places))


def _entries(rows: pl.LazyFrame, gone: pl.Expr) -> pl.LazyFrame:
    """Rows with the days at whose ends they are known: until they are gone, and 90 days at most."""
    until = pl.min_horizontal(gone, pl.col("t") + HISTORY) // DAY - 1
    return rows.with_columns(since=(pl.col("t") // DAY).cast(pl.Int32), until=until.cast(pl.Int32))


def _on(entries: pl.DataFrame, day: int, **lists: pl.Expr) -> pl.DataFrame:
    """Each card's lists at the end of a day, by card."""
    known = entries.filter(pl.col("since") <= day, pl.col("until") >= day).with_columns(pl.col("key").set_sorted())
    return known.group_by("key", maintain_order=True).agg(**lists)


# -- accounts, merchants, categories -------------------------------------------------------------------------


def _tiles(run: Run, tx: pl.DataFrame, key: pl.Expr, unit: int) -> pl.DataFrame:
    """Approved transactions by key and unit of time: key, axis, cnt, amt."""
    tiles = tx.lazy().filter("ok").group_by(key=key, unit=pl.col("t") // unit)
    tiles = tiles.agg(cnt=pl.len().cast(pl.Int64), amt=pl.col("amount_cents").sum())
    return (
        tiles.select("key", "cnt", "amt", axis=run.place(pl.col("key"), pl.col("unit") * unit)).sort("axis").collect()
    )


def _at_midnights(run: Run, tiles: pl.DataFrame, keys: int, spans: Mapping[str, Iterable[str]]) -> pl.DataFrame:
    """What is added over the tiles before each midnight, of the keys that have any within 90 days."""
    grid = run.midnights(keys)
    sums = cumulative(tiles, cnt=pl.col("cnt"), amt=pl.col("amt"), squares=pl.col("cnt") ** 2)
    found = windows(tiles["axis"], grid["axis"], spans)
    return grid.hstack(over(sums, found, spans)).filter(pl.col("cnt_90d") > 0)


def _write_accounts(run: Run, tx: pl.DataFrame, versions: pl.DataFrame) -> None:
    accounts = ids(tx, "account_id")
    rows = _at_midnights(run, _tiles(run, tx, code("account_id"), DAY), len(accounts), {"1d": ["cnt"], "90d": ["cnt"]})
    # A card is new on the days at whose ends it is known and issued less than 30 days ago.
    since = pl.max_horizontal(pl.col("issued_at") // DAY, -(-pl.col("valid_from") // DAY) - 1, pl.lit(run.first))
    until = pl.min_horizontal((pl.col("issued_at") + 30 * DAY) // DAY - 1, pl.lit(run.first + run.days - 1))
    new = (
        versions.lazy()
        .with_columns(pl.col("account_id").cast(accounts.dtype, strict=False), since=since, until=until)
        .filter(pl.col("account_id").is_not_null(), pl.col("since") <= pl.col("until"))
        .select("card_id", key=code("account_id"), day=pl.int_ranges("since", pl.col("until") + 1, dtype=pl.Int32))
        .explode("day")
        .group_by("key", "day")
        .agg(account_new_cards_30d=pl.col("card_id").n_unique())
    )
    rows = (
        rows.lazy()
        .join(new, ["key", "day"], "left", maintain_order="left")
        .select(
            "day",
            pl.lit(accounts).gather(pl.col("key")),
            pl.col("account_new_cards_30d").fill_null(0).cast(pl.Int64),
            account_cnt_1d="cnt_1d",
        )
    )
    run.write_days(ACCOUNT_DAILY, rows.collect())


def _write_merchants(run: Run, tx: pl.DataFrame) -> None:
    merchants = ids(tx, "merchant_id")
    spans = {"1h": ["cnt"], "7d": ["cnt"], "30d": ["cnt", "squares"], "37d": ["cnt"], "90d": ["cnt"]}
    rows = _at_midnights(run, _tiles(run, tx, code("merchant_id"), HOUR), len(merchants), spans)
    oldest, newest = CHARGEBACK_DAYS
    reports = (
        run.scan("chargebacks").group_by("transaction_id").agg(reported=pl.col("reported_at").min().dt.epoch("us"))
    )
    # On the days at whose ends the transaction is 7 to 37 days old and the report is there.
    since = pl.max_horizontal(pl.col("day") + newest, pl.col("reported") // DAY, pl.lit(run.first))
    until = pl.min_horizontal(pl.col("day") + oldest - 1, pl.lit(run.first + run.days - 1))
    charged_back = (
        tx.lazy()
        .filter("ok")
        .select("transaction_id", "day", key=code("merchant_id"))
        .join(reports, "transaction_id")
        .with_columns(since=since, until=until)
        .filter(pl.col("since") <= pl.col("until"))
        .select("key", day=pl.int_ranges("since", pl.col("until") + 1, dtype=pl.Int32))
        .explode("day")
        .group_by("key", "day")
        .agg(charged_back=pl.len())
    )
    total, mean, std = pl.col("cnt_30d"), pl.col("merchant_hourly_mean_30d"), pl.col("merchant_hourly_std_30d")
    variance = (720 * pl.col("squares_30d") - total * total) / (720 * 719)  # of the counts of 720 hours
    settled = pl.col("cnt_37d") - pl.col("cnt_7d")
    rows = (
        rows.lazy()
        .join(charged_back, ["key", "day"], "left", maintain_order="left")
        .with_columns(merchant_hourly_mean_30d=total / 720, merchant_hourly_std_30d=variance.sqrt())
        .select(
            "day",
            pl.lit(merchants).gather(pl.col("key")),
            "merchant_hourly_mean_30d",
            "merchant_hourly_std_30d",
            merchant_cnt_1h="cnt_1h",
            merchant_cnt_1h_z=ratio(pl.col("cnt_1h") - mean, std),
            merchant_cb_rate_30d=(pl.col("charged_back").fill_null(0) + 1) / (settled + 200),
        )
    )
    run.write_days(MERCHANT_DAILY, rows.collect())


def _write_mccs(run: Run, tx: pl.DataFrame) -> None:
    mccs = tx["mcc"].unique().sort()
    key = pl.lit(mccs).search_sorted(pl.col("mcc")).cast(pl.UInt32)
    rows = _at_midnights(run, _tiles(run, tx, key, DAY), len(mccs), {"90d": ["cnt", "amt"]})
    rows = rows.select(
        "day",
        mccs.gather(rows["key"]),
        mcc_cnt_90d="cnt_90d",
        mcc_amt_90d="amt_90d",
        mcc_avg_90d=pl.col("amt_90d") / pl.col("cnt_90d"),
    )
    run.write_days(MCC_DAILY, rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
