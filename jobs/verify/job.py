"""The verify job: what is served online equals what silver says, or the run fails."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import click

from jobs.common.cli import JobContext, job_command
from jobs.common.digest import combine
from jobs.common.errors import JobError, WrongCall
from jobs.common.lake import Lake, Manifest, event_partition
from jobs.common.products import ONLINE_PRODUCTS, Product
from jobs.common.version import code_version
from jobs.online.loaded import Loaded, read_marker
from jobs.online.redis_client import connect, redis_errors
from jobs.online.repo import open_store, registry_errors, registry_url, repo_settings
from jobs.online.silver import State, require_days, state_of

AGED_KEYS = 200
SHOWN = 5
INVENTED = {"mcc": -1}  # no category; elsewhere a text that no exporter writes


@click.option(
    "--cards",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Read back at most so many keys a view.",
)
@job_command("verify")
def command(context: JobContext, cards: int) -> Mapping[str, Any]:
    """Reads all features of every card, account, merchant and category back and compares them with silver, exactly.

    Also asks for a key that does not exist, and for values that are too old to be served.
    """
    began = time.perf_counter()
    settings, lake = context.settings, context.lake
    require_days(lake, context.days)
    project: str = repo_settings()["project"]
    client = connect(settings.redis_url)
    with redis_errors(settings.redis_url), registry_errors(registry_url(settings, lake)):
        loaded = read_marker(client, project)
        if loaded is None or loaded.day < context.days[-1]:
            found = f"the state of {loaded.day}" if loaded else "no whole state"
            raise WrongCall(f"The online store holds {found}: run materialize for {context.days[-1]} first.")
        state = state_of(lake, loaded.day)
        results = _read_all_back(context, state, cards)

    keys = {name: result.keys for name, result in results.items()}
    counts = {
        "cards_online": keys["card_daily"],
        "values_compared": sum(result.values for result in results.values()),
        "mismatches": 0,
        **{f"keys_{name}": count for name, count in keys.items()},
    }
    digest = combine((name, result.digest.hexdigest()) for name, result in results.items())
    _write_manifest(lake, project, state, loaded, digest, counts, time.perf_counter() - began)
    return {**counts, "digest": digest[:12], "event_date": loaded.event_date}


def _read_all_back(context: JobContext, state: State, limit: int) -> Mapping[str, Any]:
    """Compares every view.

    Raises:
        JobError: with the number of wrong values and the first few of them.
    """
    store = open_store(context.settings, context.lake, patient=True)
    from jobs.online.readback import Mismatch, read_back, sample_keys
    from jobs.online.reader import OnlineReader

    reader = OnlineReader(store)
    results = {}
    wrong: list[Mismatch] = []
    for product in ONLINE_PRODUCTS:
        keys = sample_keys(context.lake, product, state, limit)
        results[product.name] = read_back(reader, context.lake, product, state, keys)
        wrong += results[product.name].mismatches
        wrong += _served_but_should_not(reader, product, state, keys)
        context.log.info("compared", view=product.name, keys=len(keys), wrong=len(wrong))
    if wrong:
        first = "; ".join(map(str, wrong[:SHOWN]))
        raise JobError(
            f"{len(wrong)} values online differ from silver of {state.day}: {first}. Load the state again: python -m jobs.materialize --force."
        )
    return results


def _served_but_should_not(reader: Any, product: Product, state: State, keys: list[Any]) -> list[Any]:
    """What an invented key, or a value just past its ttl, still answers with."""
    from jobs.online.readback import served_late
    from jobs.online.reader import Status

    invented = [INVENTED.get(product.key, "no such key \N{EMPTY SET}")]
    wrong = served_late(reader, product, invented, state.event_timestamp, Status.NOT_FOUND)
    if product.ttl:
        too_late = state.event_timestamp + product.ttl + timedelta(seconds=1)
        wrong += served_late(reader, product, keys[:AGED_KEYS], too_late, Status.OUTSIDE_MAX_AGE)
    return wrong


def _write_manifest(
    lake: Lake, project: str, state: State, loaded: Loaded, digest: str, counts: Mapping[str, Any], seconds: float
) -> None:
    manifest = Manifest(
        dataset=f"verify/{project}",
        partition=event_partition(state.day),
        job="verify",
        code_version=code_version("verify", "online", "common"),
        inputs=loaded.fingerprint,
        digest=digest,
        rows=sum(count for name, count in counts.items() if name.startswith("keys_")),
        counts=counts,
        seconds=round(seconds, 1),
    )
    lake.write_manifest(manifest)
