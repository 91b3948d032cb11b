"""Opens the Feast repo with the jobs' settings. Importing Feast takes seconds, so callers import this late."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import yaml

from jobs.common.errors import JobError, WrongCall
from jobs.common.lake import Lake
from jobs.common.products import ONLINE_PRODUCTS
from jobs.common.services import first_contact, first_line, unreachable
from jobs.common.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

REPO = Path(__file__).resolve().parents[2] / "feature_repo"
YAML = REPO / "feature_store.yaml"


def repo_settings() -> dict[str, Any]:
    """``feature_store.yaml`` as it stands, its variables unfilled."""
    return yaml.safe_load(YAML.read_text(encoding="utf-8"))


def registry_url(settings: Settings, lake: Lake) -> str:
    """Where the registry is: ``FEAST_REGISTRY_URL``, or a SQLite file inside a lake that is a folder.

    Raises:
        WrongCall: the lake is in S3, where SQLite cannot be, and no registry is named.
    """
    if settings.feast_registry_url:
        return settings.feast_registry_url
    if lake.is_s3:
        raise WrongCall(
            "FEAST_REGISTRY_URL is not set, and a lake in S3 cannot hold the registry: name a database, such as postgresql+psycopg://… or sqlite:////folder/registry.db."
        )
    return f"sqlite:///{lake.path('_feast/registry.db')}"


def registry_address(url: str) -> str:
    """The registry's URL as a message may show it, without its password."""
    return _parse(url).set(query={}).render_as_string(hide_password=True)


def holds_views(url: str, project: str) -> bool:
    """Whether the registry knows every online view. It is asked without Feast, which takes seconds to import.

    A registry that does not answer holds none: whoever opens it next is told the reason.
    """
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    file = _sqlite_file(url)
    if file and not file.exists():  # SQLite would make it
        return False
    names = text("SELECT feature_view_name FROM feature_views WHERE project_id = :project")
    try:
        with _connection(url) as connection:
            found = set(connection.scalars(names, {"project": project}))
    except (ImportError, SQLAlchemyError):
        return False
    return found.issuperset(product.name for product in ONLINE_PRODUCTS)


def open_store(settings: Settings, lake: Lake, patient: bool = False) -> Any:
    """The ``feast.FeatureStore`` of the repo; waits for a registry that does not answer yet.

    Args:
        patient: reads and writes wait out a restart of Redis.

    Raises:
        WrongCall: the registry's database cannot be used.
        Unreachable: it does not answer.
    """
    url = registry_url(settings, lake)
    _require_driver(url)
    _make_folder(url)
    if not _sqlite_file(url):
        first_contact(_service(url), partial(_ask, url))
    os.environ.setdefault("FEAST_USAGE", "False")
    from feast import FeatureStore, RepoConfig

    # Feast calls on-demand views experimental at every look; this repo's are tested on both ways of retrieval.
    warnings.filterwarnings("ignore", message="On demand feature view is an experimental", category=RuntimeWarning)
    variables = {"FEAST_REGISTRY_URL": url, "LAKE_URI": lake.uri, "REDIS_URL": settings.redis_url}
    config = _filled(repo_settings(), variables)
    config["online_store"]["patient"] = patient
    if settings.online_loader == "stock":
        config["batch_engine"] = {"type": "local"}
    store = FeatureStore(config=RepoConfig(**config, repo_path=REPO))
    with registry_errors(url):
        store.registry.refresh(store.project)
    return store


@contextmanager
def registry_errors(url: str) -> Iterator[None]:
    """Turns a failure of the registry's database into a sentence.

    Raises:
        Unreachable: a server does not answer, or not now.
        WrongCall: the database cannot be read or written.
        JobError: another writer holds it, or its disk is full.
    """
    from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        said = first_line(str(getattr(error, "orig", None) or error)).rpartition("FATAL:")[2].strip()
        if re.search(_LATER, said):
            raise JobError(f"{_service(url)} failed: {said}. Mend it, then run the same call again.") from error
        is_outage = isinstance(error, OperationalError | InterfaceError) and not re.search(_REFUSED, said)
        if is_outage and not _sqlite_file(url):
            raise unreachable(_service(url), "FEAST_REGISTRY_URL", said) from error
        raise WrongCall(
            f"Cannot use the {_service(url)}: {said}. Check that FEAST_REGISTRY_URL names a database that this user may use."
        ) from None


_REFUSED = r"authentication failed|no password supplied|Access denied|does not exist|Unknown database|pg_hba\.conf|permission denied"
_LATER = r"is locked|disk is full|disk I/O error|No space left"
_ANSWER_SECONDS = 5


def _service(url: str) -> str:
    parts = _parse(url)
    where = f"at {parts.host}:{parts.port}" if parts.port else f"at {parts.host}" if parts.host else ""
    return f"Feast registry {where or registry_address(url)}"


def _ask(url: str) -> None:
    with registry_errors(url), _connection(url):
        pass


def _connection(url: str) -> Connection:
    from sqlalchemy import NullPool, create_engine

    # Other drivers give up by themselves, or know the argument by another name.
    waits = {"connect_timeout": _ANSWER_SECONDS} if _parse(url).get_driver_name() in ("psycopg", "psycopg2") else {}
    return create_engine(url, poolclass=NullPool, connect_args=waits).connect()


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    """Parsed YAML with its variables filled in: filled in before, a quote in a password would end a YAML string."""
    if isinstance(value, dict):
        return {name: _filled(inner, variables) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, variables) for inner in value]
    return Template(value).substitute(variables) if isinstance(value, str) else value


def _require_driver(url: str) -> None:
    from sqlalchemy import create_engine

    parts = _parse(url)
    try:
        create_engine(parts)  # imports the driver and does not connect
    except ImportError as error:
        raise WrongCall(
            f"FEAST_REGISTRY_URL asks for the database driver {error.name or parts.drivername}, which cannot be imported ({error}): install it, or name another database."
        ) from None


def _make_folder(url: str) -> None:
    file = _sqlite_file(url)
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongCall(
            f"Cannot make the folder {file.parent} for the Feast registry: {error.strerror}. Check FEAST_REGISTRY_URL and who may write there."
        ) from None


def _sqlite_file(url: str) -> Path | None:
    parts = _parse(url)
    return Path(parts.database) if parts.get_backend_name() == "sqlite" and parts.database else None


def _parse(url: str) -> URL:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # the URL may hold a password, so it is not shown
        raise WrongCall("FEAST_REGISTRY_URL is no URL of a database, such as sqlite:////folder/registry.db.") from None
