"""The airflow chart's own behaviour."""

from __future__ import annotations

import ast
import base64
import importlib.metadata
import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.charts.harness import CHARTS, SCALED, Case, Pod, Release, default_values, merged, render

ROOT = CHARTS.parent
COMPOSE = yaml.safe_load((ROOT / "compose" / "docker-compose.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "images" / "airflow" / "Dockerfile").read_text(encoding="utf-8")
_SOURCE = importlib.metadata.distribution("apache-airflow-core").locate_file("airflow/utils/db.py")
REVISION_HEADS: dict[str, str] = next(
    ast.literal_eval(node.value)
    for node in ast.parse(Path(str(_SOURCE)).read_text(encoding="utf-8")).body
    if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_REVISION_HEADS_MAP"
)
"""Airflow's releases and their Alembic heads, read from its source: an import would set Airflow up in this process."""
PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")
WITH_TOKEN = {"scheduler", "triggerer"}
FULL = Case("airflow", "full", CHARTS / "airflow" / "ci" / "full-values.yaml").values
EXTERNAL = Case("airflow", "external", CHARTS / "airflow" / "ci" / "external-values.yaml").values


def airflow(**values: Any) -> Release:
    return render("airflow", merged(default_values("airflow"), values))


def config(release: Release) -> dict[str, str]:
    (found,) = (o["data"] for (kind, name), o in release.objects.items() if name.endswith("-config"))
    return found


def component(pod: Pod) -> str:
    return pod.labels["app.kubernetes.io/component"]


def job(**values: Any) -> str:
    return airflow(**values).one("Job")["metadata"]["name"]


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = CHARTS / "airflow" / "files" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"chart_{name}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, f"chart_{name}", module)
    spec.loader.exec_module(module)
    return module


# Rights


def test_the_roles_hold_just_the_calls_that_the_operator_makes() -> None:
    release = airflow(jobs={"namespace": "jobs"})
    rights = {
        name: {rule["resources"][0]: set(rule["verbs"]) for rule in role["rules"]}
        for (kind, name), role in release.objects.items()
        if kind == "Role"
    }
    assert rights == {
        "jobs/fti-airflow-scheduler": {
            "pods": {"create", "get", "list", "delete"},
            "pods/log": {"get"},
            "events": {"list"},
        },
        "jobs/fti-airflow-triggerer": {"pods": {"get", "delete"}, "pods/log": {"get"}},
    }
    assert all(rule["apiGroups"] == [""] for role in release.kind("Role") for rule in role["rules"])
    assert not release.kind("ClusterRole", "ClusterRoleBinding")
    for thing in release.kind("Role", "RoleBinding"):
        assert thing["metadata"]["namespace"] == "jobs"
    for binding in release.kind("RoleBinding"):
        name = binding["metadata"]["name"]
        assert binding["roleRef"]["name"] == name
        (subject,) = binding["subjects"]
        assert (subject["name"], subject["namespace"]) == (
            release.pod(name.removeprefix("fti-airflow-")).spec["serviceAccountName"],
            "data",
        )


@pytest.mark.parametrize("values", [{}, {"database": {"persistence": {"enabled": False}}}], ids=["claim", "memory"])
def test_the_scheduler_and_the_triggerer_alone_have_a_token(values: dict[str, Any]) -> None:
    release = airflow(**values)
    assert {component(p) for p in release.pods() if p.spec["automountServiceAccountToken"]} == WITH_TOKEN
    assert not any(
        "projected" in v and "serviceAccountToken" in json.dumps(v)
        for p in release.pods()
        for v in p.spec.get("volumes", [])
    )


def test_each_part_has_an_account_of_its_own() -> None:
    accounts = [p.spec["serviceAccountName"] for p in airflow().pods() if component(p) != "test"]
    assert len(accounts) == len(set(accounts)) == 6
    release = airflow(scheduler={"serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn"}}})
    account = release.objects["ServiceAccount", "fti-airflow-scheduler"]
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": "arn"}


