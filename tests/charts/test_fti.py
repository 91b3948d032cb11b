"""The umbrella's own: that the charts and the jobs fit together, the profiles, the size of it all, the passwords."""

from __future__ import annotations

import ast
import base64
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from jobs.common.settings import Settings, load_settings
from tests.charts import rules
from tests.charts.harness import (
    CASES,
    CHARTS,
    KUBERNETES,
    SCALED,
    Object,
    Pod,
    Release,
    default_values,
    merged,
    place,
    render,
    valid,
    values_yaml,
)
from tests.charts.umbrella import (
    SPARK,
    VALUES,
    airflow_config,
    built,
    fti,
    installed,
    jobs_namespace,
    started,
    with_jobs,
)

ROOT = CHARTS.parent
COMPOSE = yaml.safe_load((ROOT / "compose" / "docker-compose.yml").read_text(encoding="utf-8"))
KIND_CLUSTER = yaml.safe_load((ROOT / "kind" / "cluster.yaml").read_text(encoding="utf-8"))
JOBS = ("generate", "bronze", "features", "materialize", "verify")
DRIVERS = ("bronze", "features")
GENERATED = ("default", "kind", "serve", "spark", "full")
"""Values with which the release generates all passwords."""


def data(secret: Object) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def of_the_jobs(release: Release, kind: str, component: str = "jobs") -> Iterator[Object]:
    """Objects of a component in the jobs' namespace."""
    for (found, key), thing in release.objects.items():
        own = thing["metadata"]["labels"].get("app.kubernetes.io/component")
        if found == kind and key.startswith(f"{jobs_namespace(release)}/") and own == component:
            yield thing


def settings_of(release: Release) -> dict[str, str]:
    """What a job's pod gets by name: the ConfigMap and the Secret together."""
    given = airflow_config(release)
    name = jobs_namespace(release)
    config = release.objects["ConfigMap", f"{name}/{given['FTI_JOB_CONFIG_MAP']}"]["data"]
    secret = data(release.objects["Secret", f"{name}/{given['FTI_JOB_SECRET']}"])
    assert not config.keys() & secret.keys()
    return config | secret


# The jobs' pods, as the launcher asks for them


@pytest.mark.parametrize("values", VALUES)
def test_the_pods_of_the_jobs_hold_the_rules_of_all_pods(values: str) -> None:
    for job, pod in started(values).items():
        # Spark gives an executor its image and its size; a driver starts pods, so it has a token.
        by_spark = {rules.images, rules.resources} if job == "executor" else set()
        with_token = {rules.no_token} if job in DRIVERS and values in SPARK else set()
        faults = {rule: list(rule(pod)) for rule in rules.POD_RULES}
        assert {rule for rule, found in faults.items() if found} == by_spark | with_token, (job, faults)


@pytest.mark.parametrize("values", VALUES)
def test_the_pods_of_the_jobs_are_valid(values: str) -> None:
    release = with_jobs(values)
    for job in started(values):
        for version in KUBERNETES:
            valid(release.objects["Pod", f"{jobs_namespace(release)}/{job}"], version)


