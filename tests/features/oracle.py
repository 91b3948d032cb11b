"""The feature table once more, as plain SQL in DuckDB: joins of every row with every earlier row, no sliding windows.

Written from the reference page alone; it shares no code with the job.
"""

from __future__ import annotations

from datetime import date

import duckdb
import pyarrow as pa

from jobs.common.contract import CARDS, CHARGEBACKS, TRANSACTIONS
from tests.features.bronze_lake import SCHEMAS, Data

PREPARE = """
create table tx as
select * exclude (n, ingest_day, source_file, source_line, ingest_time), epoch_us(event_time) as t,
       cast(event_time at time zone 'UTC' as date) as day
from (select *, row_number() over (partition by transaction_id order by ingest_day) as n from landed) where n = 1;
create table ok as select * from tx where status = 'approved';
create table version as
select *, epoch_us(valid_from) as v, row_number() over (order by ingest_day, source_file, source_line) as seq from card_rows;
create macro angle(t, off) as 2 * pi() * (((t + off * 60000000::bigint) % 86400000000 + 86400000000) % 86400000000) / 86400000000;
create macro night(t, off) as (((t + off * 60000000::bigint) % 86400000000 + 86400000000) % 86400000000) < 6 * 3600000000::bigint;
create table issuer as  -- the issuer's country at the time of each approved transaction
select o.transaction_id, arg_max(v.issuer_country, (v.v, v.seq)) as issuer_country
from ok o join version v on v.card_id = o.card_id and v.v <= o.t group by 1;
"""

# Every query is a card and an instant; the same SQL serves a transaction and a midnight.
WINDOWED = """
with h as (
  select q.qid, q.t as qt, o.*, i.issuer_country
  from query q join ok o on o.card_id = q.card_id and o.t >= q.t - 90 * 86400000000 and o.t < q.t
  left join issuer i on i.transaction_id = o.transaction_id
), agg as (
  select qid,
    count(*) as cnt_90d,
    {short}
    avg(amount_cents) filter (t >= qt - 30 * 86400000000) as avg_30d,
    count(*) filter (t >= qt - 30 * 86400000000) as n, sum(amount_cents::hugeint) filter (t >= qt - 30 * 86400000000) as s1,
    sum(amount_cents::hugeint * amount_cents) filter (t >= qt - 30 * 86400000000) as s2,
    case when n > 1 then sqrt((n * s2 - s1 * s1)::double / n / (n - 1)) end as std_30d,  -- exact until the last division
    max(amount_cents) filter (t >= qt - 30 * 86400000000) as max_30d,
    sum(cast(not card_present as int)) filter (t >= qt - 30 * 86400000000) as cnp,
    coalesce(sum(cast(merchant_country <> issuer_country as int)) filter (t >= qt - 30 * 86400000000), 0) as abroad,
    sum(cast(night(t, utc_offset_minutes) as int)) filter (t >= qt - 30 * 86400000000) as night,
    avg(sin(angle(t, utc_offset_minutes))) filter (t >= qt - 30 * 86400000000) as s,
    avg(cos(angle(t, utc_offset_minutes))) filter (t >= qt - 30 * 86400000000) as c,
    count(distinct merchant_id) filter (t >= qt - 7 * 86400000000) as distinct_merchants_7d,
    count(*) filter (t >= qt - 3600000000::bigint and amount_cents < 500) as small_cnt_1h,
    max(t) as last_time_us,
    arg_max((t, latitude, longitude, merchant_country), (t, transaction_id)) filter (card_present) as cp
  from h group by qid
), declined as (
  select q.qid, count(*) filter (d.t >= q.t - 3600000000::bigint) as declines_1h, count(*) filter (d.t >= q.t - 86400000000) as declines_1d
  from query q join tx d on d.card_id = q.card_id and d.status = 'declined' and d.t >= q.t - 86400000000 and d.t < q.t group by 1
), version_of as (
  select q.qid, arg_max(v.issued_at, (v.v, v.seq)) as issued_at, arg_max(v.expires_at, (v.v, v.seq)) as expires_at
  from query q join version v on v.card_id = q.card_id and v.v <= q.t group by 1
)
select q.*, a.* exclude (qid, n, s1, s2, cnp, abroad, night, s, c), coalesce(d.declines_1h, 0) as declines_1h, coalesce(d.declines_1d, 0) as declines_1d,
  {zero}
  amt_1d / nullif(amt_30d / 30, 0) as spend_accel,
  a.cnp / nullif(a.cnt_30d, 0) as cnp_share_30d, a.abroad / nullif(a.cnt_30d, 0) as foreign_share_30d, a.night / nullif(a.cnt_30d, 0) as night_share_30d,
  case when sqrt(s * s + c * c) >= 1e-9 then sin(atan2(s, c)) end as hour_sin_mean_30d,  -- else the times cancel
  case when sqrt(s * s + c * c) >= 1e-9 then cos(atan2(s, c)) end as hour_cos_mean_30d,
  cast(vo.issued_at at time zone 'UTC' as date) as issued, cast(vo.expires_at at time zone 'UTC' as date) as expires
from query q left join agg a using (qid) left join declined d using (qid) left join version_of vo using (qid)
"""
SPANS = {
    "10m": 600_000_000,
    "1h": 3_600_000_000,
    "1d": 86_400_000_000,
    "7d": 7 * 86_400_000_000,
    "30d": 30 * 86_400_000_000,
}
_SHORT = "".join(
    f"count(*) filter (t >= qt - {span}::bigint) as cnt_{w}, coalesce(sum(amount_cents) filter (t >= qt - {span}::bigint), 0) as amt_{w},\n"
    for w, span in SPANS.items()
)


