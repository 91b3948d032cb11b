"""kind, kubectl and helm at the versions of versions.env, in ``.tools/bin``: ``make tools``.

Each comes as its official download, checked against the sha256 that is published beside it; where none is reached, from
Go modules.
"""

from __future__ import annotations

import hashlib
import io
import platform
import re
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from compose.stack import MachineError, StackError
from images.offline.versions import VERSIONS
from kind.commands import SUFFIX, TOOLS, Say, call, program

PATIENCE = 5
"""Seconds without a byte after which a host counts as not reached."""
SYSTEMS = {"linux": "linux", "darwin": "darwin", "win32": "windows"}
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Tool:
    """A program and where its makers publish it.

    Attributes:
        ask: arguments by which it says its version.
        url: of the download, without the host.
        digest: what the URL of its sha256 ends with.
        member: its place in an archive; empty where the download is the program.
    """

    name: str
    version: str
    ask: tuple[str, ...]
    host: str
    url: str
    digest: str
    member: str = ""

    @property
    def there(self) -> bool:
        try:
            said = call(program(self.name), *self.ask)
        except MachineError:
            return False
        return said.returncode == 0 and bool(re.search(rf"\bv{re.escape(self.version)}(?![\w.-])", said.stdout))


class Unreached(Exception):
    """The download cannot be had from here."""


def wanted(hosts: Mapping[str, str] | None = None) -> tuple[Tool, ...]:
    """The three tools for this machine.

    Args:
        hosts: other hosts of the same paths, by the tool's name: a mirror.

    Raises:
        MachineError: nobody publishes them for it.
    """
    system, machine = SYSTEMS.get(sys.platform), MACHINES.get(platform.machine().lower())
    if not system or not machine:
        raise MachineError(f"There is no kind, kubectl and helm for {sys.platform} on {platform.machine()}.")
    kind, kubernetes, helm = (VERSIONS[name] for name in ("KIND", "KUBERNETES", "HELM"))
    form = "zip" if system == "windows" else "tar.gz"
    at = {"kind": "https://kind.sigs.k8s.io", "kubectl": "https://dl.k8s.io", "helm": "https://get.helm.sh"}
    at |= hosts or {}
    kubectl = f"/release/v{kubernetes}/bin/{system}/{machine}/kubectl{SUFFIX}"
    return (
        Tool("kind", kind, ("version",), at["kind"], f"/dl/v{kind}/kind-{system}-{machine}", ".sha256sum"),
        Tool("kubectl", kubernetes, ("version", "--client", "--output=json"), at["kubectl"], kubectl, ".sha256"),
        Tool(
            *(
                "helm",
                helm,
                ("version", "--short"),
                at["helm"],
                f"/helm-v{helm}-{system}-{machine}.{form}",
                ".sha256sum",
            ),
            member=f"{system}-{machine}/helm{SUFFIX}",
        ),
    )


def ensure(say: Say, tools: tuple[Tool, ...] | None = None) -> str:
    """Brings what is missing; returns what it did.

    Raises:
        StackError: a download is not what its makers published, or nothing could be had.
    """
    tools = tools or wanted()
    missing = [tool for tool in tools if not tool.there]
    for tool in missing:
        say(f"Downloading {tool.name} {tool.version}")
        try:
            install(tool, download(tool))
        except Unreached as reason:  # then the other hosts are not waited for
            say(f"{tool.host} is not reached ({reason}): building from Go modules.")
            _build()
            break
    if wrong := next((tool for tool in missing if not tool.there), None):
        raise StackError(
            f"{program(wrong.name)} does not answer as version {wrong.version}: delete it, then run `make tools` again."
        )
    return ", ".join(f"{tool.name} {tool.version}" for tool in tools)


def download(tool: Tool) -> bytes:
    """The program.

    Raises:
        Unreached: no connection, or no such file.
        StackError: its bytes are not those that were published.
    """
    content = _fetch(f"{tool.host}{tool.url}")
    published = _fetch(f"{tool.host}{tool.url}{tool.digest}").decode("ascii", "replace").split()
    if not published or hashlib.sha256(content).hexdigest() != published[0]:
        raise StackError(
            f"The download of {tool.name} {tool.version} from {tool.host} is not what its sha256 says. Nothing was installed: try again, and ask your network's owner if it stays so."
        )
    return _unpacked(tool, content)


def install(tool: Tool, content: bytes) -> None:
    place = Path(program(tool.name))
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f".{place.name}")
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    fresh.replace(place)


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise Unreached(f"it answered {error.code}") from error
    except OSError as error:
        raise Unreached(str(getattr(error, "reason", error))) from error


def _unpacked(tool: Tool, content: bytes) -> bytes:
    if not tool.member:
        return content
    if tool.url.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.read(tool.member)
    with tarfile.open(fileobj=io.BytesIO(content)) as packed:
        file = packed.extractfile(tool.member)
        assert file, "Helm's archives hold a file of that name"
        return file.read()


def _build() -> None:
    """From Go modules, as `make offline-images` does."""
    if sys.platform != "linux":
        names = ", ".join(f"{tool.name} {tool.version}" for tool in wanted())
        raise MachineError(f"Without downloads this builds on Linux alone: put {names} into .tools/bin yourself.")
    from images.offline.steps import Missing, StepFailed, Steps
    from kind.offline import node

    try:
        with redirect_stdout(sys.stderr):  # the output may be JSON, and nothing else
            node.make_called(Steps(TOOLS / "log", "make tools"), TOOLS)
    except Missing as error:
        raise MachineError(str(error)) from error
    except StepFailed as error:
        raise StackError(str(error)) from error
