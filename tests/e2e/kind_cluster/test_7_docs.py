"""What the docs show for the cluster, typed as they show it, and the page on a sixth job, followed to the letter."""

from __future__ import annotations

import json
import re
import subprocess
import time
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest

from tests.docs.add_a_job import follow
from tests.docs.run_commands import blocks, left_out
from tests.e2e.airflow_api import Airflow
from tests.e2e.kind_cluster.pipeline import DAG, DAYS, FIRST, trigger
from tests.e2e.kind_cluster.platform import JOBS as NAMESPACE
from tests.e2e.kind_cluster.platform import ROOT, Object, Platform, until

SHOWN = {
    text: page
    for page, language, text in blocks()
    if language == "bash"
    and left_out(text) == "left to make e2e-kind"
    and not any(
        mark in text
        for mark in ("make kind-up", "make kind-down", "make kind-reset", "make doctor", "helm test", "spark.executors")
    )
}
"""Commands and a page that shows them. Those left out are what other tests here do."""


@pytest.fixture(scope="module", autouse=True)
def _a_run(platform: Platform, airflow: Airflow) -> None:
    """What the docs' commands read: the clean-up's test took the pods of the runs before."""
    airflow.unpause(DAG)
    trigger(airflow, "for-the-docs", FIRST)
    assert airflow.wait(DAG, "for-the-docs", 900) == "success"


@pytest.mark.parametrize("text", SHOWN, ids=[f"{page}: {text.splitlines()[-1][:50]}" for text, page in SHOWN.items()])
def test_commands_of_the_docs_work(platform: Platform, text: str) -> None:
    platform.wait_until_ready()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=ROOT, env=platform.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout or ">" in text


def test_a_diagnosis_holds_no_password(platform: Platform) -> None:
    said = platform.call("make", "doctor")
    (bundle,) = re.findall(r"^(.+\.zip): \d+ files", said, re.MULTILINE)
    with zipfile.ZipFile(ROOT / bundle) as file:
        texts = [file.read(name).decode(errors="replace") for name in file.namelist()]
    assert len(texts) > 20
    for name, key in (
        ("fti-airflow-admin", "password"),
        ("fti-redis-auth", "password"),
        ("fti-minio-auth", "root-password"),
    ):
        assert not any(platform.secret(name, key) in text for text in texts)


def test_an_edited_job_runs_in_its_next_pod(
    platform: Platform, airflow: Airflow, tmp_path: Path, report: list[str]
) -> None:
    copy = _clone(platform, tmp_path)
    source = copy / "jobs" / "verify" / "job.py"
    code = source.read_text()
    edited = code.replace("    settings, lake", '    context.log.info("edited")\n    settings, lake', 1)
    assert edited != code
    source.write_text(edited)
    began = time.monotonic()
    platform.call("make", "-C", str(copy), "kind-job", "JOB=verify")
    built = time.monotonic() - began
    airflow.clear(DAG, "for-the-docs", "verify")
    until(lambda: len(platform.jobs_pods("for-the-docs", "verify")) > 1, 60, "another pod of verify")
    pod = until(lambda: _started(platform.jobs_pods("for-the-docs", "verify")[-1]), 60, "its container's start")
    report.append(f"from an edited job to its pod: {time.monotonic() - began:.0f} s, of these kind-job {built:.0f} s")
    assert airflow.wait(DAG, "for-the-docs", 600) == "success"
    log = platform.kubectl("logs", "-n", NAMESPACE, pod["metadata"]["name"])
    assert "edited" in [json.loads(line)["event"] for line in log.splitlines()]


def test_whoever_follows_the_page_has_a_sixth_job(
    platform: Platform, airflow: Airflow, tmp_path: Path, report: list[str]
) -> None:
    copy = _clone(platform, tmp_path)
    follow(copy)
    began = time.monotonic()
    done = subprocess.run(
        ["make", "kind-up"], cwd=copy, env=platform.environment, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report.append(f"a sixth job, from its sources to a platform that knows it: {time.monotonic() - began:.0f} s")
    trigger(airflow, "sixth", FIRST, DAYS)
    assert airflow.wait(DAG, "sixth", 900) == "success"
    log = platform.kubectl("logs", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=volume", "--tail=-1")
    days = [line["day"] for line in map(json.loads, log.strip().splitlines()) if line["event"] == "volume"]
    assert days == [str(FIRST + timedelta(day)) for day in range(DAYS)]


def _clone(platform: Platform, folder: Path) -> Path:
    """A repository to edit, with the tools of this one."""
    copy = folder / "repository"
    platform.call("git", "clone", "--quiet", str(ROOT), str(copy))
    (copy / ".tools").mkdir()
    (copy / ".tools" / "bin").symlink_to(ROOT / ".tools" / "bin")
    return copy


def _started(pod: Object) -> Object | None:
    """The pod once its container has begun."""
    (container,) = pod["status"].get("containerStatuses") or [{"state": {}}]
    return pod if {"running", "terminated"} & container["state"].keys() else None
