"""What a job's exit code means, in words. No Airflow in here: the embedded mode reads it too."""

from __future__ import annotations

import signal

WRONG_CALL = 2
BAD_DATA = 3
NEVER_RETRIED = frozenset({WRONG_CALL, BAD_DATA})
"""The same call would end the same way, so trying it again only hides the reason."""

_WORDS = {
    0: "done",
    1: "failed, see its last error above",
    WRONG_CALL: "wrong call or settings",
    BAD_DATA: "more bad data than the run allows",
    130: "interrupted",
}


def meaning(code: int) -> str:
    """The code in words; a code below 0 or above 128 is a signal (Popen's and the shell's way to say it)."""
    if code in _WORDS:
        return _WORDS[code]
    killer = killed_by(code)
    if not killer:
        return "unknown, not one of the job's own codes"
    return f"killed by {killer.name}" + (" (often out of memory)" if killer == signal.SIGKILL else "")


def killed_by(code: int) -> signal.Signals | None:
    """The signal that ended the job; None where it ended by itself, if only with a code for an interruption."""
    if code in _WORDS:
        return None
    try:
        return signal.Signals(-code if code < 0 else code - 128)
    except ValueError:
        return None


def failure_sentence(job: str, code: int, reason: str | None = None) -> str:
    """The last line of a failed task's log."""
    return f"Job {job} ended with exit code {code}: {reason or meaning(code)}."
