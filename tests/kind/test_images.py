"""How images get into a node: only what it lacks, as one stream."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from pathlib import Path

import pytest

from compose.stack import MachineError, StackError
from kind import images, up
from kind.commands import Cluster
from kind.images import Held
from tests.kind.conftest import Programs

NODE = "fti-control-plane"
OURS = Cluster("fti")
BASE, LAYER = b"base" * 50_000, b"layer" * 50_000
CONFIG = b'{"rootfs": {}}'


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def layout(*blobs: bytes) -> bytes:
    """What `docker save` writes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo("blobs/sha256/")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        files = {f"blobs/sha256/{digest(blob)}": blob for blob in blobs}
        for name, content in {**files, "index.json": b"{}", "manifest.json": b"[]"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def contents(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {m.name: opened.extractfile(m).read() for m in opened if m.isfile()}  # type: ignore[union-attr]


def test_blobs_that_a_node_holds_are_left_out_and_the_rest_is_the_same() -> None:
    target = io.BytesIO()
    copied = images.filter_layout(io.BytesIO(layout(BASE, LAYER, CONFIG)), target, {digest(BASE), digest(CONFIG)})
    assert contents(target.getvalue()) == {
        f"blobs/sha256/{digest(LAYER)}": LAYER,
        f"blobs/sha256/{digest(CONFIG)}": CONFIG,  # small: it names what there is
        "index.json": b"{}",
        "manifest.json": b"[]",
    }
    assert copied == len(LAYER) + len(CONFIG) + 4


def test_nothing_is_left_out_for_an_empty_node() -> None:
    target = io.BytesIO()
    images.filter_layout(io.BytesIO(layout(BASE, LAYER)), target, ())
    assert contents(target.getvalue()) == contents(layout(BASE, LAYER))


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("redis:8", "docker.io/library/redis:8"),
        ("me/redis:8", "docker.io/me/redis:8"),
        ("registry.example.com/fti-airflow:1", "registry.example.com/fti-airflow:1"),
        ("localhost/x:1", "localhost/x:1"),
        ("host:5000/x:1", "host:5000/x:1"),
    ],
)
def test_names_are_containerds(name: str, full: str) -> None:
    assert images.full(name) == full


def test_an_image_is_there_by_its_configuration_or_its_manifest() -> None:
    held = Held({"docker.io/library/redis:8": "sha256:manifest", "sha256:config": "sha256:manifest"}, frozenset())
    assert held.has("redis:8", "sha256:config")
    assert held.has("redis:8", "sha256:manifest")
    assert not held.has("redis:8", "sha256:other")
    assert not held.has("redis:9", "sha256:config")
    assert held.other_name("sha256:config") == "sha256:config"
    assert held.other_name("sha256:manifest") == "docker.io/library/redis:8"
    assert held.other_name("sha256:other") is None


class Engine:
    """A docker command that saves a layout, and a node behind it that takes one."""

    def __init__(self, programs: Programs, saved: bytes) -> None:
        self.programs, self.folder = programs, programs.folder
        (self.folder / "saved.tar").write_bytes(saved)
        described = [{"Name": f"/{NODE}", "State": {"Running": True}}]
        (self.folder / "node.json").write_text(json.dumps(described))
        self.holds()
        self.answer()

    def holds(self, blobs: tuple[bytes, ...] = (), **named: str) -> None:
        """Its images by name, with ``__`` for a colon, and its blobs."""
        lines = [f"{name.replace('__', ':')}  type  {manifest}  1 MiB  linux/amd64" for name, manifest in named.items()]
        (self.folder / "images").write_text("\n".join(["REF TYPE DIGEST SIZE PLATFORMS LABELS", *lines]))
        (self.folder / "blobs").write_text("\n".join(f"sha256:{digest(blob)}" for blob in blobs))

    def answer(self, importing: str = "cat >received.tar") -> None:
        self.programs.add(
            "docker",
            f"""cd {self.folder}
case $* in
'ps '*) echo 1 ;;
'inspect '*) cat node.json ;;
'image inspect --format'*) exit ${{NO_IMAGE:-0}} ;;
'image inspect '*) [ -z "$NO_IMAGE" ] || exit 1; shift 2; for name; do printf '%s{{"Id": "sha256:%s"}}' "${{comma:-[}}" "${{name%:*}}"; comma=,; done; echo ] ;;
'save '*) cat saved.tar ;;
*'images ls') cat images ;;
*'content ls'*) cat blobs ;;
*import*) {importing} ;;
*) exit ${{OTHERWISE:-0}} ;;
esac""",
        )
        self.programs.add("kind", "exit ${NO_KIND:-0}")

    @property
    def received(self) -> dict[str, bytes]:
        return contents((self.folder / "received.tar").read_bytes())

    def called(self, what: str) -> list[str]:
        return [call for call in self.programs.calls if what in call]


