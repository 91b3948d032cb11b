"""The charts, rendered by Helm in this process and held to the rules. No cluster, no Helm to install.

`render(chart, values)` is a first install; `render(chart, values, over=objects)` an upgrade of a cluster that holds
these objects, which `lookup` then finds: those of an earlier release are `earlier.installed()`.

What holds for every chart under ``charts/`` is tested for every chart there is: a new folder with a Chart.yaml falls in
by itself. It brings

- ``values.yaml`` with a ``# --`` description of each key; from it ``python -m charts.build`` writes the strict schema,
  the README (with ``README.head.md``) and the shared helpers (``templates/_common.tpl``, included as ``common.…``),
- ``ci/default-values.yaml`` where it does not render without a value (such as an image's tag); empty otherwise,
- ``ci/full-values.yaml`` and further ``ci/*-values.yaml``: together they set every key to something that shows,
- ``ci/invalid.yaml``: for each ``fail`` in its templates values that meet it, and what it then says,
- ``tests/charts/golden/<chart>.txt``: the objects it makes by default,
- ``tests/charts/test_<chart>.py`` for what is its own.

Of the umbrella, ``umbrella.py`` has the pods too that Airflow and Spark start beside the release: ``job_pods.py`` asks the
launcher for them, with the settings of the rendered ConfigMap. ``flows.py`` works out who reaches whom.

The rules are functions in ``rules.py``: of a pod, for pods from wherever (also those that a DAG builds), and of a
release. Each yields a sentence for each fault. The only ways around them are the lists at the head of that file.
A test case is a chart with one set of values: the defaults, each ``ci/*-values.yaml``, each profile ``values-*.yaml``.
"""

from __future__ import annotations

import functools

import pytest

from tests.charts.harness import CASES, Case, Release, render


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@functools.cache
def _rendered(case: Case) -> Release:
    return render(case.chart, case.values)


@pytest.fixture
def release(case: Case) -> Release:
    """Rendered once for all rules, which only look."""
    return _rendered(case)


def pytest_report_header() -> str:
    import helm_python
    import kubernetes_validate

    return (
        f"charts: Helm {helm_python.helm_sdk_version()}, Kubernetes schemas to {kubernetes_validate.latest_version()}"
    )
