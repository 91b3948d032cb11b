"""What is checked before a cluster starts, and what kind is given."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest
import yaml

from compose import stack
from compose.stack import MachineError, StackError
from kind import checks, cluster, config
from kind.commands import Cluster, Object
from kind.config import Port
from tests.kind.conftest import Programs

ROOT = Path(__file__).resolve().parents[2]
OURS = Cluster("fti")


def test_a_machine_of_8_gb_passes_and_one_of_4_does_not() -> None:
    assert not checks.memory(int(7.4 * 2**30)).problem
    assert re.match(r"Docker has 3\.8 GiB of memory, .*: give it more", checks.memory(int(3.8 * 2**30)).problem)


def test_one_cpu_is_too_few() -> None:
    assert not checks.cpus(2).problem
    assert "needs 2" in checks.cpus(1).problem


def test_too_little_disk_is_said_with_what_to_do() -> None:
    assert not checks.disk(13_000_000_000, checks.DISK_GB).problem
    assert re.match(
        r"Where Docker keeps its data 3 GB are free, 10 GB .* `docker system df`",
        checks.disk(3 << 30, checks.DISK_GB).problem,
    )
    assert checks.disk(None, 12) == checks.Check("disk", "unknown")


def test_inotify_limits_are_read_where_there_are_any(tmp_path: Path) -> None:
    assert checks.inotify(tmp_path) == []
    (tmp_path / "max_user_instances").write_text("128\n")
    (tmp_path / "max_user_watches").write_text("8192\n")
    instances, watches = checks.inotify(tmp_path)
    assert not instances.problem
    assert watches.problem.endswith("run `sudo sysctl fs.inotify.max_user_watches=131072`.")


def test_a_taken_port_is_named_unless_our_node_holds_it(programs: Programs) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        programs.add("docker", f"case $* in *label*) ;; *) echo 'other 127.0.0.1:{port}->80/tcp' ;; esac")
        wanted = {port: Port(30080, "Airflow")}
        with pytest.raises(StackError, match=rf"are taken: {port} \(Airflow\)\. Containers that hold them: other\."):
            checks.free_ports(OURS, wanted)
        node = json.dumps([{"Name": "/fti-control-plane", "State": {"Running": True}}])
        programs.add("docker", f"case $1 in ps) echo 1 ;; inspect) echo '{node}' ;; esac")
        checks.free_ports(OURS, wanted)
    programs.add("docker", "")
    checks.free_ports(OURS, wanted)


def test_without_docker_that_alone_is_said(programs: Programs) -> None:
    programs.add("docker", "exit 1")
    assert [check.name for check in checks.machine(OURS)] == ["docker"]
    with pytest.raises(MachineError, match=r"No Docker Engine answers: start Docker Desktop, or .* `make engine`"):
        checks.require(OURS)


def test_every_problem_is_said_at_once(programs: Programs) -> None:
    info = {"ServerVersion": "27.1.0", "CgroupVersion": "2", "MemTotal": 1 << 30, "NCPU": 1, "DockerRootDir": "/"}
    programs.add("docker", f"case $1 in version) echo 27.1.0 ;; info) echo '{json.dumps(info)}' ;; esac")
    with pytest.raises(MachineError) as problems:
        checks.require(OURS)
    assert str(problems.value).splitlines()[0].startswith("Docker has 1.0 GiB")
    assert str(problems.value).splitlines()[1].startswith("Docker has 1 CPU")


def test_ports_are_composes_plus_10000_on_loopback_alone() -> None:
    assert sorted(config.ports()) == sorted(port + 10000 for port in stack.PORTS)
    mappings = [mapping for node in yaml.safe_load(config.text())["nodes"] for mapping in node["extraPortMappings"]]
    assert {mapping["hostPort"]: mapping["containerPort"] for mapping in mappings} == {
        port: leads.node_port for port, leads in config.ports().items()
    }
    assert {mapping["listenAddress"] for mapping in mappings} == {"127.0.0.1"}


def test_ports_lead_where_the_chart_listens() -> None:
    values = yaml.safe_load((ROOT / "charts/fti/values-kind.yaml").read_text(encoding="utf-8"))
    assert {leads.node_port for leads in config.ports().values()} == {
        values["airflow"]["service"]["nodePort"],
        values["minio"]["service"]["nodePort"],
        values["minio"]["service"]["consoleNodePort"],
        values["redis"]["service"]["nodePort"],
        values["serve"]["service"]["nodePort"],
    }
    port = next(port for port, leads in config.ports().items() if leads.node_port == config.AIRFLOW)
    assert values["airflow"]["apiServer"]["baseUrl"] == f"http://localhost:{port}"


def test_ports_can_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTI_PORT_OFFSET", "20000")
    assert sorted(config.ports()) == sorted(port + 20000 for port in stack.PORTS)
    assert "hostPort: 28080, containerPort: 30080 " in config.text()
    assert config.ports()[28080] == Port(config.AIRFLOW, "Airflow")


@pytest.mark.parametrize("offset", ["zero", "-1", "60000"])
def test_a_wrong_offset_is_said(monkeypatch: pytest.MonkeyPatch, offset: str) -> None:
    monkeypatch.setenv("FTI_PORT_OFFSET", offset)
    with pytest.raises(MachineError, match=f"FTI_PORT_OFFSET is '{offset}': use a number such as 10000"):
        config.ports()


def test_there_is_one_node_that_runs_on_cgroup_v1_too() -> None:
    assert config.node_count() == len(yaml.safe_load(config.text())["nodes"]) == 1
    (patch,) = yaml.safe_load(config.text())["kubeadmConfigPatches"]
    assert yaml.safe_load(patch)["failCgroupV1"] is False


def test_a_wrong_name_for_the_cluster_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTI_CLUSTER", "My cluster")
    with pytest.raises(MachineError, match="FTI_CLUSTER is 'My cluster', use at most 40 lower-case letters"):
        Cluster.from_env()
    monkeypatch.setenv("FTI_CLUSTER", "fti-e2e")
    assert Cluster.from_env().context == "kind-fti-e2e"


def test_a_missing_node_image_says_how_to_make_it(programs: Programs) -> None:
    programs.add("docker", "exit 1")
    with pytest.raises(MachineError, match=r"kindest/node:v\S+ is not here .*: run `make offline-images` first"):
        cluster.require_node_image()


def node(status: str, heard: str = "2026-11-24T10:00:00Z") -> Object:
    ready = {"type": "Ready", "status": status, "lastHeartbeatTime": heard}
    return {"metadata": {"name": "n"}, "status": {"conditions": [ready]}}


def test_a_started_nodes_old_words_are_not_believed() -> None:
    since = cluster.datetime.fromisoformat("2026-11-24T12:00:00Z")
    assert cluster.not_ready([]) == ["the first node"]
    assert cluster.not_ready([node("True")]) == []
    assert cluster.not_ready([node("False")]) == ["n"]
    assert cluster.not_ready([node("True")], since) == ["n"]
    assert cluster.not_ready([node("True", "2026-11-24T12:00:03Z")], since) == []


def test_a_cluster_of_another_kubernetes_is_kept_and_said(programs: Programs) -> None:
    described = [{"Name": "/n", "State": {"Running": True}, "Config": {"Image": "kindest/node:v1.30.0"}}]
    programs.add("docker", f"case $1 in ps) echo 1 ;; inspect) echo '{json.dumps(described)}' ;; esac")
    with pytest.raises(
        MachineError, match=r"is of kindest/node:v1\.30\.0, and kindest/node:v\S+ is wanted: `make kind-down`"
    ):
        cluster.make(OURS)
    assert not any(call.startswith(("docker rm", "kind")) for call in programs.calls)


@pytest.mark.parametrize(("before", "restored"), [("prod", True), ("kind-fti", False), ("", False)])
def test_a_persons_current_context_stays(programs: Programs, before: str, restored: bool) -> None:
    programs.add("kubectl", f'[ "$2" != current-context ] || echo "{before}"')
    with cluster.keeping_current_context(OURS):
        pass
    assert (f"kubectl config use-context {before}" in programs.calls) is restored


def test_down_deletes_ours_alone(programs: Programs) -> None:
    programs.add("docker", "case $* in 'ps --all --quiet --filter label=io.x-k8s.kind.cluster') echo other ;; esac")
    programs.add("kind", "")
    programs.add("kubectl", "echo prod")
    assert cluster.delete(OURS) is False
    assert "kind delete cluster --name fti" in programs.calls
    assert not any("network rm" in call for call in programs.calls), "another cluster is on it"
    programs.add("docker", "")
    cluster.delete(OURS)
    assert "docker network rm kind" in programs.calls
