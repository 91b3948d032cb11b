"""A chart with values in, its objects out."""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import helm_python
import yaml
from kubernetes_validate import utils as kubernetes_schemas

from charts import build
from tests.charts.cluster import cluster

CHARTS = Path(__file__).resolve().parents[2] / "charts"
NAMES = [chart.name for chart in build.charts()]
KUBERNETES = ("1.34", "1.37")
"""The oldest and the newest whose schemas every object is held to."""
SCALED = {"Deployment", "StatefulSet", "DaemonSet"}
"""Workloads whose pods are to run on and on."""

Object = dict[str, Any]
# Each call would read the schemas' common part, a megabyte, anew.
kubernetes_schemas.schema_contents = functools.cache(kubernetes_schemas.schema_contents)


class StrictLoader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """Refuses a key that comes twice, of which other parsers silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key comes twice", node.start_mark)
        return mapping


@dataclass(frozen=True)
class Case:
    """A chart and one set of values for it."""

    chart: str
    name: str
    path: Path | None = None

    def __str__(self) -> str:
        return f"{self.chart}-{self.name}"

    @property
    def values(self) -> dict[str, Any]:
        return merged(default_values(self.chart), _read(self.path))


@dataclass(frozen=True)
class Pod:
    """A pod, or the template of one."""

    owner: str
    """Kind and name of what makes it, for messages."""
    kind: str
    labels: dict[str, str]
    annotations: dict[str, str]
    spec: dict[str, Any]
    namespace: str = ""
    """Empty: the release's own."""

    @property
    def containers(self) -> list[dict[str, Any]]:
        """All of them, in the order in which they start."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def lasting(self) -> list[dict[str, Any]]:
        """The containers that are to run as long as the pod."""
        if self.kind not in SCALED:
            return []
        sidecars = (c for c in self.spec.get("initContainers", []) if c.get("restartPolicy") == "Always")
        return [*sidecars, *self.spec["containers"]]

    def references(self) -> Iterator[tuple[str, str]]:
        """Kind and name of the objects that it needs."""
        for container in self.containers:
            for source in container.get("envFrom", []):
                for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                    if key in source:
                        yield kind, source[key]["name"]
            for variable in container.get("env", []):
                for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                    if key in variable.get("valueFrom", {}):
                        yield kind, variable["valueFrom"][key]["name"]
        for volume in self.spec.get("volumes", []):
            for source in (volume, *volume.get("projected", {}).get("sources", [])):
                if "configMap" in source:
                    yield "ConfigMap", source["configMap"]["name"]
                if "secret" in source:
                    yield "Secret", source["secret"].get("secretName") or source["secret"]["name"]
            if "persistentVolumeClaim" in volume:
                yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]


@dataclass(frozen=True)
class Release:
    """What a chart makes of values."""

    chart: str
    name: str
    namespace: str
    objects: dict[tuple[str, str], Object]
    """By kind and name; those of another namespace than the release's by ``namespace/name``."""
    notes: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def kind(self, *kinds: str) -> list[Object]:
        return [o for (kind, _), o in self.objects.items() if kind in kinds]

    def one(self, kind: str) -> Object:
        (found,) = self.kind(kind)
        return found

    def pods(self) -> Iterator[Pod]:
        """Every pod and every template of one."""
        for kind, name in self.objects:
            if pod := pod_of(self.objects[kind, name], name.rpartition("/")[0]):
                yield pod

    def pod(self, component: str, name: str = "") -> Pod:
        """The one of a component; ``name``: of that chart, where several have one."""
        (found,) = (
            p
            for p in self.pods()
            if p.labels["app.kubernetes.io/component"] == component and name in ("", p.labels["app.kubernetes.io/name"])
        )
        return found

    def installed(self) -> list[Object]:
        """The objects as they are in a cluster once Helm has put them there: with its marks."""
        marks = {"meta.helm.sh/release-name": self.name, "meta.helm.sh/release-namespace": self.namespace}
        things = deepcopy(list(self.objects.values()))
        for thing in things:
            thing["metadata"]["annotations"] = {**thing["metadata"].get("annotations", {}), **marks}
        return things


