"""Opens the Feast repo with the jobs' settings. Importing Feast takes seconds, so callers import this late."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import yaml

from jobs.common.errors import WrongCall
from jobs.common.lake import Lake
from jobs.common.products import ONLINE_PRODUCTS
from jobs.common.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import URL

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
    from sqlalchemy import NullPool, create_engine, text
    from sqlalchemy.exc import SQLAlchemyError

    file = _sqlite_file(url)
    if file and not file.exists():  # SQLite would make it
        return False
    names = text("SELECT feature_view_name FROM feature_views WHERE project_id = :project")
    try:
        with create_engine(url, poolclass=NullPool).connect() as connection:
            found = set(connection.scalars(names, {"project": project}))
    except (ImportError, SQLAlchemyError):
        return False
    return found.issuperset(product.name for product in ONLINE_PRODUCTS)


def open_store(settings: Settings, lake: Lake) -> Any:
    """The ``feast.FeatureStore`` of the repo.

    Raises:
        WrongCall: the registry's database cannot be used.
    """
    os.environ.setdefault("FEAST_USAGE", "False")
    from feast import FeatureStore, RepoConfig

    # Feast calls on-demand views experimental at every look; this repo's are tested on both ways of retrieval.
    warnings.filterwarnings("ignore", message="On demand feature view is an experimental", category=RuntimeWarning)
    url = registry_url(settings, lake)
    variables = {"FEAST_REGISTRY_URL": url, "LAKE_URI": lake.uri, "REDIS_URL": settings.redis_url}
    store = FeatureStore(config=RepoConfig(**_filled(repo_settings(), variables), repo_path=REPO))
    with registry_errors():
        _require_driver(url)
        _make_folder(url)
        store.registry.refresh(store.project)
    return store


@contextmanager
def registry_errors() -> Iterator[None]:
    """Turns a failure of the registry's database into a sentence.

    Raises:
        WrongCall: the database cannot be reached, read or written.
    """
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise WrongCall(
            f"Cannot use the Feast registry: {reason}. Check that FEAST_REGISTRY_URL names a database that runs."
        ) from None


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
