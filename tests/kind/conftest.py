"""Programs that stand where docker, kind, kubectl and helm are looked for. Each call of them is written down."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kind import commands


class Programs:
    """Scripts in a folder of their own: docker on the PATH, the others where `make tools` puts them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._calls = folder / "calls"

    def add(self, name: str, script: str) -> None:
        program = self.folder / name
        program.write_text(f'#!/bin/bash\necho "{name} $*" >>"{self._calls}"\n{script}\n')
        program.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(commands, "BIN", folder)
    return Programs(folder)


@pytest.fixture(autouse=True)
def work_goes_on() -> Callable[[], None]:
    """Some tests stop all work of this process."""
    commands._stopping.clear()
    return commands._stopping.clear
