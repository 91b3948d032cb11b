"""How the phases of `make kind-up` run beside each other, and what stands at its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compose.stack import MachineError, StackError
from kind import commands, release, up
from kind.commands import Cluster
from kind.release import Wanted
from tests.kind.conftest import Programs

ROOT = Path(__file__).resolve().parents[2]
OURS = Cluster("fti")


def test_phases_are_timed_and_told() -> None:
    said: list[str] = []
    phases = up.Phases(said.append)
    with phases.phase("checks"):
        phases.found("checks", "all well")
    with phases.side_by_side() as begin:
        assert begin("cluster", lambda: "made").result() == "made"
    assert said == ["checks                       0.0 s  all well", "cluster                      0.0 s"]
    assert list(phases.seconds) == ["checks", "cluster"]


def test_the_first_failure_ends_what_runs_beside_it_and_is_the_one_that_is_said() -> None:
    began = time.monotonic()
    with pytest.raises(StackError, match="the cluster was not made"), up.Phases(str).side_by_side() as begin:  # noqa: PT012
        loading = begin("images", lambda: commands.output("sleep", "60"))

        def fail() -> None:
            time.sleep(0.2)
            raise StackError("the cluster was not made")

        begin("cluster", fail)
        loading.result()
    assert time.monotonic() - began < 10
    with pytest.raises(StackError, match="Stopped"):
        commands.output("true")


def test_an_interrupt_ends_what_runs_beside_it() -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), up.Phases(str).side_by_side() as begin:  # noqa: PT012
        begin("images", lambda: commands.output("sleep", "60"))
        raise KeyboardInterrupt
    assert time.monotonic() - began < 10


def test_an_interrupted_call_ends_with_130_and_its_commands_with_it(programs: Programs) -> None:
    programs.add("docker", f"echo $$ >{programs.folder}/pid; exec sleep 60")
    call = subprocess.Popen([sys.executable, "-m", "kind", "up"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not (programs.folder / "pid").exists():
        time.sleep(0.05)
    call.send_signal(signal.SIGINT)
    assert call.communicate(timeout=20)[1] == "Interrupted; the same call goes on from here.\n"
    assert call.returncode == 130


def test_the_table_has_places_and_no_password(monkeypatch: pytest.MonkeyPatch, programs: Programs) -> None:
    programs.add("docker", f"case $1 in ps) echo 1 ;; inspect) echo '{NODE}' ;; esac")
    found = {
        "places": [vars(place) for place in up.places(OURS)],
        "seconds": {"checks": 0.2, "cluster": 20.4},
        "total": 61.2,
        "context": "kind-fti",
    }
    text = up.table(found)
    assert text.startswith("The platform works, after 61 s (checks 0, cluster 20; some side by side).")
    for part in ("http://localhost:18080", "http://localhost:19001", "http://localhost:19000", "localhost:16379"):
        assert part in text
    assert "make kind-login" in text
    assert "kind-fti" in text


def node_with(ports: dict[int, int]) -> str:
    """What `docker inspect` says of a node whose ports these lead to."""
    bound = {f"{node_port}/tcp": [{"HostPort": str(port)}] for port, node_port in ports.items()}
    return json.dumps([{"Name": "/n", "State": {"Running": True}, "NetworkSettings": {"Ports": bound}}])


PORTS = {18080: 30080, 19000: 30900, 19001: 30901, 16379: 30379, 18090: 30890}
NODE = node_with(PORTS)


def test_the_features_over_http_have_a_place_where_they_are_asked_for(programs: Programs) -> None:
    programs.add("docker", f"case $1 in ps) echo 1 ;; inspect) echo '{NODE}' ;; esac")
    usual, more = up.places(OURS), up.places(OURS, serve=True)
    assert more[: len(usual)] == usual
    assert [place.where for place in more[len(usual) :]] == ["http://localhost:18090/features"]


@pytest.mark.parametrize("running", [True, False])
def test_a_cluster_made_before_the_port_of_the_features_was_is_said_at_once(
    running: bool, monkeypatch: pytest.MonkeyPatch, programs: Programs
) -> None:
    node = json.dumps(
        [{"Name": "/fti", "State": {"Running": running}, "HostConfig": {"PortBindings": {"30080/tcp": []}}}]
    )
    programs.add("docker", f"case $1 in ps) echo 1 ;; inspect) echo '{node}' ;; esac")
    monkeypatch.setattr(up.checks, "require", lambda _: None)
    monkeypatch.setattr(up.tools, "ensure", lambda _: pytest.fail("it went on"))
    with pytest.raises(StackError, match="No port of this machine leads to 30890"):
        up.up(OURS, str, serve=True)


def test_a_cluster_without_our_ports_is_said(programs: Programs) -> None:
    programs.add("docker", f"case $1 in ps) echo 1 ;; inspect) echo '{node_with({})}' ;; esac")
    with pytest.raises(
        StackError, match=r"No port of this machine leads to 30080 .* by another `make kind-up`, or by none"
    ):
        up.places(OURS)


def builds(monkeypatch: pytest.MonkeyPatch, programs: Programs, script: str) -> None:
    programs.add("python", script)
    monkeypatch.setattr(up.sys, "executable", str(programs.folder / "python"))


def test_a_build_gives_tag_prefix_and_names_and_tells_what_took_long(
    monkeypatch: pytest.MonkeyPatch, programs: Programs
) -> None:
    image = {"name": "bronze", "image": "registry.example.com/fti-bronze:abc"}
    answer = json.dumps({"tag": "abc", "images": [image]})
    said = "echo 'Building 1 images' >&2; echo '  bronze   12.3 s' >&2; echo '  verify   0.1 s' >&2"
    builds(monkeypatch, programs, f"{said}; echo '{answer}'")
    lines: list[str] = []
    assert up.build(lines.append) == {
        "prefix": "registry.example.com/fti-",
        "tag": "abc",
        "images": ["registry.example.com/fti-bronze:abc"],
    }
    assert lines == ["  bronze   12.3 s"]
    assert programs.calls == ["python -m images.build --json"]


@pytest.mark.parametrize(("code", "error"), [(1, StackError), (2, MachineError)])
def test_a_failed_build_keeps_its_words_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, programs: Programs, code: int, error: type[StackError]
) -> None:
    builds(monkeypatch, programs, f"echo 'The build failed: see above.' >&2; exit {code}")
    with pytest.raises(error, match="The build failed: see above"):
        up.build(str)


WANTED = Wanted("fti-", "abc", 18080)


def released(programs: Programs, status: str, description: str) -> None:
    history = json.dumps([{"revision": 3, "status": status, "description": description}])
    programs.add("kubectl", "")
    programs.add("helm", f"case $* in *history*) echo '{history}' ;; esac")


def upgrades(programs: Programs) -> list[str]:
    return [call for call in programs.calls if " upgrade " in call]


def test_an_unchanged_release_is_left_alone(programs: Programs) -> None:
    released(programs, "deployed", WANTED.digest)
    assert release.ensure(OURS, WANTED) == "revision 3: unchanged"
    assert not upgrades(programs)


@pytest.mark.parametrize(("status", "description"), [("deployed", "other"), ("failed", WANTED.digest)])
def test_a_changed_or_failed_release_is_upgraded(programs: Programs, status: str, description: str) -> None:
    released(programs, status, description)
    release.ensure(OURS, WANTED)
    (upgrade,) = upgrades(programs)
    assert upgrade.startswith("helm --kube-context kind-fti --namespace fti upgrade --install fti ")
    assert f"--description={WANTED.digest}" in upgrade
    assert "--set-string=global.imageTag=abc" in upgrade
    assert "--wait" not in upgrade


def test_a_killed_helm_does_not_lock_the_release(programs: Programs) -> None:
    released(programs, "pending-upgrade", WANTED.digest)
    release.ensure(OURS, WANTED)
    assert any(call.endswith("delete secret --namespace fti sh.helm.release.v1.fti.v3") for call in programs.calls)
    assert upgrades(programs)


def test_no_release_is_told_from_a_helm_that_fails(programs: Programs) -> None:
    programs.add("helm", "echo 'Error: release: not found' >&2; exit 1")
    assert release.newest(OURS) == (0, "", "")
    programs.add("helm", "echo 'Error: connection refused' >&2; exit 1")
    with pytest.raises(StackError, match="Helm cannot say what is installed: Error: connection refused"):
        release.newest(OURS)


def test_the_digest_changes_with_the_charts_and_what_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chart = tmp_path / "fti"
    (chart / "charts").mkdir(parents=True)
    (tmp_path / "redis").mkdir()
    (chart / "charts" / "redis").symlink_to("../../redis")
    for path in ("fti/values-kind.yaml", "redis/values.yaml", "redis/README.md"):
        (tmp_path / path).write_text("a")
    monkeypatch.setattr(release, "CHART", chart)
    first = WANTED.digest
    assert first != Wanted("fti-", "abd", 18080).digest != Wanted("fti-", "abd", 28080).digest
    assert first != Wanted("fti-", "abc", 18080, serve=True).digest
    (tmp_path / "redis/README.md").write_text("b")
    assert first == WANTED.digest
    (tmp_path / "redis/values.yaml").write_text("b")
    assert first != WANTED.digest


def test_images_are_read_from_what_helm_renders(programs: Programs) -> None:
    programs.add(
        "helm", "printf '%s\\n' '        - image: \"fti-airflow:abc\"' '          image: postgres:17' '  imageTag: x'"
    )
    assert WANTED.images() == ["fti-airflow:abc", "postgres:17"]
    assert os.fspath(release.CHART) in programs.calls[0]
