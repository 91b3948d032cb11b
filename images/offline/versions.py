"""The versions in ``versions.env``: shell can source the file, and this reads it."""

from __future__ import annotations

import shlex
from pathlib import Path

FILE = Path(__file__).with_name("versions.env")


def read(file: Path = FILE) -> dict[str, str]:
    """Name to value, as a shell would see them."""
    values = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        for word in shlex.split(line, comments=True):
            name, _, values[name] = word.partition("=")
    return values


VERSIONS = read()
