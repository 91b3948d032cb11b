"""How a job's exit code ends its Airflow task: retried, or failed for good."""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from launchers.exit_codes import NEVER_RETRIED, failure_sentence


class JobFailed(AirflowException):
    """The job failed; the task is tried again."""

    exit_code = 1


class JobRefused(AirflowFailException):
    """The job said that the call or the data is wrong; the task is not tried again."""

    exit_code = 2


def job_failure(job: str, code: int, reason: str | None = None) -> JobFailed | JobRefused:
    """The exception for an exit code other than 0; it carries the code."""
    error = (JobRefused if code in NEVER_RETRIED else JobFailed)(failure_sentence(job, code, reason))
    error.exit_code = code
    return error
