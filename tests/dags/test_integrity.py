"""Rules that hold for every DAG, whatever the launcher."""

from __future__ import annotations

import ast
import os
import re
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from airflow.sdk import timezone

from tests.dags.conftest import DAGS, LAUNCHERS, load_dags

FILES = sorted(DAGS.glob("*.py"))


def test_every_dag_loads(dagbag: Any) -> None:
    assert dagbag.import_errors == {}
    assert set(dagbag.dags) == {"00_smoke_test_stack", "feature_pipeline"}


def test_dag_has_tags_doc_description_and_no_catchup(dagbag: Any) -> None:
    for dag in dagbag.dags.values():
        assert "fti" in dag.tags, dag.dag_id
        assert dag.doc_md, dag.dag_id
        assert dag.description, dag.dag_id
        assert not dag.catchup, dag.dag_id


def test_task_has_owner_doc_retries_with_delay_and_timeout(dagbag: Any) -> None:
    for task in (task for dag in dagbag.dags.values() for task in dag.tasks):
        assert task.owner == "fti", task
        assert task.doc_md, task
        assert task.retries >= 1, task
        assert task.retry_delay >= timedelta(seconds=10), task
        assert task.execution_timeout, task


def test_pipeline_is_one_chain(dagbag: Any) -> None:
    dag = dagbag.dags["feature_pipeline"]
    chain = ["generate", "bronze", "features", "materialize", "verify"]
    assert [task.task_id for task in dag.topological_sort()] == chain
    for before, after in pairwise(chain):
        assert dag.get_task(before).downstream_task_ids == {after}


def test_no_two_runs_of_the_pipeline_work_at_once(dagbag: Any) -> None:
    dag = dagbag.dags["feature_pipeline"]
    assert dag.max_active_runs == 1
    assert {task.max_active_tis_per_dag for task in dag.tasks} == {1}


def test_pipeline_retries_twice_with_growing_pauses(dagbag: Any) -> None:
    for task in dagbag.dags["feature_pipeline"].tasks:
        assert (task.retries, bool(task.retry_exponential_backoff)) == (2, True), task


def test_each_layer_has_its_asset(dagbag: Any) -> None:
    outlets = {t.task_id: [a.name for a in t.outlets] for t in dagbag.dags["feature_pipeline"].tasks}
    assert outlets == {
        "generate": ["landing"],
        "bronze": ["bronze"],
        "features": ["silver_features"],
        "materialize": ["online_features"],
        "verify": [],
    }


def test_nightly_run_works_on_the_day_that_ended() -> None:
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    timetable = coerce_to_core_timetable(load_dags("process").dags["feature_pipeline"].timetable)
    restriction = TimeRestriction(earliest=timezone.datetime(2026, 2, 15), latest=None, catchup=True)
    run = timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=restriction)
    assert (run.run_after, run.partition_key) == (timezone.datetime(2026, 2, 15, 2), "2026-02-14")


@pytest.mark.parametrize(("given", "expression"), [("none", None), ("30 4 * * *", "30 4 * * *")])
def test_schedule_is_a_setting(given: str, expression: str | None) -> None:
    from airflow.dag_processing.dagbag import DagBag

    with patch.dict(os.environ, {"FTI_SCHEDULE": given}):
        dag = DagBag(dag_folder=DAGS, bundle_name="dags-folder").dags["feature_pipeline"]
    assert (dag.schedule and dag.timetable.expression) == expression


def test_smoke_test_has_no_schedule_and_two_free_tasks() -> None:
    dag = load_dags("process").dags["00_smoke_test_stack"]
    assert dag.schedule is None
    assert set(dag.task_ids) == {"check_minio", "check_redis"}
    assert not any(task.downstream_task_ids for task in dag.tasks)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_loading_a_dag_file_opens_no_connection_and_no_process(file: Path) -> None:
    with (
        patch("socket.socket.connect", side_effect=AssertionError),
        patch("subprocess.Popen", side_effect=AssertionError),
    ):
        exec(compile(file.read_text(), str(file), "exec"), {"__name__": f"loaded_{file.stem}"})


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_dag_file_imports_no_client_at_the_top(file: Path) -> None:
    imports = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {a.name.split(".")[0] for n in imports for a in n.names if isinstance(n, ast.Import)}
    names |= {(n.module or "").split(".")[0] for n in imports if isinstance(n, ast.ImportFrom)}
    assert names <= {"__future__", "airflow", "datetime", "launchers", "logging", "os"}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"FTI_LAUNCHER": "podman"}, "FTI_LAUNCHER is 'podman', use one of process, docker, kubernetes"),
        ({"FTI_LAUNCHER": "docker"}, "FTI_IMAGE_TAG is not set"),
        ({"FTI_LAUNCHER": "kubernetes", "FTI_IMAGE_TAG": "latest"}, "FTI_IMAGE_TAG is latest"),
        ({"FTI_TASK_RETRIES": "many"}, "FTI_TASK_RETRIES is 'many'"),
    ],
)
def test_wrong_launcher_setting_is_an_import_error_that_names_it(environment: dict[str, str], message: str) -> None:
    from airflow.dag_processing.dagbag import DagBag

    with patch.dict(os.environ, environment):
        errors = DagBag(dag_folder=DAGS / "feature_pipeline.py", bundle_name="dags-folder").import_errors
    assert message in "".join(errors.values())


def test_all_wrong_settings_are_named_at_once() -> None:
    from launchers.settings import LauncherSettings

    with pytest.raises(ValueError, match=r"FTI_LAUNCHER .*FTI_IMAGE_TAG .*FTI_TASK_RETRIES"):
        LauncherSettings.from_env({"FTI_LAUNCHER": "x", "FTI_TASK_RETRIES": "x"})


def test_retries_can_be_switched_off() -> None:
    from launchers.settings import LauncherSettings

    assert LauncherSettings.from_env({"FTI_TASK_RETRIES": "0"}).retries == 0


def test_every_launcher_is_covered() -> None:
    from launchers.settings import LAUNCHERS as KNOWN

    assert tuple(LAUNCHERS) == KNOWN


def test_a_jobs_size_is_a_setting() -> None:
    from launchers.jobs import JOBS
    from launchers.settings import LauncherSettings

    settings = LauncherSettings.from_env({"FTI_JOB_RESOURCES": '{"features": {"cpu": "2", "memory": "8Gi"}}'})
    assert (settings.spec("features").cpu, settings.spec("features").memory_mib) == ("2", 8192)
    assert settings.spec("features").title == JOBS["features"].title
    assert settings.spec("bronze") == JOBS["bronze"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ('{"feature": {}}', "names the job 'feature', there are generate, bronze"),
        ('{"features": {"memory": "8GB"}}', "has {'memory': '8GB'} for features, use cpu such as"),
        ('{"features": {"gpu": "1"}}', "has {'gpu': '1'} for features"),
        ('{"features": "big"}', "has 'big' for features"),
        ("[]", "is no object"),
    ],
)
def test_a_wrong_size_is_named(text: str, says: str) -> None:
    from launchers.settings import LauncherSettings

    with pytest.raises(ValueError, match=f"FTI_JOB_RESOURCES {re.escape(says)}"):
        LauncherSettings.from_env({"FTI_JOB_RESOURCES": text})


def test_generating_may_be_off_by_default() -> None:
    from launchers.settings import LauncherSettings

    assert LauncherSettings.from_env({}).generate
    assert not LauncherSettings.from_env({"FTI_GENERATE": "false"}).generate
    with pytest.raises(ValueError, match="FTI_GENERATE is 'no', use true or false"):
        LauncherSettings.from_env({"FTI_GENERATE": "no"})
