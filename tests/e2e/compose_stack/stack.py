"""Boots the stack of ``compose/`` for the tests, apart from a person's own: other volumes, another network."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "compose"
PROJECT = "fti-e2e"
BOOT = (
    "docker compose up -d postgres minio redis",
    "docker compose up -d minio-mc",
    "docker compose up -d airflow-init",
    "docker compose up -d airflow-webserver airflow-scheduler",
)
"""As Phase 1's document has them."""


def docker(*arguments: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0 or not check, f"docker {' '.join(arguments)}: {done.stderr or done.stdout}"
    return done


class Stack:
    """The running stack."""

    def __init__(self) -> None:
        self.environment = {**os.environ, "COMPOSE_PROJECT_NAME": PROJECT, "FTI_DOCKER_NETWORK": PROJECT}
        self.began = datetime.now(UTC)
        self.memory = Memory()

    @property
    def tag(self) -> str:
        """Of the images, as ``make images`` wrote it down for Compose."""
        lines = (COMPOSE / ".env").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)["FTI_IMAGE_TAG"]

    def compose(self, *arguments: str, check: bool = True) -> str:
        return self.shell(["docker", "compose", "--progress", "quiet", *arguments], check)

    def shell(self, command: list[str], check: bool = True) -> str:
        done = subprocess.run(command, cwd=COMPOSE, env=self.environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0 or not check, f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}"
        return done.stdout

    def boot(self) -> None:
        for command in BOOT:
            self.shell(command.split())

    def states(self) -> dict[str, str]:
        """Service → ``running healthy``, ``exited 0``."""
        rows = [json.loads(line) for line in self.compose("ps", "--all", "--format", "json").splitlines()]
        return {
            row["Service"]: f"{row['State']} {row['ExitCode'] if row['State'] == 'exited' else row['Health']}".strip()
            for row in rows
        }

    def wait_until_healthy(self, *services: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while any(self.states().get(service) != "running healthy" for service in services):
            assert time.monotonic() < deadline, f"not healthy after {seconds} s: {self.states()}"
            time.sleep(1)

    def start_job(self, image: str, *arguments: str, **environment: str) -> Job:
        """A container of one of the project's images by hand, as the launcher would start it."""
        given = {**self.job_environment, **environment}
        variables = [part for name, value in given.items() for part in ("--env", f"{name}={value}")]
        name = f"fti-job-{image}-by-hand"
        docker(
            "run", "--detach", "--name", name, "--read-only", "--volume", "/tmp", "--network", PROJECT, *variables,
            f"fti-{image}:{self.tag}", *arguments,
        )  # fmt: skip
        return Job(name)

    @property
    def job_environment(self) -> dict[str, str]:
        """What the scheduler hands to a job's container."""
        return {
            "LOG_FORMAT": "json",
            "LAKE_URI": "s3://lake",
            "AWS_ENDPOINT_URL": "http://minio:9000",
            "AWS_ACCESS_KEY_ID": "minioadmin",
            "AWS_SECRET_ACCESS_KEY": "minioadmin",
            "S3_PATH_STYLE": "true",
            "REDIS_URL": "redis://redis:6379/0",
            "FEAST_REGISTRY_URL": "postgresql+psycopg://airflow:airflow@postgres/feast",
        }

    def job_containers(self) -> list[str]:
        mine = ("--filter", "name=^fti-job-", "--filter", f"network={PROJECT}")
        return docker("ps", "--all", *mine, "--format", "{{.Names}}").stdout.split()

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)
        for name in self.job_containers():
            docker("rm", "--force", "--volumes", name, check=False)

    def bundle(self) -> Path:
        """States, events and the last of every log, in one file for whoever looks into a failure."""
        path = ROOT / ".e2e" / f"compose-{self.began:%Y%m%d-%H%M%S}.zip"
        path.parent.mkdir(exist_ok=True)
        since, until = self.began.isoformat(), datetime.now(UTC).isoformat()
        parts = {
            "services.txt": self.compose("ps", "--all", check=False),
            "containers.txt": docker("ps", "--all", check=False).stdout,
            "events.txt": docker("events", "--since", since, "--until", until, check=False).stdout,
            "engine.txt": docker("info", check=False).stdout,
            "disk.txt": docker("system", "df", check=False).stdout,
            **{f"logs/{name}.txt": self.compose("logs", "--tail", "500", name, check=False) for name in self.states()},
            **{f"logs/{name}.txt": _log(name) for name in self.job_containers()},
        }
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, text in parts.items():
                file.writestr(name, text)
            with _copied(self) as folder:
                for log in sorted(folder.rglob("*.log")):
                    file.write(log, f"tasks/{log.relative_to(folder)}")
        return path


@dataclass(frozen=True)
class Ended:
    """How a container ended, and all it said."""

    code: int
    log: str


@dataclass(frozen=True)
class Job:
    """A container that a test started."""

    name: str

    def wait_for(self, event: str, seconds: float = 90) -> None:
        """Until the job logs the event."""
        deadline = time.monotonic() + seconds
        while True:
            running = docker("inspect", "--format", "{{.State.Running}}", self.name).stdout.strip()
            log = _log(self.name)  # after that, so that nothing is said between the two
            if f'"event": "{event}"' in log:
                return
            assert running == "true", f"{self.name} ended before it said {event!r}:\n{log}"
            assert time.monotonic() < deadline, f"{self.name} does not say {event!r}:\n{log}"
            time.sleep(0.1)

    def end(self, seconds: float = 240) -> Ended:
        """Waits for its end, and removes it."""
        try:
            code = int(docker("wait", self.name, timeout=seconds).stdout)
            return Ended(code, _log(self.name))
        finally:
            docker("rm", "--force", "--volumes", self.name, check=False)


class Memory:
    """Samples each container's memory while the stack works, MiB."""

    def __init__(self) -> None:
        self.idle: dict[str, float] = {}
        self.peak: dict[str, float] = defaultdict(float)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self.idle = self.sample()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    def sample(self) -> dict[str, float]:
        """Container → MiB in use; a job's container by its job."""
        rows = docker("stats", "--no-stream", "--format", "{{.Name}}\t{{.MemUsage}}", check=False).stdout.splitlines()
        pairs = (row.split("\t") for row in rows if row.startswith((f"{PROJECT}-", "fti-job-")))
        return {_service(name): _mib(usage.split(" / ")[0]) for name, usage in pairs}

    def _watch(self) -> None:
        while not self._stop.wait(2):
            for name, used in self.sample().items():
                self.peak[name] = max(self.peak[name], used)


def _service(container: str) -> str:
    if container.startswith("fti-job-"):
        return f"job {container.split('-')[2]}"
    return container.removeprefix(f"{PROJECT}-").removesuffix("-1")


def _mib(text: str) -> float:
    units = {"GiB": 1024, "MiB": 1, "KiB": 1 / 1024, "B": 1 / 2**20}
    unit = next(unit for unit in units if text.endswith(unit))
    return float(text.removesuffix(unit)) * units[unit]


def _log(container: str) -> str:
    done = docker("logs", "--tail", "500", container, check=False)
    return done.stdout + done.stderr


@contextmanager
def _copied(stack: Stack) -> Iterator[Path]:
    """Airflow's task logs, out of their volume."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        stack.compose("cp", "airflow-webserver:/opt/airflow/logs", folder, check=False)
        yield Path(folder)
