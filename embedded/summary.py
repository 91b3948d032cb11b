"""What a run amounts to, read from the manifests that the jobs left in the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rich.table import Table

from jobs.common.contract import TRANSACTIONS
from jobs.common.digest import combine
from jobs.common.lake import MANIFESTS, Lake, Manifest, event_partition, ingest_partition
from jobs.common.products import PRODUCTS, TX_FEATURES
from jobs.online.repo import repo_settings


@dataclass(frozen=True)
class Summary:
    """The content of ``summary.json``. Of the landed transactions, each is bronze, a duplicate or quarantined."""

    rows_landed: int
    rows_bronze: int
    rows_duplicate: int
    rows_quarantined: int
    rows_features: int
    """Over the run's event dates; late events of days before them are computed as well."""
    cards_online: int
    values_compared: int
    mismatches: int
    seconds: dict[str, float]
    unchanged: bool
    """No job had anything to do: everything was there from an earlier run."""
    digests: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarize(lake: Lake, days: Sequence[date], seconds: Mapping[str, float], unchanged: bool) -> Summary:
    """Adds up the manifests of the days. A product's digest is over its partitions of those event dates."""
    bronze = _manifests(lake, TRANSACTIONS.bronze, map(ingest_partition, days)).values()
    products = {p.name: _manifests(lake, p.dataset, map(event_partition, days)) for p in PRODUCTS}
    verified = f"verify/{repo_settings()['project']}"
    online = lake.manifest(verified, max(lake.partitions(verified)))
    assert online, f"the partitions of {verified} were just listed"
    digests = {name: combine((k, m.digest) for k, m in manifests.items()) for name, manifests in products.items()}
    return Summary(
        rows_landed=_total(bronze, "lines"),
        rows_bronze=sum(m.rows for m in bronze),
        rows_duplicate=_total(bronze, "duplicates"),
        rows_quarantined=_total(bronze, "quarantined"),
        rows_features=sum(m.rows for m in products[TX_FEATURES.name].values()),
        cards_online=online.counts["cards_online"],
        values_compared=online.counts["values_compared"],
        mismatches=online.counts["mismatches"],
        seconds=dict(seconds),
        unchanged=unchanged,
        digests={**digests, "online": online.digest},
    )


def table(summary: Summary, features: Mapping[str, int]) -> Table:
    """The run as a person reads it.

    Args:
        features: the features job's own ``rows_in`` and ``duplicates``, which also count late events of days before.
    """
    shown = Table(title="What the run did", title_justify="left")
    shown.add_column("step")
    for heading in ("rows in", "rows out", "set aside", "seconds"):
        shown.add_column(heading, justify="right")
    aside = summary.rows_duplicate + summary.rows_quarantined
    rows: dict[str, tuple[int | None, int | None, int | None]] = {
        "generate": (None, summary.rows_landed, None),
        "bronze": (summary.rows_landed, summary.rows_bronze, aside),
        "features": (features["rows_in"], features["rows_in"] - features["duplicates"], features["duplicates"]),
        "materialize": (None, summary.cards_online, None),
        "verify": (summary.values_compared, summary.values_compared - summary.mismatches, summary.mismatches),
        "total": (None, None, None),
    }
    for step, counts in rows.items():
        shown.add_row(step, *("" if n is None else f"{n:,}" for n in counts), f"{summary.seconds.get(step, 0):.1f}")
    return shown


def legend(summary: Summary) -> str:
    """What the table counts."""
    return (
        "Rows are transactions; of materialize cards, of verify values. Set aside by bronze: "
        f"{summary.rows_quarantined:,} bad lines (each with its reason in bronze/quarantine) and {summary.rows_duplicate:,} "
        "duplicates; by features: duplicates across days."
    )


def published(lake_folder: Path) -> dict[str, bytes]:
    """Every manifest but verify's own, which is written anew by each run: equal before and after means no work."""
    root = lake_folder / MANIFESTS
    found = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*.json")}
    return {path: data for path, data in found.items() if not path.startswith("verify/")}


def _manifests(lake: Lake, dataset: str, partitions: Any) -> dict[str, Manifest]:
    found = {partition: lake.manifest(dataset, partition) for partition in partitions}
    return {partition: manifest for partition, manifest in found.items() if manifest}


def _total(manifests: Any, count: str) -> int:
    return sum(int(m.counts[count]) for m in manifests)
