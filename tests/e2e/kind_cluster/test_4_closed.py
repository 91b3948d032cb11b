"""What is closed is closed, and what is open is open: network flows pod by pod, rights of the service accounts."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.kind_cluster.platform import JOBS, NAME, OFFSET, PLATFORM, Object, Platform, until

PROBE = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def look(target):
    host, port = target.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 3).close()
    except TimeoutError:
        return "dropped"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return str(error)
    return "open"

targets = json.load(sys.stdin)
with ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps(dict(zip(targets, pool.map(look, targets.values())))))
"""
LISTEN = "import socket, time; servers = [socket.create_server(('', port)) for port in (7078, 7079)]; time.sleep(3600)"

STORES = {"s3", "redis", "database"}
AIRFLOW = {"api-server", "scheduler logs", "triggerer logs"}
OPEN: dict[str, set[str]] = {
    # the jobs' namespace, by component
    "generate": {"s3"},
    "bronze": {"s3"},
    "features": {"s3"},
    "materialize": STORES,
    "verify": STORES,
    "card": STORES,
    "cleanup": {"kubernetes"},
    "a stranger among the jobs": set(),
    # the platform's namespace
    "api-server": {"s3", "database", "scheduler logs", "triggerer logs"},
    "scheduler": {"s3", "redis", "database", "kubernetes", "api-server"},
    "triggerer": {"s3", "database", "kubernetes", "api-server"},
    "dag-processor": {"database", "api-server"},
    "minio": set(),
    "redis": set(),
    "database": set(),
    "serve": {"redis"},
    "a stranger beside the platform": set(),
}
"""Who reaches what; nothing else passes, but DNS for those that ask anything."""
WITHOUT_DNS = {"minio", "redis", "database", "a stranger among the jobs", "a stranger beside the platform"}


def probe_pod(who: str, image: str) -> Object:
    """A pod that the policies take for the one it plays, and that no Service leads to: it is never ready."""
    stranger = who.startswith("a stranger")
    in_jobs = who in ("generate", "bronze", "features", "materialize", "verify", "card", "cleanup") or "among" in who
    chart, component = {
        "minio": ("minio", "server"),
        "redis": ("redis", "server"),
        "serve": ("serve", "server"),
        "cleanup": ("fti", "cleanup"),
        "card": ("fti", "card"),
    }.get(who, ("fti-job" if in_jobs else "airflow", who))
    labels = {"e2e": "probe"} | (
        {"app.kubernetes.io/name": "stranger", "app.kubernetes.io/component": "stranger"}
        if stranger
        else {
            "app.kubernetes.io/name": chart,
            "app.kubernetes.io/instance": "fti",
            "app.kubernetes.io/component": component,
        }
    )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name_of(who), "namespace": JOBS if in_jobs else PLATFORM, "labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "probe",
                    "image": image,
                    "command": ["python", "-c", LISTEN],
                    "readinessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 3600},
                    "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def name_of(who: str) -> str:
    return f"probe-{who.replace(' ', '-')}"


@pytest.fixture(scope="module")
def flows(platform: Platform, up: dict[str, Any], report: list[str]) -> dict[tuple[str, str], str]:
    """(from, to) → open, dropped or another answer; with the features over HTTP turned on."""
    platform.kind("up", "--serve", "--json")
    scheduler = platform.get("deployments", PLATFORM, "app.kubernetes.io/component=scheduler")[0]
    image = scheduler["spec"]["template"]["spec"]["containers"][0]["image"].replace("fti-airflow", "fti-generate")
    pods = [probe_pod(who, image) for who in OPEN]
    platform.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
    try:
        namespaces = {pod["metadata"]["name"]: pod["metadata"]["namespace"] for pod in pods}

        def addresses() -> dict[str, str] | None:
            found = [pod for space in (JOBS, PLATFORM) for pod in platform.get("pods", space, "e2e=probe")]
            if any(pod["status"]["phase"] != "Running" for pod in found) or len(found) < len(pods):
                return None
            return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in found}

        ips = until(addresses, 120, "the probes run")
        targets = targets_of(platform) | {f"{who} 7079": f"{ips[name_of(who)]}:7079" for who in ("bronze", "verify")}

        def ask(who: str) -> dict[tuple[str, str], str]:
            command = ("exec", "-i", "-n", namespaces[name_of(who)], name_of(who), "--", "python", "-c", PROBE)
            others = {target: address for target, address in targets.items() if target != f"{who} 7079"}
            answers = json.loads(platform.kubectl(*command, text=json.dumps(others)))
            return {(who, target): answer for target, answer in answers.items()}

        with ThreadPoolExecutor(4) as pool:
            result = {flow: answer for answers in pool.map(ask, OPEN) for flow, answer in answers.items()}
    finally:
        for space in (JOBS, PLATFORM):
            platform.kubectl("delete", "pod", "-n", space, "-l", "e2e=probe")
    passed = sum(answer in ("open", "refused") for answer in result.values())
    report.append(f"network flows probed: {passed} pass, {len(result) - passed} are dropped")
    return result


