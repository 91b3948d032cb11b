"""The one table of what each job needs, whatever starts it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class JobSpec:
    """A job as the launchers see it."""

    title: str
    doc: str
    cpu: str
    """Requested; there is no limit, so that a lone job may use an idle node."""
    memory_mib: int
    """Requested and the limit: above it the job is killed, not its neighbours."""
    timeout: timedelta = timedelta(hours=6)
    """For a long backfill; a day takes minutes."""
    spark: bool = False
    """Its work can be spread over several pods (see ``spark.py``)."""


JOBS = {
    "generate": JobSpec(
        "Generate transactions",
        "Writes synthetic card transactions, with fraud and its ground truth, to `landing/`.",
        cpu="250m",
        memory_mib=1536,
    ),
    "bronze": JobSpec(
        "Ingest to bronze",
        "Checks every landed line: valid ones go to `bronze/transactions/`, bad ones to `bronze/quarantine/` with a reason.",
        cpu="500m",
        memory_mib=2560,
        spark=True,
    ),
    "features": JobSpec(
        "Compute features",
        "Computes the feature products of each event day to `silver/features/`.",
        cpu="500m",
        memory_mib=2560,
        spark=True,
    ),
    "materialize": JobSpec(
        "Load the online store",
        "Loads the newest values of the features into Redis through Feast.",
        cpu="250m",
        memory_mib=1536,
    ),
    "verify": JobSpec(
        "Compare online with offline",
        "Reads every card back from Redis and fails when a value differs from `silver/`.",
        cpu="250m",
        memory_mib=1536,
    ),
}
