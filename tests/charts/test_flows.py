"""Who reaches whom on the whole platform: one table, and what the policies of all charts together make of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
import yaml

from tests.charts.flows import Network, Place, Port, selects
from tests.charts.harness import Release, parse
from tests.charts.umbrella import fti, installed, jobs_namespace, network, places, started

# The table. Source → targets with ports: all that passes, and nothing else does.

DNS = "dns:53 dns:53/udp"
API = "kubernetes:443 kubernetes:6443"
ANY_API = f"{API} elsewhere:443 elsewhere:6443 internet:443 internet:6443 node:443 node:6443 dns:443 dns:6443"
"""Where no value says at which address the Kubernetes API is."""
FLOWS = {
    # Airflow
    "airflow/api-server": f"airflow/database:5432 airflow/scheduler:8793 airflow/triggerer:8794 minio:9000 {DNS}",
    "airflow/scheduler": f"airflow/api-server:8080 airflow/database:5432 minio:9000 redis:6379 {ANY_API} {DNS}",
    "airflow/dag-processor": f"airflow/api-server:8080 airflow/database:5432 {DNS}",
    "airflow/triggerer": f"airflow/api-server:8080 airflow/database:5432 minio:9000 {ANY_API} {DNS}",
    "airflow/migrations": f"airflow/database:5432 {DNS}",
    # The jobs
    "generate": f"minio:9000 {DNS}",
    "bronze": f"minio:9000 {DNS}",
    "features": f"minio:9000 {DNS}",
    "materialize": f"minio:9000 redis:6379 airflow/database:5432 {DNS}",
    "verify": f"minio:9000 redis:6379 airflow/database:5432 {DNS}",
    # What looks after them
    "minio/buckets": f"minio:9000 {DNS}",
    "fti/cleanup": f"{ANY_API} {DNS}",
    # `helm test`
    "airflow/test": f"airflow/api-server:8080 {DNS}",
    "fti/test": f"airflow/api-server:8080 {DNS}",
    "fti/card": f"minio:9000 redis:6379 airflow/database:5432 {DNS}",
    "minio/test": f"minio:9000 {DNS}",
    "redis/test": f"redis:6379 {DNS}",
}
SPARK = {
    "bronze": f"minio:9000 executor:7079 {ANY_API} {DNS}",
    "features": f"minio:9000 executor:7079 {ANY_API} {DNS}",
    "executor": f"minio:9000 bronze:7078 bronze:7079 features:7078 features:7079 executor:7079 {DNS}",
}
"""What changes in it where bronze and features drive executors."""
KIND_API = f"{API} node:443 node:6443"
"""The Service's address, and Docker's networks with the node in them."""
SERVE = {"serve": f"redis:6379 {DNS}", "serve/test": f"serve:8090 redis:6379 {DNS}"}
"""What comes to it with the features over HTTP."""
FROM_OUTSIDE = "airflow/api-server:8080 minio:9000 minio:9001 redis:6379"
"""Where the node's ports lead, for callers that are no pods."""
KIND = {source: targets.replace(ANY_API, KIND_API) for source, targets in FLOWS.items()} | dict.fromkeys(
    ("internet", "node", "kubernetes"), FROM_OUTSIDE
)
KIND_SERVE = KIND | SERVE | dict.fromkeys(("internet", "node", "kubernetes"), f"{FROM_OUTSIDE} serve:8090")


OUTSIDE = [
    Place("kubernetes", "10.96.0.1"),
    Place("node", "172.18.0.2"),
    Place("internet", "203.0.113.7"),
    Place("dns", "10.244.0.2", "kube-system", {"k8s-app": "kube-dns"}, {"dns": 53}),
    Place("elsewhere", "10.244.0.3", "elsewhere", {"app.kubernetes.io/component": "materialize"}),
]


def strangers(release: str, jobs: str) -> list[Place]:
    """Pods of nobody's in the two namespaces, and those that wear the others' labels where these do not count."""
    clients = {f"fti-{name}-client": "true" for name in ("airflow", "minio", "redis", "serve")}
    job = {"app.kubernetes.io/name": "fti-job", "app.kubernetes.io/component": "materialize"}
    scheduler = {"app.kubernetes.io/name": "airflow", "app.kubernetes.io/instance": "fti"}
    scheduler["app.kubernetes.io/component"] = "scheduler"
    return [
        Place("stranger", "10.244.1.1", release, {"app": "stranger"}),
        Place("client", "10.244.1.2", release, clients),
        Place("job in the wrong place", "10.244.1.3", release, job),
        Place("stranger among jobs", "10.244.1.4", jobs, {"app": "stranger"}),
        Place("client among jobs", "10.244.1.5", jobs, clients | {"app.kubernetes.io/component": "other"}),
        Place("Airflow among jobs", "10.244.1.6", jobs, scheduler),
        Place("elsewhere", "10.244.1.7", "elsewhere", scheduler),
        Place("elsewhere", "10.244.1.8", "elsewhere", clients),
    ]


