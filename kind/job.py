"""From an edited job to its new code in the cluster's next pods, without touching what runs: ``make kind-job JOB=bronze``."""

from __future__ import annotations

import subprocess
import sys
import time

from compose.stack import StackError
from dags.launchers.jobs import JOBS as JOBS  # the one table of the jobs
from kind import commands, images, show
from kind.commands import Cluster, Say


def renew(cluster: Cluster, job: str, say: Say) -> None:
    """Builds the job's image under the tag that the release runs, and loads it.

    The release stays as it is: a tag of its own would restart Airflow. The next `make kind-up` gives every image the tag
    of its content again.
    """
    began = time.monotonic()
    image = show.job_image(cluster, job)
    tag = image.rpartition(":")[2]
    build = commands.start(
        *(sys.executable, "-m", "images.build", "--only", job, "--tag", tag, "--json"), stdout=subprocess.DEVNULL
    )
    if code := commands.finish(build):
        raise (commands.MachineError if code == 2 else StackError)(f"The image of {job} was not built: see above.")
    built = time.monotonic() - began
    brought = images.load(cluster, [image])
    took = f"built in {built:.0f} s, loaded in {time.monotonic() - began - built:.0f} s"
    say(f"{image}: {took if brought else 'nothing changed'}. The next pods of {job} run it.")
