"""Publishing: whole or not at all, the manifest last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from jobs.common.errors import WrongCall
from jobs.common.lake import Lake, Manifest, Staged
from jobs.common.settings import Settings

PARTITION = "ingest_date=2026-01-01"


def publish(lake: Lake, files: dict[str, bytes], digest: str = "d") -> None:
    with lake.staging() as staging:
        staged = []
        for name, data in files.items():
            lake.write_bytes(f"{staging}/{name}", data)
            staged.append(Staged(f"{staging}/{name}", name))
        lake.publish(Manifest("bronze/t", PARTITION, "bronze", "v", "i", digest, len(files)), staged)


def content(lake: Lake) -> dict[str, bytes]:
    return {f.base_name: Path(f.path).read_bytes() for f in lake.files(f"bronze/t/{PARTITION}")}


def test_a_partition_is_replaced_whole(lake: Lake) -> None:
    publish(lake, {"part-0": b"1", "part-1": b"2"})
    publish(lake, {"part-0": b"3"})
    assert content(lake) == {"part-0": b"3"}
    manifest = lake.manifest("bronze/t", PARTITION)
    assert manifest is not None
    assert (manifest.files, manifest.rows) == (["part-0"], 1)
    assert lake.partitions("bronze/t") == [PARTITION]


def test_a_publication_cut_short_leaves_no_manifest(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(lake, {"part-0": b"old"})
    with pytest.raises(FileNotFoundError):
        lake.publish(Manifest("bronze/t", PARTITION, "bronze", "v", "i", "d", 1), [Staged("nowhere", "part-0")])
    assert lake.manifest("bronze/t", PARTITION) is None
    assert lake.partitions("bronze/t") == []


def test_staging_is_gone_even_after_an_error(lake: Lake) -> None:
    def fail() -> None:
        with lake.staging() as staging:
            lake.write_bytes(f"{staging}/x", b"1")
            raise RuntimeError(staging)

    with pytest.raises(RuntimeError) as caught:
        fail()
    assert not Path(lake.path(str(caught.value))).exists()


def test_what_killed_jobs_left_in_staging_goes_after_a_day(lake: Lake) -> None:
    yesterday, today = (datetime.now(UTC) - timedelta(hours=h) for h in (25, 23))
    for time in (yesterday, today):
        lake.write_bytes(f"_staging/{time:%Y%m%dT%H%M%S}-dead/part", b"1")
    with lake.staging():
        left = [p.name for p in Path(lake.path("_staging")).iterdir()]
    assert f"{yesterday:%Y%m%dT%H%M%S}-dead" not in left
    assert f"{today:%Y%m%dT%H%M%S}-dead" in left, "a job of 23 hours may still run"


def test_what_cannot_be_swept_holds_no_job_up(lake: Lake) -> None:
    """As if it were another user's, or another job took it away at that moment."""
    lake.write_bytes("_staging/20200101T000000-dead", b"no folder")
    lake.write_bytes("_staging/20200102T000000-dead/part", b"1")
    with capture_logs() as said, lake.staging():
        left = {p.name for p in Path(lake.path("_staging")).iterdir()}
    assert "20200101T000000-dead" in left
    assert "20200102T000000-dead" not in left, "one that cannot go keeps no other"
    assert [line["path"] for line in said] == [lake.path("_staging/20200101T000000-dead")]


@pytest.mark.parametrize("method", ["make_folder_of", "_delete_folder"])
def test_an_interrupt_as_staging_is_made_or_deleted_leaves_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    original = getattr(Lake, method)

    def interrupted(self: Lake, path: str) -> None:
        monkeypatch.undo()
        if method == "make_folder_of":
            original(self, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(Lake, method, interrupted)
    with pytest.raises(KeyboardInterrupt), lake.staging():
        pass
    assert list(Path(lake.path("_staging")).iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"{", b'{"rows": 1}', b"[]", b"\xff"])
def test_a_manifest_that_cannot_be_read_counts_as_none(lake: Lake, data: bytes) -> None:
    publish(lake, {"part-0": b"1"})
    lake.write_bytes(f"_manifests/bronze/t/{PARTITION}.json", data)
    assert lake.manifest("bronze/t", PARTITION) is None
    assert lake.manifests("bronze/t") == {}


def test_a_small_file_is_never_half_written(lake: Lake) -> None:
    lake.write_bytes("a/b.json", b"one")
    lake.write_bytes("a/b.json", b"two")
    assert lake.read_bytes("a/b.json") == b"two"
    assert [f.base_name for f in lake.files("a")] == ["b.json"]


def test_what_begins_with_an_underscore_or_a_dot_is_not_looked_at(lake: Lake) -> None:
    seen = ["day.csv", "a_.b/c_.csv", "deep/er/x"]
    hidden = ["_day.csv", ".day.csv", "_temporary/0/part-0.csv", ".staging/x.csv", "deep/_delta_log/0.json", "a/.b/c/d"]
    for name in seen + hidden:
        lake.write_bytes(f"_top/.days/{name}", b"1")  # a folder that is asked for by its name is looked into
    assert [lake.relative(f.path).removeprefix("_top/.days/") for f in lake.files("_top/.days")] == sorted(seen)


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("gs://bucket", "unknown scheme gs://"),
        ("lake", "unknown scheme (none)"),
        ("file://lake", "a file URI has three slashes"),
        ("s3:///x", "name a bucket"),
        ("file:///a#b", "write %23 and %3F"),
        ("file:///a?b", "write %23 and %3F"),
        ("file:///a?", "write %23 and %3F"),
        ("s3://bucket/a#b", "a prefix in S3 cannot hold them here"),
        ("s3://bucket?", "a prefix in S3 cannot hold them here"),
    ],
)
def test_a_wrong_uri_is_named(uri: str, sentence: str) -> None:
    with pytest.raises(WrongCall) as caught:
        Lake.open(uri, Settings())
    assert sentence in str(caught.value)
    assert uri in str(caught.value)


def test_a_path_with_spaces_and_percent_and_more(tmp_path: Path) -> None:
    folder = tmp_path / "my lake 100% #1?"
    lake = Lake.open(folder.as_uri(), Settings())
    lake.write_bytes("x", b"1")
    assert (folder / "x").read_bytes() == b"1"
