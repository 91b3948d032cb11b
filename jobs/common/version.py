"""Which code made a partition: a fingerprint of the sources, so that an edited job recomputes its output."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

JOBS = Path(__file__).resolve().parent.parent


@cache
def code_version(*packages: str) -> str:
    """Twelve hex digits over the Python sources of the named packages below ``jobs`` (``"features"``, …)."""
    sha = hashlib.sha256()
    for package in sorted(packages):
        for source in sorted((JOBS / package).rglob("*.py")):
            sha.update(source.relative_to(JOBS).as_posix().encode())
            sha.update(source.read_bytes().replace(b"\r\n", b"\n"))
    return sha.hexdigest()[:12]