@pytest.mark.parametrize("rule", [rules.references, rules.closed, rules.selectors], ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("values", VALUES)
def test_what_the_pods_of_the_jobs_need_is_in_their_namespace(values: str, rule: rules.ReleaseRule) -> None:
    assert list(rule(with_jobs(values))) == []


@pytest.mark.parametrize("values", VALUES)
def test_the_jobs_start_in_the_namespace_that_the_release_makes(values: str) -> None:
    assert set(started(values)) == {*JOBS, *(["executor"] if values in SPARK else [])}
    release = installed(values)
    assert {pod.namespace for pod in started(values).values()} == {jobs_namespace(release)}
    assert airflow_config(release)["FTI_JOB_NAMESPACE"] == jobs_namespace(release)


def test_the_jobs_namespace_lets_in_restricted_pods_alone() -> None:
    labels = fti().one("Namespace")["metadata"]["labels"]
    modes = {name.rpartition("/")[2]: value for name, value in labels.items() if name.startswith("pod-security.")}
    assert modes == {"enforce": "restricted", "audit": "restricted", "warn": "restricted"}


@pytest.mark.parametrize(
    ("name", "namespace", "jobs"),
    [("fti", "fti", "fti-jobs"), ("fti", "data", "data-fti-jobs"), ("my.fti", "data", "data-my-fti-jobs")],
)
def test_the_jobs_namespace_has_a_name_from_the_release(name: str, namespace: str, jobs: str) -> None:
    assert jobs_namespace(fti(name, namespace)) == jobs
    assert jobs_namespace(fti(name, namespace, **{"global": {"jobsNamespace": "mine"}})) == "mine"


@pytest.mark.parametrize("values", VALUES)
def test_each_job_has_its_own_image_with_the_projects_prefix_and_tag(values: str) -> None:
    given = merged({"imagePrefix": "fti-"}, VALUES[values]["global"])
    registry = f"{given['imageRegistry']}/" if given.get("imageRegistry") else ""
    for job, pod in started(values).items():
        if job != "executor":
            (container,) = pod.containers
            assert container["image"] == f"{registry}{given['imagePrefix']}{job}:{given['imageTag']}"
            assert (ROOT / "images" / job / "Dockerfile").is_file()
    (card,) = installed(values).pod("card").containers
    assert card["image"] == started(values)["verify"].containers[0]["image"]
    secrets = [{"name": name} for name in given.get("imagePullSecrets", [])]
    assert {json.dumps(pod.spec.get("imagePullSecrets") or []) for pod in started(values).values()} == {
        json.dumps(secrets)
    }


@pytest.mark.parametrize("values", SPARK)
def test_a_driver_asks_for_executors_as_the_chart_makes_them(values: str) -> None:
    release = installed(values)
    account = merged(values_yaml("airflow"), VALUES[values]["airflow"])["jobs"]["spark"]["serviceAccount"]
    executor = started(values)["executor"]
    for job in DRIVERS:
        driver = started(values)[job]
        assert driver.spec["serviceAccountName"] == account
        (container,) = driver.containers
        env = {variable["name"]: variable.get("value", "") for variable in container["env"]}
        conf = dict(line.split("=", 1) for line in env["SPARK_CONF"].splitlines())
        assert conf["spark.kubernetes.namespace"] == jobs_namespace(release)
        assert conf["spark.kubernetes.container.image"] == container["image"]
        folder, _, file = conf["spark.kubernetes.executor.podTemplateFile"].rpartition("/")
        (mount,) = (m for m in container["volumeMounts"] if m["mountPath"] == folder)
        (volume,) = (v for v in driver.spec["volumes"] if v["name"] == mount["name"])
        assert file in release.objects["ConfigMap", f"{driver.namespace}/{volume['configMap']['name']}"]["data"]
    others = {started(values)[job].spec["serviceAccountName"] for job in (*JOBS, "executor") if job not in DRIVERS}
    assert others == {airflow_config(release)["FTI_JOB_SERVICE_ACCOUNT"]} != {account}
    assert executor.containers[0]["envFrom"] == started(values)["bronze"].containers[0]["envFrom"]


# Who may do what


@pytest.mark.parametrize("values", VALUES)
def test_a_token_and_rights_come_together_and_in_the_jobs_namespace_alone(values: str) -> None:
    release = with_jobs(values)
    jobs = jobs_namespace(release)
    tokens = {
        (pod.namespace or release.namespace, pod.spec["serviceAccountName"])
        for pod in release.pods()
        if pod.spec["automountServiceAccountToken"]
    }
    given = set()
    for binding in release.kind("RoleBinding"):
        assert binding["metadata"]["namespace"] == jobs
        assert binding["roleRef"]["kind"] == "Role"
        assert ("Role", f"{jobs}/{binding['roleRef']['name']}") in release.objects
        for subject in binding["subjects"]:
            own = place("" if subject["namespace"] == release.namespace else subject["namespace"], subject["name"])
            assert ("ServiceAccount", own) in release.objects
            given.add((subject["namespace"], subject["name"]))
    assert tokens == given
    assert len(release.kind("Role")) == len(release.kind("RoleBinding")) == len(given)
    assert not release.kind("ClusterRole", "ClusterRoleBinding")


def test_the_cleanup_may_list_and_delete_pods_and_nothing_else() -> None:
    (role,) = of_the_jobs(fti(), "Role", "cleanup")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "delete"]}]


def test_rights_to_start_pods_come_with_executors_alone() -> None:
    assert not list(of_the_jobs(installed("default"), "Role"))
    (role,) = of_the_jobs(installed("spark"), "Role")
    (rule,) = role["rules"]
    assert rule["resources"] == ["pods"]
    assert set(rule["verbs"]) == {"create", "get", "list", "watch", "delete", "deletecollection"}


def test_the_cleanup_and_the_notes_know_the_pods_of_the_jobs_by_their_labels() -> None:
    script = ast.parse((CHARTS / "fti" / "files" / "cleanup.py").read_text(encoding="utf-8"))
    (selector,) = (
        ast.literal_eval(node.value)
        for node in script.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SELECTOR"
    )
    key, _, value = selector.partition("=")
    for job, pod in started("default").items():
        assert pod.labels[key] == value
        assert pod.labels["app.kubernetes.io/component"] == job
    assert not [pod.owner for pod in installed("default").pods() if pod.labels.get(key) == value]
    notes = installed("default").notes
    assert "kubectl logs -n data-fti-jobs -l app.kubernetes.io/component=bronze" in notes