# The migration


def test_the_migration_is_no_hook_and_has_a_new_name_with_each_image_and_setting() -> None:
    made = airflow().one("Job")
    assert not [a for a in made["metadata"].get("annotations", {}) if a.startswith("helm.sh/hook")]
    assert made["spec"]["ttlSecondsAfterFinished"]
    assert job() == job(apiServer={"replicas": 2}, database={"resources": {"requests": {"cpu": "1"}}})
    others = [
        job(**{"global": {"imageTag": "other"}}),
        job(config={"AIRFLOW__CORE__PARALLELISM": 5}),
        job(admin={"rotation": 2}),
        job(admin={"username": "somebody"}),
    ]
    assert len({job(), *others}) == 5


def test_all_parts_wait_for_what_the_migration_does() -> None:
    release = airflow(admin={"username": "somebody"}, migrations={"waitSeconds": 300})
    for part in PARTS:
        (wait,) = release.pod(part).spec["initContainers"]
        assert wait["args"][:4] == ["schema", "somebody", "--seconds", "300"]
        assert "Job fti-airflow-migrate" in wait["args"][-1]
    (wait,) = release.pod("migrations").spec["initContainers"]
    assert wait["args"][0] == "server"


def test_the_wait_knows_the_revision_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    database = script("database", monkeypatch)
    known, head = database.revisions(Path(str(_SOURCE)).parents[1] / "migrations" / "versions")
    assert head == list(REVISION_HEADS.values())[-1]
    assert set(REVISION_HEADS.values()) <= known


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({}, "no schema yet"),
        ({"to_regclass('alembic_version')": "x"}, "alembic_version is empty"),
        ({"to_regclass('alembic_version')": "x", "FROM alembic_version": "OLD"}, "this image needs"),
        ({"to_regclass('alembic_version')": "x", "FROM alembic_version": "HEAD"}, "the user me is not there yet"),
        (
            {
                "to_regclass('alembic_version')": "x",
                "FROM alembic_version": "HEAD",
                "to_regclass('ab_user')": "x",
                "username": "1",
            },
            None,
        ),
    ],
)
def test_the_wait_says_what_is_missing(
    answers: dict[str, str], said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = script("database", monkeypatch)
    versions = list(REVISION_HEADS.values())
    real = {"HEAD": versions[-1], "OLD": versions[-2]}
    monkeypatch.setattr(
        database,
        "ask",
        lambda query, *_: next((real.get(a, a) for part, a in answers.items() if query.count(part)), None),
    )
    found = database.missing("me")
    assert found is None if said is None else said in found


def test_a_newer_schema_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    database = script("database", monkeypatch)
    monkeypatch.setattr(database, "ask", lambda query, *_: "ffffffffffff")
    with pytest.raises(SystemExit, match="newer than this image"):
        database.missing("me")


def test_the_wait_ends_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    database = script("database", monkeypatch)
    monkeypatch.setitem(sys.modules, "psycopg2", type("psycopg2", (), {"Error": ArithmeticError}))
    with pytest.raises(SystemExit, match=r"^Gave up after 0 s: it is late\. See the log\.$"):
        database.wait(lambda: "it is late.", 0, "the log")


def test_the_database_url_takes_any_password(monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.engine import make_url

    password = "a@b:c/d%e #?"
    assert make_url(script("database", monkeypatch).url("host", password)).password == password


# Secrets


@pytest.mark.parametrize(
    "values",
    [{}, {"jobs": {"namespace": "jobs"}}, {"database": {"extraDatabases": ["feast", "reports"]}}],
    ids=["default", "namespace", "databases"],
)
def test_each_key_that_is_asked_for_is_in_the_secret(values: dict[str, Any]) -> None:
    release = airflow(**values)
    asked = set()
    for pod in release.pods():
        for container in pod.containers:
            for variable in container.get("env", []):
                if "secretKeyRef" in variable.get("valueFrom", {}):
                    ref = variable["valueFrom"]["secretKeyRef"]
                    asked.add((ref["name"], ref["key"]))
        for volume in pod.spec.get("volumes", []):
            for source in (volume, *volume.get("projected", {}).get("sources", [])):
                if "secret" in source:
                    secret = source["secret"]
                    asked |= {(secret.get("secretName") or secret["name"], item["key"]) for item in secret["items"]}
    made = {(s["metadata"]["name"], key) for s in release.kind("Secret") for key in s["data"]}
    assert asked == made


def test_the_keys_are_such_as_airflow_takes() -> None:
    from cryptography.fernet import Fernet

    data = {k: base64.b64decode(v).decode() for s in airflow().kind("Secret") for k, v in s["data"].items()}
    assert Fernet(data["fernet"].encode())
    assert len(data["jwt"]) >= 64
    assert len({*data.values()}) == len(data) == 4


@pytest.mark.parametrize(
    ("values", "secret", "restarts"),
    [
        ({"admin": {"rotation": 2}}, "admin", set()),
        ({"keys": {"rotation": 2}}, "keys", set(PARTS)),
        ({"database": {"auth": {"rotation": 2}}}, "database", {*PARTS, "database"}),
    ],
    ids=["admin", "keys", "database"],
)
def test_a_rotation_changes_one_secret_and_restarts_its_readers(
    values: dict[str, Any], secret: str, restarts: set[str]
) -> None:
    first = render("airflow", default_values("airflow"), over=[])
    second = render("airflow", merged(default_values("airflow"), values), over=first.installed())
    changed = {s["metadata"]["name"] for s in first.kind("Secret") if s not in second.kind("Secret")}
    assert changed == {f"fti-airflow-{secret}"}
    key = f"checksum/fti-airflow-{secret}"
    for pod in (p for p in first.pods() if p.kind in SCALED):
        other = second.pod(component(pod)).annotations
        assert {k for k, v in pod.annotations.items() if other[k] != v} == (
            {key} if component(pod) in restarts else set()
        )
    if secret == "admin":  # the Job sets it
        assert first.one("Job")["metadata"]["name"] != second.one("Job")["metadata"]["name"]


def test_a_secret_of_ones_own_with_all_in_it_restarts_its_readers_by_any_count() -> None:
    values = Case("airflow", "one-secret", CHARTS / "airflow" / "ci" / "one-secret-values.yaml").values
    key = "checksum/airflow-secrets"
    for rotation in ("keys", "s3", "redis"):
        one, two = render("airflow", values), render("airflow", merged(values, {rotation: {"rotation": 2}}))
        changed = {p for p in PARTS if one.pod(p).annotations[key] != two.pod(p).annotations[key]}
        readers = {"keys": set(PARTS), "s3": set(PARTS) - {"dag-processor"}, "redis": {"scheduler"}}
        assert changed == readers[rotation]


def test_all_parts_restart_when_a_secret_that_they_share_does() -> None:
    release = airflow()
    shared = {f"checksum/fti-airflow-{name}" for name in ("config", "scripts", "fernet", "keys", "database")}
    for part in PARTS:
        assert shared <= set(release.pod(part).annotations)


def test_what_the_database_holds_can_be_read_after_a_new_installation() -> None:
    """The claim stays, so the Fernet key does; the password is set anew at each start."""
    release = airflow()
    keep = {
        name
        for (_, name), o in release.objects.items()
        if "helm.sh/resource-policy" in o["metadata"].get("annotations", {})
    }
    assert keep == {"fti-airflow-fernet", "fti-airflow-database"}
    assert not {("Secret", "fti-airflow-keys"), ("PersistentVolumeClaim", "fti-airflow-logs")} - set(release.objects)
    (server,) = release.pod("database").containers
    assert "ALTER ROLE airflow PASSWORD" in server["lifecycle"]["postStart"]["exec"]["command"][-1]


def test_the_notes_name_what_is_needed() -> None:
    notes = airflow().notes
    for words in ("get secret -n data fti-airflow-admin", '{{ index .data "password"', "8080:8080", "namespace data"):
        assert words in notes
    assert "logs.bucket" not in notes
    assert "logs.bucket" in airflow(logs={"persistence": {"enabled": False}}).notes


# Logs


def test_logs_go_to_the_bucket_with_a_login_from_the_secret_alone() -> None:
    release = render("airflow", FULL)
    settings = config(release)
    assert settings["AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER"] == "s3://task-logs/tasks"
    assert settings["AIRFLOW__LOGGING__REMOTE_LOG_CONN_ID"] == "fti_logs"
    connection = json.loads(settings["AIRFLOW_CONN_FTI_LOGS"])
    assert connection["extra"]["endpoint_url"] == settings["AWS_ENDPOINT_URL"] == "http://minio.data:9000"
    assert not {"login", "password"} & set(connection)
    for part in PARTS:
        env = {v["name"]: v for v in release.pod(part).containers[-1].get("env", [])}
        assert ("AWS_SECRET_ACCESS_KEY" in env) is (part != "dag-processor")


def test_one_claim_holds_the_logs_of_all_that_write_or_read_them() -> None:
    release = airflow()
    for part in PARTS:
        assert ("podAffinity" in release.pod(part).spec.get("affinity", {})) is (part != "dag-processor")
        (volume,) = (v for v in release.pod(part).spec["volumes"] if v["name"] == "logs")
        assert ("persistentVolumeClaim" in volume) is (part != "dag-processor")
    assert "AIRFLOW__LOGGING__DELETE_LOCAL_LOGS" not in config(release)
    apart = airflow(logs={"bucket": "logs"}, networkPolicy={"s3": {"to": [{"podSelector": {}}]}})
    assert ("PersistentVolumeClaim", "fti-airflow-logs") not in apart.objects
    many = airflow(logs={"persistence": {"accessMode": "ReadWriteMany"}})
    for release in (apart, many):
        assert not [p.owner for p in release.pods() if "affinity" in p.spec]


# Network


def test_what_passes_is_the_table_alone() -> None:
    release = airflow(jobs={"namespace": "jobs"})
    passes, clients = set(), set()
    for (kind, name), policy in release.objects.items():
        if kind == "NetworkPolicy":
            own = name.removeprefix("fti-airflow-")
            for rule in policy["spec"]["ingress"]:
                for peer in rule["from"]:
                    chosen = peer["podSelector"]["matchLabels"]
                    if other := chosen.get("app.kubernetes.io/component"):
                        passes |= {(other, own, port["port"]) for port in rule["ports"]}
                    else:
                        clients |= {(json.dumps(chosen), own, port["port"]) for port in rule["ports"]}
    assert passes == {
        *((part, "database", 5432) for part in (*PARTS, "migrations")),
        *((part, "api-server", 8080) for part in ("scheduler", "dag-processor", "triggerer", "test")),
        ("api-server", "scheduler", 8793),
        ("api-server", "triggerer", 8794),
    }
    assert clients == {('{"fti-airflow-client": "true"}', "api-server", 8080)}
    leaves = {
        (
            name.removeprefix("fti-airflow-"),
            peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"],
            port["port"],
        )
        for (kind, name), policy in release.objects.items()
        if kind == "NetworkPolicy"
        for rule in policy["spec"]["egress"]
        for peer in rule["to"]
        if "podSelector" in peer
        for port in rule["ports"]
    }
    assert leaves == passes
    to_addresses = {
        name.removeprefix("fti-airflow-")
        for (kind, name), policy in release.objects.items()
        if kind == "NetworkPolicy" and "ipBlock" in json.dumps(policy)
    }
    assert to_addresses == WITH_TOKEN


def test_a_caller_from_outside_reaches_the_api_server_alone() -> None:
    release = airflow(networkPolicy={"ingressFrom": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}, service={"nodePort": 30080})
    for (kind, name), policy in release.objects.items():
        if kind == "NetworkPolicy":
            assert ("ipBlock" in json.dumps(policy["spec"]["ingress"])) is (name == "fti-airflow-api-server")
    assert release.objects["Service", "fti-airflow-api-server"]["spec"]["ports"][0]["nodePort"] == 30080


def test_what_a_policy_lets_in_is_a_port_of_its_pod() -> None:
    release = airflow()
    for (kind, _), policy in release.objects.items():
        if kind == "NetworkPolicy":
            (pod,) = (
                p for p in release.pods() if policy["spec"]["podSelector"]["matchLabels"].items() <= p.labels.items()
            )
            served = {port["containerPort"] for c in pod.containers for port in c.get("ports", [])}
            assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} <= served


# Database


def test_a_database_of_ones_own_replaces_the_charts() -> None:
    release = render("airflow", EXTERNAL)
    assert not release.kind("StatefulSet")
    assert not [name for _, name in release.objects if name.endswith("-database")]
    assert config(release)["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD"] == "cat /opt/airflow/database/connection"
    for pod in release.pods():
        for volume in pod.spec["volumes"]:
            if volume["name"] == "database":
                assert volume["secret"]["items"] == [{"key": "url", "path": "connection"}]


def test_each_other_database_is_made_once_for_a_user_of_its_own() -> None:
    release = airflow(database={"extraDatabases": ["feast", "reports"]})
    (server,) = release.pod("database").containers
    sql = server["lifecycle"]["postStart"]["exec"]["command"][-1]
    assert "REVOKE CONNECT ON DATABASE airflow FROM PUBLIC;" in sql
    folder = next(mount["mountPath"] for mount in server["volumeMounts"] if mount["name"] == "password")
    for name in ("feast", "reports"):
        assert f"SELECT 'CREATE ROLE {name}' WHERE NOT EXISTS" in sql
        assert f"SELECT 'CREATE DATABASE {name} OWNER {name}' WHERE NOT EXISTS" in sql
        assert f"`cat {folder}/{name}`" in sql
    passwords = release.objects["Secret", "fti-airflow-database"]["data"]
    assert passwords.keys() == {"password", "feast", "reports"}
    assert len(set(passwords.values())) == 3


def test_a_rotation_changes_the_passwords_of_all_databases_and_a_new_one_leaves_them() -> None:
    def installed(over: list[Any], **database: Any) -> Release:
        return render("airflow", merged(default_values("airflow"), {"database": database}), over=over)

    def passwords(release: Release) -> dict[str, str]:
        return release.objects["Secret", "fti-airflow-database"]["data"]

    first = installed([], extraDatabases=["feast"])
    more = passwords(installed(first.installed(), extraDatabases=["feast", "reports"]))
    assert more == {**passwords(first), "reports": more["reports"]}
    rotated = passwords(installed(first.installed(), extraDatabases=["feast"], auth={"rotation": 2}))
    assert [key for key, value in passwords(first).items() if rotated[key] == value] == []


# Size, and what stays up


def test_requests_fit_a_small_node() -> None:
    def cpu(value: Any) -> float:
        text = str(value)
        return float(text[:-1]) / 1000 if text.endswith("m") else float(text)

    def mebibytes(value: str) -> float:
        return float(value[:-2]) * {"Mi": 1, "Gi": 1024}[value[-2:]]

    pods = [p for p in airflow().pods() if component(p) != "test"]
    asked = [c["resources"]["requests"] for p in pods for c in p.spec["containers"]]
    assert sum(cpu(r["cpu"]) for r in asked) <= 1.2
    assert sum(mebibytes(r["memory"]) for r in asked) <= 2560


def test_a_budget_comes_with_a_second_api_server() -> None:
    assert not airflow().kind("PodDisruptionBudget")
    (budget,) = airflow(apiServer={"replicas": 2}).kind("PodDisruptionBudget")
    assert budget["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] == "api-server"


@pytest.mark.parametrize("part", PARTS)
def test_each_part_has_two_minutes_to_start(part: str) -> None:
    probe = airflow().pod(part).containers[-1]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 120


# Agreement with the rest of the repository

APART = {
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "the Services' names differ",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "here the password is generated",
    "FTI_LAUNCHER": "docker there",
    "FTI_DOCKER_NETWORK": "docker's alone",
    "FTI_IMAGE_TAG": "given by whoever installs",
}


def test_agrees_with_compose() -> None:
    there = COMPOSE["services"]["airflow-scheduler"]["environment"] | COMPOSE["x-airflow"]["environment"]
    here = config(airflow(s3={"endpoint": "http://minio:9000"}))
    there = {k: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", str(v)) for k, v in there.items()}
    shared = {k: v for k, v in there.items() if re.match("AIRFLOW__|FTI_|AWS_(REGION|ENDPOINT)", k) and k not in APART}
    assert {k: here.get(k, "") for k in shared} == shared  # empty is unset
    release = airflow()
    for part in PARTS:
        service = COMPOSE["services"]["airflow-webserver" if part == "api-server" else f"airflow-{part}"]
        container = release.pod(part).containers[-1]
        assert container["args"] == service["command"]
        assert (
            container["image"].rpartition(":")[0]
            == re.sub(r"\$\{\w+:-(.*?)\}", r"\1", service["image"]).partition(":")[0]
        )
    assert release.pod("database").containers[-1]["image"] == COMPOSE["services"]["postgres"]["image"]
    for name, job_type in (("dag-processor", "DagProcessorJob"), ("triggerer", "TriggererJob")):
        command = release.pod(name).containers[-1]["readinessProbe"]["exec"]["command"]
        assert ["CMD", *command] == COMPOSE["services"][f"airflow-{name}"]["healthcheck"]["test"]
        assert command[-1] == job_type


def test_agrees_with_its_image() -> None:
    chart = yaml.safe_load((CHARTS / "airflow" / "Chart.yaml").read_text(encoding="utf-8"))
    locked = (ROOT / "requirements" / "airflow.txt").read_text(encoding="utf-8")
    assert f"apache-airflow=={chart['appVersion']} " in locked
    security = airflow().pod("scheduler").spec["securityContext"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}\n" in DOCKERFILE
    assert 'ENTRYPOINT ["airflow"]' in DOCKERFILE
    assert "HOME=/tmp" in DOCKERFILE
    probe = airflow().pod("triggerer").containers[-1]["livenessProbe"]["exec"]["command"]
    assert f"images/airflow/{Path(probe[1]).name} /opt/airflow/" in DOCKERFILE
    assert "airflow.cfg" in DOCKERFILE  # without one Airflow would write it, on a read-only root


def test_agrees_with_the_launchers_settings() -> None:
    sys.path.insert(0, str(ROOT / "dags"))
    try:
        from launchers.settings import _VARIABLES, LauncherSettings
    finally:
        sys.path.remove(str(ROOT / "dags"))
    settings = config(render("airflow", FULL))
    ours = {key for key in settings if key.startswith("FTI_")}
    assert ours == set(_VARIABLES.values()) - {"FTI_JOBS_HOME", "FTI_DOCKER_NETWORK"}
    read = LauncherSettings.from_env(settings)
    assert (read.launcher, read.schedule, read.retries, read.namespace) == ("kubernetes", "0 2 * * *", 4, "fraud-jobs")
    assert read.image("bronze") == "registry.example.com/mirror/fraud-bronze:1.2.4"
    assert (read.service_account, read.config_map, read.secret) == ("jobs-account", "jobs-settings", "jobs-logins")
    assert read.image_pull_secret == "jobs-registry"
    assert (read.spark_executors, read.spark_executor_cores, read.spark_executor_cpu) == (3, 2, "500m")
    assert (read.spark_executor_memory, read.spark_service_account) == ("2g", "jobs-drivers")
    assert (read.spark_executor_template, read.instance) == ("jobs-executor", "fti")
    plain, default = LauncherSettings.from_env(config(airflow())), LauncherSettings()
    by_the_release = {"launcher", "schedule", "image_tag", "namespace"}
    differ = {field for field in vars(default) if getattr(plain, field) != getattr(default, field)}
    assert differ == by_the_release
    one = LauncherSettings.from_env(config(airflow(jobs={"spark": {"executors": 1}})))
    assert {field for field in vars(default) if getattr(one, field) != getattr(plain, field)} == {"spark_executors"}


def test_the_jobs_images_have_a_tag_of_their_own() -> None:
    digest = "@sha256:" + "0" * 64
    for values, tag in (
        ({"global": {"imageTag": "a"}}, "a"),
        ({"global": {"imageTag": "a"}, "image": {"tag": f"b{digest}"}}, "a"),
        ({"image": {"tag": f"b{digest}"}}, "b"),
        ({"image": {"tag": "b"}, "jobs": {"imageTag": "c"}}, "c"),
    ):
        assert config(render("airflow", values))["FTI_IMAGE_TAG"] == tag


def test_the_probe_reads_what_the_chart_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """images/airflow/heartbeat.py, with the chart's command and a password in a file."""
    spec = importlib.util.spec_from_file_location("chart_heartbeat", ROOT / "images" / "airflow" / "heartbeat.py")
    assert spec
    assert spec.loader
    heartbeat = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(heartbeat)
    (tmp_path / "password").write_text("p@ss", encoding="utf-8")
    key = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD"
    python, path, *words = shlex.split(config(airflow())[key])
    assert (python, path) == ("python", "/opt/airflow/chart/database.py")
    monkeypatch.setenv(key, shlex.join([sys.executable, str(CHARTS / "airflow" / "files" / "database.py"), *words]))
    monkeypatch.setenv("DATABASE_FOLDER", str(tmp_path))
    monkeypatch.delenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", raising=False)
    url = "postgresql://airflow:p%40ss@fti-airflow-database:5432/airflow"
    assert heartbeat.database_url() == url
    assert script("database", monkeypatch).database_url() == url
    assert config(airflow())["AIRFLOW__CORE__HOSTNAME_CALLABLE"] in Path(heartbeat.__file__).read_text(encoding="utf-8")


def test_under_an_umbrella_others_get_the_password_that_the_user_has(tmp_path: Path) -> None:
    (tmp_path / "charts").mkdir()
    (tmp_path / "templates").mkdir()
    (tmp_path / "charts" / "airflow").symlink_to(CHARTS / "airflow")
    dependency = {"name": "airflow", "version": "0.1.0"}
    about = {"apiVersion": "v2", "name": "umbrella", "version": "0.1.0", "dependencies": [dependency]}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
    for name in ("a", "z"):
        (tmp_path / "templates" / f"{name}.yaml").write_text(
            f"{{apiVersion: v1, kind: Secret, metadata: {{name: other-{name}}}, data: {{password: "
            '{{ include "airflow.adminPassword" .Subcharts.airflow | b64enc }}, database: '
            '{{ include "airflow.databasePassword" .Subcharts.airflow | b64enc }}}}\n',
            encoding="utf-8",
        )
    release = render(tmp_path, {"global": {"imageTag": "1"}})
    for key, secret in (("password", "admin"), ("database", "database")):
        own = release.objects["Secret", f"fti-airflow-{secret}"]["data"]["password"]
        assert {release.objects["Secret", f"other-{name}"]["data"][key] for name in "az"} == {own}
    assert release.objects["ConfigMap", "fti-airflow-scripts"]["data"]["database.py"].startswith('"""')
