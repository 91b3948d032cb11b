"""Reading silver: which partitions can matter, their rows, and the newest state that all online products share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import pyarrow.dataset as ds

from jobs.common.digest import combine
from jobs.common.errors import WrongCall
from jobs.common.lake import Lake, Manifest, event_partition, partition_day, require
from jobs.common.products import ONLINE_PRODUCTS, Product

_REMEDY = "run the features job for that day first"


def partitions_between(
    product: Product, published: Sequence[str], start: datetime | None, end: datetime | None
) -> list[str]:
    """The partitions that can hold an event timestamp of ``[start, end]``; None leaves a side open.

    A daily row of event date D carries the midnight that ends D, a transaction any moment of D.
    """

    def matters(day: date) -> bool:
        last = midnight_after(day)
        first = last if product in ONLINE_PRODUCTS else last - timedelta(days=1)
        return (start is None or last >= _utc(start)) and (end is None or first <= _utc(end))

    return [name for name in published if matters(partition_day(name))]


def read_partitions(lake: Lake, product: Product, days: Sequence[date]) -> ds.Dataset:
    """The product's rows of the given event dates: exactly the files that the manifests name, with the product's types."""
    files = []
    for day in days:
        partition = event_partition(day)
        if manifest := lake.manifest(product.dataset, partition):
            files += [lake.path(f"{product.dataset}/{partition}/{name}") for name in manifest.files]
    return ds.dataset(files, schema=product.schema, filesystem=lake.filesystem, format="parquet")


@dataclass(frozen=True)
class State:
    """The state of all online products at one midnight.

    Attributes:
        day: the event date whose end it is.
        manifests: of that day's partition, by product name.
    """

    day: date
    manifests: Mapping[str, Manifest]

    @property
    def event_timestamp(self) -> datetime:
        """The midnight that ends the day: the event timestamp of every row."""
        return midnight_after(self.day)

    def fingerprint(self, *code_versions: str) -> str:
        """Equal for equal content, loaded by equal code."""
        digests = [(name, manifest.digest) for name, manifest in self.manifests.items()]
        return combine([("day", self.day.isoformat()), ("code", " ".join(code_versions)), *digests])


def require_days(lake: Lake, days: Sequence[date]) -> None:
    """Checks that every online product has a partition of every day.

    Raises:
        WrongCall: naming the first that is missing.
    """
    for product in ONLINE_PRODUCTS:
        published = set(lake.partitions(product.dataset))
        for day in days:
            if event_partition(day) not in published:
                require(None, f"{product.dataset}/{event_partition(day)}", _REMEDY)


def newest_state(lake: Lake, not_before: date) -> State:
    """The newest day that every online product has, so that loading an old day again cannot put the clock back.

    Raises:
        WrongCall: there is none at or after ``not_before``.
    """
    common = set.intersection(*(set(lake.partitions(product.dataset)) for product in ONLINE_PRODUCTS))
    newest = max(map(partition_day, common), default=None)
    if newest is None or newest < not_before:
        raise WrongCall(f"No day from {not_before} on has all online products: {_REMEDY}.")
    return state_of(lake, newest)


def state_of(lake: Lake, day: date) -> State:
    """The state at the end of one day.

    Raises:
        WrongCall: a product has no partition of that day.
    """
    partition = event_partition(day)
    return State(
        day,
        {
            product.name: require(lake.manifest(product.dataset, partition), f"{product.dataset}/{partition}", _REMEDY)
            for product in ONLINE_PRODUCTS
        },
    )


def midnight_after(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time.min, UTC)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
