"""What a person is shown: logs, status, logins, a card; and the pod that reads it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from compose.stack import MachineError, StackError
from kind import job, show
from kind.commands import Cluster
from tests.charts import rules
from tests.charts.harness import Pod
from tests.kind.conftest import Programs
from tests.kind.test_waiting import FAILING, READY

OURS = Cluster("fti")
LABEL = "app.kubernetes.io/component"


def pod(job_: str, name: str, created: str, phase: str = "Succeeded") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "creationTimestamp": created, "labels": {LABEL: job_}},
        "status": {"phase": phase},
    }


def answer(programs: Programs, name: str, answer: object, otherwise: str = "") -> None:
    (programs.folder / "answer").write_text(json.dumps(answer))
    programs.add(name, f"case $* in *get*) cat {programs.folder}/answer ;; *) {otherwise or ':'} ;; esac")


def test_the_newest_pods_log_is_shown(programs: Programs, capfd: pytest.CaptureFixture[str]) -> None:
    pods = [pod("bronze", "new", "2026-01-02T00:00:00Z"), pod("bronze", "old", "2026-01-01T00:00:00Z")]
    answer(programs, "kubectl", {"items": pods}, "echo a line")
    show.logs(OURS, "bronze", follow=True)
    assert capfd.readouterr() == ("a line\n", "Pod new:\n")
    assert programs.calls[-1] == "kubectl --context kind-fti logs --namespace fti-jobs new --container=base --follow"


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        ([], "No job has run yet: `make run DATE=2026-01-01`."),
        ([pod("verify", "v", ""), pod("generate", "g", "")], "There are pods of generate, verify."),
    ],
)
def test_a_job_without_a_pod_names_those_that_have_one(
    programs: Programs, pods: list[dict[str, Any]], said: str
) -> None:
    answer(programs, "kubectl", {"items": pods})
    with pytest.raises(MachineError) as error:
        show.logs(OURS, "bronze", follow=False)
    assert str(error.value) == f"No pod of a job 'bronze' is in fti-jobs. {said}"


def test_logins_are_read_from_their_secrets(programs: Programs) -> None:
    data = {
        key: base64.b64encode(value.encode()).decode()
        for key, value in {"password": "p4ss", "root-user": "admin", "root-password": "r00t"}.items()
    }
    answer(programs, "kubectl", {"data": data})
    assert show.login(OURS).splitlines() == [
        "what     user     password",
        "Airflow  airflow  p4ss",
        "MinIO    admin    r00t",
        "Redis             p4ss",
    ]


def test_a_pods_row_says_its_state_and_restarts() -> None:
    assert {show.pod_row(o)[1:] for o in FAILING if o["kind"] == "Pod"} == {
        ("CrashLoopBackOff", "3 restarts"),
        ("Failed", ""),
        ("ImagePullBackOff", ""),
        ("CreateContainerConfigError", ""),
        ("Pending", ""),
    }
    assert {show.pod_row(o)[1:] for o in READY if o["kind"] == "Pod"} == {("ready", ""), ("done", "")}


CARD = show.card_pod("fti-card-1", "fti-verify:abc", None, 100)


@pytest.mark.parametrize(
    "rule",
    [rules.restricted, rules.read_only_root, rules.no_token, rules.no_service_links, rules.resources, rules.images],
)
def test_the_card_pod_keeps_the_rules_of_all_pods(rule: rules.PodRule) -> None:
    checked = Pod("card", "Pod", CARD["metadata"]["labels"], {}, CARD["spec"])
    assert list(rule(checked)) == []


def test_the_card_pod_has_settings_by_name_alone() -> None:
    (container,) = CARD["spec"]["containers"]
    assert [source for entry in container["envFrom"] for source in entry.values()] == [{"name": "fti-jobs"}] * 2
    assert {variable["name"] for variable in container["env"]} == {"HOME", "COLUMNS"}
    assert container["args"] == []
    asked = show.card_pod("n", "i:1", "c1", 100)["spec"]["containers"][0]
    assert asked["args"] == ["--card", "c1"]


def values(programs: Programs, **jobs: str) -> None:
    found = {"global": {"imagePrefix": "fti-", "imageTag": "abc"}, "airflow": {"jobs": {"imageTag": "", **jobs}}}
    answer(programs, "helm", found)


def test_a_jobs_image_is_the_one_that_the_release_starts(programs: Programs) -> None:
    values(programs)
    assert show.job_image(OURS, "bronze") == "fti-bronze:abc"
    values(programs, imageTag="own")
    assert show.job_image(OURS, "bronze") == "fti-bronze:own"


@pytest.mark.parametrize(("phase", "fails"), [("Succeeded", False), ("Failed", True)])
def test_the_card_pod_is_deleted_however_it_ended(
    programs: Programs, phase: str, fails: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    values(programs)
    kubectl = json.dumps({"status": {"phase": phase}})
    programs.add("kubectl", f"case $* in *'get pod'*) echo '{kubectl}' ;; *logs*) echo cnt_1d ;; esac")
    if fails:
        with pytest.raises(StackError, match="The card could not be read: see above"):
            show.card(OURS, "c1")
    else:
        show.card(OURS, "c1")
    assert capfd.readouterr().out == "cnt_1d\n"
    assert " delete pod fti-card-" in programs.calls[-1]


def test_a_jobs_new_code_keeps_the_tag_of_the_release(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    values(programs)
    programs.add("python", "")
    monkeypatch.setattr(job.sys, "executable", str(programs.folder / "python"))
    monkeypatch.setattr(job.images, "load", lambda _, names: len(names))
    said: list[str] = []
    job.renew(OURS, "bronze", said.append)
    assert "python -m images.build --only bronze --tag abc --json" in programs.calls
    assert said[0].startswith("fti-bronze:abc: built in 0 s, loaded in 0 s. The next pods of bronze run it.")
    programs.add("python", "exit 1")
    with pytest.raises(StackError, match="The image of bronze was not built"):
        job.renew(OURS, "bronze", said.append)
