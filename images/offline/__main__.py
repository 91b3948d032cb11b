"""``python3 -m images.offline``: all base images and the kind node image, from Debian packages and Go modules alone.

``--base`` leaves the node image out; ``--pull`` first asks the registry for what is not there, and builds what it does
not give. Run it again as often as you like: what is there stays, whoever made it.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from images.offline import base, docker
from images.offline.steps import Missing, StepFailed, Steps, tell
from kind.offline import node

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m images.offline", description=__doc__.partition("\n")[0])
    parser.add_argument("--base", action="store_true", help="only the base images, not the kind node image")
    parser.add_argument("--pull", action="store_true", help="where a registry answers, pull the upstream images")
    arguments = parser.parse_args()
    again = " ".join(["python3 -m images.offline", *sys.argv[1:]]) if sys.argv[1:] else "make offline-images"
    steps = Steps(TOOLS / "log", again)
    try:
        docker.need_engine()
        with _alone():
            if arguments.pull:
                base.pull(steps, base.images() + ([] if arguments.base else [node.IMAGE]))
            base.make(steps, TOOLS)
            if not arguments.base:
                node.make(steps, TOOLS)
    except Missing as error:
        tell(str(error))
        return 2
    except StepFailed as error:
        tell(str(error))
        return 1
    except OSError as error:
        tell(f"Reading or writing failed: {error}. Mend it and run `{again}` again: what is done stays done.")
        return 1
    except KeyboardInterrupt:
        tell(f"Interrupted. What is done stays done: `{again}` goes on from there.")
        return 130
    print(f"\n{steps.table()}")
    return 0


@contextmanager
def _alone() -> Iterator[None]:
    """Two at once would make the same things twice: the second waits."""
    TOOLS.mkdir(exist_ok=True)
    folder = os.open(TOOLS, os.O_RDONLY)  # the kernel drops the lock with its holder, however that ends
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Another call makes images here; waiting for its end.", flush=True)
        fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(folder)


if __name__ == "__main__":
    sys.exit(main())
