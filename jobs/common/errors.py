"""The errors a job may end with, each with its exit code. Anything else is a bug and shows its trace."""

from __future__ import annotations


class JobError(Exception):
    """A failure that one sentence explains: what happened, where, what to do. Exit code 1."""

    exit_code = 1


class WrongCall(JobError):
    """The call or the settings are wrong, or what they name does not exist. Nothing was written. Exit code 2."""

    exit_code = 2


class BadData(JobError):
    """More of the input is bad than the caller allows. Nothing was published. Exit code 3."""

    exit_code = 3
