"""Debian's base images, by debootstrap from the mirror that this machine itself uses."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from images.offline import docker
from images.offline.steps import Log, Missing

FOLDER = Path(__file__).with_name("debian")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_CERTIFICATES = ("etc/ssl/certs", "usr/local/share/ca-certificates")
# Below what slim.cfg excludes, these stay: licences, and a table that programs read.
_KEPT = {"copyright", "locale.alias"}


def need_debootstrap(log: Log) -> None:
    """Installs debootstrap where it is missing.

    Raises:
        Missing: this machine cannot run it.
    """
    if not shutil.which("apt-get"):
        raise Missing(
            "The base images are made by debootstrap, on Debian or a relative of it, and this machine has no apt-get: "
            "build on such a machine, or pull the upstream images."
        )
    if os.geteuid() != 0:
        raise Missing("debootstrap makes the base images and must be root: run the same as root.")
    if not shutil.which("debootstrap"):
        log.run("apt-get", "update", "-qq")
        noninteractive = {"DEBIAN_FRONTEND": "noninteractive"}
        log.run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "debootstrap", env=noninteractive)


def make(log: Log, image: str, recipe: str) -> None:
    """Builds ``debian:<suite>-slim``."""
    need_debootstrap(log)
    suite = suite_of(image)
    # Not /tmp: since Debian 13 it is in memory and mounted `nodev`, which debootstrap refuses.
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="debootstrap-") as temporary:
        context, root = Path(temporary), Path(temporary, "root")
        mirror = _repository("Debian")
        # In a mount namespace of its own: whatever debootstrap mounts is gone with it, even when it is killed.
        log.run(
            *("unshare", "--mount", "debootstrap", "--variant=minbase", "--include=ca-certificates"),
            *(suite, root),
            *([mirror] if mirror else []),
        )
        _slim(root)
        _take_certificates(root)
        _write_sources(root, suite)
        log.run("tar", "--create", "--numeric-owner", "--file", context / "rootfs.tar", "--directory", root, ".")
        shutil.rmtree(root)
        docker.build(log, context, image, recipe=recipe, dockerfile=FOLDER / "Dockerfile")


def suite_of(image: str) -> str:
    """``trixie`` of ``debian:trixie-slim``."""
    return image.partition(":")[2].removesuffix("-slim")


def _repository(label: str) -> str | None:
    """Where this machine's apt gets Debian's packages of a label (``Debian``, ``Debian-Security``), if it does.

    None leaves the choice to debootstrap: a relative of Debian has other repositories.
    """
    form = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    answer = subprocess.run(command, capture_output=True, text=True).stdout
    for line in answer.splitlines():
        head, _, uri = line.rpartition("|")
        if head == f"Debian|{label}|main" and uri.startswith(("http:", "https:")):
            return uri.rstrip("/")
    return None


def _slim(root: Path) -> None:
    """Takes out what slim.cfg excludes; dpkg heeds that file only from the next package on."""
    shutil.copy(FOLDER / "slim.cfg", root / "etc/dpkg/dpkg.cfg.d/slim")
    shutil.copy(FOLDER / "apt.conf", root / "etc/apt/apt.conf.d/slim")
    excluded = [
        line.removeprefix("path-exclude=/").removesuffix("/*")
        for line in (FOLDER / "slim.cfg").read_text().splitlines()
        if line.startswith("path-exclude=")
    ]
    for path in (file for folder in excluded for file in sorted((root / folder).rglob("*"), reverse=True)):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.name not in _KEPT:
            path.unlink()
    for folder in ("var/lib/apt/lists", "var/cache/apt", "var/log"):
        for path in (root / folder).rglob("*"):
            if path.is_file():
                path.unlink()
    # Each machine makes its own.
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").unlink(missing_ok=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)


def _take_certificates(root: Path) -> None:
    """The machine's certificates in place of Debian's: see debian/Dockerfile."""
    for folder in _CERTIFICATES:
        source = Path("/", folder)
        if source.is_dir():
            shutil.rmtree(root / folder, ignore_errors=True)
            shutil.copytree(source, root / folder, symlinks=True)


def _write_sources(root: Path, suite: str) -> None:
    """Lets packages come with their fixes: debootstrap knows nothing of updates and of the security suite."""
    (line,) = [line for line in (root / "etc/apt/sources.list").read_text().splitlines() if line.startswith("deb ")]
    mirror = line.split()[1]
    parts = [(mirror, f"{suite} {suite}-updates")]
    if security := _repository("Debian-Security"):
        parts.append((security, f"{suite}-security"))
    text = "\n".join(
        f"Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\nSigned-By: {_KEYRING}\n" for uri, suites in parts
    )
    (root / "etc/apt/sources.list.d/debian.sources").write_text(text)
    (root / "etc/apt/sources.list").unlink()