# What one side gives and the other takes


def asked(pod: Pod) -> Iterator[tuple[str, str, str]]:
    """Namespace, Secret and key of all that a pod takes; `*` for all keys."""
    for container in pod.containers:
        for source in container.get("envFrom", []):
            if "secretRef" in source:
                yield pod.namespace, source["secretRef"]["name"], "*"
        for variable in container.get("env", []):
            if "secretKeyRef" in variable.get("valueFrom", {}):
                ref = variable["valueFrom"]["secretKeyRef"]
                yield pod.namespace, ref["name"], ref["key"]
    for volume in pod.spec.get("volumes", []):
        for source in (volume, *volume.get("projected", {}).get("sources", [])):
            if "secret" in source:
                secret = source["secret"]
                for item in secret["items"]:
                    yield pod.namespace, secret.get("secretName") or secret["name"], item["key"]


@pytest.mark.parametrize("values", GENERATED)
def test_each_key_of_a_secret_that_is_taken_is_given_and_each_that_is_given_is_taken(values: str) -> None:
    release = with_jobs(values)
    given = {
        (name.rpartition("/")[0], secret["metadata"]["name"], key)
        for (kind, name), secret in release.objects.items()
        if kind == "Secret"
        for key in secret["data"]
    }
    taken = {found for pod in release.pods() for found in asked(pod)}
    whole = {found[:2] for found in taken if found[2] == "*"}
    extra = {("", "fti-airflow-database", "reports")} if values == "full" else set()  # for whoever uses that database
    assert {found for found in given if found[:2] not in whole} == {found for found in taken if found[2] != "*"} | extra
    assert whole == {(jobs_namespace(release), airflow_config(release)["FTI_JOB_SECRET"])}


_ADDRESS = re.compile(r"[a-z][a-z0-9+]*://(?:[^/@\s\"]*@)?([a-z][a-z0-9.-]*):(\d+)|-h (\S+) -p (\d+)")


def addresses(release: Release) -> Iterator[tuple[str, str, int]]:
    """Namespace of the reader, host and port of each URL in what pods read and are called with."""
    texts = []
    for (kind, name), thing in release.objects.items():
        if kind in ("ConfigMap", "Secret"):
            values = data(thing) if kind == "Secret" else thing["data"]
            texts += [(name.rpartition("/")[0], value) for value in values.values() if not value.startswith('"""')]
    for pod in release.pods():
        for container in pod.containers:
            words = [*container.get("args", []), *(v.get("value", "") for v in container.get("env", []))]
            texts += [(pod.namespace, word) for word in words]
    for namespace, text in texts:
        for host, port, other, its_port in _ADDRESS.findall(text):
            yield namespace, host or other, int(port or its_port)


@pytest.mark.parametrize("values", GENERATED)
def test_each_address_is_a_service_of_the_release_with_that_port(values: str) -> None:
    release = with_jobs(values)
    reached = set()
    for namespace, host, port in addresses(release):
        if host in ("localhost", "kubernetes.default.svc"):  # for the user's browser; the cluster's own
            continue
        name, _, where = host.partition(".")
        key = ("Service", place("" if where == release.namespace else where or namespace, name))
        assert key in release.objects, (namespace, host)
        assert port in [served["port"] for served in release.objects[key]["spec"]["ports"]], (host, port)
        reached.add(name)
    url = airflow_config(release)["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD"].split()
    assert url[-2] == "url"
    assert ("Service", url[-1]) in release.objects
    served = {"fti-serve"} if ("Service", "fti-serve") in release.objects else set()
    assert reached == {"fti-airflow-api-server", "fti-airflow-database", "fti-minio", "fti-redis"} | served


@pytest.mark.parametrize("values", GENERATED)
def test_the_buckets_that_are_used_are_made(values: str) -> None:
    release = installed(values)
    (maker,) = release.pod("buckets").containers
    lake = urlsplit(settings_of(release)["LAKE_URI"]).netloc
    logs = urlsplit(airflow_config(release)["AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER"]).netloc
    assert {lake, logs} == set(maker["args"])


