"""The diagnostic bundle: useful without a cluster, and no password in it."""

from __future__ import annotations

import base64
import json
import zipfile
from pathlib import Path

import pytest

from kind import doctor
from kind.commands import Cluster
from tests.kind.conftest import Programs

OURS = Cluster("fti")
PASSWORDS = ("qV7-Kq9.password", "r00t-of-minio", "redis+s3cret")


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(doctor, "TOOLS", tmp_path)
    return tmp_path


def bundle(folder: Path) -> dict[str, str]:
    (path,) = folder.glob("doctor/*.zip")
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name).decode() for name in opened.namelist()}


def test_without_docker_it_says_so_in_each_place(programs: Programs, written: Path) -> None:
    programs.add("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    said = doctor.write(OURS)
    parts = bundle(written)
    assert "No Docker Engine answers: start Docker Desktop" in said
    assert "No Docker Engine answers" in parts["checks.txt"]
    assert parts["docker/info.txt"] == "Cannot connect to the Docker daemon\n\n(exit code 1)"
    assert parts["fti/all.txt"] == "There is no kubectl here. Run `make tools` first."
    assert "kind 0." in parts["versions.txt"]


def secret(**values: str) -> dict[str, object]:
    data = {name.replace("_", "-"): base64.b64encode(value.encode()).decode() for name, value in values.items()}
    return {"type": "Opaque", "data": data}


def test_no_password_is_in_it_wherever_it_was_written(programs: Programs, written: Path) -> None:
    url = f"postgresql://airflow:{PASSWORDS[0]}@fti-airflow-db:5432/airflow"
    secrets = [
        secret(password=PASSWORDS[0], connection=url),
        secret(root_user="lake-admin", root_password=PASSWORDS[1]),
    ]
    secrets.append(secret(password=PASSWORDS[2]))
    pod = {
        "metadata": {"name": "fti-minio-0"},
        "status": {"containerStatuses": [{"name": "minio", "restartCount": 1}]},
    }
    (programs.folder / "secrets").write_text(json.dumps({"items": secrets}))
    (programs.folder / "pods").write_text(json.dumps({"items": [pod]}))
    encoded = base64.b64encode(PASSWORDS[1].encode()).decode()
    leak = " ".join(f'"{text}"' for text in (*PASSWORDS, url, encoded))
    programs.add(
        "kubectl",
        f"""cd {programs.folder}
case $* in *'get secrets'*--output=json*) cat secrets ;; *'get pods'*--output=json*) cat pods ;;
*secret*) echo asked for secrets ;; *) echo {leak} for lake-admin ;; esac""",
    )
    programs.add("helm", f"echo {leak}")
    programs.add("docker", f"echo {leak}; exit 1")
    doctor.write(OURS)
    parts = bundle(written)
    everything = "\n".join(parts.values())
    assert not any(text in everything for text in (*PASSWORDS, encoded))
    assert "asked for secrets" not in everything
    log = parts["fti/logs/fti-minio-0.minio.previous.txt"]
    assert log == f"{' '.join([doctor.HIDDEN] * 5)} for lake-admin\n"
    assert {"helm/status.txt", "helm/history.txt", "helm/values.txt", "fti-jobs/events.txt"} <= parts.keys()


def test_logins_in_urls_are_hidden_whoever_they_are_of() -> None:
    hide = doctor.hider([])
    assert hide("HTTP Proxy: http://me:secret@proxy:3128") == f"HTTP Proxy: http://me:{doctor.HIDDEN}@proxy:3128"
    assert hide("redis://:secret@redis:6379/0") == f"redis://:{doctor.HIDDEN}@redis:6379/0"
    assert hide("http://localhost:18080/a@b and x@y") == "http://localhost:18080/a@b and x@y"


def test_helms_records_are_not_taken_for_passwords() -> None:
    assert doctor.decoded({"type": "helm.sh/release.v1", "data": {"release": "SDRzSUFBQUFB"}}) == []


def test_what_is_asked_for_never_includes_secrets() -> None:
    assert "secret" not in doctor._KINDS
