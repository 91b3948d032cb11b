"""The command line that all jobs share, and the one place where an error becomes words and an exit code."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any

import click
import structlog

from jobs.common.errors import JobError, WrongCall, interrupt_of
from jobs.common.lake import Lake
from jobs.common.log import setup_logging
from jobs.common.settings import Settings, load_settings


class Day(click.ParamType):
    """A calendar day in UTC, ``YYYY-MM-DD``."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day such as 2026-01-31.", param, ctx)


@dataclass(frozen=True)
class JobContext:
    """What a job is handed: its settings, the lake, and the half-open range of days ``[start, end)``."""

    settings: Settings
    lake: Lake
    start: date
    end: date
    force: bool = False

    @cached_property
    def days(self) -> list[date]:
        """Every day of the range, in order."""
        return [self.start + timedelta(days=i) for i in range((self.end - self.start).days)]

    @property
    def log(self) -> Any:
        return structlog.get_logger()


JobFunction = Callable[..., Mapping[str, Any]]


def job_command(name: str) -> Callable[[JobFunction], click.Command]:
    """Turns ``run(context, **options) -> counts`` into the command ``python -m jobs.<name>``.

    Adds ``--lake``, ``--start``, ``--end`` and ``--force``; further options are put on the function with
    ``click.option``. The returned counts become the fields of the last log line.
    """

    def wrap(function: JobFunction) -> click.Command:
        def callback(lake: str | None, start: date, end: date, force: bool, **options: Any) -> None:
            settings = load_settings()
            setup_logging(name, settings.log_format)
            if end <= start:
                raise WrongCall(
                    f"--end {end} must be after --start {start}: the range is half-open, --end is the day after the last."
                )
            uri = lake or settings.lake_uri
            if not uri:
                raise WrongCall("No lake given: pass --lake file:///folder or --lake s3://bucket, or set LAKE_URI.")
            context = JobContext(settings, Lake.open(uri, settings), start, end, force)
            began = time.perf_counter()
            with context.lake.errors():
                counts = function(context, **options)
            context.log.info("done", **counts, seconds=round(time.perf_counter() - began, 1))

        params = [
            click.Option(["--lake"], help="Lake URI, file:///folder or s3://bucket[/prefix]. Default: LAKE_URI."),
            click.Option(["--start"], type=Day(), required=True, help="First day, UTC."),
            click.Option(["--end"], type=Day(), required=True, help="The day after the last, UTC."),
            click.Option(["--force"], is_flag=True, help="Work even where nothing changed since the last run."),
            *reversed(getattr(function, "__click_params__", [])),
        ]
        return click.Command(f"python -m jobs.{name}", params=params, callback=callback, help=function.__doc__)

    return wrap


def main(command: click.Command) -> None:
    """Runs a job's command and exits: 0 done, 1 failed, 2 wrong call or settings, 3 bad data."""
    signal.signal(signal.SIGTERM, _terminate)  # a stopped container cleans up, too
    structlog.reset_defaults()  # until the settings are read, an error is plain text
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        _end(error.format_message(), 2)
    except JobError as error:
        _end(str(error), error.exit_code)
    except OSError as error:
        _end(
            f"Reading or writing failed: {error}. Mend that, then run the same call again; nothing half-written counts.",
            1,
        )
    except (KeyboardInterrupt, click.Abort) as error:
        word, code = ("Terminated", 143) if isinstance(interrupt_of(error), _Terminated) else ("Interrupted", 130)
        _end(f"{word}. Nothing half-done was published; the same call finishes the work.", code)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, as an exception: it passes through the places that tidy up, and through no handler of errors.

    Of an interrupt py4j knows that the answer it waits for will not be read: it goes on by another connection to the JVM.
    """


def _terminate(*_: Any) -> None:
    raise _Terminated


def _end(message: str, code: int) -> None:
    if structlog.is_configured():
        structlog.get_logger().error(message, exit_code=code)
    else:
        print(f"Error: {message}", file=sys.stderr)
    sys.exit(code)
