"""The rules see what they are for: a pod that holds them all, and one fault at a time."""

from __future__ import annotations

import os
from copy import deepcopy
from typing import Any

import pytest
import yaml

from tests.charts import rules
from tests.charts.harness import Pod, Release, parse, place, pod_of, render, without_notes_on_links

GOOD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: good}
spec:
  template:
    metadata:
      labels:
        app.kubernetes.io/name: good
        app.kubernetes.io/instance: one
        app.kubernetes.io/component: server
        app.kubernetes.io/part-of: fti
        app.kubernetes.io/managed-by: Helm
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      securityContext: {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: main
          image: example.com:5000/fti-good:1.0
          imagePullPolicy: IfNotPresent
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          resources: {requests: {cpu: 10m, memory: 1Mi}, limits: {memory: 1Mi}}
          startupProbe: {tcpSocket: {port: 1}}
          livenessProbe: {tcpSocket: {port: 1}}
          readinessProbe: {tcpSocket: {port: 1}}
          env: [{name: PASSWORD_FILE, value: /run/password}, {name: URL, value: "http://minio:9000"}]
          volumeMounts: [{name: scratch, mountPath: /tmp}]
      volumes: [{name: scratch, emptyDir: {}}]
"""


def laid(base: Any, change: Any) -> Any:
    """A change laid over something; None takes a key away."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return deepcopy(change)
    result = {**base, **{key: laid(base.get(key), value) for key, value in change.items()}}
    return {key: value for key, value in result.items() if value is not None}


def pod(spec: dict[str, Any] | None = None, container: dict[str, Any] | None = None, **metadata: Any) -> Pod:
    """The good pod with something laid over it."""
    (good,) = parse(GOOD)
    template = good["spec"]["template"]
    template["metadata"] = laid(template["metadata"], metadata)
    template["spec"] = laid(template["spec"], spec or {})
    template["spec"]["containers"][0] = laid(template["spec"]["containers"][0], container or {})
    found = pod_of(good)
    assert found
    return found


def test_the_good_pod_holds_every_rule() -> None:
    assert [fault for rule in rules.POD_RULES for fault in rule(pod())] == []


BAD = [
    (rules.restricted, pod({"hostNetwork": True})),
    (rules.restricted, pod({"volumes": [{"name": "scratch", "hostPath": {"path": "/"}}]})),
    (rules.restricted, pod({"securityContext": {"runAsNonRoot": None}})),
    (rules.restricted, pod({"securityContext": {"runAsUser": None}})),
    (rules.restricted, pod({"securityContext": {"seccompProfile": {"type": "Unconfined"}}})),
    (rules.restricted, pod(container={"securityContext": {"runAsUser": 0}})),
    (rules.restricted, pod(container={"securityContext": {"runAsNonRoot": False}})),
    (rules.restricted, pod(container={"securityContext": {"allowPrivilegeEscalation": None}})),
    (rules.restricted, pod(container={"securityContext": {"privileged": True}})),
    (rules.restricted, pod(container={"securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}}})),
    (rules.restricted, pod(container={"ports": [{"containerPort": 1, "hostPort": 1}]})),
    (rules.restricted, pod({"initContainers": [{"name": "first"}]})),
    (rules.read_only_root, pod(container={"securityContext": {"readOnlyRootFilesystem": False}})),
    (rules.read_only_root, pod({"initContainers": [{"name": "first"}]})),
    (rules.no_token, pod({"automountServiceAccountToken": None})),
    (rules.no_token, pod({"volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {}}]}}]})),
    (rules.no_service_links, pod({"enableServiceLinks": True})),
    (rules.resources, pod(container={"resources": {"requests": {"cpu": None}}})),
    (rules.resources, pod(container={"resources": {"limits": None}})),
    (rules.resources, pod({"initContainers": [{"name": "first"}]})),
    (rules.probes, pod({"initContainers": [{"name": "beside", "restartPolicy": "Always"}]})),
    (rules.images, pod(container={"image": "redis"})),
    (rules.images, pod(container={"image": "redis:latest"})),
    (rules.images, pod(container={"image": "example.com:5000/redis"})),
    (rules.images, pod(container={"imagePullPolicy": "Always"})),
    (rules.no_credential_in_environment, pod(container={"env": [{"name": "MINIO_ROOT_PASSWORD", "value": "x"}]})),
    (rules.no_credential_in_environment, pod(container={"env": [{"name": "AWS_ACCESS_KEY_ID", "value": "x"}]})),
    (rules.no_credential_in_environment, pod(container={"env": [{"name": "URL", "value": "redis://:x@redis/0"}]})),
    (rules.labels, pod(labels={"app.kubernetes.io/instance": ""})),
    (rules.labels, pod(labels={"helm.sh/chart": "good-1"})),
    (rules.volumes, pod({"volumes": []})),
]


@pytest.mark.parametrize(("rule", "bad"), BAD, ids=lambda x: getattr(x, "__name__", "pod"))
def test_each_pod_rule_sees_its_faults(rule: rules.PodRule, bad: Pod) -> None:
    assert list(rule(bad))


def test_every_pod_rule_has_a_fault_to_see() -> None:
    assert {rule for rule, _ in BAD} == set(rules.POD_RULES)


def release_with(kind: str, name: str, change: dict[str, Any]) -> Release:
    """A release of the redis chart with something laid over one object."""
    good = render("redis")
    objects = deepcopy(good.objects)
    objects[kind, name] = laid(objects.get((kind, name), {}), change)
    return Release(good.chart, good.name, good.namespace, objects)


BAD_RELEASES = [
    (rules.object_labels, ("Secret", "fti-redis-auth", {"metadata": {"labels": None}})),
    (rules.selectors, ("Service", "fti-redis", {"spec": {"selector": {"app.kubernetes.io/component": "other"}}})),
    (rules.selectors, ("Service", "fti-redis", {"spec": {"ports": [{"targetPort": "other"}]}})),
    (rules.selectors, ("StatefulSet", "fti-redis", {"spec": {"selector": {"matchLabels": {"helm.sh/chart": "x"}}}})),
    (rules.closed, ("NetworkPolicy", "fti-redis", {"spec": {"policyTypes": ["Ingress"]}})),
    (rules.closed, ("NetworkPolicy", "fti-redis-test", {"spec": {"podSelector": {"matchLabels": {"x": "y"}}}})),
    (rules.names, ("StatefulSet", "x" * 53, {"kind": "StatefulSet"})),
    (rules.names, ("CronJob", f"jobs/{'x' * 53}", {"kind": "CronJob"})),
    (rules.names, ("Secret", f"jobs/{'x' * 64}", {"kind": "Secret"})),
    (rules.hooks, ("Secret", "fti-redis-auth", {"metadata": {"annotations": {"helm.sh/hook": "pre-install"}}})),
    (rules.checksums, ("StatefulSet", "fti-redis", {"spec": {"template": {"metadata": {"annotations": None}}}})),
    (rules.references, ("StatefulSet", "fti-redis", {"spec": {"template": {"spec": {"serviceAccountName": "x"}}}})),
    (
        rules.no_credential_outside_secrets,
        ("Secret", "fti-redis-auth", {"data": {"x": "ZnRpLXJlZGlzLWNvbmZpZw=="}}),  # the ConfigMap's name
    ),
]


@pytest.mark.parametrize(("rule", "change"), BAD_RELEASES, ids=lambda x: getattr(x, "__name__", "release"))
def test_each_release_rule_sees_its_faults(rule: rules.ReleaseRule, change: tuple[str, str, dict[str, Any]]) -> None:
    assert list(rule(release_with(*change)))


def moved(release: Release, *keys: tuple[str, str]) -> Release:
    """The release with some of its objects in another namespace."""
    objects = {}
    for (kind, name), thing in release.objects.items():
        if (kind, name) in keys:
            objects[kind, place("jobs", name)] = laid(thing, {"metadata": {"namespace": "jobs"}})
        else:
            objects[kind, name] = thing
    return Release(release.chart, release.name, release.namespace, objects)


APART = [
    (rules.selectors, ("Service", "fti-redis")),
    (rules.selectors, ("StatefulSet", "fti-redis")),
    (rules.closed, ("NetworkPolicy", "fti-redis")),
    (rules.closed, ("StatefulSet", "fti-redis")),
    (rules.references, ("Secret", "fti-redis-auth")),
    (rules.references, ("ServiceAccount", "fti-redis")),
    (rules.references, ("Pod", "fti-redis-test")),
]


@pytest.mark.parametrize(("rule", "key"), APART, ids=lambda x: getattr(x, "__name__", "") or "/".join(x))
def test_each_rule_of_what_belongs_together_sees_one_that_is_in_another_namespace(
    rule: rules.ReleaseRule, key: tuple[str, str]
) -> None:
    assert list(rule(moved(render("redis"), key)))


def test_a_release_holds_every_rule_in_whatever_namespace_its_objects_are() -> None:
    release = render("redis")
    elsewhere = moved(release, *release.objects)
    assert {pod.namespace for pod in elsewhere.pods()} == {"jobs"}
    for where in (release, elsewhere):
        assert [fault for rule in rules.RELEASE_RULES for fault in rule(where)] == []


def test_a_workload_selects_no_pod_of_another_namespace() -> None:
    """Two of the same labels, each in its namespace, as two releases of one name would have them."""
    one = render("redis")
    two = moved(one, *one.objects)
    both = Release(one.chart, one.name, one.namespace, {**one.objects, **two.objects})
    assert list(rules.selectors(both)) == []


def test_every_release_rule_has_a_fault_to_see() -> None:
    assert {rule for rule, _ in BAD_RELEASES} == set(rules.RELEASE_RULES)


def test_the_second_parser_refuses_a_key_that_comes_twice() -> None:
    with pytest.raises(yaml.YAMLError, match="twice"):
        parse("{a: 1, a: 2}")


def test_of_what_helm_writes_the_notes_on_links_alone_are_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    with without_notes_on_links():
        os.write(2, b"one\n2026/11/24 13:08:45 INFO found symbolic link in path. Contents of linked file included\n")
        os.write(2, b"2026/11/24 13:08:45 WARN two\nthree")
    os.write(2, b"\nfour\n")
    assert capfd.readouterr().err == "one\n2026/11/24 13:08:45 WARN two\nthree\nfour\n"
    render("fti", {"global": {"imageTag": "1"}})
    assert capfd.readouterr().err == ""
