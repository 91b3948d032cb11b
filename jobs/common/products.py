"""The feature catalogue: every silver product, its columns, their types, units and meaning.

One table serves the features job (its Arrow schemas), the feature repo (its views) and the reference page.
All windows are ``[t - w, t)``: the event at t and its ties are not in them. All sums are over approved
transactions in integer cents. Nothing older than ``HISTORY`` is looked at, online and offline alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa

HISTORY = timedelta(days=90)
"""How far any feature looks back. A card silent for longer begins anew."""
DAILY_TTL = timedelta(days=2)
"""A daily value older than this is not served."""
RECENT_EVENTS = 64
"""How many of a card's newest approved transactions its last state holds: velocities are exact up to here."""
RECENT_DECLINES = 32
RECENT_MERCHANTS = 256

TIMESTAMP = pa.timestamp("us", tz="UTC")
_INT, _DOUBLE, _TEXT, _BOOL = pa.int64(), pa.float64(), pa.string(), pa.bool_()


@dataclass(frozen=True)
class Feature:
    """One column of a product. ``number`` is its row in the feature table of the reference page."""

    name: str
    type: pa.DataType
    description: str
    number: int | None = None
    nullable: bool = True


@dataclass(frozen=True)
class Product:
    """One dataset under ``silver/features/``: its key, its features, how long a value may be served."""

    name: str
    description: str
    key: str
    features: tuple[Feature, ...]
    ttl: timedelta | None = DAILY_TTL
    carried: tuple[Feature, ...] = ()
    """Columns that are no features: the transaction itself, for training rows."""

    @property
    def dataset(self) -> str:
        return f"silver/features/{self.name}"

    @property
    def schema(self) -> pa.Schema:
        """Key, event and creation time, carried columns, features: the columns of the Parquet files, in order."""
        return pa.schema(
            [
                pa.field(self.key, _TEXT if self.key != "mcc" else _INT, nullable=False),
                pa.field("event_timestamp", TIMESTAMP, nullable=False),
                pa.field("created_timestamp", TIMESTAMP, nullable=False),
                *(pa.field(f.name, f.type, nullable=f.nullable) for f in (*self.carried, *self.features)),
            ]
        )


def _windows(names: str, kind: pa.DataType, text: str, first: int) -> tuple[Feature, ...]:
    words = {"10m": "10 minutes", "1h": "hour", "1d": "day", "7d": "7 days", "30d": "30 days"}
    return tuple(
        Feature(name, kind, text.format(words[name.rsplit("_", 1)[1]]), first + i, nullable=False)
        for i, name in enumerate(names.split())
    )


