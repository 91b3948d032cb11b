"""Airflow's database as the chart's pods see it, without importing Airflow, which takes seconds of CPU.

    database.py url HOST      the URL of the chart's own database, for AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD
    database.py server        waits until the database answers
    database.py schema USER   waits until it has the schema of this image's Airflow, and the user

A wait ends after ``--seconds``, with a last line that says what was missing.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

CONNECTION = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
PASSWORD = Path(os.environ.get("DATABASE_FOLDER", "/opt/airflow/database")) / "password"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["url", "server", "schema"])
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--see", default="")
    options = parser.parse_args()
    if options.what == "url":
        print(url(options.name, PASSWORD.read_text(encoding="utf-8").strip()), end="")
    elif options.what == "server":
        wait(lambda: ask("SELECT 1") and None, options.seconds, options.see)
    else:
        wait(lambda: missing(options.name), options.seconds, options.see)


def url(host: str, password: str) -> str:
    """A password may hold what has a meaning in a URL."""
    return f"postgresql+psycopg2://airflow:{quote(password, safe='')}@{host}:5432/airflow"


def wait(problem: Callable[[], str | None], seconds: float, see: str) -> None:
    """Until ``problem`` returns none."""
    import psycopg2

    said, end = None, time.monotonic() + seconds
    while True:
        try:
            found = problem()
        except psycopg2.Error as error:
            found = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        if not found:
            print("The database is ready.", flush=True)
            return
        if time.monotonic() >= end:
            sys.exit(f"Gave up after {seconds:.0f} s: {found.rstrip('.')}.{see and f' See {see}.'}")
        if found != said:
            print(f"Waiting: {found}", flush=True)
            said = found
        time.sleep(2)


def missing(user: str) -> str | None:
    """What the database lacks for this image, or none.

    Raises:
        SystemExit: if the schema is one that this image does not know; to wait for it would be in vain.
    """
    (airflow,) = find_spec("airflow").submodule_search_locations  # type: ignore[misc, union-attr]
    for table, folder in (
        ("alembic_version", Path(airflow, "migrations", "versions")),
        ("alembic_version_fab", Path(airflow, "providers", "fab", "migrations", "versions")),
    ):
        if not ask(f"SELECT to_regclass('{table}')"):
            if table == "alembic_version":
                return "the database has no schema yet"
            continue
        known, head = revisions(folder)
        found = ask(f"SELECT version_num FROM {table}")
        if known and found and found not in known:
            sys.exit(
                f"The database's schema ({table} {found}) is newer than this image, which knows up to {head}: "
                "install the newer image again, or take the schema back with its `airflow db downgrade`."
            )
        if known and found != head:
            return f"{table} is {found or 'empty'}, this image needs {head}"
    if not ask("SELECT to_regclass('ab_user')") or not ask("SELECT 1 FROM ab_user WHERE username = %s", user):
        return f"the user {user} is not there yet"
    return None


def revisions(folder: Path) -> tuple[set[str], str]:
    """The revisions of the schema in the migrations' files, and the last of them."""
    known, older = set(), set()
    for path in folder.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        known.update(re.findall(r"^revision\b[^=\n]*=\s*[\"'](\w+)", text, re.MULTILINE))
        for line in re.findall(r"^down_revision\b[^=\n]*=(.*)", text, re.MULTILINE):
            older.update(re.findall(r"[\"'](\w+)", line))
    return known, max(known - older, default="")


def ask(query: str, *values: str) -> str | None:
    """The first field of the answer as text, none if there is no row or the field is null."""
    import psycopg2

    connection = psycopg2.connect(database_url(), connect_timeout=5)
    try:
        with connection.cursor() as cursor:
            cursor.execute(query, values or None)
            row = cursor.fetchone()
    finally:
        connection.close()
    return None if row is None or row[0] is None else str(row[0])


@functools.cache
def database_url() -> str:
    """Airflow's own setting, in the form that the driver takes."""
    command = os.environ[f"{CONNECTION}_CMD"]
    text = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True).stdout.strip()
    return re.sub(r"^postgresql\+\w+:", "postgresql:", text)


if __name__ == "__main__":
    main()