def targets_of(platform: Platform) -> dict[str, str]:
    """What to reach → address. By number: a pod that may ask nobody may not ask DNS either."""

    def service(name: str, namespace: str = PLATFORM) -> str:
        found = platform.kubectl("get", "service", "-n", namespace, name, "-o", "jsonpath={.spec.clusterIP}")
        return found if ":" not in found else f"[{found}]"

    def pod(component: str, chart: str = "airflow") -> str:
        labels = (f"app.kubernetes.io/component={component}", f"app.kubernetes.io/name={chart}", "e2e!=probe")
        return platform.get("pods", PLATFORM, *labels)[0]["status"]["podIP"]

    node = platform.get("nodes", PLATFORM)[0]["status"]["addresses"][0]["address"]
    return {
        "s3": f"{service('fti-minio')}:9000",
        "console": f"{service('fti-minio')}:9001",
        "redis": f"{service('fti-redis')}:6379",
        "database": f"{pod('database')}:5432",
        "api-server": f"{service('fti-airflow-api-server')}:8080",
        "scheduler logs": f"{pod('scheduler')}:8793",
        "scheduler health": f"{pod('scheduler')}:8974",
        "triggerer logs": f"{pod('triggerer')}:8794",
        "kubernetes": f"{service('kubernetes', 'default')}:443",
        "kubelet": f"{node}:10250",
        "dns": f"{service('kube-dns', 'kube-system')}:53",
        "features over HTTP": f"{service('fti-serve')}:8090",
    }


@pytest.mark.parametrize("who", OPEN)
def test_a_pod_reaches_what_it_needs_and_nothing_else(who: str, flows: dict[tuple[str, str], str]) -> None:
    answers = {target: answer for (source, target), answer in flows.items() if source == who}
    wanted = OPEN[who] | (set() if who in WITHOUT_DNS else {"dns"})
    assert {target for target, answer in answers.items() if answer == "open"} == wanted
    assert {answer for target, answer in answers.items() if target not in wanted} == {"dropped"}


def test_enough_flows_of_both_kinds_were_probed(flows: dict[tuple[str, str], str]) -> None:
    passed = sum(answer == "open" for answer in flows.values())
    assert passed >= 30
    assert len(flows) - passed >= 30


def test_what_is_dropped_inside_is_open_for_someone(flows: dict[tuple[str, str], str]) -> None:
    """So that it is the policies that drop it. For nobody inside are the kubelet, the console, the health port, and the
    features over HTTP but for pods with the label of their clients.
    """
    answered = {target for (_, target), answer in flows.items() if answer == "open"}
    assert answered >= {
        "s3",
        "redis",
        "database",
        "api-server",
        "scheduler logs",
        "triggerer logs",
        "kubernetes",
        "dns",
    }
    for port in (9001, 8090):
        with socket.create_connection(("localhost", port + OFFSET), 5):
            pass


ACCOUNTS = {
    "scheduler": f"{PLATFORM}:fti-airflow-scheduler",
    "triggerer": f"{PLATFORM}:fti-airflow-triggerer",
    "api-server": f"{PLATFORM}:fti-airflow-api-server",
    "jobs": f"{JOBS}:fti-jobs",
    "cleanup": f"{JOBS}:fti-cleanup",
}
RIGHTS = [
    *(("scheduler", verb, "pods", JOBS, True) for verb in ("create", "get", "list", "delete")),
    ("scheduler", "patch", "pods", JOBS, False),
    ("triggerer", "watch", "events", JOBS, False),
    ("scheduler", "get", "pods/log", JOBS, True),
    ("triggerer", "get", "pods", JOBS, True),
    ("triggerer", "get", "pods/log", JOBS, True),
    ("cleanup", "list", "pods", JOBS, True),
    ("cleanup", "delete", "pods", JOBS, True),
    *(("scheduler", verb, "pods", PLATFORM, False) for verb in ("create", "get", "list", "delete")),
    *(("scheduler", "get", what, space, False) for what in ("secrets", "configmaps") for space in (JOBS, PLATFORM)),
    ("scheduler", "create", "pods/exec", JOBS, False),
    ("scheduler", "create", "serviceaccounts/token", JOBS, False),
    ("scheduler", "create", "pods", "kube-system", False),
    ("scheduler", "list", "namespaces", "", False),
    ("triggerer", "create", "pods", JOBS, False),
    ("triggerer", "get", "secrets", JOBS, False),
    ("api-server", "get", "pods", JOBS, False),
    ("api-server", "get", "secrets", PLATFORM, False),
    ("jobs", "get", "pods", JOBS, False),
    ("jobs", "get", "secrets", JOBS, False),
    ("cleanup", "create", "pods", JOBS, False),
    ("cleanup", "delete", "pods", PLATFORM, False),
]


@pytest.mark.parametrize(("who", "verb", "what", "where", "may"), RIGHTS)
def test_rights(platform: Platform, up: dict[str, Any], who: str, verb: str, what: str, where: str, may: bool) -> None:
    space = ("-n", where) if where else ("--all-namespaces",)
    resource, _, subresource = what.partition("/")
    part = (f"--subresource={subresource}",) if subresource else ()
    account = f"--as=system:serviceaccount:{ACCOUNTS[who]}"
    said = platform.kubectl("auth", "can-i", verb, resource, *part, *space, account, check=False)
    assert said.strip().splitlines()[-1] == ("yes" if may else "no")


def test_a_job_pod_has_no_token(platform: Platform, up: dict[str, Any]) -> None:
    for pod in platform.get("pods", JOBS, "app.kubernetes.io/name=fti-job"):
        mounts = [mount["mountPath"] for mount in pod["spec"]["containers"][0].get("volumeMounts", [])]
        assert "/var/run/secrets/kubernetes.io/serviceaccount" not in mounts


def test_node_is_this_clusters(platform: Platform, up: dict[str, Any]) -> None:
    assert [node["metadata"]["name"] for node in platform.get("nodes", PLATFORM)] == [f"{NAME}-control-plane"]
