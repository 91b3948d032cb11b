"""How the pod of a job stands, and the sentence for its end. The operator and the trigger read it alike.

They have clients of their own, whose pods have the same fields.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.providers.cncf.kubernetes.utils.pod_manager import detect_pod_terminate_early_issues

from launchers.errors import JobFailed, JobRefused, job_failure

CONTAINER = "base"
SCHEDULING = timedelta(minutes=2)
STARTING = timedelta(minutes=5)
"""From the node found to the container running; most of it is for the image."""


def has_ended(pod: Any) -> bool:
    """Whether the job's container ran to its end, or will never run. The pod's phase tells so a second or two later."""
    state = _state(pod)
    return _terminated(state) is not None or (
        pod.status.phase in ("Succeeded", "Failed") and not (state and state.running)
    )


def has_succeeded(pod: Any) -> bool:
    ended = _terminated(_state(pod))
    return ended.exit_code == 0 if ended else pod.status.phase == "Succeeded"


def is_running(pod: Any) -> bool:
    state = _state(pod)
    return bool(state and state.running)


def start_trouble(pod: Any, now: datetime) -> str | None:
    """Why it is no use to wait any longer for the container to start; None while it is, or once it has started."""
    state = _state(pod)
    if state and state.running:
        return None
    waiting = state.waiting if state else None
    scheduled = next((c for c in pod.status.conditions or [] if c.type == "PodScheduled"), None)
    if scheduled is None or scheduled.status != "True":
        if now - pod.metadata.creation_timestamp < SCHEDULING:
            return None
        why = f": {_reason(scheduled)}" if scheduled else ""
        return f"found no node within {_minutes(SCHEDULING)}{why}"
    if waiting and waiting.reason and (detect_pod_terminate_early_issues(pod) or _is_wrong(waiting)):
        return f"did not start: {_reason(waiting)}"
    if now - scheduled.last_transition_time < STARTING:
        return None
    return f"did not start within {_minutes(STARTING)}: {_reason(waiting) if waiting else 'no reason given'}"


def pod_failure(job: str, pod: Any) -> JobFailed | JobRefused:
    """Why a pod that ended failed: its exit code, or what stopped it."""
    status = pod.status
    if status.reason:  # Evicted, DeadlineExceeded: it explains the exit code, which is just that of a signal
        return JobFailed(f"Job {job} was stopped: {_reason(status)}.")
    ended = _terminated(_state(pod))
    if ended is None:
        return JobFailed(f"Job {job} failed without a reason in its pod's status, phase {status.phase}.")
    code = ended.exit_code
    if pod.metadata.deletion_timestamp:
        return JobFailed(f"Job {job} was stopped: its pod was deleted{disruption(pod)} (exit code {code}).")
    if ended.reason == "OOMKilled":
        return job_failure(job, code, f"OOMKilled, it needed more than its {_memory(pod)}")
    if ended.reason in (None, "Error"):
        return job_failure(job, code)
    return job_failure(job, code, _reason(ended))  # StartError and the like: the message is not the job's own


def disruption(pod: Any) -> str:
    """Who took the pod away, in brackets, where Kubernetes itself did: a drained node, a pod of higher priority."""
    found = next((c for c in pod.status.conditions or [] if c.type == "DisruptionTarget" and c.status == "True"), None)
    return f" ({_reason(found)})" if found else ""


def _memory(pod: Any) -> str:
    """The container's limit, for a person."""
    limit = next(c.resources.limits["memory"] for c in pod.spec.containers if c.name == CONTAINER)
    return f"{limit.removesuffix('Mi')} MiB"


def _state(pod: Any) -> Any:
    return next((s.state for s in pod.status.container_statuses or [] if s.name == CONTAINER), None)


def _terminated(state: Any) -> Any:
    return state.terminated if state else None


def _is_wrong(waiting: Any) -> bool:
    """Whether the container needs what is not there: a Secret, a key. A kubelet that is merely late says so."""
    return waiting.reason == "CreateContainerConfigError" and "timed out" not in (waiting.message or "")


def _reason(said: Any) -> str:
    """Reason and message of a state, a status or a condition, on one line."""
    message = " ".join((said.message or "").split()).rstrip(".")
    return f"{said.reason} ({message})" if message else str(said.reason)


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:.0f} minutes"
