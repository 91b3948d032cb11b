"""The demo's command line: what it refuses, how it ends, which server it uses. No job runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from embedded import demo, features, redis_server
from embedded.errors import EmbeddedError
from embedded.features import online_store
from embedded.home import Home
from jobs.common.errors import BadData

NOBODYS = "redis://127.0.0.1:1/0"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Calls the demo, whose DAG fails at once."""

    def fail(*_: Any) -> None:
        raise EmbeddedError("No DAG here.")

    monkeypatch.setattr(demo.pipeline_run, "run", fail)
    monkeypatch.setattr(demo, "_STOPPING", ())  # this process keeps its signal handlers

    def start(*arguments: str, home: Path = tmp_path) -> Result:
        return CliRunner().invoke(demo.command, [*arguments, "--home", str(home)])

    return start


def test_another_seed_is_told_and_begins_with_an_empty_lake(call: Any, tmp_path: Path) -> None:
    first = call("--redis-url", NOBODYS)
    assert "afresh" not in first.stdout
    assert json.loads((tmp_path / "world.json").read_text()) == {
        "seed": 7,
        "cards": 5000,
        "start": "2026-01-01",
        "days": 35,
    }
    (tmp_path / "lake" / "file").touch()
    again = call("--redis-url", NOBODYS)
    assert "afresh" not in again.stdout
    assert (tmp_path / "lake" / "file").exists()
    other = call("--redis-url", NOBODYS, "--seed", "8")
    assert "Another world than the last (seed 7 → 8): starting afresh.\n" in other.stdout
    assert list((tmp_path / "lake").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--days", "99999999"], "--start 2026-01-01 --days 99999999 goes beyond the calendar's last day, 9999-12-31"),
        (["--start", "9999-12-31", "--days", "1"], "--start 9999-12-31 --days 1 goes beyond"),
        (["--days", "9" * 30], "goes beyond the calendar's last"),
        (["--start", "2024-12-31"], "--start 2024-12-31 is before 2025-01-01"),
        (["--redis-url", "http://:secret@x"], "it must look like redis://host:6379/0"),
    ],
)
def test_wrong_call_is_refused_before_the_home_is_touched(
    call: Any, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    done = call(*arguments)
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert "secret" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_home_that_cannot_be_made_is_told_in_a_sentence(call: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = call(home=tmp_path / "file" / "home")
    assert done.exit_code == 1
    assert done.stderr.startswith("Reading or writing failed: ")
    assert str(tmp_path / "file") in done.stderr
    assert done.stderr.endswith("name another folder with --home.\n")


def test_error_of_a_jobs_library_keeps_its_sentence_and_code(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise BadData("The lake is odd.")

    monkeypatch.setattr(demo, "_run", refuse)
    done = call()
    assert (done.exit_code, done.stderr) == (3, "The lake is odd.\n")


def test_features_of_no_demo_in_a_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(features.command, ["--card", "x", "--home", str(tmp_path)])
    assert done.exit_code == 1
    assert "holds no finished demo" in done.stderr


def test_server_of_the_shell_is_never_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REDIS_URL", NOBODYS)
    monkeypatch.setattr(redis_server, "running", lambda data: f"a server on {data}")
    home = Home.at(tmp_path)
    assert online_store(home, None) == f"a server on {home.redis}"
    with online_store(home, "redis://named:1/0") as url:
        assert url == "redis://named:1/0"


def test_both_commands_pass_the_named_server_on(call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def note(_home: Home, redis_url: str | None) -> None:
        asked.append(redis_url)
        raise EmbeddedError("Enough.")

    monkeypatch.setenv("REDIS_URL", NOBODYS)
    monkeypatch.setattr(demo, "online_store", note)
    monkeypatch.setattr(features, "online_store", note)
    (tmp_path / "summary.json").touch()
    for given in ([], ["--redis-url", "redis://named:1/0"]):
        call(*given)
        CliRunner().invoke(features.command, ["--card", "x", "--home", str(tmp_path), *given])
    assert asked == [None, None, "redis://named:1/0", "redis://named:1/0"]
