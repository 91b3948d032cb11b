"""``python -m embedded.serve``: the demo's features over HTTP, until it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click

from embedded.errors import EmbeddedError
from embedded.features import online_store, redis_url_option
from embedded.home import REPOSITORY, Home
from embedded.lock import HomeInUse, exclusive
from jobs.common.errors import JobError
from jobs.online.loaded import read_marker
from jobs.online.redis_client import open_client, redis_errors
from jobs.online.repo import repo_settings


@click.command("python -m embedded.serve")
@click.option("--home", "folder", type=click.Path(path_type=Path), default=Path(".demo"), show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8090, show_default=True)
@redis_url_option
def command(folder: Path, port: int, redis_url: str | None) -> None:
    """Starts Redis on the demo's data and serves its features on loopback, as of the demo's last day."""
    home = Home.at(folder)
    try:
        if not home.summary.exists():
            raise EmbeddedError(f"{home.root} holds no finished demo: run `make demo` first.")
        with exclusive(home.root), online_store(home, redis_url) as url:
            code = _serve(home, url, port)
    except (EmbeddedError, HomeInUse, JobError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"Reading or writing failed: {error}. Check the folder {folder}.") from None
    sys.exit(code)


def _serve(home: Home, redis_url: str, port: int) -> int:
    """Runs the service to its end; the first Ctrl-C or SIGTERM is passed on to it."""
    with redis_errors(redis_url), open_client(redis_url) as client:
        loaded = read_marker(client, repo_settings()["project"])
    if loaded is None:
        raise EmbeddedError("The demo's Redis holds no whole state: run `make demo` again.")
    settings = {
        "SERVE_HOST": "127.0.0.1",
        "SERVE_PORT": str(port),
        "SERVE_AS_OF": loaded.event_timestamp.isoformat(),
        "LOG_FORMAT": "auto",
    }
    print(f"One card: curl http://127.0.0.1:{port}/features/CARD (`make demo` names two). Ctrl-C ends it.", flush=True)
    service: subprocess.Popen[bytes] | None = None
    told = False

    def stop(*_: object) -> None:
        nonlocal told
        told = True
        if service:
            service.terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    service = subprocess.Popen(
        [sys.executable, "-m", "jobs.serve"],
        cwd=REPOSITORY,
        env=home.job_environment(os.environ, redis_url) | settings,
    )
    if told:  # while it was being started
        service.terminate()
    return service.wait()


if __name__ == "__main__":
    command()
