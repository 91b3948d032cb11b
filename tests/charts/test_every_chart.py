"""What holds for every chart with every set of values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest

from tests.charts import rules
from tests.charts.harness import (
    CASES,
    CHARTS,
    KUBERNETES,
    NAMES,
    SCALED,
    Case,
    Release,
    default_values,
    invalid_values,
    render,
    valid,
    values_yaml,
    without_notes_on_links,
)

GOLDEN = Path(__file__).with_name("golden")


def test_all_objects_are_valid(release: Release) -> None:
    for version in KUBERNETES:
        for thing in release.objects.values():
            valid(thing, version)


@pytest.mark.parametrize("rule", rules.POD_RULES, ids=lambda rule: rule.__name__)
def test_every_pod_holds(rule: rules.PodRule, release: Release) -> None:
    assert not [f"{pod.owner}: {fault}" for pod in release.pods() for fault in rule(pod)]


@pytest.mark.parametrize("rule", rules.RELEASE_RULES, ids=lambda rule: rule.__name__)
def test_every_release_holds(rule: rules.ReleaseRule, case: Case, release: Release) -> None:
    if rule is rules.closed and case.values.get("networkPolicy", {}).get("enabled") is False:
        assert not release.kind("NetworkPolicy")
    else:
        assert not list(rule(release))


@pytest.mark.parametrize("chart", NAMES)
def test_policies_are_on_by_default(chart: str) -> None:
    assert render(chart, default_values(chart)).kind("NetworkPolicy")


@pytest.mark.parametrize("chart", NAMES)
def test_lints(chart: str) -> None:
    with without_notes_on_links():
        report = helm_python.lint(CHARTS / chart, default_values(chart), strict=True, namespace="data")
    assert not report["errors"]
    assert [m["error"] for m in report["messages"]] in ([], ["icon is recommended"])


@pytest.mark.parametrize("chart", NAMES)
def test_makes_the_same_objects_as_ever_by_default(chart: str) -> None:
    made = sorted(f"{kind} {_digest_apart(name)}" for kind, name in render(chart, default_values(chart)).objects)
    assert made == (GOLDEN / f"{chart}.txt").read_text(encoding="utf-8").splitlines()


def _digest_apart(name: str) -> str:
    """The name of an object that changes with its content, without what changes."""
    return re.sub(r"-[0-9a-f]{8}$", "-DIGEST", name)


@pytest.mark.parametrize("chart", NAMES)
def test_two_releases_live_side_by_side(chart: str) -> None:
    shared = "x" * 52  # the longest name that Helm takes has 53 characters; these two differ in the last
    one, two = (render(chart, default_values(chart), name=shared + end) for end in "yz")
    assert not set(one.objects) & set(two.objects)
    assert not [*rules.names(one), *rules.selectors(one)]
    for thing in (*one.kind("Service"), *one.kind(*SCALED)):
        chosen = thing["spec"]["selector"].get("matchLabels", thing["spec"]["selector"])
        assert not [pod.owner for pod in two.pods() if chosen.items() <= pod.labels.items()]


NAMED_BY_OTHER_VALUES = {
    "fti": {
        ("Namespace", "data-fti-jobs"): "global.jobsNamespace",
        ("ConfigMap", "fti-jobs"): "airflow.jobs.configMap",
        ("Secret", "fti-jobs"): "airflow.jobs.secret",
        ("Secret", "fti-online-store"): "airflow.redis.existingSecret",
        ("ServiceAccount", "fti-jobs"): "airflow.jobs.serviceAccount",
    }
}
"""Objects of a chart whose names do not follow from its own."""


@pytest.mark.parametrize("chart", [name for name in NAMES if "fullnameOverride" in values_yaml(name)])
def test_a_name_of_ones_own_reaches_every_object(chart: str) -> None:
    release = render(chart, {**default_values(chart), "fullnameOverride": "mine"})
    own = {
        (thing["kind"], thing["metadata"]["name"])
        for thing in release.objects.values()
        if thing["metadata"]["labels"]["app.kubernetes.io/name"] == chart
    }
    others = {(kind, name) for kind, name in own if name != "mine" and not name.startswith("mine-")}
    assert others == set(NAMED_BY_OTHER_VALUES.get(chart, {}))
    assert len(own) > len(others)


@pytest.mark.parametrize("chart", NAMES)
def test_a_generated_secret_is_one_and_its_change_restarts_its_readers(chart: str) -> None:
    """Two first installs generate different secrets: the checksums of these differ, and no other does.

    Of a Secret that another chart of the release makes, the count of its rotations stands for it.
    """
    one, two = (render(chart, default_values(chart)) for _ in range(2))
    differ = {
        (thing["metadata"]["labels"]["app.kubernetes.io/name"], f"checksum/{thing['metadata']['name']}")
        for key, thing in one.objects.items()
        if thing != two.objects[key] and thing["kind"] == "Secret"
    }
    assert differ or not one.kind("Secret")
    for before, after in zip(one.pods(), two.pods(), strict=True):
        changed = {k for k, v in before.annotations.items() if after.annotations[k] != v}
        own = {key for made_by, key in differ if made_by == before.labels["app.kubernetes.io/name"]}
        assert changed == own & set(before.annotations)


@pytest.mark.parametrize("chart", NAMES)
def test_an_upgrade_without_a_change_changes_nothing(chart: str) -> None:
    """What the first install generated is found in the cluster, and stays."""
    first = render(chart, default_values(chart), over=[])
    again = render(chart, default_values(chart), over=first.installed())
    assert again.objects == first.objects
    assert render(chart, default_values(chart), over=[]).objects != first.objects or not first.kind("Secret")


@pytest.mark.parametrize("chart", NAMES)
def test_one_registry_for_all_images(chart: str) -> None:
    values = default_values(chart)
    values["global"] = {**values.get("global", {}), "imageRegistry": "registry.example.com/mirror/"}
    for pod in render(chart, values).pods():
        for container in pod.containers:
            assert container["image"].startswith("registry.example.com/mirror/")
            assert "//" not in container["image"]


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys with a value, and those whose value is a free map."""
    if isinstance(values, dict) and values and path:
        for key, value in values.items():
            yield from leaves(value, (*path, key))
    elif isinstance(values, dict) and not path:
        for key, value in values.items():
            yield from leaves(value, (key,))
    else:
        yield path


