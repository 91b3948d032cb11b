"""When the platform counts as ready, and what ends the waiting: on what a real cluster answered."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from compose.stack import StackError
from kind import waiting
from kind.commands import Cluster
from tests.kind.conftest import Programs

RECORDED = Path(__file__).with_name("recorded")
OURS = Cluster("fti")
READY: list[dict[str, Any]] = json.loads((RECORDED / "ready.json").read_text(encoding="utf-8"))
FAILING: list[dict[str, Any]] = json.loads((RECORDED / "failing.json").read_text(encoding="utf-8"))


def one(objects: list[dict[str, Any]], kind: str, begins: str) -> dict[str, Any]:
    return next(o for o in objects if o["kind"] == kind and o["metadata"]["name"].startswith(begins))


def test_a_platform_that_works_is_ready() -> None:
    assert waiting.unready(READY) == []
    assert waiting.troubles(READY) == []


def test_before_anything_is_there_it_is_not_ready() -> None:
    assert waiting.unready([]) == ["the first object"]


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("Deployment", "fti-airflow-scheduler", {"observedGeneration": 1}),
        ("Deployment", "fti-airflow-scheduler", {"updatedReplicas": 0}),
        ("Deployment", "fti-airflow-scheduler", {"replicas": 2}),
        ("StatefulSet", "fti-minio", {"readyReplicas": 0}),
        ("Job", "fti-airflow-migrate", {"conditions": []}),
    ],
)
def test_what_is_on_its_way_is_named(kind: str, name: str, change: dict[str, Any]) -> None:
    objects = copy.deepcopy(READY)
    thing = one(objects, kind, name)
    thing["status"].update(change)
    assert waiting.unready(objects) == [thing["metadata"]["name"]]


def test_a_job_of_a_schedule_is_not_waited_for() -> None:
    objects = copy.deepcopy(READY)
    job = one(objects, "Job", "fti-airflow-migrate")
    job["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    job["metadata"]["ownerReferences"] = [{"kind": "CronJob", "name": "fti-cleanup"}]
    assert waiting.unready(objects) == []
    assert waiting.troubles(objects) == []


def test_what_ran_before_the_node_was_stopped_is_not_believed() -> None:
    late = waiting.unready(READY, datetime(2026, 11, 25, tzinfo=UTC))
    pods = [o for o in READY if o["kind"] == "Pod" and o["metadata"]["ownerReferences"][0]["kind"] != "Job"]
    assert late == [pod["metadata"]["name"] for pod in pods]
    assert waiting.unready(READY, datetime(2026, 11, 23, tzinfo=UTC)) == []


def test_every_end_has_its_reason() -> None:
    found = {trouble.what: trouble for trouble in waiting.troubles(FAILING)}
    assert len(found) == 7
    for begins, after in {
        "Pod crashes-": 0,
        "Job fails failed": 0,
        "Pod no-image-": 5,
        "Pod no-secret-": 5,
        "Pod too-large-": waiting.PATIENCE,
        "Pod no-volume-": waiting.PATIENCE,
        "Claim data-no-volume-0 has no volume": waiting.PATIENCE,
    }.items():
        (trouble,) = (trouble for what, trouble in found.items() if what.startswith(begins))
        assert trouble.after == after
    said = "\n".join(sorted(found))
    assert "its container main ends again and again, Error, exit code 3" in said
    assert "its image cannot be had: ImagePullBackOff, " in said
    assert "what it refers to is missing: CreateContainerConfigError, secret " in said
    assert "finds no node: 0/1 nodes are available: 1 Insufficient memory" in said


def test_one_crash_is_no_end() -> None:
    objects = copy.deepcopy(FAILING)
    one(objects, "Pod", "crashes")["status"]["containerStatuses"][0]["restartCount"] = 1
    assert not any("ends again" in trouble.what for trouble in waiting.troubles(objects))


def only(*begins: str) -> list[dict[str, Any]]:
    return [o for o in FAILING if o["metadata"]["name"].startswith(begins)]


def answering(programs: Programs, objects: list[dict[str, Any]], events: list[dict[str, str]] | None = None) -> None:
    """A kubectl of a cluster with these objects."""
    (programs.folder / "objects").write_text(json.dumps({"items": objects}))
    (programs.folder / "events").write_text(json.dumps({"items": events or []}))
    programs.add(
        "kubectl",
        f"""cd {programs.folder}
case $* in *--previous*) echo 'no configuration' ;; *' logs '*fails*) echo 'wrong password' ;; *' logs '*) ;;
*'get events'*) cat events ;; *) cat objects ;; esac""",
    )


def test_waiting_ends_when_all_is_ready(programs: Programs) -> None:
    answering(programs, READY)
    assert waiting.until_ready(OURS, str) == "7 pods ready"
    assert all("--context kind-fti " in call for call in programs.calls)


@pytest.mark.parametrize(
    ("begins", "said"),
    [
        ("fails", "wrong password\nJob fails failed. Its last lines are above."),
        ("crashes", "no configuration\nPod crashes-"),
    ],
)
def test_an_end_comes_at_once_with_the_last_lines(programs: Programs, begins: str, said: str) -> None:
    answering(programs, only(begins))
    with pytest.raises(StackError) as error:
        waiting.until_ready(OURS, str)
    assert str(error.value).startswith(said)


def test_what_may_still_change_is_seen_for_a_while(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.6)
    answering(programs, only("too-large"))
    with pytest.raises(StackError, match="finds no node: 0/1 nodes are available: 1 Insufficient memory"):
        waiting.until_ready(OURS, str)
    assert len(programs.calls) >= 2


def test_a_claim_fails_by_what_the_cluster_says_of_it(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0)
    events = [{"reason": "ProvisioningFailed", "message": 'storageclass.storage.k8s.io "absent" not found'}]
    answering(programs, only("data-no-volume"), events)
    reason = 'Claim data-no-volume-0 has no volume: ProvisioningFailed, storageclass.storage.k8s.io "absent" not found.'
    with pytest.raises(StackError) as error:
        waiting.until_ready(OURS, str)
    assert str(error.value) == reason


def test_the_time_limit_names_what_is_late(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SECONDS", 0)
    objects = [o for o in copy.deepcopy(READY) if o["kind"] == "Deployment"]
    objects[0]["status"]["readyReplicas"] = 0
    answering(programs, objects, [{"reason": "FailedMount", "message": "no such claim"}])
    with pytest.raises(StackError, match=r"FailedMount, no such claim\nNot ready after 0 s: fti-airflow-api-server\."):
        waiting.until_ready(OURS, str)


def test_other_work_that_fails_ends_the_waiting(programs: Programs) -> None:
    answering(programs, only("no-volume"))

    def failed() -> None:
        raise StackError("the load failed")

    with pytest.raises(StackError, match="the load failed"):
        waiting.until_ready(OURS, str, busy=failed)
