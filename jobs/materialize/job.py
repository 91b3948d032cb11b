"""The materialize job: silver's newest state goes online, what vanished goes away, and all of it is read back."""

from __future__ import annotations

import hashlib
import io
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import redis

import feast_fast
from feast_fast.absent import Entity, Keys, sweep
from feast_fast.layout import Layout
from jobs.common.cli import JobContext, job_command
from jobs.common.digest import combine
from jobs.common.errors import JobError
from jobs.common.lake import Lake, Manifest, event_partition
from jobs.common.products import ONLINE_PRODUCTS, Product
from jobs.common.version import JOBS, code_version
from jobs.online.loaded import Loaded, read_marker, remove_marker, write_marker
from jobs.online.redis_client import connect, redis_errors, server_id
from jobs.online.repo import REPO, holds_views, open_store, registry_errors, registry_url, repo_settings
from jobs.online.silver import State, newest_state, read_partitions, require_days, state_of

SAMPLED_KEYS = 200
LOADS = 3
DAY_SECONDS = 86_400


@job_command("materialize")
def command(context: JobContext) -> Mapping[str, Any]:
    """Loads the newest silver state at or after the last day of the range into the online store.

    Values online are never older than silver's newest: to load an old day again loads the newest one. Cards
    and other keys that are no longer in the state are removed, and the rest is read back and compared.
    """
    began = time.perf_counter()
    settings, lake = context.settings, context.lake
    require_days(lake, context.days)
    state = newest_state(lake, not_before=context.days[-1])
    registry = registry_url(settings, lake)  # a missing setting is told before anything is touched
    repo = repo_settings()
    project: str = repo["project"]
    version = loader_version()
    loaded = Loaded(state.fingerprint(version, settings.online_loader), state.day.isoformat())
    client = connect(settings.redis_url)

    with redis_errors(settings.redis_url), registry_errors(registry):
        # The marker speaks of Redis alone: a new or a lost registry knows none of the views.
        if not context.force and read_marker(client, project) == loaded and holds_views(registry, project):
            context.log.info("unchanged", event_date=loaded.event_date)
            return {"unchanged": 1, "loaded": 0, "event_date": loaded.event_date}
        store = _open_applied(context)  # a registry that cannot be used must not cost a state that can
        removed = _load_whole(context, store, client, project, state)
        if state_of(lake, state.day) != state:
            raise JobError(f"Silver of {state.day} was published anew while it was loaded: run the same call again.")
        write_marker(client, project, loaded, repo["online_store"]["key_ttl_seconds"] - DAY_SECONDS)

    rows = {name: manifest.rows for name, manifest in state.manifests.items()}
    _write_manifest(lake, project, state, version, loaded, rows, removed, time.perf_counter() - began)
    return {"loaded": sum(rows.values()), "removed": removed, **rows, "event_date": loaded.event_date}


def loader_version() -> str:
    """Twelve hex digits over the code that decides what goes online: this job, the feature repo, the way between them."""
    sha = hashlib.sha256(code_version("materialize", "online").encode())
    plugin = Path(feast_fast.__file__).parent
    sources = sorted(path for path in (*REPO.iterdir(), *plugin.iterdir()) if path.suffix in (".py", ".yaml"))
    for source in (
        *sources,
        JOBS / "common" / "products.py",
    ):  # the views are made from the products: ttl, types, words
        sha.update(source.name.encode() + source.read_bytes().replace(b"\r\n", b"\n"))
    return sha.hexdigest()[:12]


def _open_applied(context: JobContext) -> Any:
    """Opens the Feast store and applies the repo to its registry.

    Raises:
        WrongCall: the registry cannot be used.
        Unreachable: its database does not answer.
    """
    store = open_store(context.settings, context.lake, patient=True)
    from feature_repo.definitions import REPO as DEFINITIONS

    with redirect_stdout(io.StringIO()):  # Feast's progress is for a terminal
        store.apply(list(DEFINITIONS))
    return store


