"""What the triggerer does while a pod works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from kubernetes.client import models as k8s
from kubernetes_asyncio.client import ApiException
from structlog.testing import capture_logs

from tests.dags.cluster import NOW, ended, pod, state

WORKING = pod(state(running={}))
LINES = [f'2026-03-02T12:00:0{second}.000000000Z {{"event": "line {second}"}}' for second in range(4)]


class Hook:
    """Shows a pod as it changes, one view a look; the last stays. An exception is raised instead."""

    def __init__(self, *views: k8s.V1Pod | Exception) -> None:
        self.views = list(views)
        self.lines = LINES
        self.asked: list[int | None] = []
        self.deleted: list[str] = []

    async def get_pod(self, name: str, namespace: str) -> k8s.V1Pod:
        view = self.views.pop(0) if len(self.views) > 1 else self.views[0]
        if isinstance(view, Exception):
            raise view
        return view

    async def read_logs(self, name: str, namespace: str, container: str, since_seconds: int | None) -> list[str]:
        self.asked.append(since_seconds)
        return self.lines

    async def delete_pod(self, name: str, namespace: str) -> None:
        self.deleted.append(name)


class Clock:
    """Stands at the moment at which the pods were made, however long ago the tests were collected."""

    @staticmethod
    def now(_: Any) -> datetime:
        return NOW


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    from launchers import pod_trigger

    monkeypatch.setattr(pod_trigger, "LOOK_SECONDS", 0)
    monkeypatch.setattr(pod_trigger, "TELL_SECONDS", 0)
    monkeypatch.setattr(pod_trigger, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(pod_trigger, "datetime", Clock)

    def watched(hook: Hook, **given: Any) -> dict[str, Any]:
        monkeypatch.setattr(pod_trigger.PodTrigger, "hook", hook)
        trigger = pod_trigger.PodTrigger("jobs", "fti-bronze-a", **given)

        async def event() -> dict[str, Any]:
            (only,) = [fired.payload async for fired in trigger.run()]
            return only

        return asyncio.run(event())

    return watched


@pytest.mark.parametrize("end", [ended(0, phase="Succeeded"), ended(0, phase="Running"), ended(1), pod(phase="Failed")])
def test_fires_when_the_pod_has_ended(watch: Any, end: k8s.V1Pod) -> None:
    assert watch(Hook(pod(phase="Pending"), WORKING, end)) == {
        "name": "fti-bronze-a",
        "told": LINES[-1].split()[0],
        "trouble": None,
    }


def test_a_pod_whose_container_still_runs_has_not_ended(watch: Any) -> None:
    evicted = pod(state(running={}), phase="Failed", reason="Evicted")
    hook = Hook(evicted, evicted, ended(137))
    assert watch(hook)["trouble"] is None
    assert len(hook.views) == 1


def test_lines_are_told_once_whatever_is_read_again(watch: Any) -> None:
    hook = Hook(WORKING, WORKING, WORKING, ended(0))
    with capture_logs() as logged:
        event = watch(hook, told=LINES[0].split()[0])
    assert [entry["event"] for entry in logged] == [line.split(" ", 1)[1] for line in LINES[1:]]
    assert event["told"] == LINES[-1].split()[0]
    assert hook.asked[0], "only what is new is asked for"


def test_a_pod_that_is_gone(watch: Any) -> None:
    taken = k8s.V1PodCondition(type="DisruptionTarget", status="True", reason="PreemptionByScheduler", message="room")
    going = pod(state(running={}), going=True, scheduled=[taken])
    assert watch(Hook(WORKING, ApiException(404)))["trouble"] == "was stopped: its pod fti-bronze-a was deleted"
    assert watch(Hook(going, ApiException(404)))["trouble"].endswith("was deleted (PreemptionByScheduler (room))")


def test_the_log_of_a_pod_on_its_way_out_is_told_at_once(watch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from launchers import pod_trigger

    monkeypatch.setattr(pod_trigger, "TELL_SECONDS", 3600)
    going = pod(state(running={}), going=True)
    assert watch(Hook(WORKING, WORKING, ended(0)))["told"] == ""
    assert watch(Hook(WORKING, going, ApiException(404)))["told"] == LINES[-1].split()[0]


def test_a_pod_that_cannot_start(watch: Any) -> None:
    waiting = pod(state(waiting={"reason": "ErrImageNeverPull", "message": "absent"}), phase="Pending")
    assert watch(Hook(waiting))["trouble"] == "did not start: ErrImageNeverPull (absent)"


def test_an_outage_of_the_api_is_waited_out_up_to_a_point(watch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from launchers import pod_trigger

    assert watch(Hook(WORKING, OSError("gone"), ApiException(500), ended(0)))["trouble"] is None
    monkeypatch.setattr(pod_trigger, "PATIENCE_SECONDS", -1)
    trouble = "was stopped: the triggerer gets no answer about its pod (OSError: gone)"
    assert watch(Hook(WORKING, OSError("gone")))["trouble"] == trouble


def test_the_task_may_not_take_longer_than_it_may(watch: Any) -> None:
    assert watch(Hook(WORKING), deadline=1.0)["trouble"] == "was stopped: it took longer than its task may"


def test_a_task_that_is_killed_takes_its_pod_along(watch: Any) -> None:
    from launchers.pod_trigger import PodTrigger

    hook = Hook(ended(0))
    watch(hook)
    asyncio.run(PodTrigger("jobs", "fti-bronze-a").on_kill())
    assert hook.deleted == ["fti-bronze-a"]


def test_another_triggerer_can_take_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow._shared.module_loading import import_string
    from launchers.pod_trigger import PodTrigger

    path, given = PodTrigger("jobs", "fti-bronze-a", 5.0, "t").serialize()
    again = import_string(path)(**given)
    assert again.serialize() == (path, given)


def test_a_task_is_not_woken_before_its_sleep_is_known(
    watch: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from launchers import pod_trigger

    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(pod_trigger, "SETTLE_SECONDS", 60)
    monkeypatch.setattr(pod_trigger.asyncio, "sleep", sleep)
    watch(Hook(ended(0, "Completed", phase="Succeeded")))
    assert 59 < slept[-1] <= 60
