"""Two cards to look at: an ordinary one, and one that was defrauded, with what is online for each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds
from rich.table import Table

from jobs.common.feast_store import open_store
from jobs.common.lake import Lake
from jobs.common.products import CARD_DAILY, CARD_LAST_STATE
from jobs.common.settings import Settings
from jobs.common.silver import State, newest_state, read_partitions

GROUND_TRUTH = "ground_truth/transactions"
WORST_SHARE = 0.99


def online_state(lake: Lake, last_day: date) -> State:
    """The state that the run loaded."""
    return newest_state(lake, last_day)


def choose(lake: Lake, state: State) -> dict[str, str]:
    """An ordinary and a defrauded card that are online; the same ones for the same lake.

    Ordinary: the first card without any fraud. Defrauded: the card with most fraudulent transactions.
    """
    truth = ds.dataset(lake.path(GROUND_TRUTH), filesystem=lake.filesystem, format="parquet", partitioning="hive")
    fraud = truth.to_table(columns=["card_id"], filter=pc.field("is_fraud")).column("card_id").to_pylist()
    online = read_partitions(lake, CARD_DAILY, [state.day]).to_table(columns=["card_id"]).column(0).to_pylist()
    chosen = {}
    ordinary = sorted(set(online) - set(fraud))
    if ordinary:
        chosen["ordinary card"] = ordinary[0]
    counts = {card: fraud.count(card) for card in set(fraud) & set(online)}
    if counts:
        chosen["defrauded card"] = min(counts, key=lambda card: (-counts[card], card))
    return chosen


def table(settings: Settings, lake: Lake, state: State, cards: dict[str, str]) -> Table:
    """The cards' online features side by side, as of the moment that was loaded."""
    from jobs.common.online import OnlineReader  # takes seconds: Feast

    features = [f"{product.name}:{f.name}" for product in (CARD_DAILY, CARD_LAST_STATE) for f in product.features]
    rows = [{"card_id": card} for card in cards.values()]
    columns = OnlineReader(open_store(settings, lake)).read(features, rows, state.event_timestamp)
    shown = Table(title=f"Online in Redis, as of {state.event_timestamp:%Y-%m-%d %H:%M} UTC", title_justify="left")
    shown.add_column("feature")
    for kind, card in cards.items():
        shown.add_column(f"{kind}\n{card}", justify="right")
    for name, column in columns.items():
        shown.add_row(name, *(_cell(value) for value in column.values))
    return shown


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"{len(value)} entries"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)
