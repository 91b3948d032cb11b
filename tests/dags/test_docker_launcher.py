"""The container of each job as it would be made. No Docker here: a stand-in keeps containers as the Engine would.

The same operator meets a real Engine, through the real proxy, in tests/e2e/compose_stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from docker.errors import APIError, NotFound
from structlog.testing import capture_logs

BASE = 2560 << 20


class Engine:
    """What docker.APIClient does for one container, in memory."""

    create_host_config = staticmethod(lambda **given: given)

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.created: dict[str, Any] = {}
        self.calls: list[str] = []
        self.chunks: list[bytes] = [b"a line\n"]
        self.ends = {"ExitCode": 0, "OOMKilled": False, "Status": "exited"}
        self.breaks: Exception | None = None
        self.cuts = 0

    def create_container(self, image: str, *, name: str, **given: Any) -> None:
        self.calls.append("create")
        self.created = {"image": image, "name": name, **given}
        self.containers[name] = {"State": {"Status": "created"}, "HostConfig": {"Memory": BASE}}

    def start(self, name: str) -> None:
        self.calls.append("start")
        self.containers[name]["State"] = {"Status": "running"}

    def logs(self, name: str, *, stream: bool, follow: bool, since: float | None = None) -> Iterator[bytes]:
        assert stream
        assert follow
        self.calls += ["logs since"] if since else []
        yield from self.chunks
        if self.breaks:
            raise self.breaks
        if self.cuts:
            self.cuts -= 1  # as docker-py does when the connection is gone: the stream just ends
            return
        self.containers[name]["State"] = self.ends

    def wait(self, name: str, timeout: float | None) -> None:
        assert timeout is None, "a job may take hours"

    def inspect_container(self, name: str) -> dict[str, Any]:
        if name not in self.containers:
            raise NotFound("no such container")
        return self.containers[name]

    def stop(self, name: str, timeout: int) -> None:
        self.calls.append("stop")

    def remove_container(self, name: str, *, v: bool, force: bool) -> None:
        assert v, "its anonymous volume would stay"
        self.calls.append("remove")
        self.containers.pop(name)

    def close(self) -> None: ...


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    from launchers import docker

    made = Engine()
    monkeypatch.setattr(docker, "END_SECONDS", 1)
    monkeypatch.setattr(docker.time, "sleep", lambda _: None)
    monkeypatch.setattr(docker, "APIClient", lambda **_: made)
    return made


@pytest.fixture
def task(render: Callable[..., Any]) -> Any:
    return render("docker", "bronze", partition_key="2026-02-14")


def run(task: Any, run_id: str = "manual__1") -> None:
    task.execute({"ti": SimpleNamespace(dag_id="feature_pipeline", run_id=run_id, map_index=-1)})


def test_container_is_of_the_jobs_image_bounded_and_on_the_stacks_network(task: Any, engine: Engine) -> None:
    run(task)
    made = engine.created
    assert made["image"] == "fti-bronze:1.2.3"
    assert made["entrypoint"] == ["python", "-m", "jobs.bronze"]
    assert made["command"] == ["--start", "2026-02-14", "--end", "2026-02-15", "--max-bad-share=0.01"]
    assert made["host_config"] == {
        "network_mode": "stack",
        "mem_limit": "2560m",
        "memswap_limit": "2560m",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
    }


def test_credentials_go_in_by_name_and_show_nowhere(task: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_URI", "s3://lake")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    monkeypatch.setenv("UNRELATED", "x")
    with capture_logs() as logged:
        run(task)
    given = engine.created["environment"]
    assert (given["LAKE_URI"], given["AWS_SECRET_ACCESS_KEY"]) == ("s3://lake", "s3cr3t")
    assert "UNRELATED" not in given
    assert logged
    assert "s3cr3t" not in str(logged)
    assert "s3cr3t" not in str({name: getattr(task, name) for name in task.template_fields}), "what the UI shows"


def test_whole_lines_reach_the_log_whatever_the_chunks(task: Any, engine: Engine) -> None:
    engine.chunks = [b'{"level": "warn', b'ing"}\r\nplain\nM\xc3', b"\xbcnchen\nno end"]
    with capture_logs() as logged:
        run(task)
    assert [(entry["log_level"], entry["event"]) for entry in logged][-4:] == [
        ("warning", '{"level": "warning"}'),
        ("info", "plain"),
        ("info", "München"),
        ("info", "no end"),
    ]


@pytest.mark.parametrize(
    ("code", "oom_killed", "kind", "sentence"),
    [
        (1, False, "JobFailed", "exit code 1: failed"),
        (1, True, "JobFailed", "exit code 1: OOMKilled, it needed more than its 2560 MiB"),
        (2, False, "JobRefused", "exit code 2: wrong call or settings"),
        (3, False, "JobRefused", "exit code 3: more bad data"),
        (137, True, "JobFailed", "exit code 137: OOMKilled, it needed more than its 2560 MiB"),
        (137, False, "JobFailed", "exit code 137: killed by SIGKILL"),
    ],
)
def test_failed_container_is_removed_and_its_end_told(
    task: Any, engine: Engine, code: int, oom_killed: bool, kind: str, sentence: str
) -> None:
    from airflow.sdk.exceptions import AirflowException

    engine.ends |= {"ExitCode": code, "OOMKilled": oom_killed}
    with pytest.raises(AirflowException, match=sentence) as caught:
        run(task)
    assert type(caught.value).__name__ == kind
    assert engine.containers == {}


def test_that_memory_ran_out_may_be_noted_a_moment_after_the_exit_code(
    task: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from launchers import docker
    from launchers.errors import JobFailed

    engine.ends["ExitCode"] = 137
    monkeypatch.setattr(docker.time, "sleep", lambda _: engine.ends.update(OOMKilled=True))
    with pytest.raises(JobFailed, match="exit code 137: OOMKilled, it needed more than its 2560 MiB"):
        run(task)
    assert engine.containers == {}


def test_job_that_outlived_the_killing_of_a_worker_is_done(task: Any, engine: Engine) -> None:
    engine.ends["OOMKilled"] = True
    run(task)
    assert engine.containers == {}


def test_next_try_follows_the_container_that_the_one_before_left(task: Any, engine: Engine) -> None:
    from launchers.errors import JobFailed

    engine.breaks = requests.ConnectionError("http://proxy refused")
    with pytest.raises(JobFailed, match="no Docker Engine answers at the local socket") as caught:
        run(task)
    assert "the next try follows it" in str(caught.value)
    engine.breaks = None
    run(task)
    assert engine.calls == ["create", "start", "remove"], "started once, removed after its end"


def test_end_that_nobody_read_counts(task: Any, engine: Engine) -> None:
    from launchers.errors import JobRefused

    engine.breaks = requests.ConnectionError()
    engine.ends["ExitCode"] = 3
    with pytest.raises(Exception, match="no Docker Engine"):
        run(task)
    next(iter(engine.containers.values()))["State"] = engine.ends
    engine.breaks = None
    with pytest.raises(JobRefused, match="exit code 3"):
        run(task)
    assert engine.calls.count("start") == 1


def test_container_that_could_not_start_is_made_anew(
    task: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from launchers.errors import JobFailed

    def refuses(name: str) -> None:
        raise APIError("500 Server Error", explanation="driver failed programming external connectivity")

    with monkeypatch.context() as patched:
        patched.setattr(engine, "start", refuses)
        with pytest.raises(JobFailed, match="the Docker Engine refused: driver failed"):
            run(task)
    run(task)
    assert engine.calls == ["create", "remove", "create", "start", "remove"]


def test_log_that_breaks_off_is_taken_up_again(task: Any, engine: Engine) -> None:
    engine.cuts = 2
    with capture_logs() as logged:
        run(task)
    assert engine.calls == ["create", "start", "logs since", "logs since", "remove"]
    assert len([entry for entry in logged if "broke off" in entry["event"]]) == 2


def test_other_work_has_a_container_of_its_own(task: Any, engine: Engine) -> None:
    """Another run, another lake's stack, another version of the code, other days."""
    names = []
    for change in ({}, {"network": "other"}, {"image": "fti-bronze:next"}, {"arguments": ["--start", "2026-02-15"]}):
        for attribute, value in change.items():
            setattr(task, attribute, value)
        run(task)
        names.append(engine.created["name"])
    run(task, "manual__2")
    names.append(engine.created["name"])
    assert len(set(names)) == len(names) == 5
    assert all(name.startswith("fti-job-bronze-") for name in names)


@pytest.mark.parametrize(
    ("explanation", "sentence"),
    [
        ("No such image: fti-bronze:1.2.3", "no image fti-bronze:1.2.3: build it with `make images`"),
        ("network stack not found", "no network stack: start the stack"),
    ],
)
def test_what_the_docker_host_lacks_is_named(
    task: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch, explanation: str, sentence: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    def lacks(image: str, **_: Any) -> None:
        raise NotFound("404", explanation=explanation)

    monkeypatch.setattr(engine, "create_container", lacks)
    with pytest.raises(AirflowFailException, match=sentence):
        run(task)


def test_killed_task_takes_its_container_along(task: Any, engine: Engine) -> None:
    task.on_kill()
    assert engine.calls == [], "nothing runs yet"
    engine.breaks = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(task)
    task.on_kill()
    assert engine.calls == ["create", "start", "stop", "remove"]
