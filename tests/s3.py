"""An S3-speaking server: moto as a process of its own, which stands in for MinIO."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any
from urllib.request import urlopen

import boto3

from tests.outages import free_port

KEY, SECRET = "an-s3-key", "an-s3-secret/with+signs"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}


@contextlib.contextmanager
def running(unchecked: int | None = None) -> Iterator[int]:
    """Runs a server and yields its port.

    Args:
        unchecked: how many requests pass with any key; after them the key must be one that the server made. Default: all.
    """
    port = free_port()
    environment = os.environ | ({} if unchecked is None else {"INITIAL_NO_AUTH_ACTION_COUNT": str(unchecked)})
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=2).close()
                    break
                except (OSError, HTTPException):
                    assert time.monotonic() < deadline, "the S3 server did not start"
                    time.sleep(0.1)
            yield port
        finally:
            server.terminate()


def client(port: int, service: str = "s3") -> Any:
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )
