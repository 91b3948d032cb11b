"""`make tools`: official downloads, from a server on this machine, and what happens where none is reached."""

from __future__ import annotations

import hashlib
import io
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from compose.stack import MachineError, StackError
from images.offline.versions import VERSIONS
from kind import tools
from kind.tools import Tool
from tests.kind.conftest import Programs

VERSION = {"kind": VERSIONS["KIND"], "kubectl": VERSIONS["KUBERNETES"], "helm": VERSIONS["HELM"]}
SAYS = {"kind": "kind v{} go1.26 linux/amd64", "kubectl": '{{"gitVersion": "v{}"}}', "helm": "v{}+gabcdef0"}


class Host:
    """Serves what it holds, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked.append(self.path)
                found = host.files.get(self.path)
                self.send_response(404 if found is None else 200)
                self.end_headers()
                self.wfile.write(found or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=partial(self.server.serve_forever, 0.02), daemon=True).start()

    def publish(self, tool: Tool) -> None:
        content = packed(tool, program(tool.name))
        self.files[tool.url] = content
        self.files[tool.url + tool.digest] = f"{hashlib.sha256(content).hexdigest()}  {tool.name}\n".encode()


def program(name: str, version: str | None = None) -> bytes:
    return f"#!/bin/sh\necho '{SAYS[name].format(version or VERSION[name])}'\n".encode()


def packed(tool: Tool, content: bytes) -> bytes:
    if not tool.member:
        return content
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(tool.member)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.server.shutdown()
    host.server.server_close()


@pytest.fixture
def wanted(host: Host, programs: Programs) -> tuple[Tool, ...]:
    """The three tools, published by that host, none of them here yet."""
    wanted = tools.wanted(dict.fromkeys(VERSION, host.url))
    for tool in wanted:
        host.publish(tool)
    return wanted


def test_all_three_are_downloaded_once(host: Host, wanted: tuple[Tool, ...], programs: Programs) -> None:
    said: list[str] = []
    assert tools.ensure(said.append, wanted) == ", ".join(f"{name} {version}" for name, version in VERSION.items())
    assert said == [f"Downloading {name} {version}" for name, version in VERSION.items()]
    assert all((programs.folder / name).read_bytes() == program(name) for name in VERSION)
    asked = len(host.asked)
    tools.ensure(said.append, wanted)
    assert len(host.asked) == asked == 6


def test_another_version_is_replaced(host: Host, wanted: tuple[Tool, ...], programs: Programs) -> None:
    tools.ensure(str, wanted)
    for other in ("0.32.0", f"{VERSION['kind']}0", f"{VERSION['kind']}-alpha"):
        (programs.folder / "kind").write_bytes(program("kind", other))
        assert [tool.name for tool in wanted if not tool.there] == ["kind"]
    tools.ensure(str, wanted)
    assert (programs.folder / "kind").read_bytes() == program("kind")


def test_what_differs_from_its_sha256_is_not_installed(
    host: Host, wanted: tuple[Tool, ...], programs: Programs
) -> None:
    host.files[wanted[1].url] += b"# more"
    with pytest.raises(StackError, match=r"The download of kubectl .* is not what its sha256 says\. Nothing was inst"):
        tools.ensure(str, wanted)
    assert not (programs.folder / "kubectl").exists()


@pytest.mark.parametrize("published", [b"", b"<html>a portal's page</html>"])
def test_a_sha256_that_is_none_refuses(host: Host, wanted: tuple[Tool, ...], published: bytes) -> None:
    host.files[wanted[0].url + wanted[0].digest] = published
    with pytest.raises(StackError, match="not what its sha256 says"):
        tools.ensure(str, wanted)


def test_once_a_host_is_not_reached_the_others_are_not_waited_for(
    host: Host, wanted: tuple[Tool, ...], programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
    monkeypatch.setattr(tools, "_build", lambda: [tools.install(tool, program(tool.name)) for tool in wanted])
    said: list[str] = []
    tools.ensure(said.append, tools.wanted({**dict.fromkeys(VERSION, host.url), "kind": closed}))
    assert host.asked == []
    assert said[-1].startswith(f"{closed} is not reached (")
    assert said[-1].endswith("): building from Go modules.")


def test_a_refusal_counts_as_not_reached(host: Host, wanted: tuple[Tool, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    host.files.clear()
    monkeypatch.setattr(tools, "_build", lambda: [tools.install(tool, program(tool.name)) for tool in wanted])
    said: list[str] = []
    tools.ensure(said.append, wanted)
    assert said[-1] == f"{host.url} is not reached (it answered 404): building from Go modules."


def test_a_silent_host_is_given_up(wanted: tuple[Tool, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(tools.Unreached, match="timed out"):
        tools._fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/kind")


def test_what_does_not_answer_as_its_version_is_said(host: Host, wanted: tuple[Tool, ...], programs: Programs) -> None:
    content = program("kind", "0.1.0")
    host.files[wanted[0].url] = content
    host.files[wanted[0].url + wanted[0].digest] = hashlib.sha256(content).hexdigest().encode()
    with pytest.raises(StackError, match=rf"kind does not answer as version {VERSION['kind']}: delete it"):
        tools.ensure(str, wanted)


@pytest.mark.parametrize(
    ("system", "machine", "ends"),
    [
        ("linux", "x86_64", ["kind-linux-amd64", "linux/amd64/kubectl", "-linux-amd64.tar.gz"]),
        ("darwin", "arm64", ["kind-darwin-arm64", "darwin/arm64/kubectl", "-darwin-arm64.tar.gz"]),
        ("win32", "AMD64", ["kind-windows-amd64", "windows/amd64/kubectl.exe", "-windows-amd64.zip"]),
    ],
)
def test_each_system_has_its_downloads(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, ends: list[str]
) -> None:
    monkeypatch.setattr(tools.sys, "platform", system)
    monkeypatch.setattr(tools.platform, "machine", lambda: machine)
    monkeypatch.setattr(tools, "SUFFIX", ".exe" if system == "win32" else "")
    found = tools.wanted()
    assert all(tool.url.endswith(end) for tool, end in zip(found, ends, strict=True))
    assert all(tool.host.startswith("https://") and tool.version in tool.url for tool in found)


def test_an_unknown_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.platform, "machine", lambda: "riscv64")
    with pytest.raises(MachineError, match="There is no kind, kubectl and helm for linux on riscv64"):
        tools.wanted()


def test_windows_helm_comes_in_a_zip() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("windows-amd64/helm.exe", b"program")
    tool = partial(Tool, "helm", "4", (), "", digest="", member="windows-amd64/helm.exe")
    assert tools._unpacked(tool(url="/helm.zip"), buffer.getvalue()) == b"program"
