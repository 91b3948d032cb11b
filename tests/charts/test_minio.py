"""The minio chart's own behaviour."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from tests.charts.harness import CHARTS, Release, default_values, merged, render

ROOT = CHARTS.parent
COMPOSE = yaml.safe_load((ROOT / "compose" / "docker-compose.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "images" / "minio" / "Dockerfile").read_text(encoding="utf-8")


def minio(**values: Any) -> Release:
    return render("minio", merged(default_values("minio"), values))


def job(**values: Any) -> str:
    return minio(**values).one("Job")["metadata"]["name"]


def test_agrees_with_compose() -> None:
    service, bucket, release = COMPOSE["services"]["minio"], COMPOSE["services"]["minio-mc"], minio()
    (server,) = release.pod("server").containers
    (maker,) = release.pod("buckets").containers
    for container, other in ((server, service), (maker, bucket)):
        image = re.sub(r"\$\{FTI_IMAGE_PREFIX:-(.*?)\}", r"\1", other["image"])
        assert container["image"].rpartition(":")[0] == image.partition(":")[0]
        assert container["resources"]["limits"]["memory"] == other["mem_limit"].replace("m", "Mi")
    assert maker["args"] == bucket["command"]
    ports = [port["port"] for port in release.objects["Service", "fti-minio"]["spec"]["ports"]]
    assert [f"127.0.0.1:{port}:{port}" for port in ports] == service["ports"]
    assert {"name": "data", "mountPath": "/data"} in server["volumeMounts"]
    assert service["volumes"] == ["minio-data:/data"]


def test_agrees_with_its_image() -> None:
    chart = yaml.safe_load((CHARTS / "minio" / "Chart.yaml").read_text(encoding="utf-8"))
    server = minio().pod("server")
    assert f"ARG MINIO_VERSION={chart['appVersion']}\n" in DOCKERFILE
    assert f"CMD {json.dumps(server.containers[0]['args'])}" in DOCKERFILE
    assert (
        f"USER {server.spec['securityContext']['runAsUser']}:{server.spec['securityContext']['runAsGroup']}\n"
        in DOCKERFILE
    )
    (home,) = re.findall(r"HOME=(\S+)", DOCKERFILE)
    assert home in {mount["mountPath"] for mount in server.containers[0]["volumeMounts"]}


def test_the_bucket_job_has_a_new_name_whenever_its_pod_is_another() -> None:
    assert job() == job(
        resources={"requests": {"cpu": "1"}}, auth={"rotation": 2}, bucketJob={"ttlSecondsAfterFinished": 99}
    )
    others = [
        job(buckets=["a-bucket"]),
        job(nodeSelector={"a": "b"}),
        job(bucketJob={"image": {"tag": "2"}}),
        job(service={"port": 80}),
    ]
    assert len({job(), *others}) == 5


def test_the_bucket_job_tries_on_until_minio_answers_but_not_after_a_wrong_call() -> None:
    spec = minio().one("Job")["spec"]
    assert spec["backoffLimit"] >= 5
    assert spec["podFailurePolicy"]["rules"][0] == {
        "action": "FailJob",
        "onExitCodes": {
            "containerName": spec["template"]["spec"]["containers"][0]["name"],
            "operator": "In",
            "values": [2],
        },
    }
    assert "wrongCall = 2" in (ROOT / "images" / "bucket" / "main.go").read_text(encoding="utf-8")


def test_without_buckets_no_job_and_no_policy_for_it() -> None:
    release = minio(buckets=[])
    assert not release.kind("Job")
    assert ("NetworkPolicy", "fti-minio-buckets") not in release.objects
    assert [c["name"] for c in release.pod("test").containers] == ["ready"]


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({"global": {"imageTag": "abc"}}, "fti-minio:abc"),
        (
            {"global": {"imagePrefix": "cards/", "imageRegistry": "registry.example.com/"}},
            "registry.example.com/cards/minio:0a1b2c3d4e5f",
        ),
        ({"image": {"tag": "own@sha256:" + "0" * 64}}, "fti-minio:own@sha256:" + "0" * 64),
    ],
)
def test_one_tag_and_one_prefix_for_the_projects_images(values: dict[str, Any], image: str) -> None:
    assert minio(**values).pod("server").containers[0]["image"] == image


def test_a_change_of_the_login_restarts_the_server() -> None:
    own = [
        minio(auth={"existingSecret": "mine", "rotation": r}).pod("server").annotations["checksum/mine"]
        for r in (1, 1, 2)
    ]
    assert own[0] == own[1] != own[2]


def test_clients_reach_the_store_and_callers_from_outside_the_console_too() -> None:
    peer, caller = {"namespaceSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}
    release = minio(networkPolicy={"ingressFrom": [peer], "externalFrom": [caller]})
    policy = release.objects["NetworkPolicy", "fti-minio"]["spec"]
    label = {"podSelector": {"matchLabels": {"fti-minio-client": "true"}}}
    opened = [(rule["from"], [port["port"] for port in rule["ports"]]) for rule in policy["ingress"]]
    assert opened == [([label, peer], ["s3"]), ([caller], ["s3", "console"])]
    assert policy["egress"] == []
    for component in ("buckets", "test"):
        assert minio().pod(component).labels["fti-minio-client"] == "true"


def test_without_the_console_nothing_leads_to_it() -> None:
    release = minio(console={"enabled": False}, networkPolicy={"externalFrom": [{"podSelector": {}}]})
    (server,) = release.pod("server").containers
    assert {"name": "MINIO_BROWSER", "value": "off"} in server["env"]
    assert "9001" not in json.dumps([thing for key, thing in release.objects.items() if key[0] != "StatefulSet"])
    assert "console" not in release.notes


def test_the_notes_name_what_is_needed() -> None:
    notes = minio(service={"nodePort": 30900}).notes
    for words in (
        "fti-minio.data",
        "the buckets that are not there yet: lake.",
        '{{ index .data "root-user"',
        '{{ index .data "root-password"',
        "port 30900",
    ):
        assert words in notes
