"""One process a home: a lock that the kernel drops with its holder, however that ends.

``python -m embedded.lock FOLDER`` exits 1 while a demo runs there. Standard library only: ``make clean`` asks it
before there is an environment.
"""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class HomeInUse(Exception):
    """Another process holds the home."""


@contextmanager
def exclusive(home: Path) -> Iterator[None]:
    """Holds the home while the block runs.

    Raises:
        HomeInUse: another process holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as file:  # not inherited by child processes
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeInUse(
                f"Another demo uses {home}: wait for its end, or give this one a folder of its own with --home."
            ) from None
        yield


if __name__ == "__main__":
    try:
        if Path(sys.argv[1]).exists():
            with exclusive(Path(sys.argv[1])):
                pass
    except HomeInUse:
        sys.exit(f"A demo is running in {sys.argv[1]}: stop it first (Ctrl-C in its window).")
