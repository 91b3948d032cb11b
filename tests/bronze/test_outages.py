"""The bronze job on an S3 store that goes away in the middle: for good, or for some seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.common.contract import DATASETS
from jobs.common.lake import Lake, ingest_partition
from jobs.common.settings import Settings
from tests import s3
from tests.bronze.conftest import DAY, bronze, digests, good_lines, land
from tests.outages import Proxy

LANDED = {
    "transactions": {"f.jsonl": good_lines(200)},
    "merchants": {"f.csv": "merchant_id,mcc,country\nm,5411,DE\n"},
}


@pytest.fixture
def server() -> Iterator[int]:
    with s3.running() as port:
        s3.client(port).create_bucket(Bucket="fti")
        yield port


@pytest.fixture
def proxy(server: int) -> Iterator[Proxy]:
    proxy = Proxy(server)
    proxy.mend()
    yield proxy
    proxy.cut()


def run(port: int, at: str, then: Callable[[], None]) -> tuple[int, str]:
    """Runs the job as a process; does something when a log line holds all words of ``at``."""
    environment = {
        **os.environ,
        **s3.CREDENTIALS,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "S3_PATH_STYLE": "true",
        "LOG_FORMAT": "json",
    }
    call = [
        sys.executable,
        "-m",
        "jobs.bronze",
        "--lake",
        "s3://fti/lake",
        "--start",
        "2026-01-05",
        "--end",
        "2026-01-06",
    ]
    said, done = [], False
    with subprocess.Popen(call, stderr=subprocess.PIPE, text=True, env=environment) as job:
        assert job.stderr is not None
        for line in job.stderr:
            said.append(line)
            if not done and all(word in line for word in at.split()):
                done = True
                then()
    assert done, "".join(said)
    return job.returncode, "".join(said)


def test_an_outage_fails_the_job_or_only_holds_it_up(
    lake: Lake, server: int, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for dataset, files in LANDED.items():
        land(lake, DAY, files, dataset)
    bronze(lake)
    on_s3 = Lake.open("s3://fti/lake", Settings(aws_endpoint_url=f"http://127.0.0.1:{server}", s3_path_style=True))
    for file in lake.files("landing"):
        on_s3.write_bytes(lake.relative(file.path), Path(file.path).read_bytes())

    # Spark's workers are about to read the next file.
    code, said = run(proxy.port, '"transactions" "checked"', proxy.cut)
    assert code == 1
    assert json.loads(said.splitlines()[-1])["event"] == (
        f"S3 at 127.0.0.1:{proxy.port} cannot be reached: it refuses connections. "
        "Check that it runs and that AWS_ENDPOINT_URL names it, then run the same call again."
    )
    assert "Traceback" not in said
    assert "\tat " not in said
    assert s3.SECRET not in said
    assert [on_s3.partitions(d.bronze) for d in DATASETS] == [[]] * len(DATASETS)

    # Spark's workers are about to write.
    proxy.mend()

    def hold_up() -> None:
        proxy.cut()
        proxy.mend_after(5)

    code, said = run(proxy.port, '"merchants" "checked"', hold_up)
    assert code == 0, said
    assert digests(on_s3) == digests(lake)
    assert ingest_partition(DAY) in on_s3.partitions("bronze/transactions")