def _load_whole(context: JobContext, store: Any, client: redis.Redis, project: str, state: State) -> int:
    """Loads the state, removes what vanished and reads some of it back; returns how many keys were removed.

    A server that was started anew in between may have lost what it was sent before, so all of it is sent again.

    Raises:
        JobError: the server does not hold what it was sent.
    """
    for attempt in range(1, LOADS + 1):
        server = server_id(client)
        remove_marker(client, project)  # until the end, the store holds no whole state
        try:
            _load(context, store, state)
            removed = _remove_vanished(store, client, context.lake, state)
            _compare_sample(store, context.lake, state)
        except JobError:
            if attempt == LOADS or server_id(client) == server:
                raise
        else:
            if server_id(client) == server:
                return removed
        context.log.warning("Redis was started anew meanwhile", attempt=attempt)
    raise JobError(f"Redis was started anew {LOADS} times while it was loaded: run the same call again.")


def _load(context: JobContext, store: Any, state: State) -> None:
    """Loads one midnight's rows of every view."""
    context.log.info("loading", event_date=state.day.isoformat(), rows=sum(m.rows for m in state.manifests.values()))
    with redirect_stdout(io.StringIO()):
        store.materialize(state.event_timestamp, state.event_timestamp)


def _remove_vanished(store: Any, client: redis.Redis, lake: Lake, state: State) -> int:
    """Removes what is online and not in the state, and checks that all of the state is online.

    Raises:
        JobError: a view has another number of keys than silver has rows.
    """
    from feast_fast.views import layout_of

    by_key: dict[str, list[Product]] = defaultdict(list)
    for product in ONLINE_PRODUCTS:
        by_key[product.key].append(product)
    entities = []
    for join_key, products in by_key.items():
        live: dict[str, Keys] = {}
        fields: dict[str, list[bytes]] = {}
        for product in products:
            layout = layout_of(store.get_feature_view(product.name), store.config)
            keys = _live_keys(layout, lake, product, state)
            # Views of one entity mostly have the same keys, which are many.
            live[product.name] = next((others for others in live.values() if others == keys), keys)
            fields[product.name] = layout.hash_fields
        entities.append(Entity([join_key], live, fields))
    swept = sweep(client, store.config.project, entities)
    for name, count in swept.kept.items():
        if count != state.manifests[name].rows:
            raise JobError(
                f"{name} has {count} keys online and {state.manifests[name].rows} rows in silver of {state.day}. Does Redis evict keys (maxmemory-policy), or does another job write to it?"
            )
    return swept.removed


def _live_keys(layout: Layout, lake: Lake, product: Product, state: State) -> Keys:
    batches = read_partitions(lake, product, [state.day]).to_batches(columns=[product.key])
    return Keys(layout.keys(batch) for batch in batches)


def _compare_sample(store: Any, lake: Lake, state: State) -> None:
    """Reads some keys of every view back.

    Raises:
        JobError: a value is not as silver has it.
    """
    from jobs.online.readback import read_back, sample_keys
    from jobs.online.reader import OnlineReader

    reader = OnlineReader(store)
    for product in ONLINE_PRODUCTS:
        keys = sample_keys(lake, product, state, SAMPLED_KEYS)
        mismatches = read_back(reader, lake, product, state, keys).mismatches if keys else []
        if mismatches:
            raise JobError(f"{len(mismatches)} values read back differ from silver of {state.day}: {mismatches[0]}.")


def _write_manifest(
    lake: Lake,
    project: str,
    state: State,
    version: str,
    loaded: Loaded,
    rows: Mapping[str, int],
    removed: int,
    seconds: float,
) -> None:
    manifest = Manifest(
        dataset=f"online/{project}",
        partition=event_partition(state.day),
        job="materialize",
        code_version=version,
        inputs=loaded.fingerprint,
        digest=combine((name, m.digest) for name, m in state.manifests.items()),
        rows=sum(rows.values()),
        counts={**rows, "removed": removed},
        seconds=round(seconds, 1),
    )
    lake.write_manifest(manifest)
