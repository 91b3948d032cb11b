"""What every pod and every release must hold. Each rule yields a sentence for each fault."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.charts.harness import SCALED, Pod, Release, place

TOKEN_ALLOWED = {("airflow", "scheduler"), ("airflow", "triggerer"), ("fti", "cleanup")}
"""Chart and component of the pods that talk to the Kubernetes API. No other has a token."""
NO_POLICY: set[tuple[str, str]] = set()
"""Chart and component of pods that no network policy closes."""
HOOKS_ALLOWED = {"test"}
"""A hook that must end before the rest is up waits for ever where the rest waits for it."""

PodRule = Callable[[Pod], Iterator[str]]
ReleaseRule = Callable[[Release], Iterator[str]]

_LABELS = ("name", "instance", "component", "part-of", "managed-by")
_SAFE_VOLUMES = {
    "configMap",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
    "csi",
}
_CREDENTIAL = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|(^|_)KEY(_|$)|SQL_ALCHEMY_CONN|_DSN$")
_READ_BY_NAME = re.compile(r"_(FILE|CMD|KEY_ID_FILE|SECRET_NAME)$")
"""Variables that say where a credential is."""
_FIXED_TAG = re.compile(
    r"[^@]+:(?!latest)[A-Za-z0-9_][A-Za-z0-9_.-]*(@sha256:[0-9a-f]{64})?$|[^@:]+@sha256:[0-9a-f]{64}$"
)


# Rules of a pod


def restricted(pod: Pod) -> Iterator[str]:
    """The restricted Pod Security standard, and a user by number."""
    spec, security = pod.spec, pod.spec.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is set"
    for volume in spec.get("volumes", []):
        if unsafe := set(volume) - {"name"} - _SAFE_VOLUMES:
            yield f"volume {volume['name']} is a {unsafe.pop()}"
    for container in pod.containers:
        name, own = container["name"], container.get("securityContext", {})
        if {**security, **own}.get("runAsNonRoot") is not True:
            yield f"{name} may run as root"
        if not {**security, **own}.get("runAsUser"):
            yield f"{name} has no user by number"
        if {**security, **own}.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name} has no seccomp profile RuntimeDefault"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{name} may escalate"
        if own.get("privileged"):
            yield f"{name} is privileged"
        if own.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{name} does not drop all capabilities"
        if any(port.get("hostPort") for port in container.get("ports", [])):
            yield f"{name} has a hostPort"


def read_only_root(pod: Pod) -> Iterator[str]:
    for container in pod.containers:
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{container['name']} can write to its image"


def no_token(pod: Pod) -> Iterator[str]:
    allowed = (pod.labels.get("app.kubernetes.io/name"), pod.labels.get("app.kubernetes.io/component")) in TOKEN_ALLOWED
    projected = any(
        "serviceAccountToken" in source
        for volume in pod.spec.get("volumes", [])
        for source in volume.get("projected", {}).get("sources", [])
    )
    if (pod.spec.get("automountServiceAccountToken") is not False or projected) and not allowed:
        yield "it gets a service account token"


def no_service_links(pod: Pod) -> Iterator[str]:
    if pod.spec.get("enableServiceLinks") is not False:
        yield "a Service named redis would set REDIS_PORT in it"


def resources(pod: Pod) -> Iterator[str]:
    for container in pod.containers:
        given = container.get("resources", {})
        for kind, name in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
            if name not in given.get(kind, {}):
                yield f"{container['name']} has no {kind}.{name}"


def probes(pod: Pod) -> Iterator[str]:
    for container in pod.lasting:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe not in container:
                yield f"{container['name']} has no {probe}"


def images(pod: Pod) -> Iterator[str]:
    for container in pod.containers:
        image = container.get("image", "")
        if not _FIXED_TAG.match(image):
            yield f"{container['name']} has the image {image!r}, without a fixed tag or a digest"
        if container.get("imagePullPolicy") != "IfNotPresent":
            yield f"{container['name']} has the imagePullPolicy {container.get('imagePullPolicy')}"


def no_credential_in_environment(pod: Pod) -> Iterator[str]:
    for container in pod.containers:
        for variable in container.get("env", []):
            name, value = variable["name"], variable.get("value")
            if value and _CREDENTIAL.search(name) and not _READ_BY_NAME.search(name):
                yield f"{container['name']} has {name} as a literal"
            if value and re.search(r"://[^/@\s$]*:[^/@\s$]+@", value):
                yield f"{container['name']} has a login in {name}"


def labels(pod: Pod) -> Iterator[str]:
    for name in _LABELS:
        if not pod.labels.get(f"app.kubernetes.io/{name}"):
            yield f"it has no label app.kubernetes.io/{name}"
    if "helm.sh/chart" in pod.labels and pod.kind in SCALED:
        yield "its label helm.sh/chart restarts it with each version of the chart"


def volumes(pod: Pod) -> Iterator[str]:
    declared = {volume["name"] for volume in pod.spec.get("volumes", [])}
    mounted = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", [])}
    if declared != mounted:
        yield f"volumes {sorted(declared)}, mounted {sorted(mounted)}"


POD_RULES: list[PodRule] = [
    restricted,
    read_only_root,
    no_token,
    no_service_links,
    resources,
    probes,
    images,
    no_credential_in_environment,
    labels,
    volumes,
]


# Rules of a release


def object_labels(release: Release) -> Iterator[str]:
    for (kind, name), thing in release.objects.items():
        given = thing["metadata"].get("labels", {})
        for label in (*(f"app.kubernetes.io/{part}" for part in (*_LABELS, "version")), "helm.sh/chart"):
            if label not in given:
                yield f"{kind}/{name} has no label {label}"


def selectors(release: Release) -> Iterator[str]:
    """Each meets the pods it is for, by labels that no upgrade changes. It meets none of another namespace."""
    for namespace, thing in _in_namespaces(release, *SCALED):
        owner, wanted = _name(thing), thing["spec"]["selector"]["matchLabels"]
        if set(wanted) != {f"app.kubernetes.io/{part}" for part in ("name", "instance", "component")}:
            yield f"{owner} selects by {sorted(wanted)}"
        owners = [p.owner for p in release.pods() if p.namespace == namespace and _meets(p, wanted)]
        if owners != [owner]:
            yield f"{owner} selects {owners}"
    for namespace, service in _in_namespaces(release, "Service"):
        if "selector" not in service["spec"]:
            continue
        met = [p for p in release.pods() if p.namespace == namespace and _meets(p, service["spec"]["selector"])]
        if len(met) != 1:
            yield f"{_name(service)} leads to {[p.owner for p in met]}"
        names = {port.get("name") for p in met for c in p.containers for port in c.get("ports", [])}
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in names:
                yield f"{_name(service)} leads to the port {port['targetPort']}, which its pod does not name"


def _in_namespaces(release: Release, *kinds: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects with their namespaces as pods have them: empty for the release's own."""
    for (kind, name), thing in release.objects.items():
        if kind in kinds:
            yield name.rpartition("/")[0], thing


