"""Bronze files as Arrow tables in the shapes that the kernels take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.common.formulas import DAY_US, HOUR_US
from jobs.common.lake import Lake, ingest_partition
from jobs.features.arrow import EPOCH, Targets, to_numpy
from jobs.features.card import CARD_VERSION, INPUT_SCHEMA, TRANSACTION
from jobs.features.daily import MCC_SCHEMA
from jobs.features.plan import BronzeDay

BATCH_ROWS = 1 << 17
IDS_SCHEMA = pa.schema({"transaction_id": pa.string(), "day": pa.int64()})  # ingest day, days since 1970
REPORTS_SCHEMA = pa.schema({"transaction_id": pa.string(), "reported_us": pa.int64()})
_RENAMED = {"time_us": "event_time", "order_key": "transaction_id", "country": "merchant_country"}
_OF_A_VERSION = ("issued_day", "expires_day")
_CARD = ("card_id", "account_id", "issuer_country", "issued_at", "expires_at", "valid_from")
_OF_CARDS = (*_CARD, "source_file", "source_line")
_OF_TRAINING_ROWS = ("account_id", "mcc", "channel")
"""What a card's history is not made of: a training row carries its own on."""


@dataclass(frozen=True)
class BronzeFile:
    """A Parquet file of bronze: one share, or a part of one, of the work of reading."""

    dataset: str
    day: date
    path: str
    rows: int
    """About how many."""


