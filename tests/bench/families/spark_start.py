"""What Spark costs before it does anything: a session of the jobs' own settings, two Python workers, one row."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.bench.side import CommandSide


class Start(CommandSide):
    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "tests.bench.families.spark_start", str(self.work.size)]


def main(rows: str) -> None:
    import tempfile
    from pathlib import Path

    from jobs.common.lake import Lake
    from jobs.common.settings import Settings
    from jobs.common.spark import spark_session

    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.open(Path(folder).as_uri(), Settings())
        with spark_session(Settings(), lake, "start", rows=int(rows)) as spark:
            spark.range(0, 2, 1, 2).mapInArrow(lambda batches: batches, "id long").count()


if __name__ == "__main__":
    main(*sys.argv[1:])
