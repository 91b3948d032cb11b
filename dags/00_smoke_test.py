"""
### Smoke test of the stack

Proves that Airflow's tasks reach the two stores that everything else needs.

* `check_minio` asks MinIO whether it is ready and logs `MinIO ready: <url> -> 200`.
* `check_redis` sends a `PING` and logs `Redis ping ok: <host>:<port>`.

The addresses come from `AWS_ENDPOINT_URL` and `REDIS_URL`, as the jobs' do. Trigger it by hand; it has no schedule.
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowException

log = logging.getLogger("airflow.task")


@task(task_display_name="Reach MinIO", doc_md="Asks MinIO's readiness endpoint.")
def check_minio() -> None:
    from urllib.error import URLError
    from urllib.request import urlopen

    url = os.environ.get("AWS_ENDPOINT_URL", "http://minio:9000").rstrip("/") + "/minio/health/ready"
    try:
        with urlopen(url, timeout=10) as response:
            status = response.status
    except URLError as error:  # HTTPError too: any answer but 2xx
        raise AirflowException(
            f"MinIO is not ready at {url} ({error}): check that it runs and that AWS_ENDPOINT_URL names it."
        ) from error
    log.info("MinIO ready: %s -> %s", url, status)


@task(task_display_name="Reach Redis", doc_md="Sends a PING to Redis.")
def check_redis() -> None:
    from urllib.parse import urlsplit

    from redis import Redis, RedisError

    url = os.environ.get("REDIS_URL", "redis://redis:6379/0")
    parts = urlsplit(url)
    address = f"{parts.hostname}:{parts.port or 6379}"  # never the URL: it may hold a password
    try:
        with Redis.from_url(url, socket_timeout=10, socket_connect_timeout=10) as client:
            client.ping()
    except (RedisError, ValueError) as error:
        raise AirflowException(
            f"Redis does not answer at {address} ({type(error).__name__}): check that it runs and that REDIS_URL names it."
        ) from None
    log.info("Redis ping ok: %s", address)


with DAG(
    "00_smoke_test_stack",
    description="Airflow reaches MinIO and Redis.",
    doc_md=__doc__,
    tags=["fti", "smoke-test"],
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={
        "owner": "fti",
        "retries": 1,
        "retry_delay": timedelta(seconds=10),
        "execution_timeout": timedelta(minutes=1),
    },
):
    check_minio()
    check_redis()