def passing(values: str) -> dict[str, set[str]]:
    release = installed(values)
    everybody = [
        *places(release, started(values).values()),
        *strangers(release.namespace, jobs_namespace(release)),
        *OUTSIDE,
    ]
    net = network(release)
    named = {Port(number) for place in everybody for number in place.ports.values()}
    found: dict[str, set[str]] = {}
    for source, target in net.flows(everybody, named | net.ports()):
        found.setdefault(source, set()).add(target)
    return found


@pytest.mark.parametrize(
    ("values", "table"),
    [("default", FLOWS), ("kind", KIND), ("serve", KIND_SERVE), ("spark", FLOWS | SPARK)],
    ids=["default", "kind", "serve", "spark"],
)
def test_all_that_passes_is_in_the_table(values: str, table: Mapping[str, str]) -> None:
    found = passing(values)
    for source in {*found, *table}:
        assert found.get(source, set()) == set(table.get(source, "").split()), source


@pytest.mark.parametrize(
    ("values", "table"), [("spark", FLOWS | SPARK), ("serve", FLOWS | SERVE)], ids=["spark", "serve"]
)
def test_the_table_has_all_pods_and_no_other(values: str, table: Mapping[str, str]) -> None:
    known = {place.name for place in places(installed(values), started(values).values())}
    assert known == {*table, "airflow/database", "minio", "redis"}


def test_the_namespaces_of_clients_reach_the_features_and_nothing_else() -> None:
    release = fti(components={"serve": True}, serve={"networkPolicy": {"clientNamespaces": ["elsewhere"]}})
    net, ports = network(release), [Port(1), Port(5432), Port(6379), Port(8080), Port(8090), Port(9000)]
    (client,) = (place for place in OUTSIDE if place.namespace == "elsewhere")
    found = [
        (target.name, port.number) for target in places(release) for port in ports if net.passes(client, target, port)
    ]
    assert found == [("serve", 8090)]


def test_nothing_is_closed_where_the_policies_are_off() -> None:
    """So the evaluator does see what passes."""
    off = {"networkPolicy": {"enabled": False, "ingressFrom": []}}
    airflow = {"networkPolicy": {"enabled": False, "databaseFrom": [], "s3": {"to": []}, "redis": {"to": []}}}
    release = fti(networkPolicy={"enabled": False}, airflow=airflow, minio=off, redis=off)
    found = list(places(release))
    net = network(release)
    assert not net.policies
    assert all(net.passes(source, target, Port(1)) for source in found for target in found)


@pytest.mark.parametrize(
    ("one", "two"),
    [(("one", "data"), ("two", "data")), (("fti", "data"), ("fti", "other"))],
    ids=["one namespace", "two namespaces"],
)
def test_nothing_passes_between_two_releases(one: tuple[str, str], two: tuple[str, str]) -> None:
    releases = [fti(*one), fti(*two)]
    first, second = (list(_whole(release)) for release in releases)
    net = network(*releases)
    assert not {place.name for place in first} & {place.name for place in second}
    within = {place.name: number for number, group in enumerate((first, second)) for place in group}
    found = set(net.flows([*first, *second], net.ports()))
    assert {within[source] for source, _ in found} == {0, 1}
    assert not [flow for flow in found if within[flow[0]] != within[flow[1].rpartition(":")[0]]]
    assert {flow for flow in found if within[flow[0]] == 0} == set(network(releases[0]).flows(first, net.ports()))


def _whole(release: Release) -> Iterator[Place]:
    """A release's pods and those of its jobs, by names that no other release has."""
    jobs = [
        replace(
            pod,
            namespace=jobs_namespace(release),
            labels=pod.labels | {"app.kubernetes.io/instance": release.name},
        )
        for pod in started("default").values()
    ]
    for place in places(release, jobs):
        yield replace(place, name=f"{release.namespace}/{release.name}/{place.name}")


# The evaluator

WORLD = [
    Place("a", "10.0.0.1", "one", {"app": "a", "tier": "front"}),
    Place("b", "10.0.0.2", "one", {"app": "b"}, {"http": 80}),
    Place("b", "10.0.0.3", "two", {"app": "b"}, {"http": 81}),
    Place("address", "192.168.0.9"),
]
A, B, FAR, ADDRESS = WORLD
NAMESPACES = {"one": {"kubernetes.io/metadata.name": "one"}, "two": {"kubernetes.io/metadata.name": "two", "x": "y"}}
TO_B = "{podSelector: {matchLabels: {app: b}}}"


