"""docs/add-a-job.md is true: whoever follows it has a sixth job. The cluster's tests run it as a pod."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import helm_python
import pytest

from tests.charts.harness import default_values
from tests.docs.add_a_job import follow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This tree as it is, with the page's steps done."""
    folder = tmp_path_factory.mktemp("copy") / "repository"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        source, target = ROOT / name, folder / name
        if name and (source.is_file() or source.is_symlink()):
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_symlink():
                target.symlink_to(source.readlink())
            else:
                target.write_bytes(source.read_bytes())
    assert follow(folder) == 10
    return folder


def run(copy: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "LOG_FORMAT": "json", **environment},
        capture_output=True,
        text=True,
    )


def test_the_job_counts_and_warns(copy: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    for day, rows in (("2026-01-01", 100), ("2026-01-02", 110), ("2026-01-03", 10)):
        path = lake / "_manifests" / "bronze" / "transactions" / f"ingest_date={day}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        manifest = {
            "dataset": "bronze/transactions",
            "partition": f"ingest_date={day}",
            "job": "bronze",
            "code_version": "1",
            "inputs": "",
            "digest": "",
            "rows": rows,
        }
        path.write_text(json.dumps(manifest))
    done = run(copy, "-m", "jobs.volume", "--lake", lake.as_uri(), "--start", "2026-01-01", "--end", "2026-01-04")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]
    said = {line["day"]: (line["level"], line["rows"], line["usual"]) for line in lines if line["event"] == "volume"}
    assert said == {
        "2026-01-01": ("info", 100, 100),
        "2026-01-02": ("info", 110, 100),
        "2026-01-03": ("warning", 10, 105),
    }
    missing = run(copy, "-m", "jobs.volume", "--lake", lake.as_uri(), "--start", "2026-01-04", "--end", "2026-01-05")
    assert missing.returncode == 2
    assert "run bronze for that day first" in missing.stdout + missing.stderr


SCRIPT = """
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder="dags", bundle_name="dags-folder")
assert not bag.import_errors, bag.import_errors
task = bag.dags["feature_pipeline"].get_task("volume")
print([t.task_id for t in bag.dags["feature_pipeline"].topological_sort()])
print(task.image)
"""


def test_it_is_the_dags_last_task_with_an_image_of_its_own(copy: Path, tmp_path: Path) -> None:
    done = run(
        copy,
        "-c",
        SCRIPT,
        AIRFLOW_HOME=str(tmp_path),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__DAGS_FOLDER=str(copy / "dags"),
        PYTHONPATH=f"{copy / 'dags'}:{copy}",
        FTI_LAUNCHER="kubernetes",
        FTI_IMAGE_TAG="1.2.3",
    )
    assert done.returncode == 0, done.stderr
    order, image = done.stdout.strip().splitlines()[-2:]
    assert order == "['generate', 'bronze', 'features', 'materialize', 'verify', 'volume']"
    assert image == "fti-volume:1.2.3"


def test_its_pod_reaches_the_object_store_alone(copy: Path) -> None:
    with helm_python.Chart.load(copy / "charts" / "fti") as chart:
        files = chart.render(default_values("fti"), name="fti", namespace="fti")
    (policies,) = (text for path, text in files.items() if path.endswith("fti/templates/networkpolicy.yaml"))
    (own,) = (part for part in policies.split("---") if "name: fti-volume" in part)
    assert own.count("- ports:") == 2  # DNS, and
    assert "port: 9000" in own
    assert "port: 6379" not in own


def test_its_image_is_one_of_all(copy: Path) -> None:
    bake = (copy / "images" / "docker-bake.hcl").read_text(encoding="utf-8")
    assert '"verify", "volume"]' in bake
    assert (copy / "images" / "volume" / "Dockerfile").read_text(encoding="utf-8").count("FROM base") == 2


def test_the_style_is_the_houses(copy: Path) -> None:
    files = ["jobs/volume", "dags"]
    done = subprocess.run(
        [Path(sys.executable).with_name("ruff"), "check", *files], cwd=copy, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    done = subprocess.run(
        [Path(sys.executable).with_name("ruff"), "format", "--check", *files], cwd=copy, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
