"""Opens the Feast repo with the jobs' settings. Importing Feast takes seconds, so callers import this late."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from string import Template
from typing import Any

import yaml

from jobs.common.errors import WrongCall
from jobs.common.lake import Lake
from jobs.common.settings import Settings

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


def open_store(settings: Settings, lake: Lake) -> Any:
    """The ``feast.FeatureStore`` of the repo.

    Raises:
        WrongCall: the registry's database cannot be used.
    """
    os.environ.setdefault("FEAST_USAGE", "False")
    from feast import FeatureStore, RepoConfig
    from sqlalchemy.exc import SQLAlchemyError

    # Feast calls on-demand views experimental at every look; this repo's are tested on both ways of retrieval.
    warnings.filterwarnings("ignore", message="On demand feature view is an experimental", category=RuntimeWarning)
    url = registry_url(settings, lake)
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    variables = {"FEAST_REGISTRY_URL": url, "LAKE_URI": lake.uri, "REDIS_URL": settings.redis_url}
    filled = yaml.safe_load(Template(YAML.read_text(encoding="utf-8")).substitute(variables))
    store = FeatureStore(config=RepoConfig(**filled, repo_path=REPO))
    try:
        store.registry.refresh(store.project)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise WrongCall(
            f"Cannot use the Feast registry: {reason}. Check that FEAST_REGISTRY_URL names a database that runs."
        ) from None
    return store