def _name(thing: dict[str, Any]) -> str:
    return f"{thing['kind']}/{thing['metadata']['name']}"


def _meets(pod: Pod, wanted: dict[str, str]) -> bool:
    return wanted.items() <= pod.labels.items()


def closed(release: Release) -> Iterator[str]:
    """Each pod is closed by a policy in both directions, and each policy meets a pod.

    But for those of another namespace: there they are for pods that others start too.
    """
    policies = list(_in_namespaces(release, "NetworkPolicy"))
    pods = list(release.pods())
    for namespace, policy in policies:
        chosen = policy["spec"]["podSelector"].get("matchLabels", {})
        if not namespace and not any(_meets(pod, chosen) for pod in pods if not pod.namespace):
            yield f"{_name(policy)} meets no pod"
    for pod in pods:
        own = (pod.labels.get("app.kubernetes.io/name", ""), pod.labels.get("app.kubernetes.io/component", ""))
        directions = {
            direction
            for namespace, policy in policies
            if namespace == pod.namespace and _meets(pod, policy["spec"]["podSelector"].get("matchLabels", {}))
            for direction in policy["spec"].get("policyTypes", [])
        }
        if directions != {"Ingress", "Egress"} and own not in NO_POLICY:
            yield f"{pod.owner} is closed only for {sorted(directions)}"


def names(release: Release) -> Iterator[str]:
    for kind, path in release.objects:
        name = path.rpartition("/")[2]
        # The label controller-revision-hash is the StatefulSet's name and eleven characters; a CronJob's Job adds as many.
        if len(name) > (52 if kind in ("StatefulSet", "CronJob") else 63):
            yield f"{kind}/{name} is {len(name)} characters long"


def hooks(release: Release) -> Iterator[str]:
    for (kind, name), thing in release.objects.items():
        hook = thing["metadata"].get("annotations", {}).get("helm.sh/hook")
        if hook and hook not in HOOKS_ALLOWED:
            yield f"{kind}/{name} is a hook: {hook}"


def checksums(release: Release) -> Iterator[str]:
    """A lasting pod starts anew when a ConfigMap or a Secret that it reads changes."""
    for pod in release.pods():
        if pod.kind in SCALED:
            for kind, name in sorted(set(pod.references())):
                if kind != "PersistentVolumeClaim" and f"checksum/{name}" not in pod.annotations:
                    yield f"{pod.owner} reads the {kind} {name} without an annotation checksum/{name}"


def references(release: Release) -> Iterator[str]:
    """What a pod needs is made by the release in the pod's namespace, or named in its values."""
    foreign = json.dumps(release.values).replace("{{ .Release.Name }}", release.name)
    for pod in release.pods():
        account = pod.spec.get("serviceAccountName", "default")
        for kind, name in {*pod.references(), ("ServiceAccount", account)}:
            if (
                (kind, place(pod.namespace, name)) not in release.objects
                and name != "default"
                and f'"{name}"' not in foreign
            ):
                yield f"{pod.owner} needs the {kind} {name}, which nobody makes"


def no_credential_outside_secrets(release: Release) -> Iterator[str]:
    others = {key: json.dumps(thing) for key, thing in release.objects.items() if key[0] != "Secret"}
    for (_, name), secret in release.objects.items():
        if secret["kind"] == "Secret":
            values = [base64.b64decode(value).decode() for value in secret.get("data", {}).values()]
            for value in (*values, *secret.get("stringData", {}).values()):
                for key, text in others.items():
                    if len(value) >= 12 and value in text:
                        yield f"{'/'.join(key)} shows a value of the Secret {name}"
                if len(value) >= 12 and value in release.notes:
                    yield f"NOTES.txt shows a value of the Secret {name}"


RELEASE_RULES: list[ReleaseRule] = [
    object_labels,
    selectors,
    closed,
    names,
    hooks,
    checksums,
    references,
    no_credential_outside_secrets,
]
