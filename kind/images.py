"""Brings images from the Docker Engine into the cluster's nodes, and only the layers that a node lacks.

`kind load docker-image` saves and imports each image whole, one after the other. Here `docker save` writes several as
one stream, with the layers that they share once; what the node's containerd holds already is taken out on the way; the
rest goes into its import. An image that is there under another name only gets a name.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO

from compose.stack import MachineError
from images.build import exists, succeeds
from kind.commands import Cluster, call, docker, finish, start

CTR = ("ctr", "--namespace", "k8s.io")
_SMALL = 64 * 1024
"""Bytes up to which a file goes along even if the node has it: manifests and configurations, which name the others."""
_BUFFER = 1 << 20


@dataclass(frozen=True)
class Held:
    """What a node's containerd has.

    Attributes:
        images: full name → digest of its manifest. Kubernetes adds the name ``sha256:<image ID>`` to each.
        blobs: digests without ``sha256:``.
    """

    images: dict[str, str]
    blobs: frozenset[str]

    def has(self, name: str, image_id: str) -> bool:
        """Whether the name stands for that image: by the ID of an Engine that counts configurations, or manifests."""
        digest = self.images.get(full(name))
        return digest is not None and digest in (image_id, self.images.get(image_id))

    def other_name(self, image_id: str) -> str | None:
        """Another name of the same image."""
        if image_id in self.images:
            return image_id
        return next((name for name, digest in self.images.items() if digest == image_id), None)


def full(name: str) -> str:
    """``docker.io/library/redis:8`` of ``redis:8``: as containerd names it."""
    first, _, rest = name.partition("/")
    if not rest:
        return f"docker.io/library/{name}"
    return name if "." in first or ":" in first or first == "localhost" else f"docker.io/{name}"


def ids(images: Sequence[str]) -> dict[str, str]:
    """Their IDs in the Engine; pulls what is not there.

    Raises:
        MachineError: one is neither there nor can be pulled.
    """
    done = call("docker", "image", "inspect", *images)
    if done.returncode:
        for image in images:
            if not exists(image) and not succeeds("docker", "pull", "--quiet", image):
                raise MachineError(
                    f"{image} is not here and no registry is reached: run `make offline-images`, or `make images` if it is one of ours."
                )
    described = json.loads(done.stdout if done.returncode == 0 else docker("image", "inspect", *images))
    return {name: image["Id"] for name, image in zip(images, described, strict=True)}


def load(cluster: Cluster, images: Sequence[str], nodes: Iterable[str] | None = None) -> int:
    """Makes every node have the images as the Engine has them; returns how many had to be brought.

    Raises:
        MachineError: an image is not in the Engine.
        StackError: it could not be saved or imported.
    """
    wanted = ids(images) if images else {}
    brought = 0
    for node in nodes if nodes is not None else cluster.require():
        held = held_by(node)
        lacking = [name for name in images if not held.has(name, wanted[name])]
        for name in list(lacking):
            if other := held.other_name(wanted[name]):
                docker("exec", node, *CTR, "images", "tag", "--force", other, full(name))
                lacking.remove(name)
                brought += 1
        if lacking:
            _transfer(cluster, lacking, node, held.blobs)
            brought += len(lacking)
    return brought


def held_by(node: str) -> Held:
    lines = docker("exec", node, *CTR, "images", "ls").splitlines()[1:]
    blobs = docker("exec", node, *CTR, "content", "ls", "--quiet").split()
    named = {line.split()[0]: line.split()[2] for line in lines if line.strip()}
    return Held(named, frozenset(blob.removeprefix("sha256:") for blob in blobs))


def answers(node: str) -> bool:
    """Whether images can be brought to it: soon after its container started, before Kubernetes runs in it."""
    return call("docker", "exec", node, *CTR, "version").returncode == 0


def _transfer(cluster: Cluster, images: Sequence[str], node: str, held: frozenset[str]) -> None:
    """One stream from `docker save` to the node's import; where that fails, kind's own way says why or works."""
    # --local: by the client, in half the time of the transfer service's.
    importing = ("docker", "exec", "--interactive", node, *CTR, "images", "import", "--local", "-")
    save = start("docker", "save", *images, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    take = start(*importing, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert save.stdout
    assert take.stdin
    try:
        filter_layout(save.stdout, take.stdin, held)
        take.stdin.close()
    except (OSError, tarfile.TarError):  # one of them ended early; docker ends on no gentler signal
        save.kill()
        take.kill()
    if finish(save) or finish(take):
        cluster.kind("load", "docker-image", *images, "--nodes", node)


def filter_layout(source: IO[bytes], target: IO[bytes], held: Iterable[str]) -> int:
    """Copies an OCI layout, a tar stream, without the blobs that are held; returns the bytes of files copied."""
    copied = 0
    with (
        tarfile.open(fileobj=source, mode="r|", bufsize=_BUFFER) as layout,
        tarfile.open(fileobj=target, mode="w|", bufsize=_BUFFER) as rest,
    ):
        rest.copybufsize = _BUFFER  # type: ignore[attr-defined]
        for member in layout:
            folder, _, digest = member.name.rpartition("/")
            if member.size > _SMALL and folder == "blobs/sha256" and digest in held:
                continue
            rest.addfile(member, layout.extractfile(member) if member.isfile() else None)
            copied += member.size
    return copied
