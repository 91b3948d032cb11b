"""The kind node image: Kubernetes, containerd, etcd, CoreDNS and local-path storage, on Debian.

kind's own builder takes just the first image of an archive and pulls the rest; a Dockerfile needs no registry.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection
from functools import partial
from pathlib import Path

from images.offline import base, debian, docker
from images.offline.steps import CommandFailed, Log, Steps
from images.offline.versions import VERSIONS
from kind.offline import programs
from kind.offline.programs import Component

FOLDER = Path(__file__).with_name("node")
IMAGE = f"kindest/node:v{VERSIONS['KUBERNETES']}"

# Always built: a person calls them. The others are needed for the image alone.
_CALLED = ((programs.KIND, "kind"), (programs.HELM, "helm"), (programs.KUBERNETES, "kubectl"))
_INSIDE = (programs.CONTAINERD, programs.COREDNS, programs.ETCD, programs.LOCAL_PATH)

# The parts of the cluster that kubeadm knows by image name, and those that kind's manifests name.
_OF_KUBEADM = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", "etcd")
_OF_KIND = {
    "cni": "offline/cni:1",
    "local-path-provisioner": "offline/local-path-provisioner:1",
    "local-path-helper": "offline/local-path-helper:1",
}


def make(steps: Steps, tools: Path) -> None:
    """Makes the image, and puts kind, helm and kubectl into ``bin`` of the tools' folder."""
    recipe = _recipe()
    image = docker.found(IMAGE, recipe)
    make_called(steps, tools)
    if image is None:
        _build_programs(steps, tools, _INSIDE)
    root = Path() if image else base.toolchain(steps, tools)
    steps.run(IMAGE, image, partial(_build, recipe=recipe, tools=tools, root=root), size=partial(docker.size, IMAGE))


def make_called(steps: Steps, tools: Path) -> None:
    """Puts kind, helm and kubectl into ``bin`` of the tools' folder, and nothing more; needs no Docker."""
    _build_programs(steps, tools, [component for component, _ in _CALLED])
    for component, program in _CALLED:
        _publish(component.folder(tools) / program, tools / "bin")


def _build_programs(steps: Steps, tools: Path, components: Collection[Component]) -> None:
    lacking = [component for component in components if not component.there(tools)]
    root = base.toolchain(steps, tools) if lacking else Path()
    for component in components:
        steps.run(
            f"{component.name} {component.version}",
            component.there(tools),
            partial(component.make, tools=tools, root=root),
            hint=component.hint,
        )


def _recipe() -> str:
    component_versions = [f"{component.name} {component.version}" for component in (programs.KUBERNETES, *_INSIDE)]
    bases = docker.recipe(debian.FOLDER, VERSIONS["NODE_DEBIAN_IMAGE"])
    return docker.recipe(FOLDER, VERSIONS["KIND"], *component_versions, bases)


def _publish(program: Path, folder: Path) -> None:
    """A second name for the same file, so that it takes no more room and outlives the folder of its version."""
    folder.mkdir(parents=True, exist_ok=True)
    place, fresh = folder / program.name, folder / f".{program.name}"
    if not (place.exists() and place.samefile(program)):
        fresh.unlink(missing_ok=True)
        os.link(program, fresh)
        fresh.replace(place)


def _build(log: Log, recipe: str, tools: Path, root: Path) -> None:
    environment = {"GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    download = (root / "bin" / "go", "mod", "download", "-json", f"sigs.k8s.io/kind@v{VERSIONS['KIND']}")
    source = Path(json.loads(log.read(*download, env=environment))["Dir"])
    made: list[str] = []
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="kind-node-") as temporary:
        contexts = _contexts(Path(temporary), tools, source)
        build = partial(docker.build, log, FOLDER, arguments=_arguments(), contexts=contexts)
        try:
            for target, tag in _images(log, tools, source).items():
                build(tag, target=target)
                made.append(tag)
            log.run("docker", "save", "--output", contexts["images"] / "images.tar", *made)
            build(IMAGE, target="node", recipe=recipe)
        finally:  # they are inside the node now; the Engine has no use for them
            if made:
                subprocess.run(["docker", "image", "rm", *made], capture_output=True)


def _arguments() -> dict[str, str]:
    names = {"DEBIAN": "NODE_DEBIAN_IMAGE", "GOLANG": "GOLANG_IMAGE", "KUBERNETES": "KUBERNETES"}
    return {argument: VERSIONS[name] for argument, name in names.items()}


def _images(log: Log, tools: Path, source: Path) -> dict[str, str]:
    """Target in the Dockerfile to the tag that the cluster will ask for."""
    kubeadm = programs.KUBERNETES.folder(tools) / "kubeadm"
    listed = log.read(kubeadm, "config", "images", "list", "--kubernetes-version", f"v{VERSIONS['KUBERNETES']}")
    by_name = {tag.rpartition(":")[0].rpartition("/")[2]: tag for tag in listed.split()}
    config = (source / "images/base/files/etc/containerd/config.toml").read_text(encoding="utf-8")
    pause = re.search(r'sandbox_image = "(.+)"', config)
    if not pause or not by_name.keys() >= set(_OF_KUBEADM):
        raise CommandFailed("kubeadm or kind names its images in another way than this code knows")
    return {name: by_name[name] for name in _OF_KUBEADM} | {"pause": pause[1]} | _OF_KIND


def _contexts(folder: Path, tools: Path, source: Path) -> dict[str, Path]:
    """Lays out what the Dockerfile takes from elsewhere."""
    contexts = {name: folder / name for name in ("kind", "manifests", "version", "images")}
    for name in ("manifests", "version", "images"):
        contexts[name].mkdir()
    shutil.copytree(source / "images/base/files", contexts["kind"])
    for path in (contexts["kind"], *contexts["kind"].rglob("*")):  # a module's files are read-only
        path.chmod(path.stat().st_mode | 0o200)
    (contexts["version"] / "version").write_text(f"v{VERSIONS['KUBERNETES']}\n")
    constants = source / "pkg/build/nodeimage"
    for kind, file in (("CNI", "const_cni.go"), ("Storage", "const_storage.go")):
        manifest = _manifest((constants / file).read_text(encoding="utf-8"), f"default{kind}Manifest")
        (contexts["manifests"] / f"default-{kind.lower()}.yaml").write_text(manifest)

    def program_folder(component: Component) -> Path:
        return component.folder(tools)

    return contexts | {
        "kubernetes": program_folder(programs.KUBERNETES),
        "containerd-programs": program_folder(programs.CONTAINERD),
        "coredns-programs": program_folder(programs.COREDNS),
        "etcd-programs": program_folder(programs.ETCD),
        "local-path-programs": program_folder(programs.LOCAL_PATH),
    }


def _manifest(code: str, constant: str) -> str:
    """A manifest of kind's own, out of its Go code, that names our images.

    In the code it is a raw string, interrupted where the name of an image goes.
    """
    ours = {
        "kindnetdImage": _OF_KIND["cni"],
        "storageProvisionerImage": _OF_KIND["local-path-provisioner"],
        "storageHelperImage": _OF_KIND["local-path-helper"],
    }
    body = re.search(rf"const {constant} = `\n(.*?)^`$", code, re.DOTALL | re.MULTILINE)
    if not body:
        raise CommandFailed(f"kind {VERSIONS['KIND']} has no {constant} where this code looks for it")
    return re.sub(r"` \+ (\w+) \+ `", lambda match: f"docker.io/{ours[match[1]]}", body[1])
