"""Bronze → all six feature products by DuckDB: ``python -m tests.bench.peers.features_duckdb BRONZE OUT FIRST DAYS``.

The same columns of the same rows as the features job, by window functions: what a good SQL author would write. Every
window is ``[t - w, t)``; a midnight is a row of its own among a card's events.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

SPANS = {"10m": 600_000_000, "1h": 3_600_000_000, "1d": 86_400_000_000, "7d": 604_800_000_000, "30d": 2_592_000_000_000}
HISTORY = 90 * 86_400_000_000
DAY = 86_400_000_000


def main(bronze: str, out: str, first: str, days: str) -> None:
    db = duckdb.connect()
    db.execute("set timezone = 'UTC'; set preserve_insertion_order = false")
    Path(out).mkdir(parents=True)
    db.execute(f"set temp_directory = '{out}.tmp'")
    for statement in (*_prepare(bronze, first, int(days)), *_windows(), *_card_products(), *_others()):
        db.execute(statement)
    for product, key in (
        ("tx_features", "card_id, event_timestamp, transaction_id"),
        ("card_daily", "card_id"),
        ("card_last_state", "card_id"),
        ("account_daily", "account_id"),
        ("merchant_daily", "merchant_id"),
        ("mcc_daily", "mcc"),
    ):
        db.execute(
            f"copy (select * from {product} order by event_date, {key}) to '{out}/{product}' "
            "(format parquet, compression zstd, partition_by (event_date))"
        )


def _prepare(bronze: str, first: str, days: int) -> list[str]:
    def read(dataset: str) -> str:
        return f"read_parquet('{bronze}/{dataset}/*/*.parquet', hive_partitioning = true)"

    time_of_day = "(((t + utc_offset_minutes * 60000000) % 86400000000 + 86400000000) % 86400000000)"
    return [
        # Of lines that landed again on a later day, the first stands.
        f"""create temp table version as
            select card_id, account_id, issuer_country, epoch_us(issued_at) as issued_us, epoch_us(valid_from) as v,
              epoch_us(issued_at) // {DAY} as issued_day, epoch_us(expires_at) // {DAY} as expires_day
            from {read("cards")}
            qualify row_number() over (partition by card_id, valid_from order by ingest_date desc, source_file desc, source_line desc) = 1""",
        f"""create temp table tx as
            with raw as (
              select transaction_id, event_time, epoch_us(event_time) as t, card_id, account_id, merchant_id, mcc::bigint as mcc,
                amount_cents, channel, card_present, merchant_country, latitude, longitude,
                utc_offset_minutes::bigint as utc_offset_minutes, status, status = 'approved' as ok
              from {read("transactions")}
              qualify row_number() over (partition by transaction_id order by ingest_date) = 1
            )
            select raw.*, {time_of_day} as tod, 2 * pi() * {time_of_day} / 86400000000 as angle,
              coalesce(merchant_country <> issuer_country, false) as abroad, issued_day, expires_day
            from raw asof left join version on raw.card_id = version.card_id and raw.t >= version.v""",
        f"""create temp table reports as select transaction_id, reported_at from {read("chargebacks")}""",
        f"""create temp table day as
            select d, epoch_us(d::timestamp) + {DAY} as m from (select cast(range as date) as d from
              range(date '{first}', date '{first}' + interval {days} day, interval 1 day))""",
        # A card's midnights: those within the history after one of its approved events.
        f"""create temp table midnight as
            select distinct card_id, unnest(range(t // {DAY} * {DAY} + {DAY}, t // {DAY} * {DAY} + {HISTORY + DAY} + 1, {DAY})) as m, t
            from (select card_id, t // {DAY} * {DAY} as day_start, max(t) as t from tx where ok group by all)""",
        f"""create or replace temp table midnight as
            select distinct card_id, m, d as event_date from midnight join day using (m) where m > t and m - t <= {HISTORY}""",
    ]


def _windows() -> list[str]:
    shared = []
    for name in SPANS:
        shared.append(f"count(*) filter (ok) over w{name} as cnt_{name}")
        shared.append(f"coalesce(sum(amount_cents) filter (ok) over w{name}, 0)::bigint as amt_{name}")
    shared += [
        "avg(amount_cents) filter (ok) over w30d as avg_30d",
        "stddev_samp(amount_cents) filter (ok) over w30d as std_30d",
        "max(amount_cents) filter (ok) over w30d as max_30d",
        "count(*) filter (ok and not card_present) over w30d as cnp",
        "count(*) filter (ok and abroad) over w30d as foreign_",
        "count(*) filter (ok and tod < 6 * 3600000000) over w30d as night",
        "avg(sin(angle)) filter (ok) over w30d as s",
        "avg(cos(angle)) filter (ok) over w30d as c",
        "count(distinct merchant_id) filter (ok) over w7d as distinct_merchants_7d",
        "count(*) filter (ok and amount_cents < 500) over w1h as small_cnt_1h",
        "count(*) filter (not ok) over w1h as declines_1h",
        "count(*) filter (not ok) over w1d as declines_1d",
        "max(t) filter (ok) over history as last_time_us",
        # Of card-present events of one instant the one with the highest id is the last.
        "last_value(case when is_last_cp then {'t': t, 'latitude': latitude, 'longitude': longitude, 'country': merchant_country} end ignore nulls) over history as cp",
    ]
    frames = ", ".join(
        f"{'w' + name if name != 'history' else name} as (partition by card_id order by t range between {span} preceding and 1 preceding)"
        for name, span in {**SPANS, "history": HISTORY}.items()
    )
    return [
        f"""create temp table answer as
            with marked as (
              select *, ok and card_present and lead(t) over (partition by card_id, ok and card_present order by t, transaction_id) is distinct from t as is_last_cp
              from tx
            ), stream as (
              select * exclude (event_time), null::date as event_date from marked
              union all by name
              select card_id, m as t, event_date, null::boolean as ok, false as is_last_cp from midnight
            )
            select *, {", ".join(shared)},
            from stream window {frames}""",
        """create or replace temp table answer as
            select * exclude (s, c, cnp, foreign_, night),
              amt_1d / nullif(amt_30d / 30, 0) as spend_accel, cnp / nullif(cnt_30d, 0) as cnp_share_30d,
              foreign_ / nullif(cnt_30d, 0) as foreign_share_30d, night / nullif(cnt_30d, 0) as night_share_30d,
              case when sqrt(s * s + c * c) >= 1e-9 then sin(atan2(s, c)) end as hour_sin_mean_30d,
              case when sqrt(s * s + c * c) >= 1e-9 then cos(atan2(s, c)) end as hour_cos_mean_30d
            from answer""",
    ]


def _card_products() -> list[str]:
    long = (
        "cnt_1d, cnt_7d, cnt_30d, amt_1d, amt_7d, amt_30d, avg_30d, std_30d, max_30d, spend_accel, cnp_share_30d, "
        "foreign_share_30d, distinct_merchants_7d, night_share_30d"
    )
    km = (
        "2 * 6371 * asin(sqrt(pow(sin(radians(latitude - cp.latitude) / 2), 2) + "
        "cos(radians(cp.latitude)) * cos(radians(latitude)) * pow(sin(radians(longitude - cp.longitude) / 2), 2)))"
    )
    visits = f"""
        select transaction_id, count(*) filter (ok) over (
          partition by card_id, merchant_id order by t range between {HISTORY} preceding and 1 preceding) = 0 as is_new_merchant_90d
        from tx"""
    return [
        f"""create temp table tx_features as
            with visit as ({visits}), moved as (
              select *, case when card_present and cp is not null then (t - cp.t) / 1e6 end as gap,
                case when card_present and cp is not null then {km} end as km
              from answer where ok is not null
            )
            select transaction_id, make_timestamp(t)::timestamptz as event_timestamp, (t // {DAY} * {DAY} + {DAY}) as created_us,
              card_id, account_id, merchant_id, mcc, amount_cents, channel, card_present, merchant_country, latitude, longitude,
              utc_offset_minutes, status, (t - last_time_us) / 1e6 as secs_since_last, km as km_since_last_cp,
              km / (greatest(gap, 60) / 3600) as speed_kmh,
              case when gap is not null then merchant_country <> cp.country and gap < 7200 end as country_changed_2h,
              cnt_10m, cnt_1h, amt_10m, amt_1h, {long},
              case when std_30d > 0 then (amount_cents - avg_30d) / std_30d end as amt_z_30d, amount_cents / max_30d as amt_to_max_30d,
              is_new_merchant_90d, sin(angle) as hour_sin, cos(angle) as hour_cos,
              1 - cos(angle - atan2(hour_sin_mean_30d, hour_cos_mean_30d)) as hour_dev_30d,
              small_cnt_1h, declines_1h, declines_1d, expires_day - t // {DAY} as days_to_expiry, t // {DAY} - issued_day as card_age_days,
              make_timestamp(t)::date as event_date
            from moved join visit using (transaction_id)""",
        f"""create temp table card_daily as
            select card_id, make_timestamp(t)::timestamptz as event_timestamp, {long}, declines_1d, hour_sin_mean_30d, hour_cos_mean_30d, event_date
            from answer where ok is null""",
        # The newest events and declines of each card at its last event before a midnight, then as of that midnight.
        f"""create temp table recent as
            select card_id, t, list(t) over newest as times, list(amount_cents) over newest as amounts from tx where ok
            window newest as (partition by card_id order by t, transaction_id rows between 63 preceding and current row)
            qualify lead(t // {DAY}) over (partition by card_id order by t, transaction_id) is distinct from t // {DAY}""",
        f"""create temp table declined as
            select card_id, t, list(t) over (partition by card_id order by t rows between 31 preceding and current row) as times
            from tx where not ok
            qualify lead(t // {DAY}) over (partition by card_id order by t) is distinct from t // {DAY}""",
        # A visit is the card's last one at a merchant from itself to the next, on whose midnights it is in the state.
        f"""create temp table visits as
            with visit as (
              select card_id, merchant_id, t, transaction_id,
                coalesce(lead(t) over (partition by card_id, merchant_id order by t, transaction_id), t + {HISTORY}) as until
              from tx where ok
            ), on_day as (
              select card_id, merchant_id, t, transaction_id,
                unnest(range(t // {DAY} * {DAY} + {DAY}, least(until, t + {HISTORY}) + 1, {DAY})) as m
              from visit
            )
            select card_id, m, list(merchant_id order by t, transaction_id)[-256:] as merchant_ids,
              list(t order by t, transaction_id)[-256:] as merchant_time_us
            from on_day group by all""",
        f"""create temp table card_last_state as
            with moment as (select card_id, t, event_date, last_time_us, cp from answer where ok is null),
            with_recent as (select moment.*, r.times, r.amounts from moment asof join recent r on moment.card_id = r.card_id and moment.t > r.t),
            with_declined as (
              select a.*, d.times as declined from with_recent a asof left join declined d on a.card_id = d.card_id and a.t > d.t
            ), with_version as (
              select a.*, v.issued_day, v.expires_day from with_declined a asof left join version v on a.card_id = v.card_id and a.t >= v.v
            )
            select a.card_id, make_timestamp(a.t)::timestamptz as event_timestamp, last_time_us, cp.t as last_cp_time_us,
              cp.latitude as last_cp_latitude, cp.longitude as last_cp_longitude, cp.country as last_cp_country,
              list_filter(times, lambda x: x >= a.t - {HISTORY}) as recent_time_us,
              amounts[len(times) - len(list_filter(times, lambda x: x >= a.t - {HISTORY})) + 1:] as recent_amount_cents,
              coalesce(list_filter(declined, lambda x: x >= a.t - {HISTORY}), []) as declined_time_us,
              merchant_ids, merchant_time_us, issued_day, expires_day, event_date
            from with_version a left join visits on visits.card_id = a.card_id and visits.m = a.t""",
    ]


def _others() -> list[str]:
    by_key = """
        select distinct {key}, m, event_date from (
          select {key}, t // 86400000000 as on_day, max(t) as t from tx where ok group by all
        ), (select m, d as event_date from day) where t < m and m - t <= {history}"""
    accounts = by_key.format(key="account_id", history=HISTORY)
    merchants = by_key.format(key="merchant_id", history=HISTORY)
    return [
        f"""create temp table account_daily as
            with moment as ({accounts}), spent as (
              select account_id, t // {DAY} * {DAY} + {DAY} as m, count(*) as n from tx where ok group by all
            ), issued as (
              select account_id, m, count(distinct card_id) as n from version, day
              where issued_us >= m - 30 * {DAY} and issued_us < m and v <= m group by all
            )
            select account_id, make_timestamp(m)::timestamptz as event_timestamp, coalesce(spent.n, 0) as account_cnt_1d,
              coalesce(issued.n, 0) as account_new_cards_30d, event_date
            from moment left join spent using (account_id, m) left join issued using (account_id, m)""",
        # Hours with a transaction; the others are zeros of the 720, so sums are enough.
        f"""create temp table merchant_daily as
            with moment as ({merchants}), hourly as (
              select merchant_id, t // 3600000000 as hour, count(*) as n from tx where ok group by all
            ), daily as (
              select merchant_id, hour // 24 as on_day, sum(n)::bigint as s1, sum(n * n)::bigint as s2 from hourly group by all
            ), windowed as (
              select moment.merchant_id, moment.m, moment.event_date, coalesce(sum(d.s1), 0)::double as s1, coalesce(sum(d.s2), 0)::double as s2
              from moment left join daily d on d.merchant_id = moment.merchant_id and d.on_day >= moment.m // {DAY} - 30 and d.on_day < moment.m // {DAY}
              group by all
            ), first_report as (
              select transaction_id, min(epoch_us(reported_at)) as reported from reports group by all
            ), rated as (
              select o.merchant_id, day.m, count(*) as n, count(*) filter (reported < day.m) as cb
              from tx o left join first_report using (transaction_id)
              join day on o.t >= day.m - 37 * {DAY} and o.t < day.m - 7 * {DAY}
              where ok group by all
            )
            select w.merchant_id, make_timestamp(w.m)::timestamptz as event_timestamp, coalesce(h.n, 0) as merchant_cnt_1h,
              s1 / 720 as merchant_hourly_mean_30d, sqrt(greatest(s2 - s1 * s1 / 720, 0) / 719) as merchant_hourly_std_30d,
              case when s2 > 0 then (coalesce(h.n, 0) - s1 / 720) / sqrt(greatest(s2 - s1 * s1 / 720, 0) / 719) end as merchant_cnt_1h_z,
              (coalesce(cb, 0) + 1) / (coalesce(r.n, 0) + 200) as merchant_cb_rate_30d, event_date
            from windowed w left join hourly h on h.merchant_id = w.merchant_id and h.hour = w.m // 3600000000 - 1
            left join rated r on r.merchant_id = w.merchant_id and r.m = w.m""",
        f"""create temp table mcc_daily as
            with daily as (select mcc, t // {DAY} as on_day, count(*) as n, sum(amount_cents)::bigint as amount from tx where ok group by all)
            select mcc, make_timestamp(m)::timestamptz as event_timestamp, sum(n)::bigint as mcc_cnt_90d, sum(amount)::bigint as mcc_amt_90d,
              sum(amount) / sum(n) as mcc_avg_90d, d as event_date
            from day join daily on on_day >= m // {DAY} - 90 and on_day < m // {DAY} group by mcc, m, d""",
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
