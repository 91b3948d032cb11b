"""A lake's S3: the filesystem that waits out a short outage, and what its errors mean."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs as pafs

from jobs.common.errors import JobError, WrongCall
from jobs.common.services import WRONG_TLS, first_contact, first_line, unreachable
from jobs.common.settings import Settings

RETRIES = 10
"""pyarrow pauses 25 ms before the first retry and twice as long before each next: 26 s in all."""

DISK_FULL = r"No space left on device|Disk quota exceeded|StorageFull|QuotaExceeded|HTTP status 507"
_REFUSED = (
    r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|AccessDenied|InvalidAccessKeyId"
    r"|SignatureDoesNotMatch|HTTP status 403"
)
_GONE = (
    r"NETWORK_CONNECTION|REQUEST_TIMEOUT|SERVICE_UNAVAILABLE|SLOW_DOWN|INTERNAL_FAILURE|HTTP status 5\d\d"
    r"|errors\.Unreachable"
)


def s3_service(settings: Settings) -> str:
    """What the store is and where, for a message."""
    return f"S3 at {urlsplit(settings.aws_endpoint_url).netloc}" if settings.aws_endpoint_url else "S3 of AWS"


def s3_filesystem(settings: Settings, patient: bool = True) -> pafs.S3FileSystem:
    """S3 by the AWS default credential chain.

    Args:
        patient: operations outlive a short outage.
    """
    options: dict[str, Any] = {
        "region": settings.aws_region,
        "connect_timeout": 3,
        "request_timeout": 60,
        "retry_strategy": pafs.AwsDefaultS3RetryStrategy(max_attempts=RETRIES if patient else 0),
    }
    if settings.aws_endpoint_url:
        endpoint = urlsplit(settings.aws_endpoint_url)
        options |= {
            "endpoint_override": endpoint.netloc,
            "scheme": endpoint.scheme,
            "force_virtual_addressing": not settings.s3_path_style,
        }
    return pafs.S3FileSystem(**options)


def check_bucket(filesystem: pafs.S3FileSystem, service: str, bucket: str) -> None:
    """Waits for the store and asks for the bucket.

    Args:
        filesystem: without retries, so that one who waits can be told why.

    Raises:
        Unreachable: the store does not answer.
        WrongCall: it refuses the login, or there is no such bucket.
    """

    def ask() -> pafs.FileType:
        try:
            return filesystem.get_file_info(bucket).type
        except (OSError, pa.ArrowException) as error:
            failure = s3_failure(service, str(error))
            raise failure or WrongCall(
                f"Cannot use bucket {bucket}, {service}: {first_line(str(error))}. Check the lake URI and AWS_REGION."
            ) from None

    if first_contact(service, ask) == pafs.FileType.NotFound:
        raise WrongCall(f"There is no bucket {bucket}, {service}: make it first, or correct the lake URI.")


def s3_failure(service: str, said: str) -> JobError | None:
    """The error that a library's words about S3 amount to; None where they are about something else."""
    if re.search(DISK_FULL, said):
        return JobError(
            f"The disk of {service} is full. Free space there, then run the same call again; nothing half-written counts."
        )
    if re.search(_REFUSED, said):
        return WrongCall(
            f"{service} refuses access: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "and that they may read and write the bucket."
        )
    if re.search("NO_SUCH_BUCKET|NoSuchBucket", said):
        return WrongCall(f"{service} has no such bucket: make it first, or correct the lake URI.")
    if re.search(WRONG_TLS, said):
        return WrongCall(
            f"{service} does not speak TLS as asked, or its certificate is not trusted: check AWS_ENDPOINT_URL."
        )
    # Of a trace the last line that tells is the cause.
    telling = [line for line in said.splitlines() if re.search(_GONE, line) and not line.lstrip().startswith("at ")]
    return unreachable(service, "AWS_ENDPOINT_URL", telling[-1]) if telling else None
