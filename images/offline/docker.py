"""What the Docker command does for the stand-ins."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from images.offline.steps import Log, Missing
from images.offline.versions import VERSIONS

STAND_IN = "io.fti.stand-in"
RECIPE = "io.fti.stand-in.recipe"

# Attestations would make each image an index of several manifests, which `docker save` and `ctr import` do not share.
_ENVIRONMENT = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def need_engine() -> None:
    """
    Raises:
        Missing: no Docker Engine of a fitting version answers.
    """
    if not shutil.which("docker"):
        raise Missing("There is no docker command: run `make engine` first.")
    version = _ask("version", "--format", "{{.Server.Version}}")
    if version is None:
        raise Missing("No Docker Engine answers: run `make engine` first.")
    major = version.strip().partition(".")[0]
    if not major.isdigit() or int(major) < int(VERSIONS["ENGINE_MINIMUM"]):
        raise Missing(
            f"Docker Engine {version.strip()} is too old, {VERSIONS['ENGINE_MINIMUM']} or newer is needed: run `make engine`."
        )


def found(image: str, recipe: str) -> str | None:
    """What is there under a tag: ``upstream image, kept`` or ``there``; None when the stand-in must be made.

    A stand-in of another recipe is made anew. An image without the stand-in's label is never touched.
    """
    labels = f'{{{{index .Config.Labels "{STAND_IN}"}}}} {{{{index .Config.Labels "{RECIPE}"}}}}'
    answer = _ask("image", "inspect", "--format", labels, image)
    if answer is None:
        return None
    stand_in, _, made_from = answer.strip("\n").partition(" ")
    if stand_in != "true":
        return "upstream image, kept"
    return "there" if made_from == recipe else None


def exists(image: str) -> bool:
    return _ask("image", "inspect", image) is not None


def pull(log: Log, image: str) -> None:
    """
    Raises:
        CommandFailed: no registry gives it.
    """
    log.run("docker", "pull", image)


def build(
    log: Log,
    folder: Path,
    tag: str,
    *,
    target: str | None = None,
    arguments: Mapping[str, str] | None = None,
    contexts: Mapping[str, Path] | None = None,
    recipe: str = "",
    dockerfile: Path | None = None,
) -> None:
    """Builds an image; its base images are those of this machine."""
    command: list[str | Path] = ["docker", "build", "--progress=plain", "--tag", tag]
    for name in _PROXIES:
        if os.environ.get(name):
            command += ["--build-arg", name]  # by name: the value stays out of the log
    for name, value in (arguments or {}).items():
        command += ["--build-arg", f"{name}={value}"]
    for name, path in (contexts or {}).items():
        command += ["--build-context", f"{name}={path}"]
    if target:
        command += ["--target", target]
    if recipe:
        command += ["--label", f"{RECIPE}={recipe}"]
    if dockerfile:
        command += ["--file", dockerfile]
    log.run(*command, folder, env=_ENVIRONMENT)


def size(image: str) -> str:
    answer = _ask("image", "inspect", "--format", "{{.Size}}", image)
    return f"{int(answer) / 1e6:.0f} MB" if answer else ""


def recipe(folder: Path, *more: str) -> str:
    """A digest of a folder's files and of whatever else the result depends on."""
    digest = hashlib.sha256("\0".join(more).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(f"\0{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _ask(*command: str) -> str | None:
    """A docker command's answer; None when it fails."""
    done = subprocess.run(["docker", *command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.stdout if done.returncode == 0 else None