_SHORT = (
    *_windows("cnt_10m cnt_1h", _INT, "Transactions in the last {}.", 5),
    *_windows("amt_10m amt_1h", _INT, "Spend in the last {}, cents.", 10),
)
_LONG = (
    *_windows("cnt_1d cnt_7d cnt_30d", _INT, "Transactions in the last {}.", 7),
    *_windows("amt_1d amt_7d amt_30d", _INT, "Spend in the last {}, cents.", 12),
    Feature("avg_30d", _DOUBLE, "Mean amount of the last 30 days, cents; null without a transaction.", 15),
    Feature(
        "std_30d", _DOUBLE, "Sample standard deviation of the amounts of the last 30 days, cents; null below 2.", 16
    ),
    Feature("max_30d", _INT, "Largest amount of the last 30 days, cents; null without a transaction.", 17),
    Feature(
        "spend_accel",
        _DOUBLE,
        "Spend of the last day over the mean daily spend of the last 30; null when that is 0.",
        20,
    ),
    Feature(
        "cnp_share_30d",
        _DOUBLE,
        "Share of the last 30 days' transactions without the card present; null without a transaction.",
        21,
    ),
    Feature(
        "foreign_share_30d",
        _DOUBLE,
        "Share of the last 30 days' transactions outside the issuer's country; null without a transaction.",
        22,
    ),
    Feature("distinct_merchants_7d", _INT, "Different merchants in the last 7 days.", 23, nullable=False),
    Feature(
        "night_share_30d",
        _DOUBLE,
        "Share of the last 30 days' transactions at local hour 0 to 5; null without a transaction.",
        25,
    ),
)
_REQUEST = (
    Feature("secs_since_last", _DOUBLE, "Seconds since the last transaction; null for the first.", 1),
    Feature(
        "km_since_last_cp",
        _DOUBLE,
        "Great-circle distance from the last card-present transaction, km (R = 6371); null unless both are card-present with coordinates.",
        2,
    ),
    Feature("speed_kmh", _DOUBLE, "km_since_last_cp over the time since that transaction, at least 60 s, km/h.", 3),
    Feature(
        "country_changed_2h",
        _BOOL,
        "The last card-present transaction was in another country less than 2 hours ago; null unless this one is card-present and there was one.",
        4,
    ),
    Feature("amt_z_30d", _DOUBLE, "(amount - avg_30d) / std_30d; null when std_30d is null or 0.", 18),
    Feature("amt_to_max_30d", _DOUBLE, "amount / max_30d; null when that is null.", 19),
    Feature(
        "is_new_merchant_90d",
        _BOOL,
        "The card has no transaction at this merchant in the last 90 days.",
        24,
        nullable=False,
    ),
    Feature("hour_sin", _DOUBLE, "Sine of the local time of day, as an angle.", 26, nullable=False),
    Feature("hour_cos", _DOUBLE, "Cosine of the local time of day, as an angle.", 26, nullable=False),
    Feature(
        "hour_dev_30d",
        _DOUBLE,
        "1 - cos(time of day - circular mean time of day of the last 30 days): 0 usual, 2 opposite; null without a mean.",
        26,
    ),
    Feature("small_cnt_1h", _INT, "Transactions below 500 cents in the last hour (card testing).", 27, nullable=False),
    Feature("declines_1h", _INT, "Declined transactions in the last hour.", 28, nullable=False),
    Feature("days_to_expiry", _INT, "UTC days until the card expires; null for an unknown card.", 29),
    Feature("card_age_days", _INT, "UTC days since the card was issued; null for an unknown card.", 29),
)
_DECLINES_1D = Feature("declines_1d", _INT, "Declined transactions in the last day.", 28, nullable=False)

