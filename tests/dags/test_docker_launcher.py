"""The container of each job as it would be made; the Docker daemon itself is a stand-in that records the calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock, PropertyMock, patch

import pytest


@pytest.fixture
def task(render: Callable[..., Any]) -> Any:
    return render("docker", "bronze", partition_key="2026-02-14")


def run(task: Any, exit_code: int, oom_killed: bool = False) -> MagicMock:
    """Executes the task against a daemon whose container ends as told."""
    cli = MagicMock()
    cli.create_container.return_value = {"Id": "c1"}
    cli.attach.return_value = iter([b"a line\n"])
    cli.wait.return_value = {"StatusCode": exit_code}
    cli.inspect_container.return_value = {
        "State": {"ExitCode": exit_code, "OOMKilled": oom_killed},
        "HostConfig": {"Memory": 2560 << 20},
    }
    task.cli_calls = cli
    with patch.object(type(task), "cli", PropertyMock(return_value=cli)):
        task.execute({})
    return cli


def test_container_is_bounded_and_on_the_stacks_network(task: Any) -> None:
    assert task.image == "fti-bronze:1.2.3"
    assert task.network_mode == "stack"
    assert task.mem_limit == "2560m"
    assert task.mount_tmp_dir is False
    assert not task.privileged
    assert not task.do_xcom_push


def test_environment_goes_in_by_name_and_shows_nowhere(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_URI", "s3://lake")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    monkeypatch.setenv("UNRELATED", "x")
    cli = run(task, 0)
    given = cli.create_container.call_args.kwargs["environment"]
    assert (given["LAKE_URI"], given["AWS_SECRET_ACCESS_KEY"]) == ("s3://lake", "s3cr3t")
    assert "UNRELATED" not in given
    assert task.environment == {"LOG_FORMAT": "json"}, "what the UI shows of the task"


def test_container_is_removed_after_its_end(task: Any) -> None:
    run(task, 0).remove_container.assert_called_once_with("c1", force=True)


@pytest.mark.parametrize(
    ("code", "oom_killed", "kind", "sentence"),
    [
        (1, False, "JobFailed", "exit code 1: failed"),
        (2, False, "JobRefused", "exit code 2: wrong call or settings"),
        (3, False, "JobRefused", "exit code 3: more bad data"),
        (137, True, "JobFailed", "exit code 137: OOMKilled, it needed more than its 2560 MiB"),
        (137, False, "JobFailed", "exit code 137: killed by SIGKILL"),
    ],
)
def test_failed_container_is_removed_and_its_end_told(
    task: Any, code: int, oom_killed: bool, kind: str, sentence: str
) -> None:
    from airflow.sdk.exceptions import AirflowException

    with pytest.raises(AirflowException, match=sentence) as caught:
        run(task, code, oom_killed)
    assert type(caught.value).__name__ == kind
    task.cli_calls.remove_container.assert_called_once_with("c1", force=True)