def without(values: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    if len(path) == 1:
        return {k: v for k, v in values.items() if k != path[0]}
    return {**values, path[0]: without(values[path[0]], path[1:])}


def holds(values: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


@pytest.mark.parametrize("chart", NAMES)
def test_every_value_shows(chart: str) -> None:
    """Each key of values.yaml is set in a file under ci/, and what is made differs when it is left out there.

    A key that has just one right value shows when ci/invalid.yaml sets it to another, and a sentence names it.
    """
    mute = set(leaves(values_yaml(chart)))
    for case in (c for c in CASES if c.chart == chart):
        paths = sorted(path for path in mute if holds(case.values, path))
        whole = shown(render(chart, case.values)) if paths else ""
        for path in paths:
            try:
                changed = shown(render(chart, without(case.values, path))) != whole
            except (helm_python.HelmRenderError, helm_python.HelmValuesError):
                changed = True  # it does not go without
            if changed:
                mute.remove(path)
    for entry in invalid_values(chart):
        mute -= {path for path in mute if holds(entry["values"], path) and ".".join(path) in entry["says"]}
    assert sorted(".".join(path) for path in mute) == []


def shown(release: Release) -> str:
    """All objects and notes as text, but for what is random."""
    things = json.loads(json.dumps(list(release.objects.values())))
    secrets = {name for kind, name in release.objects if kind == "Secret"}
    for thing in things:
        if thing["kind"] == "Secret":
            thing["data"] = {k: v if len(v) < 16 else "" for k, v in thing.get("data", {}).items()}
        annotations = thing.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
        for name in secrets:
            annotations.pop(f"checksum/{name}", None)
    return json.dumps([things, release.notes], sort_keys=True)