def pod_of(thing: Object, namespace: str = "") -> Pod | None:
    """The pod in a workload, in a pod itself, or none."""
    kind, template = thing["kind"], thing
    if kind in {*SCALED, "Job", "ReplicaSet"}:
        template = thing["spec"]["template"]
    elif kind == "CronJob":
        template = thing["spec"]["jobTemplate"]["spec"]["template"]
    elif kind != "Pod":
        return None
    metadata = template.get("metadata", {})
    return Pod(
        owner=f"{kind}/{thing['metadata']['name']}",
        kind=kind,
        labels=metadata.get("labels", {}),
        annotations=metadata.get("annotations", {}),
        spec=template["spec"],
        namespace=namespace,
    )


def place(namespace: str, name: str) -> str:
    """How a release's ``objects`` call what is in a pod's ``namespace``."""
    return f"{namespace}/{name}" if namespace else name


def parse(text: str) -> list[Object]:
    return json.loads(_parsed(text))


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> str:
    """As JSON, which is read fast: most of what a chart makes is the same with most values."""
    return json.dumps([document for document in yaml.load_all(text, StrictLoader) if document])


def render(
    chart: str | Path,
    values: dict[str, Any] | None = None,
    name: str = "fti",
    namespace: str = "data",
    over: Iterable[Object] | None = None,
) -> Release:
    """The release, or Helm's error. ``over``: the objects that are in the cluster already; without, it is not asked."""
    with without_notes_on_links():
        loaded = helm_python.Chart.load(CHARTS / chart)  # each time: rendering takes out the subcharts that are off
    with loaded:
        if over is None:
            files = loaded.render(values, name=name, namespace=namespace)
        else:
            with (
                cluster(over, namespace) as kubeconfig,
                helm_python.Config(kubeconfig_content=kubeconfig, namespace=namespace) as config,
            ):
                files = config.render(loaded, values, name=name, namespace=namespace, is_upgrade=True)
    notes = "".join(text for path, text in files.items() if path.endswith("NOTES.txt"))
    objects: dict[tuple[str, str], Object] = {}
    for path, text in files.items():
        if path.endswith("NOTES.txt"):
            continue
        for thing in parse(text):
            given = thing["metadata"].get("namespace", namespace)
            key = (thing["kind"], place("" if given == namespace else given, thing["metadata"]["name"]))
            assert key not in objects, f"{path} makes {key} a second time"
            objects[key] = thing
    return Release(Path(chart).name, name, namespace, objects, notes, values or {})


@contextmanager
def without_notes_on_links() -> Iterator[None]:
    """Helm writes to stderr, with each load, that an umbrella's charts are symbolic links. All else that it writes passes."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as said, os.fdopen(os.dup(2), "wb") as stderr:
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr.fileno(), 2)
            said.seek(0)
            stderr.writelines(line for line in said if b"INFO found symbolic link in path" not in line)


def refusal(chart: str, values: dict[str, Any], name: str = "fti") -> str:
    """What Helm says to values that it must refuse."""
    try:
        render(chart, values, name=name)
    except (helm_python.HelmRenderError, helm_python.HelmValuesError) as error:
        return str(error)
    raise AssertionError(f"{chart} takes {values}")


def valid(thing: Object, version: str) -> None:
    """Strictly: a field that Kubernetes does not know is an error."""
    kubernetes_schemas.validate(thing, version, strict=True)


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Values over values, as Helm lays them."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else deepcopy(value)
    return result


def at(path: Iterable[str], value: Any) -> dict[str, Any]:
    """Values with one key set."""
    for key in reversed(tuple(path)):
        value = {key: value}
    return value


def _read(path: Path | None) -> dict[str, Any]:
    return (yaml.load(path.read_text(encoding="utf-8"), StrictLoader) or {}) if path and path.exists() else {}


def default_values(chart: str) -> dict[str, Any]:
    """The little without which a chart does not render; nothing for most."""
    return _read(CHARTS / chart / "ci" / "default-values.yaml")


def values_yaml(chart: str) -> dict[str, Any]:
    return _read(CHARTS / chart / "values.yaml")


def invalid_values(chart: str) -> list[dict[str, Any]]:
    path = CHARTS / chart / "ci" / "invalid.yaml"
    return yaml.load(path.read_text(encoding="utf-8"), StrictLoader) if path.exists() else []


def _cases() -> Iterator[Case]:
    for chart in NAMES:
        yield Case(chart, "default")
        for path in sorted(CHARTS.joinpath(chart).glob("ci/*-values.yaml")):
            if path.name != "default-values.yaml":
                yield Case(chart, path.name.removesuffix("-values.yaml"), path)
        for path in sorted(CHARTS.joinpath(chart).glob("values-*.yaml")):
            yield Case(chart, path.stem, path)


CASES = list(_cases())
