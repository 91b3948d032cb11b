"""What Spark costs before it does anything: the jobs' own settings, two Python workers, one number each."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.bench.side import CommandSide


class Start(CommandSide):
    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "tests.bench.families.spark_start"]


def main() -> None:
    import tempfile
    from pathlib import Path

    from jobs.common.lake import Lake
    from jobs.common.settings import Settings
    from jobs.common.spark import spark_context

    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.open(Path(folder).as_uri(), Settings())
        with spark_context(Settings(), lake, "start") as spark:
            spark.parallelize([0, 1], 2).map(str).collect()


if __name__ == "__main__":
    main()
