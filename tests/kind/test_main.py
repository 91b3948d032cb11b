"""The command line: exit codes and sentences, before any cluster is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kind import __main__ as command
from kind import job
from tests.kind.conftest import Programs

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "today"], "DATE and END are days such as 2026-01-01, not 'today'"),
        (["status"], "No Docker Engine answers: start Docker Desktop"),
        (["down"], "No Docker Engine answers"),
        (["up"], "No Docker Engine answers"),
    ],
)
def test_what_must_be_mended_first_ends_with_2(
    programs: Programs, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    programs.add("docker", "exit 1")
    assert command.main(arguments) == 2
    assert capsys.readouterr().err.startswith(sentence)


@pytest.mark.parametrize("verb", [["status"], ["login"], ["logs", "bronze"], ["card"], ["reset"], ["job", "bronze"]])
def test_without_a_cluster_each_verb_says_how_to_make_one(
    programs: Programs, capsys: pytest.CaptureFixture[str], verb: list[str]
) -> None:
    programs.add("docker", "case $1 in version) echo 27.0.0 ;; esac")
    assert command.main(verb) == 2
    assert capsys.readouterr().err == "There is no cluster fti: run `make kind-up` first.\n"


def test_a_stopped_cluster_is_said(programs: Programs, capsys: pytest.CaptureFixture[str]) -> None:
    node = '[{"Name": "/fti-control-plane", "State": {"Running": false}}]'
    programs.add("docker", f"case $1 in version) echo 27.0.0 ;; ps) echo 1 ;; inspect) echo '{node}' ;; esac")
    assert command.main(["status"]) == 2
    said = "Of the cluster fti is stopped: fti-control-plane. Run `make kind-up`.\n"
    assert capsys.readouterr().err == said


def test_a_cluster_without_the_platform_is_said(programs: Programs, capsys: pytest.CaptureFixture[str]) -> None:
    node = '[{"Name": "/fti-control-plane", "State": {"Running": true}}]'
    programs.add("docker", f"case $1 in version) echo 27.0.0 ;; ps) echo 1 ;; inspect) echo '{node}' ;; esac")
    programs.add("kubectl", "exit 1")
    assert command.main(["status"]) == 2
    assert capsys.readouterr().err == "The platform is not in the cluster fti: run `make kind-up`.\n"


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run"], ["job", "minio"], ["run", "2026-01-01", "--generate=no"]])
def test_a_wrong_call_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    assert end.value.code == 2
    assert "usage: python3 -m kind" in capsys.readouterr().err


@pytest.mark.parametrize("call", [["run"], ["logs"], ["kind-job"]])
def test_make_names_what_is_missing(call: list[str]) -> None:
    done = subprocess.run(["make", *call], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(("Name a day: make run DATE=", "Name a job: make "))


def test_only_the_standard_library_is_needed() -> None:
    """With no site-packages at all, as on a machine where nothing is installed."""
    call = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import kind.__main__"]
    done = subprocess.run(call, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_jobs_are_the_launchers_and_each_has_an_image() -> None:
    from dags.launchers.jobs import JOBS

    assert set(job.JOBS) == set(JOBS)
    bake = (ROOT / "images" / "docker-bake.hcl").read_text(encoding="utf-8")
    assert all(f'target "{name}" {{' in bake for name in job.JOBS)


@pytest.mark.parametrize(("arguments", "serve"), [(["up"], False), (["up", "--serve"], True)])
def test_the_features_over_http_come_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], serve: bool
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(command.up, "up", lambda _, __, serve: asked.append(serve))
    monkeypatch.setattr(command.up, "table", lambda _: "")
    assert command.main(arguments) == 0
    assert asked == [serve]
