"""Health check of an Airflow process: ``python /opt/airflow/heartbeat.py TriggererJob``.

Exits 0 when this host's job of that type (``TriggererJob``, ``DagProcessorJob``, ``SchedulerJob``) wrote its heartbeat
in the last minute, otherwise 1 with a sentence. It asks the metadata database what ``airflow jobs check`` asks, without
importing Airflow, which would take seconds of CPU at every probe.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys

QUERY = """
SELECT extract(epoch FROM now() - max(latest_heartbeat))::float8 FROM job
WHERE job_type = %s AND state = 'running' AND hostname = %s
"""
CONNECTION = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job_type", help="as in Airflow's table job: TriggererJob, DagProcessorJob, SchedulerJob")
    parser.add_argument("--seconds", type=float, default=60, help="the oldest heartbeat that counts (60)")
    options = parser.parse_args()
    try:
        host = hostname()
        age = heartbeat_age(options.job_type, host)
    except Exception as error:  # a probe only says why, in one line
        sys.exit(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason'}")
    if age is None:
        sys.exit(f"No running {options.job_type} on {host}.")
    if age > options.seconds:
        sys.exit(f"The last heartbeat of {options.job_type} on {host} was {age:.0f} s ago.")
    print(f"{options.job_type} on {host}: heartbeat {age:.0f} s ago.")


def heartbeat_age(job_type: str, host: str) -> float | None:
    """Seconds since the newest heartbeat by the database's clock; None where there is none."""
    import psycopg2

    with psycopg2.connect(database_url(), connect_timeout=5) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY, (job_type, host))
        return cursor.fetchone()[0]


def database_url() -> str:
    """Airflow's own setting, in the form that the driver takes."""
    url = os.environ.get(CONNECTION)
    if not url and f"{CONNECTION}_CMD" in os.environ:
        command = os.environ[f"{CONNECTION}_CMD"]
        url = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    if not url or not url.startswith("postgresql"):
        raise ValueError(f"{CONNECTION} must hold a PostgreSQL URL")
    return re.sub(r"^postgresql\+\w+:", "postgresql:", url)


def hostname() -> str:
    """The name under which Airflow on this host writes its jobs; ``socket.getfqdn`` may give another."""
    given = os.environ.get("AIRFLOW__CORE__HOSTNAME_CALLABLE", "airflow.utils.net.getfqdn")
    if given == "airflow.utils.net.getfqdn":
        return canonical_name()
    if given == "airflow.utils.net.get_host_ip_address":
        return socket.gethostbyname(canonical_name())
    if given in ("socket.gethostname", "socket.getfqdn"):
        return str(getattr(socket, given.removeprefix("socket."))())
    raise ValueError(f"AIRFLOW__CORE__HOSTNAME_CALLABLE is {given}, which this probe does not know")


def canonical_name() -> str:
    """What ``airflow.utils.net.getfqdn`` returns."""
    name = socket.gethostname()
    try:
        found = socket.getaddrinfo(name, None, 0, socket.SOCK_DGRAM, 0, socket.AI_CANONNAME)
    except OSError:
        return name
    return next((canonical for *_, canonical, _ in found if canonical), name)


if __name__ == "__main__":
    main()
