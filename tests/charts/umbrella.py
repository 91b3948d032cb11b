"""The umbrella with its jobs: what the release makes, and the pods that Airflow and Spark start beside it."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tests.charts.flows import Network, Place, place_of
from tests.charts.harness import CHARTS, Case, Object, Pod, Release, default_values, merged, parse, pod_of, render
from tests.charts.job_pods import dags

FULL = CHARTS / "fti" / "ci" / "full-values.yaml"
VALUES: dict[str, dict[str, Any]] = {
    "default": default_values("fti"),
    "kind": (KIND := Case("fti", "values-kind", CHARTS / "fti" / "values-kind.yaml").values),
    "serve": merged(KIND, {"components": {"serve": True}}),
    "eks": Case("fti", "values-eks", CHARTS / "fti" / "values-eks.yaml").values,
    "spark": merged(default_values("fti"), {"airflow": {"jobs": {"spark": {"executors": 2}}}}),
    "full": Case("fti", "full", FULL).values,
}
"""Those under which the pods of the jobs are looked at. The last two spread Spark over pods; `serve` is kind with all parts."""
SPARK = ("spark", "full")


def fti(name: str = "fti", namespace: str = "data", **values: Any) -> Release:
    return render("fti", merged(default_values("fti"), values), name=name, namespace=namespace)


@functools.cache
def installed(values: str) -> Release:
    return render("fti", VALUES[values])


@functools.cache
def built() -> dict[str, dict[str, Any]]:
    """What Airflow makes of each of the values' ConfigMap. In one go: it takes seconds to start."""
    return dict(zip(VALUES, dags(*(airflow_config(installed(values)) for values in VALUES)), strict=True))


def started(values: str) -> dict[str, Pod]:
    """The pods of the jobs by job, with a driver's executor where there are any."""
    release = installed(values)
    pods = dict(built()[values]["pods"])
    for config in release.kind("ConfigMap"):
        if "executor.yaml" in config["data"]:
            (pods["executor"],) = parse(config["data"]["executor.yaml"])
    return {job: _job(thing, job, jobs_namespace(release)) for job, thing in pods.items()}


def _job(thing: Object, job: str, namespace: str) -> Pod:
    assert thing["metadata"].get("namespace", namespace) == namespace
    pod = pod_of(thing | {"metadata": {"name": job} | thing["metadata"]}, namespace)
    assert pod
    return replace(pod, owner=f"Pod/{job}")


def with_jobs(values: str) -> Release:
    """The release as if it had made the jobs' pods itself."""
    release = installed(values)
    things = {
        ("Pod", f"{pod.namespace}/{job}"): {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": job, "namespace": pod.namespace, "labels": pod.labels},
            "spec": pod.spec,
        }
        for job, pod in started(values).items()
    }
    return replace(release, objects={**release.objects, **things}, values=VALUES[values])


def airflow_config(release: Release) -> dict[str, str]:
    (found,) = (c["data"] for c in release.kind("ConfigMap") if "FTI_LAUNCHER" in c["data"])
    return found


def jobs_namespace(release: Release) -> str:
    return release.one("Namespace")["metadata"]["name"]


# Who is where


def title(pod: Pod) -> str:
    """The chart and the component; just the chart for a server of its own, just the job for a job."""
    chart, component = (pod.labels[f"app.kubernetes.io/{part}"] for part in ("name", "component"))
    if component == "server":
        return chart
    return component if chart == "fti-job" else f"{chart}/{component}"


def places(release: Release, pods: Iterable[Pod] = ()) -> list[Place]:
    """The release's pods and others, each at an address of kind's pods."""
    return [
        place_of(title(pod), pod, pod.namespace or release.namespace, f"10.244.0.{number}")
        for number, pod in enumerate([*release.pods(), *pods], 10)
    ]


def network(*releases: Release) -> Network:
    """The policies of the releases, and of nobody else."""
    policies = [
        (key.rpartition("/")[0] or release.namespace, thing)
        for release in releases
        for (kind, key), thing in release.objects.items()
        if kind == "NetworkPolicy"
    ]
    names = {"kube-system", "elsewhere", *(namespace for namespace, _ in policies)}
    return Network(policies, {name: {"kubernetes.io/metadata.name": name} for name in names})
