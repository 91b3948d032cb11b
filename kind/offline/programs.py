"""The programs of a kind cluster, each built from its Go module into a folder named after its version."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from images.offline import go
from images.offline.steps import Log
from images.offline.versions import VERSIONS

_STRIP = "-s -w"


@dataclass(frozen=True)
class Builder:
    """The Go that builds, and where its results go."""

    root: Path
    log: Log
    target: Path
    scratch: Path

    def go(self, *command: str, cwd: Path | None = None) -> None:
        """
        Raises:
            CommandFailed: Go could not do it.
        """
        self.log.run(self.root / "bin" / "go", *command, cwd=cwd or self.scratch, env=self._environment())

    def install(self, package: str, version: str, *, flags: str = "", tags: str = "") -> None:
        """For a module that stands on its own."""
        self.go("install", "-trimpath", f"-ldflags={_STRIP} {flags}", f"-tags={tags}", f"{package}@v{version}")

    def build(self, *packages: str, module: Path, flags: str = "") -> None:
        self.go("build", "-trimpath", f"-ldflags={_STRIP} {flags}", "-o", f"{self.target}/", *packages, cwd=module)

    def module(self, name: str) -> Path:
        """An empty module. One with `replace` lines cannot be installed: it is required from a module of ours."""
        folder = self.scratch / name
        folder.mkdir()
        (folder / "go.mod").write_text(f"module {name}\ngo {go.wanted()}.0\n")
        return folder

    def _environment(self) -> dict[str, str]:
        # Where modules come from (GOPROXY and its kin) stays as the machine says.
        return {
            "GOFLAGS": "-mod=mod -buildvcs=false",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "GOBIN": str(self.target),
            "GOOS": "linux",
            "CGO_ENABLED": "0",
            "PATH": f"{self.root / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }


@dataclass(frozen=True)
class Component:
    """Programs that are built together."""

    name: str
    version: str
    programs: tuple[str, ...]
    how: Callable[[Builder], None]
    hint: str = ""

    def folder(self, tools: Path) -> Path:
        return tools / "node" / f"{self.name}-{self.version}"

    def there(self, tools: Path) -> str | None:
        return "there" if self.folder(tools).is_dir() else None

    def make(self, log: Log, tools: Path, root: Path) -> None:
        """Builds the programs; their folder gets its name when it is complete."""
        target = self.folder(tools)
        fresh = target.with_name(f".{target.name}")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix="go-module-") as scratch:
            self.how(Builder(root, log, fresh, Path(scratch)))
        for program in self.programs:
            (fresh / program).stat()
        fresh.replace(target)


def _kind(builder: Builder) -> None:
    builder.install("sigs.k8s.io/kind", VERSIONS["KIND"])


def _helm(builder: Builder) -> None:
    version = VERSIONS["HELM"]
    module = f"helm.sh/helm/v{version.partition('.')[0]}"
    builder.install(f"{module}/cmd/helm", version, flags=f"-X {module}/internal/version.version=v{version}")


_KUBERNETES = (
    "kubeadm",
    "kubelet",
    "kubectl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
)


def _kubernetes(builder: Builder) -> None:
    """All commands in one build, so that what they share compiles once."""
    version = VERSIONS["KUBERNETES"]
    major, minor, patch = version.split(".")
    builder.go("mod", "download", f"k8s.io/kubernetes@v{version}")
    source = go.module_cache(builder.root) / f"k8s.io/kubernetes@v{version}" / "go.mod"
    # Its parts are modules too, which its go.mod replaces by folders beside it: here, by their published versions.
    parts = re.findall(r"^\t(k8s\.io/[a-z-]+) => \./staging", source.read_text(encoding="utf-8"), re.MULTILINE)
    module = builder.module("kubernetes-commands")
    with (module / "go.mod").open("a") as file:
        file.write(f"require k8s.io/kubernetes v{version}\nreplace (\n")
        file.writelines(f"\t{part} => {part} v0.{minor}.{patch}\n" for part in parts)
        file.write(")\n")
    commands = [f"k8s.io/kubernetes/cmd/{name}" for name in _KUBERNETES]
    imports = "".join(f'import _ "{command}"\n' for command in commands)
    (module / "tools.go").write_text(f"//go:build tools\n\npackage commands\n\n{imports}")
    builder.go("mod", "tidy", "-e", cwd=module)
    package = "k8s.io/component-base/version"
    said = {
        f"{package}.gitVersion": f"v{version}",
        f"{package}.gitMajor": major,
        f"{package}.gitMinor": minor,
        f"{package}.gitTreeState": "clean",
        "k8s.io/client-go/pkg/version.gitVersion": f"v{version}",
    }
    builder.build(*commands, module=module, flags=" ".join(f"-X {name}={value}" for name, value in said.items()))


def _containerd(builder: Builder) -> None:
    for name in ("containerd", "ctr", "containerd-shim-runc-v2"):
        package = f"github.com/containerd/containerd/v2/cmd/{name}"
        builder.install(package, VERSIONS["CONTAINERD"], tags="no_zfs,no_btrfs,no_devmapper")


def _coredns(builder: Builder) -> None:
    builder.install("github.com/coredns/coredns", VERSIONS["COREDNS"])


def _etcd(builder: Builder) -> None:
    package = "go.etcd.io/etcd/server/v3"
    module = builder.module("etcd-command")
    builder.go("get", f"{package}@v{VERSIONS['ETCD']}", cwd=module)
    builder.build(package, module=module)
    (builder.target / "server").rename(builder.target / "etcd")  # go names a program after its folder


def _local_path(builder: Builder) -> None:
    package = "github.com/rancher/local-path-provisioner"
    module = builder.module("local-path-command")
    builder.go("get", f"{package}@v{VERSIONS['LOCAL_PATH']}", cwd=module)
    builder.build(package, module=module)


KIND = Component("kind", VERSIONS["KIND"], ("kind",), _kind)
HELM = Component("helm", VERSIONS["HELM"], ("helm",), _helm)
KUBERNETES = Component(
    "kubernetes", VERSIONS["KUBERNETES"], _KUBERNETES, _kubernetes, "the first time about 7 minutes on two cores"
)
CONTAINERD = Component(
    "containerd", VERSIONS["CONTAINERD"], ("containerd", "ctr", "containerd-shim-runc-v2"), _containerd
)
COREDNS = Component("coredns", VERSIONS["COREDNS"], ("coredns",), _coredns)
ETCD = Component("etcd", VERSIONS["ETCD"], ("etcd",), _etcd)
LOCAL_PATH = Component("local-path", VERSIONS["LOCAL_PATH"], ("local-path-provisioner",), _local_path)