@pytest.mark.parametrize(
    ("spec", "source", "target", "passes"),
    [
        # Who is chosen, and in which direction
        ("{podSelector: {matchLabels: {app: b}}, policyTypes: [Ingress]}", A, B, False),
        ("{podSelector: {matchLabels: {app: b}}, policyTypes: [Ingress]}", B, A, True),
        ("{podSelector: {matchLabels: {app: b}}, policyTypes: [Egress]}", A, B, True),
        ("{podSelector: {}, policyTypes: [Egress]}", A, B, False),
        ("{podSelector: {}, policyTypes: [Ingress]}", A, FAR, True),  # a policy is for its own namespace
        ("{podSelector: {matchExpressions: [{key: tier, operator: Exists}]}, policyTypes: [Egress]}", A, B, False),
        ("{podSelector: {matchExpressions: [{key: tier, operator: Exists}]}, policyTypes: [Egress]}", B, A, True),
        # Peers
        ("{podSelector: {}, policyTypes: [Egress], egress: [{}]}", A, ADDRESS, True),
        (f"{{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{TO_B}]}}]}}", A, B, True),
        (f"{{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{TO_B}]}}]}}", A, FAR, False),
        (f"{{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{TO_B}]}}]}}", A, ADDRESS, False),
        ("{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}", A, FAR, True),
        ("{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}", A, ADDRESS, False),
        (
            "{podSelector: {}, policyTypes: [Egress], egress: "
            "[{to: [{namespaceSelector: {matchLabels: {x: y}}, podSelector: {matchLabels: {app: a}}}]}]}",
            A,
            FAR,
            False,  # both must hold
        ),
        (
            "{podSelector: {}, policyTypes: [Egress], egress: "
            "[{to: [{namespaceSelector: {matchLabels: {x: y}}}, {podSelector: {matchLabels: {app: a}}}]}]}",
            A,
            FAR,
            True,  # either
        ),
        (
            "{podSelector: {}, policyTypes: [Ingress], ingress: "
            "[{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]}",
            ADDRESS,
            B,
            True,
        ),
        (
            "{podSelector: {}, policyTypes: [Ingress], ingress: "
            "[{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]}",
            FAR,
            B,
            False,
        ),
        ("{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}", FAR, B, True),
        # Ports
        ("{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 80}]}]}", A, B, True),
        ("{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 79}]}]}", A, B, False),
        ("{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 79, endPort: 90}]}]}", A, B, True),
        ("{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{protocol: UDP, port: 80}]}]}", A, B, False),
        ("{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{protocol: TCP}]}]}", A, B, True),
        ("{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}", A, B, True),
        ("{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}", A, FAR, False),  # 81 there
        ("{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}", A, ADDRESS, False),
    ],
)
def test_the_semantics_of_a_policy(spec: str, source: Place, target: Place, passes: bool) -> None:
    (policy,) = parse(f"{{spec: {spec}}}")
    assert Network([("one", policy)], NAMESPACES).passes(source, target, Port(80)) is passes


def test_policies_add_up_and_both_ends_must_agree() -> None:
    deny, out, into = (
        policy
        for policy in parse(
            """
{spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}
---
{spec: {podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [{ports: [{port: 80}]}]}}
---
{spec: {podSelector: {matchLabels: {app: b}}, policyTypes: [Ingress], ingress: [{ports: [{port: 80}]}]}}
"""
        )
    )
    for policies, passes in (([deny], False), ([deny, out], False), ([deny, into], False), ([deny, out, into], True)):
        net = Network([("one", policy) for policy in policies], NAMESPACES)
        assert net.passes(A, B, Port(80)) is passes
        assert not net.passes(A, B, Port(81))
        assert not net.passes(B, A, Port(80))


@pytest.mark.parametrize(
    ("selector", "meets"),
    [
        ("{}", True),
        ("{matchLabels: {app: a}}", True),
        ("{matchLabels: {app: a, tier: back}}", False),
        ("{matchExpressions: [{key: app, operator: In, values: [a, b]}]}", True),
        ("{matchExpressions: [{key: app, operator: In, values: [b]}]}", False),
        ("{matchExpressions: [{key: other, operator: NotIn, values: [b]}]}", True),
        ("{matchExpressions: [{key: app, operator: NotIn, values: [a]}]}", False),
        ("{matchExpressions: [{key: app, operator: DoesNotExist}]}", False),
        ("{matchLabels: {app: a}, matchExpressions: [{key: other, operator: Exists}]}", False),
    ],
)
def test_a_selector_meets_labels(selector: str, meets: bool) -> None:
    assert selects(yaml.safe_load(selector), A.labels) is meets
