"""What the triggerer does while a job's pod works: it watches the pod and hands its lines to the task log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook
from airflow.triggers.base import BaseTrigger, TriggerEvent
from kubernetes_asyncio.client import ApiException

from launchers.lines import level, seconds_since, untold
from launchers.pods import CONTAINER, disruption, has_ended, is_running, start_trouble

LOOK_SECONDS = 1
SETTLE_SECONDS = 3
"""Not sooner does a task wake up. The executor tells the scheduler a moment late that it went to sleep; when it is queued
anew before that, the scheduler takes the one for the other and fails it."""
TELL_SECONDS = 10
PATIENCE_SECONDS = 300
"""How long the Kubernetes API may be gone."""


class PodTrigger(BaseTrigger):
    """Fires when the pod has ended, when it is gone, or when waiting for it is no use.

    The provider's trigger tells each line at level INFO and those of a second twice, waits five minutes for a Secret
    that is not there, and gives up on an API that is gone for some seconds.

    Its event: ``told``, the time of the last line that is in the task log, and ``trouble``, why the pod did not end by
    itself, or nothing. After a restart of the triggerer the log is told from its start: what the old one wrote may
    have gone with it.
    """

    def __init__(self, namespace: str, name: str, deadline: float | None = None, told: str = "") -> None:
        super().__init__()
        self.namespace = namespace
        self.name = name
        self.deadline = deadline
        self.told = told

    def serialize(self) -> tuple[str, dict[str, Any]]:
        fields = ("namespace", "name", "deadline", "told")
        return f"{type(self).__module__}.{type(self).__name__}", {field: getattr(self, field) for field in fields}

    @cached_property
    def hook(self) -> AsyncKubernetesHook:
        return AsyncKubernetesHook(conn_id=None, in_cluster=True)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        began = time.monotonic()
        trouble = await self._trouble()
        await asyncio.sleep(max(0, began + SETTLE_SECONDS - time.monotonic()))
        yield TriggerEvent({"name": self.name, "told": self.told, "trouble": trouble})

    async def on_kill(self) -> None:
        """The task was cleared, or marked by hand: whatever takes the task away takes the job along."""
        self.log.info("Deleting pod %s", self.name)
        await self.hook.delete_pod(self.name, self.namespace)

    async def _trouble(self) -> str | None:
        """Waits; returns why the pod did not end by itself, None if it did."""
        last_told = last_answer = time.monotonic()
        end = ""
        while True:
            try:
                pod = await self.hook.get_pod(self.name, self.namespace)
                last_answer = time.monotonic()
                end = disruption(pod) or end
                if has_ended(pod):
                    return None
                if trouble := start_trouble(pod, datetime.now(UTC)):
                    return trouble
                is_going = pod.metadata.deletion_timestamp is not None  # its log soon goes with it
                if is_running(pod) and (is_going or time.monotonic() - last_told >= TELL_SECONDS):
                    await self._tell()
                    last_told = time.monotonic()
            except Exception as error:
                if isinstance(error, ApiException) and error.status == 404:
                    return f"was stopped: its pod {self.name} was deleted{end}"
                if time.monotonic() - last_answer > PATIENCE_SECONDS:
                    return f"was stopped: the triggerer gets no answer about its pod ({type(error).__name__}: {error})"
                self.log.warning("No answer about pod %s, asking again: %s", self.name, type(error).__name__)
                self.__dict__.pop("hook", None)
            if self.deadline is not None and time.time() > self.deadline:
                return "was stopped: it took longer than its task may"
            await asyncio.sleep(LOOK_SECONDS)

    async def _tell(self) -> None:
        since = seconds_since(self.told)
        lines = await self.hook.read_logs(self.name, self.namespace, CONTAINER, since_seconds=since)
        for stamp, text in untold(lines, self.told):
            self.log.log(level(text), "%s", text)
            self.told = stamp
