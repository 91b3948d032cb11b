"""A disk that is full, in the middle of a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.common.cli import main
from jobs.common.lake import Lake
from jobs.generate.job import command

FULL = Path("/dev/full")
"""Linux' device that takes nothing: the kernel's own "No space left on device", without a disk to fill."""


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has such a device")
def test_a_full_disk_is_exit_code_1_and_says_so(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def staging(self: Lake) -> Iterator[str]:
        folder = Path(self.path("_staging/full"))
        folder.mkdir(parents=True)
        (folder / "00000-00000.jsonl.gz").symlink_to(FULL)
        yield self.relative(str(folder))

    monkeypatch.setattr(Lake, "staging", staging)
    days = ["--start", "2026-01-01", "--end", "2026-01-02"]
    monkeypatch.setattr("sys.argv", ["jobs.generate", "--lake", lake.uri, *days, "--cards", "100"])
    with pytest.raises(SystemExit) as ended:
        main(command)
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert f"The disk of the lake {lake.uri} is full. Free space there, then run the same call again" in said
    assert "Traceback" not in said
    assert lake.partitions("landing/transactions") == []


def test_the_jvms_words_for_it(lake: Lake) -> None:
    said = "Job aborted due to stage failure:\nCaused by: java.io.IOException: No space left on device"
    assert "is full" in str(lake.failure(said))
    assert lake.failure("Caused by: java.io.IOException: Permission denied") is None
