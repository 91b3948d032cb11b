"""The landing contract: which columns a landed file must have and what each may hold.

One table serves the bronze job (its rules and its schema), the tests (a second implementation reads the
same table) and the reference page. Every value is judged on its text, as it stands in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a column's text must look like. The regular expression must match the whole text."""

    TEXT = ("any text", r"(?s).*\S.*")
    TIME = (
        "RFC 3339 time with an offset or Z, to the microsecond at most",
        r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?([Zz]|[+-]\d{2}:\d{2})",
    )
    MCC = ("4-digit merchant category code", r"\d{4}")
    AMOUNT = ("amount above 0 with at most 2 decimal places, no sign, no exponent", r"\d{1,13}(\.\d{1,2})?")
    CURRENCY = ("ISO 4217 code, 3 capitals", r"[A-Z]{3}")
    COUNTRY = ("ISO 3166-1 alpha-2 code, 2 capitals", r"[A-Z]{2}")
    CHANNEL = ("one of pos, atm, ecom, moto, recurring", r"pos|atm|ecom|moto|recurring")
    STATUS = ("approved or declined", r"approved|declined")
    BOOLEAN = ("true or false", r"(?i)true|false")
    LATITUDE = ("degrees from -90 to 90", r"[+-]?\d{1,3}(\.\d+)?([eE][+-]?\d{1,2})?")
    LONGITUDE = ("degrees from -180 to 180", r"[+-]?\d{1,3}(\.\d+)?([eE][+-]?\d{1,2})?")

    def __init__(self, words: str, pattern: str) -> None:
        self.words = words
        self.pattern = pattern


@dataclass(frozen=True)
class Column:
    """One column of a landed file."""

    name: str
    kind: Kind
    required: bool = True
    default: str | None = None


@dataclass(frozen=True)
class LandingDataset:
    """One kind of landed file.

    Attributes:
        key: columns that identify a row; of rows with one key within an ingest day, the first stands.
        time: the column whose UTC date tells which event dates a row can change; None where it changes none.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    time: str | None

    @property
    def landing(self) -> str:
        return f"landing/{self.name}"

    @property
    def bronze(self) -> str:
        return f"bronze/{self.name}"


TRANSACTIONS = LandingDataset(
    "transactions",
    (
        Column("transaction_id", Kind.TEXT),
        Column("event_time", Kind.TIME),
        Column("card_id", Kind.TEXT),
        Column("account_id", Kind.TEXT),
        Column("merchant_id", Kind.TEXT),
        Column("mcc", Kind.MCC),
        Column("amount", Kind.AMOUNT),
        Column("currency", Kind.CURRENCY),
        Column("channel", Kind.CHANNEL),
        Column("card_present", Kind.BOOLEAN),
        Column("merchant_country", Kind.COUNTRY),
        Column("latitude", Kind.LATITUDE, required=False),
        Column("longitude", Kind.LONGITUDE, required=False),
        Column("status", Kind.STATUS, required=False, default="approved"),
    ),
    key=("transaction_id",),
    time="event_time",
)
CARDS = LandingDataset(
    "cards",
    (
        Column("card_id", Kind.TEXT),
        Column("account_id", Kind.TEXT),
        Column("issuer_country", Kind.COUNTRY),
        Column("issued_at", Kind.TIME),
        Column("expires_at", Kind.TIME),
        Column("valid_from", Kind.TIME),
        Column("status", Kind.TEXT),
    ),
    key=("card_id", "valid_from"),
    time="valid_from",
)
MERCHANTS = LandingDataset(
    "merchants",
    (
        Column("merchant_id", Kind.TEXT),
        Column("mcc", Kind.MCC),
        Column("country", Kind.COUNTRY),
        Column("latitude", Kind.LATITUDE, required=False),
        Column("longitude", Kind.LONGITUDE, required=False),
    ),
    key=("merchant_id",),
    time=None,
)
CHARGEBACKS = LandingDataset(
    "chargebacks",
    (
        Column("chargeback_id", Kind.TEXT),
        Column("transaction_id", Kind.TEXT),
        Column("reported_at", Kind.TIME),
        Column("reason", Kind.TEXT),
    ),
    key=("chargeback_id",),
    time="reported_at",
)
DATASETS = (TRANSACTIONS, CARDS, MERCHANTS, CHARGEBACKS)
QUARANTINE = "bronze/quarantine"
FORMATS = (".jsonl", ".csv", ".jsonl.gz", ".csv.gz")
