"""The DAGs as each launcher makes them, loaded once; Airflow gets a home of its own before it is imported."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"

_home = tempfile.mkdtemp(prefix="fti-test-airflow-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith(("AIRFLOW__", "FTI_"))]:
    del os.environ[_name]
os.environ |= {
    "AIRFLOW_HOME": _home,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
}
sys.path.append(str(DAGS))  # as Airflow does for its DAGs' folder

LAUNCHERS = {
    "process": {},
    "docker": {"FTI_IMAGE_TAG": "1.2.3", "FTI_DOCKER_NETWORK": "stack"},
    "kubernetes": {"FTI_IMAGE_TAG": "1.2.3", "FTI_IMAGE_PREFIX": "registry.local/fti-", "FTI_JOB_NAMESPACE": "jobs"},
}
# The same operators with other settings; what holds for all DAGs is not asked of them again.
VARIANTS = {**LAUNCHERS, "spark": {**LAUNCHERS["kubernetes"], "FTI_LAUNCHER": "kubernetes", "FTI_SPARK_EXECUTORS": "2"}}


@cache
def load_dags(launcher: str) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    with patch.dict(os.environ, {"FTI_LAUNCHER": launcher, **VARIANTS[launcher]}):
        return DagBag(dag_folder=DAGS, bundle_name="dags-folder")


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def dagbag(launcher: str) -> Any:
    """All DAGs, once for each launcher."""
    return load_dags(launcher)


@pytest.fixture
def render() -> Callable[..., Any]:
    """A job's task of one launcher with its templates rendered, as in a run with the given params or partition."""

    def rendered(launcher: str, job: str, partition_key: str | None = None, **params: Any) -> Any:
        dag = load_dags(launcher).dags["feature_pipeline"]
        task = dag.get_task(job).prepare_for_execution()
        context = {
            "task": task,
            "params": {**dag.params.dump(), **params},
            "partition_key": partition_key,
            "dag_run": SimpleNamespace(run_after=datetime(2026, 3, 2, 2, tzinfo=UTC)),
        }
        task.render_template_fields(context)
        return task

    return rendered
