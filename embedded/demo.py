"""``python -m embedded.demo``: the whole pipeline on this machine, from generated transactions to verified features."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console

from embedded import pipeline_run
from embedded.errors import EmbeddedError
from embedded.features import online_store, redis_url_option
from embedded.home import Home
from embedded.lock import HomeInUse, exclusive
from embedded.progress import StepDisplay
from embedded.world import World, settle
from jobs.common.errors import JobError
from jobs.generate.parameters import EPOCH

if TYPE_CHECKING:
    from embedded.summary import Summary

DAG = "feature_pipeline"
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command("python -m embedded.demo")
@click.option("--cards", type=click.IntRange(1, 1 << 31), default=5000, show_default=True, help="Synthetic cards.")
@click.option("--days", type=click.IntRange(min=1), default=35, show_default=True, help="Days of transactions.")
@click.option(
    "--seed", type=click.IntRange(0, 1 << 32), default=7, show_default=True, help="The same seed, the same data."
)
@click.option("--start", type=click.DateTime(["%Y-%m-%d"]), default="2026-01-01", show_default=True, help="First day.")
@click.option(
    "--home",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".demo"),
    show_default=True,
    help="Where all state goes; delete it to start afresh.",
)
@redis_url_option
def command(cards: int, days: int, seed: int, start: datetime, folder: Path, redis_url: str | None) -> None:
    """Runs the DAG feature_pipeline with no container, no server and no root, and shows what came of it."""
    for number in _STOPPING:
        signal.signal(number, _interrupt_once)
    console = Console(highlight=False)
    try:
        home, dates = Home.at(folder), _dates(start.date(), days)
        with exclusive(home.root):
            _run(console, home, dates, cards, seed, redis_url)
    except (EmbeddedError, HomeInUse, JobError) as error:
        _fail(str(error), getattr(error, "exit_code", 1))
    except OSError as error:
        _fail(f"Reading or writing failed: {error}. Mend it, or name another folder with --home.", 1)
    except KeyboardInterrupt:
        _fail("Interrupted; nothing half-done was published, and the same call goes on from here.", 130)


def _dates(first: date, days: int) -> list[date]:
    """The days of the run.

    Raises:
        EmbeddedError: the calendar or the world has no such days. Told before another world's data are deleted.
    """
    if first < EPOCH:
        raise EmbeddedError(f"--start {first} is before {EPOCH}, the first day of the synthetic world.", 2)
    try:
        first + timedelta(days=days)
    except OverflowError:
        raise EmbeddedError(
            f"--start {first} --days {days} goes beyond the calendar's last day, {date.max}: ask for fewer days.", 2
        ) from None
    return [first + timedelta(days=i) for i in range(days)]


def _run(console: Console, home: Home, days: list[date], cards: int, seed: int, redis_url: str | None) -> None:
    if change := settle(home, World(seed, cards, days[0].isoformat(), len(days))):
        console.print(f"{change}: starting afresh.", soft_wrap=True)
    home.make_folders()
    log = home.logs / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.log"
    console.print(f"{cards:,} cards, {len(days)} days from {days[0]}, seed {seed}. State: {home.root}", soft_wrap=True)
    console.print(f"Whole log: {log}", soft_wrap=True)
    conf = {
        "start": days[0].isoformat(),
        "end": (days[-1] + timedelta(days=1)).isoformat(),
        "snapshot": days[0].isoformat(),
        "cards": cards,
        "seed": seed,
    }
    began = time.monotonic()
    with online_store(home, redis_url) as url:
        from embedded.summary import published  # late: the lake's libraries load while Redis is there already

        before = published(home.lake)
        environment = home.airflow_environment(os.environ, url)
        record = pipeline_run.run(DAG, conf, environment, log, StepDisplay(console))
        unchanged = bool(before) and published(home.lake) == before
        record.seconds["total"] = round(time.monotonic() - began, 1)
        _report(console, home, days, url, record, unchanged)


def _report(
    console: Console, home: Home, days: list[date], url: str, record: pipeline_run.RunRecord, unchanged: bool
) -> None:
    """Writes ``summary.json`` and shows the counts, two cards, and what to do next."""
    from embedded import cards, summary
    from jobs.common.lake import Lake
    from jobs.common.settings import Settings

    settings = Settings(redis_url=url, feast_registry_url=f"sqlite:///{home.registry}")
    lake = Lake.open(home.lake_uri, settings)
    result = summary.summarize(lake, days, record.seconds, unchanged)
    home.summary.write_text(json.dumps(result.to_dict(), indent=2) + "\n")
    state = cards.online_state(lake, days[-1])
    chosen = cards.choose(lake, state)
    console.print()
    console.print(summary.table(result, record.results["features"]))
    console.print(summary.legend(result))
    if chosen:
        console.print()
        console.print(cards.table(settings, lake, state, chosen))
    _closing(console, home, result, next(reversed(chosen.values()), None))


def _closing(console: Console, home: Home, result: Summary, card: str | None) -> None:
    console.print()
    if result.unchanged:
        console.print("Nothing had changed since the last run: every job found its work done.")
    console.print(f"{result.values_compared:,} values read back from Redis, {result.mismatches} differ from the lake.")
    if not click.get_current_context().params["redis_url"]:  # which no make verb takes
        _hints(console, card)
    console.print(f"Counts and digests: {home.summary}", soft_wrap=True)


def _hints(console: Console, card: str | None) -> None:
    console.print("\nNext:")
    lines = [
        *([(f"make features CARD={card}", "one card's online features, with the status of each")] if card else []),
        (_again(), "again: nothing to do, and the same digests"),
        (_again(more_days=5), "five more days: only what they touch is computed"),
    ]
    for call, text in lines:
        console.print(f"  {call:<40}  {text}", soft_wrap=True)


def _again(more_days: int = 0) -> str:
    """The ``make`` call for the same demo, or one of more days."""
    context = click.get_current_context()
    given = {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) != ParameterSource.DEFAULT and name in ("cards", "seed", "start")
    }
    words = [f"{name.upper()}={value.date() if name == 'start' else value}" for name, value in given.items()]
    days = context.params["days"]
    if more_days or context.get_parameter_source("days") != ParameterSource.DEFAULT:
        words.append(f"DAYS={days + more_days}")
    return " ".join(["make demo", *words])


def _interrupt_once(*_: Any) -> None:
    """The first signal starts the clean end; further ones must not cut it short, it is bounded in time."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    command()
