"""The DAGs, and the pods that they start, as the launcher builds them from the settings that Airflow's ConfigMap holds.

Airflow sets a process up for good when it is imported, so this runs in one of its own: environments in, JSON out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
DAGS = ROOT / "dags"


def dags(*environments: dict[str, str]) -> list[dict[str, Any]]:
    """For each environment of Airflow, of which the launcher's variables count alone:

    - ``pods``: by job, what its task asks Kubernetes for,
    - ``params``: by DAG, the names of its params.
    """
    with tempfile.TemporaryDirectory() as home:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW__", "FTI_"))}
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps(environments),
            env={**environ, "AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
            cwd=ROOT,
            text=True,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    sys.path.append(str(DAGS))  # as Airflow does for its DAGs' folder
    found = []
    for environment in json.load(sys.stdin):
        with patch.dict(os.environ, {name: value for name, value in environment.items() if name.startswith("FTI_")}):
            found.append(_load())
    print(json.dumps(found))


def _load() -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag
    from kubernetes.client import ApiClient

    bag = DagBag(dag_folder=DAGS, bundle_name="dags-folder")
    assert not bag.import_errors, bag.import_errors
    return {
        "pods": {
            task.task_id: ApiClient().sanitize_for_serialization(task.build_pod_request_obj(dry_run=True))
            for task in bag.dags["feature_pipeline"].tasks
        },
        "params": {name: sorted(dag.params) for name, dag in bag.dags.items()},
    }


if __name__ == "__main__":
    main()
