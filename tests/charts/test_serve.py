"""The serve chart's own behaviour, and the script with which `helm test` asks the service."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import yaml
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from jobs.serve.job import LEAVING_SECONDS
from tests.charts.harness import CHARTS, Object, Release, default_values, merged, refusal, render
from tests.charts.test_fti_scripts import Answer
from tests.charts.test_fti_scripts import serve as server
from tests.charts.umbrella import VALUES, installed

ROOT = CHARTS.parent
COMPOSE = yaml.safe_load((ROOT / "compose" / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["serve"]
DOCKERFILE = (ROOT / "images" / "serve" / "Dockerfile").read_text(encoding="utf-8")
HALF = {"requests": {"cpu": "500m"}}
SCALED = {"autoscaling": {"enabled": True, "minReplicas": 2, "maxReplicas": 5}, "resources": HALF}


def serve(**values: Any) -> Release:
    return render("serve", merged(default_values("serve"), values))


def container(release: Release) -> dict[str, Any]:
    (found,) = release.pod("server").containers
    return found


def environment(release: Release) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container(release)["env"]}


def test_agrees_with_compose_and_with_its_image() -> None:
    release = serve()
    (served,) = release.one("Service")["spec"]["ports"]
    (port,) = container(release)["ports"]
    assert COMPOSE["ports"] == [f"127.0.0.1:{served['port']}:{port['containerPort']}"]
    assert f"EXPOSE {port['containerPort']}\n" in DOCKERFILE
    assert COMPOSE["environment"].keys() <= environment(release).keys()
    for name in ("SERVE_HOST", "SERVE_PORT"):
        assert environment(release)[name] == str(COMPOSE["environment"][name])
    assert (
        container(release)["image"].partition(":")[0]
        == re.sub(r"\$\{\w+:-(.*?)\}", r"\1", COMPOSE["image"]).partition(":")[0]
    )
    assert container(release)["resources"]["limits"]["memory"] == COMPOSE["mem_limit"].replace("m", "Mi")
    assert container(release)["readinessProbe"]["httpGet"]["path"] in COMPOSE["healthcheck"]["test"][-1]
    security = release.pod("server").spec["securityContext"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}\n" in DOCKERFILE


def test_it_knows_redis_and_neither_lake_nor_registry() -> None:
    for release in (serve(), installed("serve"), installed("full")):
        (found,) = (
            pod
            for pod in release.pods()
            if pod.labels["app.kubernetes.io/name"] == "serve" and pod.kind == "Deployment"
        )
        (only,) = found.containers
        assert {variable["name"] for variable in only["env"]} == {
            "SERVE_HOST", "SERVE_PORT", "SERVE_DEADLINE_MS", "SERVE_BATCH_LIMIT", "LOG_FORMAT", "REDIS_URL",
        }  # fmt: skip
        assert "envFrom" not in only


def test_alive_is_without_redis_and_ready_is_with_it() -> None:
    """A restart would mend no Redis; and what served before goes on for a while, with a 503 that says why."""
    found = container(serve())
    assert {name: found[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")} == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    assert found["readinessProbe"]["periodSeconds"] * found["readinessProbe"]["failureThreshold"] >= 30


def test_one_pod_has_no_budget_and_several_spread_and_go_one_by_one() -> None:
    alone = serve()
    assert not alone.kind("PodDisruptionBudget", "HorizontalPodAutoscaler")
    assert "topologySpreadConstraints" not in alone.pod("server").spec
    for release in (serve(replicas=2), serve(**SCALED)):
        pod = release.pod("server")
        assert release.one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
        assert release.one("PodDisruptionBudget")["spec"]["selector"] == release.one("Deployment")["spec"]["selector"]
        spread = pod.spec["topologySpreadConstraints"]
        assert {each["topologyKey"] for each in spread} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
        assert {each["whenUnsatisfiable"] for each in spread} == {"ScheduleAnyway"}  # a single node takes all
        for each in spread:
            assert each["labelSelector"]["matchLabels"].items() <= pod.labels.items()
            assert each["labelSelector"] == release.one("Deployment")["spec"]["selector"]
    mine = [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]
    assert serve(replicas=2, topologySpreadConstraints=mine).pod("server").spec["topologySpreadConstraints"] == mine


def test_the_load_says_how_many_pods_there_are_where_that_is_wanted() -> None:
    release = serve(**SCALED)
    scaler = release.one("HorizontalPodAutoscaler")["spec"]
    deployment = release.one("Deployment")
    assert "replicas" not in deployment["spec"]  # each upgrade would set it back
    assert scaler["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 5)
    alone = serve(autoscaling={"enabled": True, "minReplicas": 1}, resources=HALF)
    assert not alone.kind("PodDisruptionBudget")
    assert "without a metrics-server" in release.notes
    assert "metrics-server" not in serve().notes


@pytest.mark.parametrize(("cpu", "percent"), [("250m", 399), ("0.25", 1), (1, 99), ("1.5", 66), (2, 49)])
def test_the_load_aimed_at_is_one_that_a_process_reaches(cpu: str | int, percent: int) -> None:
    """ci/invalid.yaml has what is refused beyond."""
    release = serve(autoscaling={"enabled": True, "cpuPercent": percent}, resources={"requests": {"cpu": cpu}})
    (metric,) = release.one("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["resource"]["target"]["averageUtilization"] == percent


def test_no_request_is_lost_when_a_pod_goes() -> None:
    release = serve(shutdown={"drainSeconds": 7, "graceSeconds": 40})
    assert serve(shutdown={"drainSeconds": 7, "graceSeconds": 7 + LEAVING_SECONDS + 2})
    short = {"drainSeconds": 7, "graceSeconds": 7 + LEAVING_SECONDS + 1}
    assert "requests would be cut off" in refusal("serve", merged(default_values("serve"), {"shutdown": short}))
    assert container(release)["lifecycle"] == {"preStop": {"sleep": {"seconds": 7}}}
    assert release.pod("server").spec["terminationGracePeriodSeconds"] == 40
    assert release.one("Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_prometheus_finds_the_port_that_serves() -> None:
    def scraping(**values: Any) -> dict[str, str]:
        annotations = serve(**values).pod("server").annotations
        return {key.partition("/")[2]: value for key, value in annotations.items() if key.startswith("prometheus.io/")}

    assert scraping() == {
        "scrape": "true",
        "port": str(container(serve())["ports"][0]["containerPort"]),
        "path": "/metrics",
    }
    assert scraping(metrics={"scrape": False}) == {}
    assert scraping(podAnnotations={"prometheus.io/scrape": "false"})["scrape"] == "false"


def test_only_clients_and_who_is_named_get_in_and_redis_alone_is_asked() -> None:
    label = {"podSelector": {"matchLabels": {"fti-serve-client": "true"}}}
    peer, caller = {"podSelector": {"matchLabels": {"app": "caller"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}
    named = {
        "namespaceSelector": {
            "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["one", "two"]}]
        }
    }
    lists = {"clientNamespaces": ["one", "two"], "ingressFrom": [peer], "externalFrom": [caller]}
    for release, peers in ((serve(), [label]), (serve(networkPolicy=lists), [label, named, peer, caller])):
        policy = release.objects["NetworkPolicy", "fti-serve"]["spec"]
        assert policy["ingress"] == [{"from": peers, "ports": [{"protocol": "TCP", "port": "http"}]}]
        ports = [port["port"] for rule in policy["egress"] for port in rule["ports"]]
        assert ports == [6379, 53, 53]
    assert release.pod("test").labels["fti-serve-client"] == "true"


def test_the_pods_wear_the_label_that_redis_asks_of_its_clients() -> None:
    alone = render("redis", name="redis").objects["NetworkPolicy", "redis"]["spec"]["ingress"][0]["from"][0]
    label = alone["podSelector"]["matchLabels"]
    release = serve(redis={"podLabels": label})
    for component in ("server", "test"):
        assert label.items() <= release.pod(component).labels.items()


def test_a_changed_secret_restarts_the_pods_with_the_next_upgrade() -> None:
    def checksum(url: str, rotation: int = 1) -> str:
        mine = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "online-store"}, "data": {"url": url}}
        values = merged(default_values("serve"), {"redis": {"rotation": rotation}})
        return render("serve", values, over=[mine]).pod("server").annotations["checksum/online-store"]

    assert checksum("b25l") == checksum("b25l") != checksum("dHdv")
    assert checksum("b25l") != checksum("b25l", 2)


def test_its_image_comes_to_a_cluster_with_it_alone() -> None:
    """`make kind-up` loads what Helm renders."""

    def images(values: str) -> set[str]:
        return {container["image"] for pod in installed(values).pods() for container in pod.containers}

    assert {image.partition(":")[0] for image in images("serve") - images("kind")} == {"fti-serve"}


def test_turned_on_and_off_it_changes_nothing_else() -> None:
    off = VALUES["kind"]
    on = merged(off, {"components": {"serve": True}})
    first = render("fti", off, over=[])
    second = render("fti", on, over=first.installed())
    third = render("fti", off, over=second.installed())
    assert first.objects == third.objects == {key: second.objects[key] for key in first.objects}
    assert {name.rpartition("-test")[0] or name for kind, name in second.objects.keys() - first.objects.keys()} == {
        "fti-serve"
    }


def test_on_eks_one_value_turns_it_on() -> None:
    profile = yaml.safe_load((CHARTS / "fti" / "values-eks.yaml").read_text(encoding="utf-8"))
    values = merged(default_values("fti"), profile, {"components": {"serve": True}})
    release = render("fti", values)
    for kind in ("Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"):
        assert (kind, "fti-serve") in release.objects
    (address,) = (v for c in release.pod("server").containers for v in c["env"] if v["name"] == "REDIS_URL")
    assert address["valueFrom"]["secretKeyRef"] == {"name": profile["airflow"]["redis"]["existingSecret"], "key": "url"}


def test_the_notes_name_what_is_needed() -> None:
    notes = render("serve", default_values("serve"), name="mine", namespace="stores").notes
    for words in (
        "http://mine-serve.stores:8090",
        "port-forward -n stores service/mine-serve 8090:8090",
        "mine-serve-client",
    ):
        assert words in notes
    assert "port 30890 of a node" in serve(service={"nodePort": 30890}).notes


# card.py


CARD = "c0123456789abcdef"


@pytest.fixture
def store(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def loaded(client: redis.Redis, join_key: str, value: Value, project: bytes = b"fti") -> None:
    """A key as stock Feast writes it."""
    key = serialize_entity_key(
        EntityKey(join_keys=[join_key], entity_values=[value]), entity_key_serialization_version=3
    )
    client.hset(key + project, "x", "y")


def asked(redis_url: str, base: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = CHARTS / "serve" / "files" / "card.py"
    environ = {**os.environ, "REDIS_URL": redis_url}
    command = [sys.executable, script, base, *arguments]
    return subprocess.run(command, cwd=CHARTS.parent, env=environ, capture_output=True, text=True)


class Features:
    """The service, as far as the script asks it."""

    def __init__(self, down: bool = False) -> None:
        self.down = down
        self.asked: list[tuple[str, str, Object]] = []

    def answer(self, method: str, path: str, body: Object, _: str) -> Answer:
        self.asked.append((method, path, body))
        if self.down and path == "/readyz":
            return 503, {"detail": "Redis does not answer"}
        cards = body.get("cards", [])
        column = {
            "values": [7 for _ in cards],
            "statuses": ["NOT_FOUND" if c == "unknown" else "PRESENT" for c in cards],
        }
        return 200, {"cards": cards, "features": {"cnt_1d": column, "cnt_7d": column}}


def test_the_test_asks_for_a_card_that_redis_holds(store: redis.Redis, redis_url: str) -> None:
    loaded(store, "merchant_id", Value(string_val="m1"))
    loaded(store, "card_id", Value(string_val="of-another"), b"another-fti")
    loaded(store, "card_id", Value(string_val=CARD))
    service = Features()
    with server(service.answer) as base:
        done = asked(redis_url, base)
        assert done.returncode == 0, done.stderr
        assert f"has the features of {CARD}" in done.stdout
        assert "cnt_1d" in done.stdout
        assert asked(redis_url, base, "another").returncode == 0
    assert [path for _, path, _ in service.asked[:4]] == ["/healthz", "/readyz", "/metrics", "/features"]
    assert [body for method, _, body in service.asked if method == "POST"] == [
        {"cards": [CARD]},
        {"cards": ["another"]},
    ]


def test_the_test_fails_for_a_card_that_the_service_does_not_know(redis_url: str) -> None:
    with server(Features().answer) as base:
        done = asked(redis_url, base, "unknown")
    assert done.returncode == 1
    assert "knows no card unknown" in done.stderr


def test_the_test_is_content_with_a_ready_service_where_no_card_is_loaded(store: redis.Redis, redis_url: str) -> None:
    service = Features()
    with server(service.answer) as base:
        done = asked(redis_url, base)
    assert done.returncode == 0, done.stderr
    assert "No card is loaded yet" in done.stdout
    assert {method for method, _, _ in service.asked} == {"GET"}


def test_the_test_says_so_where_it_cannot_ask_redis() -> None:
    with server(Features().answer) as base:
        done = asked("redis://127.0.0.1:9", base)
    assert done.returncode == 1
    assert "cannot look for a card in Redis" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_test_says_so_where_an_answer_breaks_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cut = threading.Thread(target=lambda: listener.accept()[0].close())
        cut.start()
        done = asked("redis://127.0.0.1:9", f"http://127.0.0.1:{listener.getsockname()[1]}")
        cut.join()
    assert done.returncode == 1
    assert "/healthz does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_test_fails_with_what_the_service_says(redis_url: str) -> None:
    with server(Features(down=True).answer) as base:
        done = asked(redis_url, base)
    assert done.returncode == 1
    assert done.stderr == f'{base}/readyz answered 503: {{"detail": "Redis does not answer"}}\n'
    done = asked(redis_url, "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "does not answer" in done.stderr
