"""``python -m embedded.features --card ID``: a card's online features, after the demo has ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click

from embedded import redis_server
from embedded.errors import EmbeddedError
from embedded.home import REPOSITORY, Home
from embedded.lock import HomeInUse, exclusive


def _redis_url(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    parts = urlsplit(value or "redis://none")
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise click.BadParameter("it must look like redis://host:6379/0.")  # without the value: it may hold a password
    return value


redis_url_option = click.option(
    "--redis-url",
    callback=_redis_url,
    help="A server of your own, whose features the demo replaces. Default: the demo's own, with its data in the home.",
)


@click.command("python -m embedded.features")
@click.option("--card", required=True, help="The card's card_id.")
@click.option("--home", "folder", type=click.Path(path_type=Path), default=Path(".demo"), show_default=True)
@redis_url_option
def command(card: str, folder: Path, redis_url: str | None) -> None:
    """Starts Redis on the demo's data, shows what it serves for a card, and stops it."""
    home = Home.at(folder)
    try:
        if not home.summary.exists():
            raise EmbeddedError(f"{home.root} holds no finished demo: run `make demo` first.")
        with exclusive(home.root), online_store(home, redis_url) as url:
            call = [sys.executable, "-m", "jobs.verify.show", "--card", card]
            done = subprocess.run(
                call, cwd=REPOSITORY, env=home.job_environment(os.environ, url) | {"LOG_FORMAT": "auto"}
            )
    except (EmbeddedError, HomeInUse) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"Reading or writing failed: {error}. Check the folder {folder}.") from None
    sys.exit(done.returncode)


def online_store(home: Home, redis_url: str | None) -> contextlib.AbstractContextManager[str]:
    """The URL of the named server, else of the home's own while the block runs.

    Never that of ``REDIS_URL``: the demo deletes what it did not load, and a shell may name a server in use.
    """
    return contextlib.nullcontext(redis_url) if redis_url else redis_server.running(home.redis)


if __name__ == "__main__":
    command()