@pytest.mark.parametrize("values", GENERATED)
def test_the_registrys_database_belongs_to_the_user_of_its_url(values: str) -> None:
    release = installed(values)
    url = urlsplit(settings_of(release)["FEAST_REGISTRY_URL"])
    assert url.path == f"/{url.username}"
    (server,) = release.pod("database").containers
    sql = server["lifecycle"]["postStart"]["exec"]["command"][-1]
    for words in (f"CREATE ROLE {url.username}'", f"CREATE DATABASE {url.username} OWNER {url.username}'"):
        assert words in sql
    assert url.password == data(release.objects["Secret", "fti-airflow-database"])[url.username]


@pytest.mark.parametrize("values", GENERATED)
def test_the_jobs_take_the_settings_that_they_are_given(values: str, monkeypatch: pytest.MonkeyPatch) -> None:
    release = installed(values)
    given = settings_of(release)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    read = load_settings()
    port = "80" if values == "full" else "9000"
    assert read.aws_endpoint_url == f"http://fti-minio.data:{port}"
    assert read.s3_path_style is True
    assert (
        urlsplit(read.redis_url).password
        == data(release.objects["Secret", "fti-redis-auth"])["redis-password" if values == "full" else "password"]
    )
    login = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    further = {"OMP_NUM_THREADS", "PYTHONUNBUFFERED"} if values == "full" else set()
    assert login <= given.keys()
    assert {name.lower() for name in given.keys() - login - further} <= Settings.model_fields.keys()


def test_large_numbers_reach_the_scripts_as_they_are() -> None:
    release = fti(cleanup={"keepHours": 1000000}, test={"cards": 2000000})
    assert release.pod("cleanup").containers[0]["args"] == ["--hours", "1000000"]
    assert "--cards=2000000" in release.pod("test", "fti").containers[0]["args"]
    assert "1000000 hours" in release.notes


@pytest.mark.parametrize("store", ["s3", "redis"])
def test_a_store_named_by_its_pods_is_in_the_releases_namespace_for_the_jobs_too(store: str) -> None:
    peer = {"podSelector": {"matchLabels": {"app": "store"}}}
    release = fti(airflow={"networkPolicy": {store: {"to": [peer]}}})
    peers = [rule["to"] for p in of_the_jobs(release, "NetworkPolicy", "verify") for rule in p["spec"]["egress"]]
    assert [peer | {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "data"}}}] in peers
    airflow = release.objects["NetworkPolicy", "fti-airflow-scheduler"]["spec"]["egress"]
    assert [peer] in [rule["to"] for rule in airflow]


def test_the_settings_of_the_users_reach_the_jobs_as_text() -> None:
    given = settings_of(installed("full"))
    assert (given["SPARK_DRIVER_MEMORY"], given["OMP_NUM_THREADS"], given["PYTHONUNBUFFERED"]) == ("1g", "2", "true")
    assert given["ONLINE_LOADER"] == "stock"


def test_the_test_calls_the_dags_by_names_and_params_that_they_have() -> None:
    script = (CHARTS / "fti" / "files" / "pipeline.py").read_text(encoding="utf-8")
    (names,) = re.findall(r'^SMOKE_TEST, PIPELINE = "(.*?)", "(.*?)"$', script, re.MULTILINE)
    params = built()["default"]["params"]
    assert set(names) == set(params)
    assert {"start", "end", "generate", "cards", "snapshot"} <= set(params[names[1]])


# Agreement with Docker Compose and kind

_DEFAULTED = re.compile(r"\$\{\w+:-(.*?)\}")


def of_compose(value: Any) -> str:
    return _DEFAULTED.sub(r"\1", str(value))


def job_variables() -> set[str]:
    """Of the environment, what the docker launcher hands on: read from its source, which needs Airflow to run."""
    tree = ast.parse((ROOT / "dags" / "launchers" / "docker.py").read_text(encoding="utf-8"))
    (found,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "JOB_VARIABLES"
    )
    return set(found)


def test_jobs_get_the_same_variables_as_on_compose() -> None:
    release = installed("default")
    here = settings_of(release)
    there = {k: v for k, v in COMPOSE["services"]["airflow-scheduler"]["environment"].items() if k in job_variables()}
    assert here.keys() == there.keys()
    for name in ("LAKE_URI", "AWS_REGION", "S3_PATH_STYLE"):
        assert here[name] == there[name]
    assert here["ONLINE_LOADER"] == of_compose(there["ONLINE_LOADER"])
    for name in ("AWS_ENDPOINT_URL", "REDIS_URL", "FEAST_REGISTRY_URL"):
        ours, theirs = urlsplit(here[name]), urlsplit(there[name])
        assert (ours.scheme, ours.path) == (theirs.scheme, theirs.path)
    pods = [pod.containers[0]["env"] for pod in started("default").values()]
    assert all(env == [{"name": "HOME", "value": "/tmp"}, {"name": "LOG_FORMAT", "value": "json"}] for env in pods)
    assert "LOG_FORMAT" not in here