def test_what_is_lacking_goes_as_one_stream_without_what_is_there(programs: Programs) -> None:
    engine = Engine(programs, layout(BASE, LAYER, CONFIG))
    engine.holds((BASE,), **{"docker.io/library/c__1": "sha256:m", "sha256__c": "sha256:m"})
    assert images.load(OURS, ["a:1", "b:1", "c:1"]) == 2
    assert engine.called("docker save") == ["docker save a:1 b:1"]
    assert f"blobs/sha256/{digest(LAYER)}" in engine.received
    assert f"blobs/sha256/{digest(BASE)}" not in engine.received
    assert not engine.called("kind load")


def test_a_node_that_has_all_gets_nothing(programs: Programs) -> None:
    engine = Engine(programs, layout())
    engine.holds(**{"docker.io/library/a__1": "sha256:m", "sha256__a": "sha256:m"})
    assert images.load(OURS, ["a:1"]) == 0
    assert not engine.called("save")


def test_an_image_under_another_tag_only_gets_a_name(programs: Programs) -> None:
    engine = Engine(programs, layout())
    engine.holds(**{"docker.io/library/a__1": "sha256:m", "sha256__a": "sha256:m"})
    assert images.load(OURS, ["a:2"]) == 1
    assert engine.called("tag")[0].endswith("images tag --force sha256:a docker.io/library/a:2")
    assert not engine.called("save")


def test_a_failed_import_falls_back_to_kinds_own(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(programs, layout(BASE * 20))
    engine.answer(importing="exit 1")
    assert images.load(OURS, ["a:1"]) == 1
    assert engine.called("kind load") == [f"kind load docker-image a:1 --nodes {NODE} --name fti"]
    monkeypatch.setenv("NO_KIND", "1")
    with pytest.raises(StackError, match=r"`kind load docker-image a:1 .* failed with exit code 1"):
        images.load(OURS, ["a:1"])


def test_a_missing_image_is_said(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    Engine(programs, layout())
    monkeypatch.setenv("NO_IMAGE", "1")
    monkeypatch.setenv("OTHERWISE", "1")  # neither here nor to be pulled
    with pytest.raises(MachineError, match="a:1 is not here and no registry is reached: run `make offline-images`"):
        images.load(OURS, ["a:1"])


def test_every_node_gets_them(programs: Programs, tmp_path: Path) -> None:
    engine = Engine(programs, layout(LAYER))
    described = [{"Name": f"/{name}", "State": {"Running": True}} for name in (NODE, "fti-worker")]
    (programs.folder / "node.json").write_text(json.dumps(described))
    assert images.load(OURS, ["a:1"]) == 2
    assert [call.split()[3] for call in engine.called("import")] == [NODE, "fti-worker"]


def test_an_interrupt_ends_a_transfer_whatever_docker_makes_of_signals(programs: Programs) -> None:
    engine = Engine(programs, layout(LAYER))
    engine.answer(importing="trap '' TERM; cat >received.tar; exec sleep 60")
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), up.Phases(str).side_by_side() as begin:  # noqa: PT012
        begin("images", lambda: images.load(OURS, ["a:1"]))
        while not (programs.folder / "received.tar").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 10
