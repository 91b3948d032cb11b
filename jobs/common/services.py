"""Services that a job needs and does not run: waiting for one that is about to come, and saying which one is gone.

A container that restarts refuses connections for some seconds, and in Compose or Kubernetes its name does not resolve
meanwhile. Neither is a wrong setting: a job waits, and where that does not help, another try may.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from jobs.common.errors import Unreachable

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds. For so long a job waits for a service, at first contact and again in the middle of its work."""
WRONG_TLS = r"CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER|[Pp]eer certificate|PKIX path"
"""Words of a connection that no try will mend: a certificate that is not trusted, or TLS where there is none."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0
_REASONS = (
    (r"not known|not resolve|resolve host|UnknownHost|No address|Temporary failure in name", "its name does not resolve"),
    (r"refused|[Cc]ould ?n[o']t connect", "it refuses connections"),
    (r"[Tt]imed? ?out|[Tt]imeout", "it does not answer in time"),
    (r"reset|closed|Broken pipe|unexpectedly|NoHttpResponse|Empty reply|EOF|is lost|failed to respond", "it broke the connection"),
)  # fmt: skip


def first_contact(service: str, attempt: Callable[[], T]) -> T:
    """Makes the first attempt to use a service, and others until it answers, for ``PATIENCE`` seconds.

    Args:
        service: what it is and where, for the one log line that says what the job waits for.

    Raises:
        Unreachable: the last attempt's.
    """
    deadline, pause, told = time.monotonic() + PATIENCE, _FIRST_PAUSE, False
    while True:
        try:
            return attempt()
        except Unreachable as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            if not told:
                structlog.get_logger().warning(
                    "waiting for a service", service=service, seconds=PATIENCE, why=error.reason
                )
                told = True
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)


def unreachable(service: str, variable: str, said: str) -> Unreachable:
    """The error that tells of a service that does not answer.

    Args:
        service: what it is and where (``Redis at host:6379``), without a login.
        variable: the setting that names it.
        said: the library's words.
    """
    reason = reason_of(said)
    return Unreachable(
        f"{service} cannot be reached: {reason}. "
        f"Check that it runs and that {variable} names it, then run the same call again.",
        reason,
    )


def reason_of(said: str) -> str:
    """A library's many words about a connection, in a few; its first line where they are about something else."""
    for pattern, words in _REASONS:
        if re.search(pattern, said):
            return words
    return first_line(said)


def first_line(said: str) -> str:
    lines = said.strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else "no reason given"