def test_images_are_those_of_compose() -> None:
    release = installed("serve")
    here = {container["image"] for pod in release.pods() for container in pod.containers}
    here |= {container["image"] for pod in started("default").values() for container in pod.containers}
    tag = default_values("fti")["global"]["imageTag"]
    services = COMPOSE["services"].items()
    there = {of_compose(s["image"]).replace(":dev", f":{tag}") for name, s in services if name != "docker-proxy"}
    assert there - here == set()
    assert here - there == {f"fti-{job}:{tag}" for job in JOBS}


def test_buckets_and_databases_are_those_of_compose() -> None:
    (maker,) = installed("default").pod("buckets").containers
    logs = ["airflow-logs"]  # there they are on a volume
    assert maker["args"] == [*COMPOSE["services"]["minio-mc"]["command"], *logs]
    (server,) = installed("default").pod("database").containers
    env = {variable["name"]: variable["value"] for variable in server["env"]}
    there = COMPOSE["services"]["postgres"]["environment"]
    assert (env["POSTGRES_DB"], env["POSTGRES_USER"]) == (there["POSTGRES_DB"], there["POSTGRES_USER"])
    made = re.findall(r"CREATE DATABASE (\w+)", server["lifecycle"]["postStart"]["exec"]["command"][-1])
    assert made == re.findall(r"CREATE DATABASE (\w+)", COMPOSE["configs"]["feast-database"]["content"])


def test_redis_is_set_as_on_compose() -> None:
    """That the chart alone is, its own test says; here, that the umbrella leaves it so."""
    alone = render("redis").one("ConfigMap")["data"]
    for values in ("default", "kind"):
        assert installed(values).objects["ConfigMap", "fti-redis-config"]["data"] == alone


def test_the_nodes_ports_of_the_kind_profile_are_those_that_kind_leads_to() -> None:
    release = installed("serve")
    services = {
        port["nodePort"]: (service["metadata"]["name"], port["port"])
        for service in release.kind("Service")
        for port in service["spec"]["ports"]
        if "nodePort" in port
    }
    mapped = {m["containerPort"]: m["hostPort"] for m in KIND_CLUSTER["nodes"][0]["extraPortMappings"]}
    assert {name: mapped[port] for port, name in services.items()} == {
        ("fti-airflow-api-server", 8080): 18080,
        ("fti-minio", 9000): 19000,
        ("fti-minio", 9001): 19001,
        ("fti-redis", 6379): 16379,
        ("fti-serve", 8090): 18090,
    }
    assert services.keys() == mapped.keys()
    assert all(m["listenAddress"] == "127.0.0.1" for m in KIND_CLUSTER["nodes"][0]["extraPortMappings"])
    assert airflow_config(release)["AIRFLOW__API__BASE_URL"] == "http://localhost:18080"


# Profiles

PROFILES = ("values-kind", "values-eks")
MAY_DIFFER = {
    "registry": ["global.imageRegistry"],
    "storage class": ["global.storageClass"],
    "stores that are there already": [
        "components.*",
        "jobs.lake",
        "jobs.secret.create",
        "airflow.database.external.existingSecret",
        "airflow.database.extraDatabases",
        "airflow.redis.existingSecret",
        "serve.redis.existingSecret",
        "airflow.s3.endpoint",
        "airflow.s3.existingSecret",
        "airflow.s3.region",
        "airflow.s3.pathStyle",
        "airflow.logs.bucket",
    ],
    "identity": ["jobs.serviceAccount.annotations.*", "airflow.*.serviceAccount.annotations.*"],
    "size": ["airflow.apiServer.replicas", "airflow.*.resources.*", "serve.autoscaling.enabled", "serve.resources.*"],
    "how one gets in": [
        "airflow.apiServer.baseUrl",
        "airflow.ingress.*",
        "*.service.nodePort",
        "minio.service.consoleNodePort",
    ],
    "addresses of what is outside": [
        "airflow.networkPolicy.ingressFrom",
        "serve.networkPolicy.clientNamespaces",
        "airflow.networkPolicy.kubernetesApi.cidrs",
        "airflow.networkPolicy.s3.*",
        "airflow.networkPolicy.redis.*",
        "serve.networkPolicy.redis.*",
        "airflow.networkPolicy.databaseFrom",
        "airflow.networkPolicy.externalDatabase.*",
        "*.networkPolicy.externalFrom",
    ],
    "what runs when": ["airflow.schedule", "airflow.generate"],
    "test": ["test.*"],
}
"""The keys in which a profile may differ from values.yaml: what a cluster is, never how safe the release is."""