TX_FEATURES = Product(
    "tx_features",
    "One row per transaction, declined ones too: the card's features just before it. For training.",
    "transaction_id",
    (
        *_REQUEST[:4],
        *_SHORT,
        *_LONG[:9],
        *_REQUEST[4:6],
        *_LONG[9:13],
        _REQUEST[6],
        _LONG[13],
        *_REQUEST[7:12],
        _DECLINES_1D,
        *_REQUEST[12:],
    ),
    ttl=None,
    carried=(
        Feature("card_id", _TEXT, "Card.", nullable=False),
        Feature("account_id", _TEXT, "Account.", nullable=False),
        Feature("merchant_id", _TEXT, "Merchant.", nullable=False),
        Feature("mcc", _INT, "Merchant category code.", nullable=False),
        Feature("amount_cents", _INT, "Amount, cents.", nullable=False),
        Feature("channel", _TEXT, "pos, atm, ecom, moto or recurring.", nullable=False),
        Feature("card_present", _BOOL, "The card was present.", nullable=False),
        Feature("merchant_country", _TEXT, "Country of the merchant.", nullable=False),
        Feature("latitude", _DOUBLE, "Degrees."),
        Feature("longitude", _DOUBLE, "Degrees."),
        Feature("utc_offset_minutes", _INT, "Local time minus UTC, minutes.", nullable=False),
        Feature("status", _TEXT, "approved or declined.", nullable=False),
    ),
)
CARD_DAILY = Product(
    "card_daily",
    "State at the UTC midnight that ends the event date, for every card with an approved transaction in the 90 days before.",
    "card_id",
    (
        *_LONG,
        _DECLINES_1D,
        Feature(
            "hour_sin_mean_30d",
            _DOUBLE,
            "Sine of the circular mean local time of day of the last 30 days; null without one, also where the times cancel: their mean vector is shorter than 1e-9.",
            26,
        ),
        Feature("hour_cos_mean_30d", _DOUBLE, "Cosine of the same.", 26),
    ),
)
CARD_LAST_STATE = Product(
    "card_last_state",
    "The newest transactions of each card of card_daily at the same midnight: what request-time features are computed from. Lists run from old to new.",
    "card_id",
    (
        Feature("last_time_us", _INT, "Time of the last approved transaction, µs since 1970 UTC.", nullable=False),
        Feature(
            "last_cp_time_us", _INT, "Time of the last card-present transaction, µs since 1970 UTC; null without one."
        ),
        Feature("last_cp_latitude", _DOUBLE, "Its latitude, degrees."),
        Feature("last_cp_longitude", _DOUBLE, "Its longitude, degrees."),
        Feature("last_cp_country", _TEXT, "Its country."),
        Feature(
            "recent_time_us",
            pa.list_(_INT),
            f"Times of the newest {RECENT_EVENTS} approved transactions.",
            nullable=False,
        ),
        Feature("recent_amount_cents", pa.list_(_INT), "Their amounts, cents.", nullable=False),
        Feature(
            "declined_time_us",
            pa.list_(_INT),
            f"Times of the newest {RECENT_DECLINES} declined transactions.",
            nullable=False,
        ),
        Feature(
            "merchant_ids",
            pa.list_(_TEXT),
            f"The {RECENT_MERCHANTS} merchants visited last, each once.",
            nullable=False,
        ),
        Feature("merchant_time_us", pa.list_(_INT), "Time of the last visit to each.", nullable=False),
        Feature(
            "issued_day", _INT, "UTC day on which the card was issued, days since 1970; null for an unknown card.", 29
        ),
        Feature("expires_day", _INT, "UTC day on which it expires, days since 1970.", 29),
    ),
    ttl=HISTORY,
)
ACCOUNT_DAILY = Product(
    "account_daily",
    "The same midnight, for every account with an approved transaction in the 90 days before.",
    "account_id",
    (
        Feature("account_cnt_1d", _INT, "Transactions of all the account's cards in the last day.", 30, nullable=False),
        Feature("account_new_cards_30d", _INT, "Cards of the account issued in the last 30 days.", 30, nullable=False),
    ),
)
MERCHANT_DAILY = Product(
    "merchant_daily",
    "The same midnight, for every merchant with an approved transaction in the 90 days before.",
    "merchant_id",
    (
        Feature("merchant_cnt_1h", _INT, "Transactions in the last hour before midnight.", 31, nullable=False),
        Feature(
            "merchant_hourly_mean_30d",
            _DOUBLE,
            "Mean transactions an hour over the last 720 hours.",
            31,
            nullable=False,
        ),
        Feature(
            "merchant_hourly_std_30d", _DOUBLE, "Sample standard deviation of the same 720 counts.", 31, nullable=False
        ),
        Feature("merchant_cnt_1h_z", _DOUBLE, "(merchant_cnt_1h - mean) / std; null when std is 0.", 31),
        Feature(
            "merchant_cb_rate_30d",
            _DOUBLE,
            "(charged back + 1) / (n + 200) over transactions 37 to 7 days old; a chargeback counts once it is reported.",
            32,
            nullable=False,
        ),
    ),
)
MCC_DAILY = Product(
    "mcc_daily",
    "The same midnight, for every merchant category with an approved transaction in the 90 days before.",
    "mcc",
    (
        Feature("mcc_cnt_90d", _INT, "Transactions of the last 90 complete days.", 33, nullable=False),
        Feature("mcc_amt_90d", _INT, "Spend of the last 90 complete days, cents.", 33, nullable=False),
        Feature("mcc_avg_90d", _DOUBLE, "Mean amount of the last 90 complete days, cents.", 33, nullable=False),
    ),
)
PRODUCTS = (TX_FEATURES, CARD_DAILY, CARD_LAST_STATE, ACCOUNT_DAILY, MERCHANT_DAILY, MCC_DAILY)
ONLINE_PRODUCTS = PRODUCTS[1:]
REQUEST_FEATURES = (
    *_REQUEST[:4],
    *_SHORT,
    *_REQUEST[4:],
    Feature(
        "mcc_amt_ratio_90d",
        _DOUBLE,
        "amount over the category's mean amount of the last 90 complete days; null for an unknown category.",
        33,
    ),
)
"""What the on-demand view computes at request time from the card's last state and the request."""
