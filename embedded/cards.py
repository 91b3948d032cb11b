"""Two cards to look at: an ordinary one, and one that was defrauded, with what is online for each."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from rich.table import Table

from jobs.common.contract import CHARGEBACKS
from jobs.common.lake import Lake
from jobs.common.products import CARD_DAILY
from jobs.common.settings import Settings
from jobs.online.repo import open_store
from jobs.online.silver import State, newest_state, read_partitions

GROUND_TRUTH = "ground_truth/transactions"


def online_state(lake: Lake, last_day: date) -> State:
    """The state that the run loaded."""
    return newest_state(lake, last_day)


def choose(lake: Lake, state: State) -> dict[str, str]:
    """An ordinary and a defrauded card that are online; the same ones for the same lake.

    Ordinary: the first card without any fraud that was used on the last day. Defrauded: the card with most frauds that its holder has reported.
    """
    reported = _read(lake, CHARGEBACKS.bronze, ["transaction_id"]).column("transaction_id")
    truth = _read(lake, GROUND_TRUTH, ["transaction_id", "card_id", "is_fraud"])
    frauds = truth.filter(pc.equal(truth.column("is_fraud"), True))
    claimed = frauds.filter(pc.is_in(frauds.column("transaction_id"), reported.cast(pa.large_string())))
    daily = read_partitions(lake, CARD_DAILY, [state.day]).to_table(columns=["card_id", "cnt_1d"])
    online = set(daily.column("card_id").to_pylist())
    used_last = set(daily.filter(pc.field("cnt_1d") > 0).column("card_id").to_pylist()) or online
    ordinary = sorted(used_last - set(frauds.column("card_id").to_pylist()))
    counts = Counter(card for card in claimed.column("card_id").to_pylist() if card in online)
    return {
        **({"ordinary card": ordinary[0]} if ordinary else {}),
        **({"defrauded card": min(counts, key=lambda card: (-counts[card], card))} if counts else {}),
    }


def _read(lake: Lake, folder: str, columns: list[str]) -> pa.Table:
    """Some columns of a folder of Parquet files; no rows where there is no file, as for chargebacks of the first days."""
    files = [file.path for file in lake.files(folder) if file.base_name.endswith(".parquet")]
    if not files:
        return pa.table({name: pa.array([], pa.large_string()) for name in columns})
    table = ds.dataset(files, filesystem=lake.filesystem, format="parquet").to_table(columns=columns)
    return table.set_column(0, columns[0], table.column(0).cast(pa.large_string()))


def table(settings: Settings, lake: Lake, state: State, cards: dict[str, str]) -> Table:
    """The cards' online features side by side, as of the moment that was loaded."""
    from jobs.online.reader import OnlineReader  # takes seconds: Feast

    features = {f"{CARD_DAILY.name}:{f.name}": f.name for f in CARD_DAILY.features}
    rows = [{"card_id": card} for card in cards.values()]
    columns = OnlineReader(open_store(settings, lake)).read(list(features), rows, state.event_timestamp)
    shown = Table(title=f"Online in Redis, as of {state.event_timestamp:%Y-%m-%d %H:%M} UTC", title_justify="left")
    shown.add_column("feature")
    for kind, card in cards.items():
        shown.add_column(f"{kind}\n{card}", justify="right")
    for name in features.values():
        shown.add_row(name, *(_cell(value) for value in columns[name].values))
    return shown


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