def leaves(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        below = leaves(value, f"{path}{key}.") if isinstance(value, dict) and value else {f"{path}{key}": value}
        found |= below
    return found


def effective(**profile: Any) -> dict[str, Any]:
    """All values, those of the subcharts too."""
    charts = {name: values_yaml(name) for name in ("airflow", "minio", "redis", "serve")}
    return leaves(merged(charts, values_yaml("fti"), profile))


def differs(profile: str) -> set[str]:
    given = yaml.safe_load((CHARTS / "fti" / f"{profile}.yaml").read_text(encoding="utf-8"))
    ours, plain = effective(**given), effective()
    return {key for key in {*ours, *plain} if ours.get(key, {}) != plain.get(key, {})}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_differs_in_allowed_keys_alone(profile: str) -> None:
    allowed = [pattern for patterns in MAY_DIFFER.values() for pattern in patterns]
    assert [key for key in sorted(differs(profile)) if not any(fnmatchcase(key, p) for p in allowed)] == []


def test_no_more_is_allowed_than_the_profiles_need() -> None:
    found = {key for profile in PROFILES for key in differs(profile)}
    patterns = [pattern for patterns in MAY_DIFFER.values() for pattern in patterns]
    assert [p for p in patterns if not any(fnmatchcase(key, p) for key in found)] == []
    assert {str(case) for case in CASES} >= {f"fti-{profile}" for profile in PROFILES}


def test_the_secrets_of_the_eks_profile_are_named_at_its_head() -> None:
    head = (CHARTS / "fti" / "values-eks.yaml").read_text(encoding="utf-8").partition("\nglobal:")[0]
    release = with_jobs("eks")
    made = {(kind, name) for kind, name in release.objects if kind == "Secret"}
    needed = {found for pod in release.pods() for found in asked(pod)}
    foreign = {found for found in needed if ("Secret", place(found[0], found[1])) not in made}
    jobs = jobs_namespace(release)
    assert foreign == {("", "airflow-database", "connection"), ("", "online-store", "url"), (jobs, "fti-jobs", "*")}
    for _, name, key in foreign:
        assert re.search(
            rf"^# +{name} +in the .*namespace: {'`' + key + '`' if key != '*' else ''}", head, re.MULTILINE
        )
    for key in ("REDIS_URL", "FEAST_REGISTRY_URL"):
        assert f"`{key}`" in head


def test_on_eks_no_pod_has_a_static_key_of_the_cloud() -> None:
    release = with_jobs("eks")
    assert "AWS_SECRET_ACCESS_KEY" not in json.dumps(list(release.objects.values()))
    role = VALUES["eks"]["jobs"]["serviceAccount"]["annotations"]
    readers = [*started("eks").values(), *(release.pod(p) for p in ("api-server", "scheduler", "triggerer"))]
    for pod in readers:
        account = release.objects["ServiceAccount", place(pod.namespace, pod.spec["serviceAccountName"])]
        assert account["metadata"]["annotations"] == role


# Size


def cpu(quantity: Any) -> float:
    text = str(quantity)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def mebibytes(quantity: str) -> float:
    return float(quantity[:-2]) * {"Mi": 1, "Gi": 1024}[quantity[-2:]]


def requests(pod: Pod) -> tuple[float, float]:
    """CPU and MiB that the scheduler keeps free: all containers, or one that runs before them."""

    def of(container: dict[str, Any]) -> tuple[float, float]:
        given = container["resources"]["requests"]
        return cpu(given["cpu"]), mebibytes(given["memory"])

    together = [sum(numbers) for numbers in zip(*map(of, pod.spec["containers"]), strict=True)]
    each = [list(of(container)) for container in pod.spec.get("initContainers") or []]
    most = [max(numbers) for numbers in zip(together, *each, strict=True)]
    return most[0], most[1]


def total(pods: Iterator[Pod] | list[Pod]) -> tuple[float, float]:
    cpus, memory = zip(*map(requests, pods), strict=True)
    return sum(cpus), sum(memory)


KUBE_SYSTEM_CPU = 0.95


@pytest.mark.parametrize("values", ["default", "kind", "serve"])
def test_the_platform_and_its_biggest_job_fit_a_small_machine(values: str) -> None:
    """Two cores and 8 GiB, with kube-system on them."""
    release = installed(values)
    assert all(thing["spec"]["replicas"] == 1 for thing in release.kind(*SCALED))
    tests = {"card", "test"}
    platform = [pod for pod in release.pods() if pod.labels["app.kubernetes.io/component"] not in tests]
    cpus, memory = total(platform)
    assert cpus <= 2
    assert memory <= 5 * 1024
    lasting = [pod for pod in platform if pod.kind in SCALED]
    cleanup, test = release.pod("cleanup"), release.pod("test", "fti")
    jobs = list(started(values).values())
    for job in jobs:  # one at a time, says the DAG
        cpus, memory = total([*lasting, cleanup, test, job])
        assert cpus <= 2 - KUBE_SYSTEM_CPU
        assert memory <= 7 * 1024
    at_first = [pod for pod in platform if pod.kind == "Job"]
    assert {pod.labels["app.kubernetes.io/component"] for pod in at_first} == {"buckets", "migrations"}
    assert total([*lasting, *at_first, cleanup])[0] <= 2 - KUBE_SYSTEM_CPU


# Passwords


def templates(release: Release) -> dict[str, Object]:
    """What makes the lasting pods: another one restarts them."""
    return {thing["metadata"]["name"]: thing["spec"]["template"] for thing in release.kind(*SCALED)}


def secrets(release: Release) -> dict[str, dict[str, str]]:
    return {name: data(thing) for (kind, name), thing in release.objects.items() if kind == "Secret"}


def test_a_password_is_the_same_wherever_it_is() -> None:
    found = secrets(fti())
    jobs, stores = found["data-fti-jobs/fti-jobs"], found["fti-online-store"]
    assert urlsplit(jobs["REDIS_URL"]).password == found["fti-redis-auth"]["password"]
    assert jobs["REDIS_URL"] == stores["url"]
    assert jobs["AWS_SECRET_ACCESS_KEY"] == found["fti-minio-auth"]["root-password"]
    assert jobs["AWS_ACCESS_KEY_ID"] == found["fti-minio-auth"]["root-user"]
    assert urlsplit(jobs["FEAST_REGISTRY_URL"]).password == found["fti-airflow-database"]["feast"]
    passwords = [found[name][key] for name, key in (
        ("fti-redis-auth", "password"), ("fti-minio-auth", "root-password"), ("fti-airflow-database", "feast"),
        ("fti-airflow-database", "password"), ("fti-airflow-admin", "password"),
    )]  # fmt: skip
    assert len(set(passwords)) == len(passwords)
    assert all(re.fullmatch("[A-Za-z0-9]{32}", password) for password in passwords)


ROTATIONS = {
    "redis": (
        {"redis": {"auth": {"rotation": 2}}, "airflow": {"redis": {"rotation": 2}}},
        {"fti-redis-auth", "fti-online-store", "data-fti-jobs/fti-jobs"},
        {"fti-redis", "fti-airflow-scheduler"},
    ),
    "redis with serve": (
        {
            "redis": {"auth": {"rotation": 2}},
            "airflow": {"redis": {"rotation": 2}},
            "serve": {"redis": {"rotation": 2}},
        },
        {"fti-redis-auth", "fti-online-store", "data-fti-jobs/fti-jobs"},
        {"fti-redis", "fti-airflow-scheduler", "fti-serve"},
    ),
    "minio": (
        {"minio": {"auth": {"rotation": 2}}, "airflow": {"s3": {"rotation": 2}}},
        {"fti-minio-auth", "data-fti-jobs/fti-jobs"},
        {"fti-minio", "fti-airflow-api-server", "fti-airflow-scheduler", "fti-airflow-triggerer"},
    ),
    "database": (
        {"airflow": {"database": {"auth": {"rotation": 2}}}},
        {"fti-airflow-database", "data-fti-jobs/fti-jobs"},
        {
            "fti-airflow-db",
            *(f"fti-airflow-{part}" for part in ("api-server", "scheduler", "dag-processor", "triggerer")),
        },
    ),
    "keys": (
        {"airflow": {"keys": {"rotation": 2}}},
        {"fti-airflow-keys"},
        {f"fti-airflow-{part}" for part in ("api-server", "scheduler", "dag-processor", "triggerer")},
    ),
    "admin": ({"airflow": {"admin": {"rotation": 2}}}, {"fti-airflow-admin"}, set()),  # the Job sets it
}


@pytest.mark.parametrize("what", ROTATIONS)
def test_a_rotation_changes_a_password_everywhere_and_restarts_what_reads_it(what: str) -> None:
    values, changes, restarts = ROTATIONS[what]
    before_it = merged(default_values("fti"), {"components": {"serve": what.endswith("with serve")}})
    first = render("fti", before_it, over=[])
    second = render("fti", merged(before_it, values), over=first.installed())
    third = render("fti", merged(before_it, values), over=second.installed())
    before, after = secrets(first), secrets(second)
    assert {name for name in before if before[name] != after[name]} == changes
    assert {name for name, pod in templates(first).items() if templates(second)[name] != pod} == restarts
    readers = {
        pod.owner.partition("/")[2]
        for pod in first.pods()
        if pod.kind in SCALED and changes & {name for kind, name in pod.references() if kind == "Secret"}
    }
    assert restarts == readers
    assert third.objects == second.objects


def test_the_readme_says_what_to_count_up() -> None:
    readme = (CHARTS / "fti" / "README.head.md").read_text(encoding="utf-8")
    table = readme.partition("| to change |")[2].partition("\n\n")[0].splitlines()[2:]
    said = [set(re.findall("`(.*?)`", row.split("|")[2])) for row in table]
    counted = [set(leaves(values)) for values, _, _ in ROTATIONS.values()]
    assert sorted(map(sorted, said)) == sorted(map(sorted, counted))


def test_a_value_that_no_lasting_pod_reads_restarts_none() -> None:
    first = render("fti", default_values("fti"), over=[])
    change = {"cleanup": {"keepHours": 1}, "test": {"cards": 7}, "jobs": {"settings": {"SPARK_DRIVER_MEMORY": "1g"}}}
    second = render("fti", merged(default_values("fti"), change), over=first.installed())
    changed = {key for key, thing in first.objects.items() if second.objects.get(key) != thing}
    assert changed == {
        ("CronJob", "data-fti-jobs/fti-cleanup"),
        ("Pod", "fti-test-pipeline"),
        ("ConfigMap", "data-fti-jobs/fti-jobs"),
    }


def test_a_secret_of_ones_own_restarts_its_readers_when_it_changes() -> None:
    """One that the release did not make is read anew with each upgrade."""
    values = next(case.values for case in CASES if str(case) == "fti-own-secrets")

    def upgraded(word: str) -> dict[str, Object]:
        mine = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "online-store-url"}, "data": {"url": word}}
        return templates(render("fti", values, over=[mine]))

    one, same, two = (upgraded(word) for word in ("b25l", "b25l", "dHdv"))
    assert one == same
    assert {name for name in one if one[name] != two[name]} == {"fti-airflow-scheduler", "fti-serve"}


