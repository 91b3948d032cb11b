"""A failure of the embedded mode that one sentence explains."""

from __future__ import annotations


class EmbeddedError(Exception):
    """What happened and what to do; the command ends with ``exit_code``."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
