"""The errors a job may end with, each with its exit code. Anything else is a bug and shows its trace."""

from __future__ import annotations

from typing import Any


class JobError(Exception):
    """A failure that one sentence explains: what happened, where, what to do. Exit code 1."""

    exit_code = 1


class Unreachable(JobError):
    """A service does not answer, which another try may mend. Exit code 1.

    Attributes:
        reason: why, in a few words.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:  # on its way from another process
        return type(self), (str(self), self.reason)


class WrongCall(JobError):
    """The call or the settings are wrong, or what they name does not exist: another try ends alike. Exit code 2."""

    exit_code = 2


class BadData(JobError):
    """More of the input is bad than the caller allows. Nothing was published. Exit code 3."""

    exit_code = 3


def interrupt_of(error: BaseException | None) -> KeyboardInterrupt | None:
    """The interrupt that an error is, or in whose wake it came."""
    while not (error is None or isinstance(error, KeyboardInterrupt)):
        error = error.__context__
    return error
