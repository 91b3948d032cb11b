"""The platform's Helm release: installed or brought up to date, and left alone where nothing changed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from compose.stack import MachineError, StackError
from kind.commands import JOBS_NAMESPACE, NAMESPACE, RELEASE, ROOT, Cluster, output, program

CHART = ROOT / "charts" / "fti"
VALUES = CHART / "values-kind.yaml"
_NOT_IN_A_RELEASE = ("ci", "README.md", "README.head.md")
_LEVELS = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}


@dataclass(frozen=True)
class Wanted:
    """What the release is to be.

    Attributes:
        airflow_port: of this machine.
        serve: the features over HTTP too.
    """

    prefix: str
    tag: str
    airflow_port: int
    serve: bool = False

    @property
    def arguments(self) -> list[str]:
        """Helm's, behind the release's name."""
        return [
            str(CHART),
            f"--values={VALUES}",
            f"--set-string=global.imagePrefix={self.prefix}",
            f"--set-string=global.imageTag={self.tag}",
            f"--set-string=airflow.apiServer.baseUrl=http://localhost:{self.airflow_port}",
            *(["--set=components.serve=true"] if self.serve else []),
        ]

    @property
    def digest(self) -> str:
        """Of the chart's files and of what is set."""
        digest = hashlib.sha256("\0".join(self.arguments[2:]).encode())
        for path in chart_files(CHART):
            digest.update(f"\0{path.relative_to(CHART)}\0".encode() + path.read_bytes())
        return digest.hexdigest()[:16]

    def images(self) -> list[str]:
        """What its pods run, as Helm renders them."""
        # Not as an upgrade: no cluster is asked.
        text = output(program("helm"), "template", RELEASE, "--namespace", NAMESPACE, *self.arguments)
        return sorted(set(re.findall(r'^ *(?:- )?image: "?([^"\s]+)"?$', text, re.MULTILINE)))


def chart_files(folder: Path) -> list[Path]:
    """Of the chart and those below it, without what never reaches a cluster."""
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name not in _NOT_IN_A_RELEASE:
            found += chart_files(path) if path.is_dir() else [path]
    return found


def ensure(cluster: Cluster, wanted: Wanted) -> str:
    """Installs or upgrades it, unless it is deployed as wanted; returns what was done. Waits for no pod."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": _LEVELS}}
    cluster.kubectl("apply", "--server-side", "--filename=-", text=json.dumps(namespace))
    revision, status, description = newest(cluster)
    if (status, description) == ("deployed", wanted.digest):
        return f"revision {revision}: unchanged"
    if status.startswith("pending"):  # a Helm that was killed: its record stops each further one
        cluster.kubectl("delete", "secret", "--namespace", NAMESPACE, f"sh.helm.release.v1.{RELEASE}.v{revision}")
    cluster.helm("upgrade", "--install", RELEASE, *wanted.arguments, f"--description={wanted.digest}")
    return f"revision {newest(cluster)[0]}: {'upgraded' if status == 'deployed' else 'installed'}"


def newest(cluster: Cluster) -> tuple[int, str, str]:
    """Number, state and description of the newest revision; 0 and nothing where there is no release."""
    told = cluster.try_helm("history", RELEASE, "--max=1", "--output=json")
    if told.returncode and "not found" in told.stderr:
        return 0, "", ""
    if told.returncode:
        raise StackError(f"Helm cannot say what is installed: {told.stderr.strip()}")
    last = json.loads(told.stdout)[-1]
    return int(last["revision"]), str(last["status"]), str(last["description"])


def remove(cluster: Cluster) -> None:
    """Takes the release away, with both namespaces and all data in their claims."""
    if newest(cluster)[0]:
        cluster.helm("uninstall", RELEASE, "--wait")
    cluster.kubectl("delete", "namespace", NAMESPACE, JOBS_NAMESPACE, "--ignore-not-found", "--wait", "--timeout=120s")


def require(cluster: Cluster) -> None:
    """
    Raises:
        MachineError: the platform is not installed.
    """
    cluster.require()
    if cluster.try_kubectl("get", "namespace", NAMESPACE).returncode:
        raise MachineError(f"The platform is not in the cluster {cluster.name}: run `make kind-up`.")
