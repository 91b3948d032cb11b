"""What the peers of the bronze job share: where the files are, and the contract's patterns in RE2's and Rust's words."""

from __future__ import annotations

from pathlib import Path

from jobs.common.contract import TRANSACTIONS, Column

WANTED = [column.name for column in TRANSACTIONS.columns]


def day_folders(landing: Path) -> list[Path]:
    return sorted(landing.glob("ingest_date=*"))


def pattern_of(column: Column) -> str:
    """ASCII digits: that is what the job's ``\\d`` means, too."""
    return column.kind.pattern.replace(r"\d", "[0-9]")
