"""Situations of the online store: a lake with one published day, a server, jobs run in this process."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest
from feast import FeatureStore

from jobs.common.cli import main
from jobs.common.lake import Lake
from jobs.common.settings import Settings
from jobs.materialize.job import command as materialize
from jobs.online import repo
from jobs.online.reader import OnlineReader
from jobs.verify.job import command as verify
from tests.online.silver import DAY

COMMANDS = {"materialize": materialize, "verify": verify}


@dataclass(frozen=True)
class Ended:
    """How a job ended: its exit code and what it logged."""

    code: int
    log: str


RunJob = Callable[..., Ended]


@pytest.fixture
def run_job(lake: Lake, redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunJob:
    """``run_job("materialize", day, "--force")``: the job's command for one day, by its exit code and its log."""
    monkeypatch.setenv("LAKE_URI", lake.uri)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("LOG_FORMAT", "json")
    monkeypatch.delenv("FEAST_REGISTRY_URL", raising=False)

    def run(job: str, day: date = DAY, *options: str) -> Ended:
        end = day + timedelta(days=1)
        monkeypatch.setattr(sys, "argv", [job, "--start", str(day), "--end", str(end), *options])
        capsys.readouterr()
        code = 0
        try:
            main(COMMANDS[job])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Ended(code, capsys.readouterr().err)

    return run


@pytest.fixture(scope="session")
def applied_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry to which the feature repo is applied. It names no lake, so every test can have a copy."""
    from feature_repo.definitions import REPO

    folder = tmp_path_factory.mktemp("registry")
    lake = Lake.open(folder.as_uri(), Settings())
    repo.open_store(Settings(feast_registry_url=None), lake).apply(list(REPO))
    return folder / "_feast" / "registry.db"


@pytest.fixture
def store(lake: Lake, redis_url: str, applied_registry: Path) -> FeatureStore:
    """The applied repo over the test's lake and server."""
    lake.make_folder_of(lake.path("_feast/x"))
    shutil.copy(applied_registry, lake.path("_feast/registry.db"))
    opened: FeatureStore = repo.open_store(Settings(redis_url=redis_url, feast_registry_url=None), lake)
    return opened


@pytest.fixture
def reader(store: FeatureStore) -> OnlineReader:
    return OnlineReader(store)
