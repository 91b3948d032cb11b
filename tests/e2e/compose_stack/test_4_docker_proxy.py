"""What reaches the Docker socket: the launcher's calls, and nothing that could take the machine."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from tests.e2e.compose_stack.stack import COMPOSE, PROJECT, ROOT, Stack, docker

NAME = "fti-e2e-a-proxy"
Body = dict[str, Any]
WANTED: Body = {
    "Image": "fti-bronze:not-here",
    "Entrypoint": ["python", "-m", "jobs.bronze"],
    "Cmd": ["--start", "2026-01-01"],
    "Env": ["LAKE_URI=s3://lake"],
    "Volumes": {"/tmp": {}},
    "Labels": {"app.kubernetes.io/component": "bronze"},
    "User": None,
    "HostConfig": {
        "NetworkMode": PROJECT,
        "Memory": 512 << 20,
        "MemorySwap": 512 << 20,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
    },
}


MISSING = object()


@pytest.fixture(scope="module")
def proxy(stack: Stack) -> Iterator[str]:
    """The stack's proxy once more, where a test can reach it: the stack's own is on a network without a way out."""
    docker("rm", "--force", NAME, check=False)
    docker(
        "run", "--detach", "--name", NAME, "--user", "root", "--cap-drop", "ALL", "--publish", "127.0.0.1::2375",
        "--env", "IMAGE_PREFIX=fti-", "--env", f"NETWORK={PROJECT}",
        "--volume", "/var/run/docker.sock:/var/run/docker.sock",
        "--volume", f"{COMPOSE}/docker-proxy.cfg:/usr/local/etc/haproxy/haproxy.cfg:ro", "haproxy:3.0",
    )  # fmt: skip
    try:
        address = docker("port", NAME, "2375").stdout.split()[0]
        deadline = time.monotonic() + 20
        while True:
            try:
                requests.get(f"http://{address}/version", timeout=5)
                break
            except requests.ConnectionError:
                assert time.monotonic() < deadline, docker("logs", NAME).stderr
                time.sleep(0.2)
        yield address
    finally:
        docker("rm", "--force", NAME, check=False)


def create(proxy: str, body: Body | str | bytes, query: str = "name=fti-job-x", **headers: str) -> int:
    data = json.dumps(body) if isinstance(body, dict) else body
    url = f"http://{proxy}/v1.43/containers/create?{query}"
    return requests.post(
        url, data=data, headers={"Content-Type": "application/json", **headers}, timeout=30
    ).status_code


def test_what_the_launcher_asks_for_reaches_the_engine(proxy: str) -> None:
    """404: the Engine looked for the image. Without this the refusals below would prove nothing."""
    assert create(proxy, WANTED) == 404


@pytest.mark.parametrize(
    "changes",
    [
        {"HostConfig": MISSING},
        {"HostConfig": {}},
        {"HostConfig.NetworkMode": MISSING},
        {"HostConfig.Memory": MISSING},
        {"HostConfig.MemorySwap": MISSING},
        {"HostConfig.ReadonlyRootfs": MISSING},
        {"HostConfig.CapDrop": MISSING},
        {"HostConfig.SecurityOpt": MISSING},
        {"HostConfig.Memory": 0},
        {"HostConfig.MemorySwap": -1},
        {"HostConfig.HostConfig": {}},
        {"Env": ["LD_PRELOAD=/tmp/x.so"]},
        {"Env": ["LAKE_URI=s3://lake", "PYTHONPATH=/tmp"]},
        {"Env": ['LAKE_URI=a","JAVA_TOOL_OPTIONS=b', "PATH=/tmp"]},
        {"Labels": {"com.docker.compose.project": "fti"}},
        {"HostConfig.Binds": ["/:/host"]},
        {"HostConfig.binds": ["/:/host"]},
        {"HostConfig.Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}]},
        {"HostConfig.VolumesFrom": ["fti-e2e-minio-1"]},
        {"HostConfig.Privileged": True},
        {"HostConfig.CapAdd": ["SYS_ADMIN"]},
        {"HostConfig.CapDrop": []},
        {"HostConfig.Devices": [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda", "CgroupPermissions": "rwm"}]},
        {"HostConfig.DeviceCgroupRules": ["a *:* rwm"]},
        {"HostConfig.PidMode": "host"},
        {"HostConfig.IpcMode": "host"},
        {"HostConfig.UsernsMode": "host"},
        {"HostConfig.CgroupParent": "/"},
        {"HostConfig.NetworkMode": "host"},
        {"HostConfig.NetworkMode": f"{PROJECT}_docker-proxy"},
        {"HostConfig.NetworkMode": "container:fti-e2e-postgres-1"},
        {"HostConfig.SecurityOpt": ["seccomp=unconfined"]},
        {"HostConfig.SecurityOpt": ["no-new-privileges", "apparmor=unconfined"]},
        {"HostConfig.ReadonlyRootfs": False},
        {"HostConfig.PortBindings": {"80/tcp": [{"HostPort": "80"}]}},
        {"HostConfig.RestartPolicy": {"Name": "always"}},
        {"HostConfig.Runtime": "other"},
        {"Runtime": "other"},
        {"hostconfig": {"Privileged": True}},
        {"NetworkingConfig": {"EndpointsConfig": {"host": {}}}},
        {"Image": "debian:trixie-slim"},
        {"Image": "evil.example/fti-bronze:1"},
        {"Image": "fti-airflow:1"},
        {"Entrypoint": ["sh", "-c"]},
        {"Entrypoint": ["python", "-m", "jobs.bronze", "x"]},
        {"User": "root"},
        {"Volumes": {"/etc": {}}},
        {"Volumes": {"/tmp": {}, "/etc": {}}},
        {"WorkingDir": "/"},
    ],
    ids=str,
)
def test_container_that_is_more_than_a_job_is_refused(proxy: str, changes: Body) -> None:
    body = copy.deepcopy(WANTED)
    for path, value in changes.items():
        *above, key = path.split(".")
        inner = body[above[0]] if above else body
        inner[key] = value
        if value is MISSING:
            del inner[key]
    assert create(proxy, body) == 403


def replaced(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


@pytest.mark.parametrize(
    "disguise",
    [
        replaced('"NetworkMode"', '"\\u0042inds": ["/:/host"], "NetworkMode"'),
        replaced('"NetworkMode"', '"Bind\\u017f": ["/:/host"], "NetworkMode"'),
        replaced('"NetworkMode"', '"Bindſ": ["/:/host"], "NetworkMode"'),
        replaced('"NetworkMode"', '"Binds" : ["/:/host"], "NetworkMode"'),
        replaced('"NetworkMode"', '"Binds"\n\t:\n["/:/host"], "NetworkMode"'),
        replaced(f'"NetworkMode": "{PROJECT}"', f'"NetworkMode": "{PROJECT}", "NetworkMode": "host"'),
        replaced('"Image": "fti-bronze:not-here"', '"Image": "fti-bronze:not-here", "Image": "debian:trixie-slim"'),
        replaced('"Image": "fti-bronze:not-here"', '"Image": "fti-bronze:not-here", "image": "debian:trixie-slim"'),
        replaced("LAKE_URI=s3://lake", "x" * 70_000),
    ],
)
def test_disguise_is_seen_through(proxy: str, disguise: Callable[[str], str]) -> None:
    text = disguise(json.dumps(WANTED))
    if text == json.dumps(WANTED):
        pytest.fail("the disguise changes nothing")
    assert create(proxy, text.encode()) == 403


def test_values_may_hold_anything_that_json_can_say(proxy: str) -> None:
    body = copy.deepcopy(WANTED)
    body["Env"] = ['REDIS_URL=redis://:pä"ss\\word,]}@redis:6379/0', 'AWS_SECRET_ACCESS_KEY="Binds": ["/:/host"]']
    body["Cmd"] = ["--lake", "s3://lake/é", '"Privileged": true']
    assert create(proxy, body) == 404


@pytest.mark.parametrize("size", [6_000, 30_000, 60_000, 63_000])
@pytest.mark.parametrize("padding", [0, 40_000, 62_000])
def test_what_does_not_fit_the_buffer_is_refused(proxy: str, size: int, padding: int) -> None:
    """Headers share the buffer, so a part of the description could stay unread."""
    text = json.dumps(WANTED).replace('"NetworkMode"', " " * padding + '"Binds": ["/:/host"], "NetworkMode"')
    assert create(proxy, text, **{"X-Filler": "a" * size}) in (400, 403, 413, 431)
    honest = json.dumps(WANTED).replace('"NetworkMode"', " " * padding + '"NetworkMode"')
    assert create(proxy, honest, **{"X-Filler": "a" * size}) in (400, 403, 404, 413, 431)


def test_text_that_is_hard_to_match_is_not_let_through(proxy: str) -> None:
    for filler in ("\\\\" * 20_000, '\\"' * 20_000, "a\\n" * 15_000):
        text = (
            json.dumps(WANTED)
            .replace("s3://lake", filler)
            .replace('"NetworkMode"', '"Binds": ["/:/host"], "NetworkMode"')
        )
        assert len(text) < 63_000
        assert create(proxy, text) == 403


def test_body_in_pieces_is_refused(proxy: str) -> None:
    chunks = (bytes([byte]) for byte in json.dumps(WANTED).encode())
    headers = {"Content-Type": "application/json"}
    url = f"http://{proxy}/v1.43/containers/create?name=fti-job-x"
    assert requests.post(url, data=chunks, headers=headers, timeout=30).status_code == 403


@pytest.mark.parametrize(
    "query",
    [
        "",
        "name=",
        "name=other",
        "name=fti-job-",
        "name=fti-job-x%2fy",
        "name=x-fti-job-x",
        "name=fti-job-x&name=other",
        "n%61me=other&name=fti-job-x",
        "Name=fti-job-x",
        "name=fti-job-x&platform=linux/arm64",
    ],
)
def test_only_a_jobs_name_is_taken(proxy: str, query: str) -> None:
    assert create(proxy, WANTED, query) == 403


@pytest.mark.parametrize(
    "call",
    [
        "GET /v1.43/containers/json",
        "GET /v1.43/containers/fti-e2e-postgres-1/json",
        "GET /v1.43/containers/fti-job-x/../fti-e2e-postgres-1/json",
        "GET /v1.43/containers/fti-job-x/%2e%2e/fti-e2e-postgres-1/json",
        "GET /v1.43/containers/fti-e2e-postgres-1/logs?stdout=1",
        "DELETE /v1.43/containers/fti-e2e-minio-1",
        "POST /v1.43/containers/fti-e2e-minio-1/stop",
        "POST /v1.43/containers/fti-job-x/exec",
        "POST /v1.43/containers/fti-job-x/attach",
        "POST /v1.43/containers/fti-job-x/update",
        "PUT /v1.43/containers/fti-job-x/archive?path=/",
        "GET /v1.43/containers/fti-job-x/archive?path=/",
        "POST /v1.43/images/create?fromImage=debian",
        "GET /v1.43/images/json",
        "POST /v1.43/build",
        "GET /v1.43/volumes",
        "POST /v1.43/volumes/create",
        "GET /v1.43/networks",
        "POST /v1.43/networks/fti-e2e/connect",
        "GET /v1.43/secrets",
        "POST /v1.43/swarm/init",
        "GET /v1.43/info",
        "GET /v1.43/events",
        "POST /containers/create?name=fti-job-x",
        "POST /v1.23/containers/create?name=fti-job-x",
        "POST /v1.23/containers/fti-job-x/start",
        "POST /containers/fti-job-x/start",
        "GET /_ping",
        "GET //v1.43/containers/json",
    ],
)
def test_call_that_no_launcher_makes_is_refused(proxy: str, call: str) -> None:
    method, path = call.split()
    request = requests.Request(method, f"http://{proxy}/x").prepare()
    request.url = f"http://{proxy}{path}"  # as it stands: requests would tidy the dots away
    assert requests.Session().send(request, timeout=30).status_code == 403


@pytest.fixture
def operator(proxy: str, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The launcher itself, in this process, through the proxy."""
    for name, value in stack.job_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(ROOT / "dags"))
    from launchers import docker as launcher
    from launchers.jobs import JOBS
    from launchers.settings import LauncherSettings

    def made(job: str, *arguments: str, memory_mib: int = 0) -> Any:
        if memory_mib:
            monkeypatch.setitem(JOBS, job, replace(JOBS[job], memory_mib=memory_mib))
        settings = LauncherSettings(launcher="docker", image_tag=stack.tag, docker_network=PROJECT)
        task = launcher.DockerJobOperator(task_id=job, job=job, arguments=list(arguments), settings=settings)

        def run_it() -> None:
            with monkeypatch.context() as patched:
                patched.setenv("DOCKER_HOST", f"tcp://{proxy}")
                task.execute({"ti": SimpleNamespace(dag_id="d", run_id=job, map_index=-1)})

        task.run_it = run_it
        return task

    return made


def test_wrong_call_is_named(operator: Callable[..., Any], stack: Stack) -> None:
    with pytest.raises(Exception, match="exit code 2: wrong call or settings") as caught:
        operator("generate", "--start", "2026-01-01", "--end", "2026-01-01").run_it()
    assert type(caught.value).__name__ == "JobRefused"
    assert stack.job_containers() == []


def test_out_of_memory_is_named(operator: Callable[..., Any], stack: Stack) -> None:
    days = ("--start", "2030-01-01", "--end", "2030-01-02", "--cards=200000")
    with pytest.raises(Exception, match=r"exit code 137: OOMKilled, it needed more than its 80 MiB"):
        operator("generate", *days, memory_mib=80).run_it()
    assert stack.job_containers() == []


def test_missing_image_is_named(operator: Callable[..., Any]) -> None:
    task = operator("generate", "--help")
    task.image = "fti-generate:never-built"
    with pytest.raises(Exception, match="no image fti-generate:never-built: build it with `make images`"):
        task.run_it()
