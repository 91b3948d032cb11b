"""Runs a job as a Docker container beside the stack of Compose. Everything that holds for all of them is said here."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException
from docker import APIClient
from docker.errors import APIError, DockerException, NotFound
from docker.utils import kwargs_from_env
from requests.exceptions import RequestException

from launchers.arguments import JobArguments
from launchers.errors import JobFailed, job_failure
from launchers.exit_codes import killed_by
from launchers.lines import level
from launchers.settings import LauncherSettings

if TYPE_CHECKING:
    from airflow.sdk import Context

JOB_VARIABLES = (
    "LAKE_URI",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "S3_PATH_STYLE",
    "REDIS_URL",
    "FEAST_REGISTRY_URL",
    "ONLINE_LOADER",
    "SPARK_MASTER",
    "SPARK_DRIVER_MEMORY",
)
"""What a job's container gets of this process's environment, by name: values stay out of the DAG and of the UI."""

STOP_SECONDS = 20
END_SECONDS = 3
SCRATCH = "/tmp"
NAME_PREFIX = "fti-job-"
"""Of every job's container. The proxy before the Docker socket lets no other container be touched."""


class DockerJobOperator(JobArguments):
    """A container of the job's own image, removed once its end has been read; its lines go to the task log.

    Its name follows from the task of the run. So a try that finds it there (the Airflow process before was killed, the
    container was not) follows it instead of starting the same job a second time.

    The Engine is the one that ``DOCKER_HOST`` names, the local socket without it.
    """

    template_fields = ("arguments",)
    ui_color = "#dcebf5"

    def __init__(self, *, job: str, arguments: list[str], settings: LauncherSettings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.arguments = arguments
        self.image = settings.image(job)
        self.memory_mib = settings.spec(job).memory_mib
        self.network = settings.docker_network
        self._running: str | None = None

    @property
    def entrypoint(self) -> list[str]:
        return ["python", "-m", f"jobs.{self.job}"]

    def execute(self, context: Context) -> None:
        task = context["ti"]
        name = self._running = self._container_name(f"{task.dag_id}/{task.run_id}/{task.map_index}")
        with self._engine() as engine:
            if not self._find(engine, name):
                self._create(engine, name)
                engine.start(name)
            self._relay_log(engine, name)
            engine.wait(name, timeout=None)
            code, reason = container_end(_settled(engine, name))
            _remove(engine, name)
            self._running = None
        if code:
            failure = job_failure(self.job, code, reason)
            self.log.error(str(failure))
            raise failure

    def on_kill(self) -> None:
        """A timeout, a task marked failed: whatever takes the task away takes the job along."""
        if self._running:
            self.log.info("Stopping container %s", self._running)
            with self._engine() as engine, suppress(NotFound):
                engine.stop(self._running, timeout=STOP_SECONDS)
                _remove(engine, self._running)

    def _container_name(self, task: str) -> str:
        """One name for all tries of a run's task that would do the same work, of letters that Docker takes."""
        work = "\n".join([task, self.network, self.image, *self.arguments])
        return f"{NAME_PREFIX}{self.job}-{hashlib.sha256(work.encode()).hexdigest()[:12]}"

    @contextmanager
    def _engine(self) -> Iterator[APIClient]:
        """The Docker Engine; its errors become one sentence each.

        Raises:
            JobFailed: it cannot be reached, or refused; the task is tried again.
        """
        try:
            engine = APIClient(**kwargs_from_env())
            try:
                yield engine
            finally:
                engine.close()
        except APIError as error:
            raise JobFailed(f"Job {self.job}: the Docker Engine refused: {error.explanation or error}.") from error
        except (DockerException, RequestException) as error:
            where = os.environ.get("DOCKER_HOST", "the local socket")
            goes_on = f" Container {self._running} goes on if it can; the next try follows it." if self._running else ""
            raise JobFailed(
                f"Job {self.job}: no Docker Engine answers at {where} ({type(error).__name__}).{goes_on}"
            ) from error

    def _find(self, engine: APIClient, name: str) -> bool:
        """Whether an earlier try left its container; one that ended is taken over too, for its end was never read."""
        try:
            status = engine.inspect_container(name)["State"]["Status"]
        except NotFound:
            return False
        if status == "created":  # and could not start: what it was tied to may be gone
            _remove(engine, name)
            return False
        self.log.info("Following container %s of an earlier try, it is %s", name, status)
        return True

    def _relay_log(self, engine: APIClient, name: str) -> None:
        """Writes the container's lines to the task's log until it ends.

        A connection that breaks ends the stream as quietly as the container's end does; then it is taken up again.
        """
        since: dict[str, float] = {}
        while True:
            for line in _lines(engine.logs(name, stream=True, follow=True, **since)):
                since = {"since": time.time()}
                self.log.log(level(line), "%s", line)
            if _has_ended(engine, name):
                return
            self.log.warning("The log of container %s broke off; following it again", name)

    def _create(self, engine: APIClient, name: str) -> None:
        self.log.info("Starting container %s from image %s: %s", name, self.image, " ".join(self.arguments))
        memory = f"{self.memory_mib}m"
        try:
            engine.create_container(
                self.image,
                name=name,
                entrypoint=self.entrypoint,
                command=self.arguments,
                environment={"HOME": SCRATCH, "LOG_FORMAT": "json"}
                | {variable: os.environ[variable] for variable in JOB_VARIABLES if variable in os.environ},
                volumes=[SCRATCH],  # of its own, gone with it; on disk, where a tmpfs would count as the job's memory
                labels={"app.kubernetes.io/part-of": "fti", "app.kubernetes.io/component": self.job},
                host_config=engine.create_host_config(
                    network_mode=self.network,
                    mem_limit=memory,
                    memswap_limit=memory,
                    read_only=True,
                    cap_drop=["ALL"],
                    security_opt=["no-new-privileges"],
                ),
            )
        except NotFound as error:
            missing = "network" if "network" in str(error.explanation).lower() else "image"
            what = {"image": self.image, "network": self.network}[missing]
            advice = {
                "image": "build it with `make images` or pull it",
                "network": "start the stack with `make compose-up`",
            }
            raise AirflowFailException(
                f"Job {self.job}: the Docker host has no {missing} {what}: {advice[missing]}, then clear this task."
            ) from error


def container_end(inspected: dict[str, Any]) -> tuple[int, str | None]:
    """Exit code of a container, and the reason where the code alone does not tell it."""
    state = inspected["State"]
    limit = inspected.get("HostConfig", {}).get("Memory", 0) // 2**20
    if state["OOMKilled"] and state["ExitCode"]:  # a job may have outlived the killing of one of its workers
        return state["ExitCode"], f"OOMKilled, it needed more than its {limit} MiB"
    return state["ExitCode"], state.get("Error") or None


def _has_ended(engine: APIClient, name: str) -> bool:
    for _ in range(END_SECONDS):  # the Engine notes a container's end a moment after its last line
        if engine.inspect_container(name)["State"]["Status"] != "running":
            return True
        time.sleep(1)
    return False


def _settled(engine: APIClient, name: str) -> dict[str, Any]:
    """The container that ended when all is said of it: that memory ran out may be noted a moment after the exit code."""
    inspected: dict[str, Any] = engine.inspect_container(name)
    for _ in range(END_SECONDS):
        if inspected["State"]["OOMKilled"] or killed_by(inspected["State"]["ExitCode"]) != signal.SIGKILL:
            break
        time.sleep(1)
        inspected = engine.inspect_container(name)
    return inspected


def _remove(engine: APIClient, name: str) -> None:
    with suppress(NotFound):
        engine.remove_container(name, v=True, force=True)


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The whole lines of a stream whose chunks end anywhere."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace").rstrip("\r") for line in whole)
    if rest:
        yield rest.decode(errors="replace")