# Two releases


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("one", "data"), ("two", "data")),
        (("fti", "one"), ("fti", "two")),
        (("fti", "fti"), ("fti", "data")),
        (("x" * 52 + "y", "data"), ("x" * 52 + "z", "data")),
        (("fti", "x" * 62 + "y"), ("fti", "x" * 62 + "z")),
    ],
    ids=["one namespace", "two namespaces", "name of the namespace", "long names", "long namespaces"],
)
def test_two_releases_share_no_object(one: tuple[str, str], two: tuple[str, str]) -> None:
    def all_of(release: Release) -> set[tuple[str, str, str]]:
        return {
            (kind, "" if kind == "Namespace" else (key.rpartition("/")[0] or release.namespace), key.rpartition("/")[2])
            for kind, key in release.objects
        }

    first, second = fti(*one), fti(*two)
    assert not all_of(first) & all_of(second)
    assert jobs_namespace(first) != jobs_namespace(second)
    assert not [*rules.names(first), *rules.selectors(first), *rules.names(second)]


# Notes


def test_the_notes_name_what_is_needed() -> None:
    notes = fti(namespace="fti").notes
    for words in (
        "namespace fti-jobs; the lake is s3://lake",
        "helm test -n fti fti",
        "kubectl logs -n fti-jobs",
        "48 hours",
    ):
        assert words in notes
    assert "is yours" not in notes
    assert "The Secret jobs-logins in data-fti-jobs is yours" in render(
        "fti", next(case.values for case in CASES if str(case) == "fti-own-secrets")
    ).notes  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({}, True),
        ({"pod-security.kubernetes.io/enforce": "baseline"}, True),
        ({"pod-security.kubernetes.io/enforce": "restricted"}, False),
    ],
)
def test_the_notes_say_when_the_releases_namespace_is_open_to_other_pods(labels: dict[str, str], said: bool) -> None:
    labels = {"kubernetes.io/metadata.name": "data", **labels}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "data", "labels": labels}}
    notes = render("fti", default_values("fti"), over=[namespace]).notes
    assert ("kubectl label namespace data pod-security.kubernetes.io/enforce=restricted" in notes) is said


def test_the_releases_own_namespace_stays_as_it_is() -> None:
    """Helm cannot own the namespace that it installs into; whoever makes it labels it."""
    assert [thing["metadata"]["name"] for thing in fti().kind("Namespace")] == ["data-fti-jobs"]
