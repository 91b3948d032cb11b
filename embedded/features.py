"""``python -m embedded.features --card ID``: a card's online features, after the demo has ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import click

from embedded import redis_server
from embedded.errors import EmbeddedError
from embedded.home import REPOSITORY, Home
from embedded.lock import HomeInUse, exclusive


@click.command("python -m embedded.features")
@click.option("--card", required=True, help="The card's card_id.")
@click.option("--home", "folder", type=click.Path(path_type=Path), default=Path(".demo"), show_default=True)
def command(card: str, folder: Path) -> None:
    """Starts Redis on the demo's data, shows what it serves for a card, and stops it."""
    home = Home.at(folder)
    if not home.summary.exists():
        raise click.ClickException(f"{home.root} holds no finished demo: run `make demo` first.")
    try:
        with exclusive(home.root), online_store(home) as url:
            call = [sys.executable, "-m", "jobs.verify.show", "--card", card]
            done = subprocess.run(
                call, cwd=REPOSITORY, env=home.job_environment(os.environ, url) | {"LOG_FORMAT": "auto"}
            )
    except (EmbeddedError, HomeInUse) as error:
        raise click.ClickException(str(error)) from None
    sys.exit(done.returncode)


def online_store(home: Home) -> contextlib.AbstractContextManager[str]:
    """The URL of the caller's own server where ``REDIS_URL`` names one, else of the home's while the block runs."""
    url = os.environ.get("REDIS_URL")
    return contextlib.nullcontext(url) if url else redis_server.running(home.redis)


if __name__ == "__main__":
    command()
