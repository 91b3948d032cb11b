"""Opening the Feast repo: what a wrong registry is told, and which characters a URL may hold."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from jobs.common.errors import WrongCall
from jobs.common.lake import Lake
from jobs.common.settings import Settings
from jobs.online.repo import holds_views, open_store, registry_address


def settings_of(registry: str | None) -> Settings:
    return Settings(feast_registry_url=registry)


@pytest.mark.parametrize("password", ['q"uote', "q'uote", "\"'$x: {#\\", 'a": b'])
def test_a_url_may_hold_any_character_of_yaml(lake: Lake, password: str) -> None:
    url = f"redis://:{password}@127.0.0.1:6379/0".replace("#", "%23")  # what ends a URL's host is not YAML's affair
    store = open_store(Settings(redis_url=url, feast_registry_url=None), lake)
    assert store.config.online_store.url == url


def test_a_driver_that_is_not_installed_is_named(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pg8000", None)  # whether it is there or not
    with pytest.raises(WrongCall, match="database driver pg8000") as raised:
        open_store(settings_of("postgresql+pg8000://user:secret@127.0.0.1:1/feast"), lake)
    assert "secret" not in str(raised.value)


def test_a_folder_that_cannot_be_made_is_a_wrong_call(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WrongCall, match=f"Cannot make the folder {tmp_path}/file/folder"):
        open_store(settings_of(f"sqlite:///{tmp_path}/file/folder/registry.db"), lake)


@pytest.mark.parametrize("url", ["secret", "postgresql://user:secret@127.0.0.1:port/feast"])
def test_what_is_no_url_is_a_wrong_call(lake: Lake, url: str) -> None:
    with pytest.raises(WrongCall, match="FEAST_REGISTRY_URL is no URL") as raised:
        open_store(settings_of(url), lake)
    assert "secret" not in str(raised.value)


def test_a_registry_holds_the_views_of_its_projects(applied_registry: Path, tmp_path: Path) -> None:
    assert holds_views(f"sqlite:///{applied_registry}", "fti")
    assert not holds_views(f"sqlite:///{applied_registry}", "another")
    assert not holds_views(f"sqlite:///{tmp_path}/none.db", "fti")
    assert not (tmp_path / "none.db").exists()


def test_an_address_has_no_password() -> None:
    address = registry_address("postgresql+psycopg://user:secret@db:5432/feast?password=secret")
    assert address == "postgresql+psycopg://user:***@db:5432/feast"