def shares(partitions: Iterable[BronzeDay], rows: int, at_least: int = 2) -> list[list[BronzeFile]]:
    """Files in groups of about so many rows, and in at least so many groups where there are enough files."""
    files = [
        BronzeFile(p.dataset, p.day, f"{p.dataset}/{ingest_partition(p.day)}/{name}", -(-p.rows // len(p.files)))
        for p in partitions
        for name in p.files
    ]
    limit = min(rows, -(-sum(f.rows for f in files) // at_least))
    groups: list[list[BronzeFile]] = []
    room = 0
    for file in files:
        if room <= 0:
            groups.append([])
            room = limit
        groups[-1].append(file)
        room -= file.rows
    return groups


def tables(lake: Lake, files: Sequence[BronzeFile], columns: Sequence[str]) -> Iterator[tuple[date, pa.Table]]:
    """The rows of files in pieces, with the ingest day of each piece."""
    for file in files:
        with pq.ParquetFile(lake.path(file.path), filesystem=lake.filesystem, pre_buffer=lake.is_s3) as parquet:
            for batch in parquet.iter_batches(BATCH_ROWS, columns=list(columns), use_threads=False):
                yield file.day, pa.Table.from_batches([batch])


def ids(lake: Lake, files: Sequence[BronzeFile]) -> Iterator[pa.Table]:
    """Tables of IDS_SCHEMA, one row a line."""
    for day, table in tables(lake, files, ["transaction_id"]):
        yield pa.table([table.column(0), pa.repeat((day - EPOCH).days, table.num_rows)], IDS_SCHEMA.names)


def transactions(
    lake: Lake, files: Sequence[BronzeFile], span_us: tuple[int, int], repeated: str
) -> Iterator[pa.Table]:
    """Transactions with times in ``[start, end)``, each once: the columns of INPUT_SCHEMA that they have.

    Args:
        repeated: dataset that says which lines of each ingest day repeat an earlier one.
    """
    fields = [f for f in INPUT_SCHEMA if f.name not in ("kind", *_OF_A_VERSION)]
    repeats: dict[date, pa.Array] = {}
    for day, table in tables(lake, files, [_RENAMED.get(f.name, f.name) for f in fields]):
        if day not in repeats:
            repeats[day] = _transaction_ids(lake, f"{repeated}/{ingest_partition(day)}")
        columns = [table.column(_RENAMED.get(f.name, f.name)).cast(f.type) for f in fields]
        rows = pa.table(
            [*columns, pa.repeat(pa.scalar(TRANSACTION, pa.int32()), table.num_rows)],
            [*(f.name for f in fields), "kind"],
        )
        time = to_numpy(rows.column("time_us"))
        keep = (time >= span_us[0]) & (time < span_us[1])
        if len(repeats[day]):
            keep &= ~to_numpy(pc.is_in(rows.column("order_key"), repeats[day]))
        yield rows if keep.all() else rows.filter(pa.array(keep))


def narrowed(rows: pa.Table, targets: Targets) -> Iterator[pa.Table]:
    """Transactions as their card needs them: whole on the targets' days, and history with fewer columns."""
    is_history = to_numpy(rows.column("time_us")) < int(targets.days[0]) * DAY_US
    for part, those in ((rows.drop_columns(list(_OF_TRAINING_ROWS)), is_history), (rows, ~is_history)):
        if those.all():
            yield part
        elif those.any():
            yield part.filter(pa.array(those))


def _transaction_ids(lake: Lake, folder: str) -> pa.Array:
    found = [pq.read_table(f.path, columns=["transaction_id"], filesystem=lake.filesystem) for f in lake.files(folder)]
    return pa.concat_tables([IDS_SCHEMA.empty_table().select(["transaction_id"]), *found]).column(0).combine_chunks()


def card_versions(lake: Lake, files: Sequence[BronzeFile]) -> Iterator[pa.Table]:
    """Rows of the cards table: the columns of INPUT_SCHEMA that they have, and issued_us."""
    for day, table in tables(lake, files, _OF_CARDS):
        line = pc.utf8_lpad(table.column("source_line").cast(pa.string()), 12, "0")
        columns = {
            "card_id": table.column("card_id"),
            "kind": pa.repeat(pa.scalar(CARD_VERSION, pa.int32()), table.num_rows),
            "time_us": table.column("valid_from").cast(pa.int64()),
            "order_key": pc.binary_join_element_wise(day.isoformat(), table.column("source_file"), line, "|"),
            "country": table.column("issuer_country"),
            "account_id": table.column("account_id"),
            "issued_day": _units(table.column("issued_at"), DAY_US),
            "expires_day": _units(table.column("expires_at"), DAY_US),
            "issued_us": table.column("issued_at").cast(pa.int64()),
        }
        yield pa.table(columns)


def issued_cards(versions: pa.Table) -> pa.Table:
    """The columns of ACCOUNT_SCHEMA that ``card_versions`` have."""
    names = ["account_id", "card_id", "issued_us", "known_us"]
    return versions.select(["account_id", "card_id", "issued_us", "time_us"]).rename_columns(names)


def first_reports(lake: Lake, files: Sequence[BronzeFile]) -> pa.Table:
    """REPORTS_SCHEMA: when each charged-back transaction was first reported."""
    found = [
        pa.table([t.column("transaction_id"), t.column("reported_at").cast(pa.int64())], REPORTS_SCHEMA.names)
        for _, t in tables(lake, files, ["transaction_id", "reported_at"])
    ]
    every = pa.concat_tables([REPORTS_SCHEMA.empty_table(), *found])
    first = every.group_by("transaction_id").aggregate([("reported_us", "min")])
    return first.rename_columns(REPORTS_SCHEMA.names)


def tiles(rows: pa.Table, reports: pa.Table) -> tuple[pa.Table, pa.Table, pa.Table]:
    """What account, merchant and category features need of transactions: columns of the schemas in ``daily``.

    Accounts and merchants have a row a transaction yet, see ``daily.counted``; a charged-back transaction has one more.
    """
    approved = rows.filter(pc.equal(rows.column("status"), "approved")).combine_chunks()
    day, hour = (_units(approved.column("time_us"), us) for us in (DAY_US, HOUR_US))
    accounts = pa.table({"account_id": approved.column("account_id"), "day": day})
    merchants = pa.table({"merchant_id": approved.column("merchant_id"), "hour": hour})
    if reports.num_rows:
        report = pc.index_in(approved.column("order_key"), reports.column("transaction_id").combine_chunks())
        charged_back = report.is_valid()
        reported = {
            "merchant_id": approved.column("merchant_id").filter(charged_back),
            "charged_back_day": day.filter(charged_back.combine_chunks()),
            "reported_us": reports.column("reported_us").take(report.filter(charged_back)),
        }
        merchants = pa.concat_tables([merchants, pa.table(reported)], promote_options="default")
    spent = pa.table({"mcc": approved.column("mcc"), "day": day, "amount_cents": approved.column("amount_cents")})
    sums = spent.group_by(["mcc", "day"], use_threads=False).aggregate([([], "count_all"), ("amount_cents", "sum")])
    return accounts, merchants, sums.rename_columns(MCC_SCHEMA.names)


def _units(time: pa.ChunkedArray, us: int) -> pa.Array:
    """Whole units since 1970, also before it."""
    return pa.array(np.floor_divide(to_numpy(time.cast(pa.int64())), us))