class Oracle:
    """Answers for one data set and everything that landed up to and including ``until``."""

    def __init__(self, data: Data, until: date) -> None:
        self.db = duckdb.connect()
        self.db.execute("set timezone = 'UTC'")
        names = {
            TRANSACTIONS: ("landed", data.transactions),
            CARDS: ("card_rows", data.cards),
            CHARGEBACKS: ("reports", data.chargebacks),
        }
        for dataset, (name, days) in names.items():
            schema = SCHEMAS[dataset].append(pa.field("ingest_day", pa.date32()))
            rows = [
                {"source_file": "part-000.jsonl", "source_line": i + 1, "ingest_day": day, **row}
                for day, landed in days.items()
                if day <= until
                for i, row in enumerate(landed)
            ]
            arrow = pa.Table.from_pylist(rows, schema)
            self.db.register("arrow", arrow)
            self.db.execute(f"create table {name} as select * from arrow")
        self.db.execute(PREPARE)

    def _windowed(self, query: str) -> None:
        self.db.execute(f"create or replace table query as {query}")
        names = [f"{kind}_{w}" for w in SPANS for kind in ("cnt", "amt")] + ["distinct_merchants_7d", "small_cnt_1h"]
        zero = "".join(f"coalesce(a.{n}, 0) as z_{n}," for n in names)
        self.db.execute(f"create or replace table answer as {WINDOWED.format(short=_SHORT, zero=zero)}")
        self.db.execute("update answer set " + ", ".join(f"{n} = z_{n}" for n in names))

    def tx_features(self, first: date, last: date) -> pa.Table:
        self._windowed(f"select transaction_id as qid, * from tx where day between '{first}' and '{last}'")
        return self.db.execute("""
            with seen as (
              select q.qid, count(o.transaction_id) > 0 as seen from query q
              left join ok o on o.card_id = q.card_id and o.merchant_id = q.merchant_id and o.t >= q.t - 90 * 86400000000 and o.t < q.t group by 1
            ), moved as (
              select *, case when card_present and cp is not null then (t - cp[1]) / 1e6 end as gap,
                case when card_present and cp is not null then
                  2 * 6371 * asin(sqrt(pow(sin(radians(latitude - cp[2]) / 2), 2) + cos(radians(cp[2])) * cos(radians(latitude)) * pow(sin(radians(longitude - cp[3]) / 2), 2))) end as km
              from answer
            )
            select transaction_id, event_time as event_timestamp, card_id, account_id, merchant_id, mcc, amount_cents, channel, card_present, merchant_country,
              latitude, longitude, utc_offset_minutes, status,
              (t - last_time_us) / 1e6 as secs_since_last, km as km_since_last_cp,
              km / (case when gap < 60 then 60 else gap end / 3600) as speed_kmh,
              case when gap is not null then merchant_country <> cp[4] and gap < 7200 end as country_changed_2h,
              cnt_10m, cnt_1h, amt_10m, amt_1h, cnt_1d, cnt_7d, cnt_30d, amt_1d, amt_7d, amt_30d, avg_30d, std_30d, max_30d,
              case when std_30d > 0 then (amount_cents - avg_30d) / std_30d end as amt_z_30d, amount_cents / max_30d as amt_to_max_30d,
              spend_accel, cnp_share_30d, foreign_share_30d, distinct_merchants_7d, not seen as is_new_merchant_90d, night_share_30d,
              sin(angle(t, utc_offset_minutes)) as hour_sin, cos(angle(t, utc_offset_minutes)) as hour_cos,
              1 - cos(angle(t, utc_offset_minutes) - atan2(hour_sin_mean_30d, hour_cos_mean_30d)) as hour_dev_30d,
              small_cnt_1h, declines_1h, declines_1d, expires - day as days_to_expiry, day - issued as card_age_days
            from moved join seen using (qid) order by transaction_id""").to_arrow_table()

    def _midnights(self, first: date, last: date) -> str:
        return f"(select cast(d as date) as event_date, epoch_us(d) + 86400000000 as m from generate_series(timestamp '{first}', timestamp '{last}', interval 1 day) g(d))"

    def card_states(self, first: date, last: date) -> pa.Table:
        """card_daily and card_last_state together."""
        self._windowed(
            f"select card_id || m as qid, card_id, event_date, m as t from (select distinct card_id from ok), {self._midnights(first, last)}"
        )
        return self.db.execute("""
            with mine as (select a.qid, a.t as m, o.* from answer a join ok o on o.card_id = a.card_id and o.t >= a.t - 90 * 86400000000 and o.t < a.t),
            recent as (
              select qid, list(t order by t, transaction_id)[-64:] as recent_time_us, list(amount_cents order by t, transaction_id)[-64:] as recent_amount_cents
              from mine group by 1
            ), last_visit as (select qid, merchant_id, max((t, transaction_id)) as v from mine group by 1, 2),
            visits as (select qid, list(merchant_id order by v)[-256:] as merchant_ids, list(v[1] order by v)[-256:] as merchant_time_us from last_visit group by 1),
            declined as (
              select a.qid, list(d.t order by d.t)[-32:] as declined_time_us
              from answer a join tx d on d.card_id = a.card_id and d.status = 'declined' and d.t >= a.t - 90 * 86400000000 and d.t < a.t group by 1
            )
            select card_id, event_date, cnt_1d, cnt_7d, cnt_30d, amt_1d, amt_7d, amt_30d, avg_30d, std_30d, max_30d, spend_accel, cnp_share_30d, foreign_share_30d,
              distinct_merchants_7d, night_share_30d, declines_1d, hour_sin_mean_30d, hour_cos_mean_30d,
              last_time_us, cp[1] as last_cp_time_us, cp[2] as last_cp_latitude, cp[3] as last_cp_longitude, cp[4] as last_cp_country,
              recent_time_us, recent_amount_cents, coalesce(declined_time_us, []) as declined_time_us, merchant_ids, merchant_time_us,
              issued - date '1970-01-01' as issued_day, expires - date '1970-01-01' as expires_day
            from answer left join recent using (qid) left join visits using (qid) left join declined using (qid)
            where cnt_90d > 0 order by card_id, event_date""").to_arrow_table()

    def account_daily(self, first: date, last: date) -> pa.Table:
        return self.db.execute(f"""
            with g as (select account_id, event_date, m from (select distinct account_id from ok), {self._midnights(first, last)})
            select account_id, event_date,
              (select count(*) from ok o where o.account_id = g.account_id and o.t >= m - 86400000000 and o.t < m) as account_cnt_1d,
              (select count(distinct card_id) from version v where v.account_id = g.account_id and epoch_us(issued_at) >= m - 30 * 86400000000
                 and epoch_us(issued_at) < m and v.v <= m) as account_new_cards_30d
            from g where exists (from ok o where o.account_id = g.account_id and o.t >= m - 90 * 86400000000 and o.t < m)
            order by all""").to_arrow_table()

    def merchant_daily(self, first: date, last: date) -> pa.Table:
        return self.db.execute(f"""
            with g as (select merchant_id, event_date, m from (select distinct merchant_id from ok), {self._midnights(first, last)}),
            hours as (
              select merchant_id, event_date, k, (select count(*) from ok o where o.merchant_id = g.merchant_id and o.t >= m - (k + 1) * 3600000000 and o.t < m - k * 3600000000) as n
              from g, range(720) r(k)
            ), hourly as (select merchant_id, event_date, avg(n) as mean, stddev_samp(n) as std, max(n) filter (k = 0) as cnt from hours group by all),
            rate as (
              select merchant_id, event_date, count(*) filter (first_report < m) as cb, count(transaction_id) as n
              from g left join (select o.*, (select min(epoch_us(reported_at)) from reports r where r.transaction_id = o.transaction_id) as first_report from ok o) o
                using (merchant_id)
              where o.t >= m - 37 * 86400000000 and o.t < m - 7 * 86400000000 group by all
            )
            select merchant_id, event_date, cnt as merchant_cnt_1h, mean as merchant_hourly_mean_30d, std as merchant_hourly_std_30d,
              case when std > 0 then (cnt - mean) / std end as merchant_cnt_1h_z, (coalesce(cb, 0) + 1) / (coalesce(n, 0) + 200) as merchant_cb_rate_30d
            from g join hourly using (merchant_id, event_date) left join rate using (merchant_id, event_date)
            where exists (from ok o where o.merchant_id = g.merchant_id and o.t >= m - 90 * 86400000000 and o.t < m)
            order by all""").to_arrow_table()

    def mcc_daily(self, first: date, last: date) -> pa.Table:
        return self.db.execute(f"""
            select mcc, event_date, count(*) as mcc_cnt_90d, sum(amount_cents) as mcc_amt_90d, sum(amount_cents) / count(*) as mcc_avg_90d
            from {self._midnights(first, last)} join ok o on o.t >= m - 90 * 86400000000 and o.t < m group by all order by all""").to_arrow_table()
