"""Runs a job as a child process of the task."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from launchers import child
from launchers.arguments import JobArguments
from launchers.errors import job_failure
from launchers.exit_codes import failure_sentence
from launchers.lines import level
from launchers.settings import LauncherSettings

if TYPE_CHECKING:
    from airflow.sdk import Context


class ProcessJobOperator(JobArguments):
    """``python -m jobs.<job> <arguments>`` with this Python and this environment; its lines go to the task log."""

    template_fields = ("arguments",)
    ui_color = "#e8f0e4"

    def __init__(self, *, job: str, arguments: list[str], settings: LauncherSettings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.arguments = arguments
        self.jobs_home = settings.jobs_home
        self.on_line: Callable[[str], None] | None = None  # for one who watches the run, as the embedded mode does
        self._process: subprocess.Popen[str] | None = None

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", f"jobs.{self.job}", *self.arguments]

    def execute(self, context: Context) -> None:
        self.log.info("Running %s", shlex.join(self.command))
        process = child.start(self.command, cwd=self.jobs_home, env=os.environ | {"PYTHONUNBUFFERED": "1"})
        self._process = process
        child.sweep_when_it_ends(process)
        try:
            for line in process.stdout or ():
                self.log.log(level(line), "%s", line.rstrip("\n"))
                if self.on_line:
                    self.on_line(line.rstrip("\n"))
            code = process.wait()
        finally:  # a timeout, a signal: whatever takes the task away takes the job along
            child.stop_group(process)
        if code:
            self.log.error(failure_sentence(self.job, code))
            raise job_failure(self.job, code)

    def on_kill(self) -> None:
        if self._process:
            child.stop_group(self._process)
