"""How large the images are, layer by layer: a layer that several images share is on the disk once."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field

_NO_LAYER = re.compile(
    r"(/bin/sh -c )?(#\(nop\) +)?(ARG|CMD|ENTRYPOINT|ENV|EXPOSE|HEALTHCHECK|LABEL|MAINTAINER|ONBUILD|SHELL|STOPSIGNAL|USER|VOLUME)\b"
)


@dataclass(frozen=True)
class Layer:
    """A layer and, in its identity, all below it."""

    chain: tuple[str, ...]
    size: int
    made_by: str


@dataclass(frozen=True)
class Image:
    name: str
    reference: str
    seconds: float
    layers: list[Layer] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(layer.size for layer in self.layers)


def inspect(name: str, reference: str, seconds: float) -> Image:
    """Asks Docker for an image's layers."""
    digests = json.loads(_docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", reference))
    format_ = "{{json .Size}}\t{{json .CreatedBy}}"
    lines = _docker("history", "--no-trunc", "--human=false", "--format", format_, reference).splitlines()
    history = [(int(json.loads(size)), str(json.loads(by))) for size, by in (line.split("\t", 1) for line in lines)]
    return Image(name, reference, seconds, layers(digests, list(reversed(history))))


def layers(digests: Sequence[str], history: Sequence[tuple[int, str]]) -> list[Layer]:
    """Pairs digests with the history's sizes, both from the lowest on. Entries without a layer are not marked as such."""
    made = [(size, by) for size, by in history if size or not _NO_LAYER.match(by)]
    surplus = len(made) - len(digests)
    for entry in [entry for entry in made if not entry[0]][: max(surplus, 0)]:
        made.remove(entry)
    if len(made) != len(digests):
        raise ValueError(f"{len(digests)} layers, but {len(made)} in the history")
    return [Layer(tuple(digests[: i + 1]), size, _words(by)) for i, (size, by) in enumerate(made)]


def total(images: Sequence[Image]) -> int:
    """Bytes of all images together, each layer once."""
    return sum({layer.chain: layer.size for image in images for layer in image.layers}.values())


def unique(image: Image, images: Sequence[Image]) -> int:
    """Bytes that only this image has."""
    others = {layer.chain for other in images if other is not image for layer in other.layers}
    return sum(layer.size for layer in image.layers if layer.chain not in others)


def largest(images: Sequence[Image], count: int = 8) -> list[tuple[Layer, list[str]]]:
    """The largest layers, with the images that have them."""
    found = {layer.chain: layer for image in images for layer in image.layers}
    users = {chain: [i.name for i in images if any(la.chain == chain for la in i.layers)] for chain in found}
    ordered = sorted(found.values(), key=lambda layer: -layer.size)[:count]
    return [(layer, users[layer.chain]) for layer in ordered]


def table(images: Sequence[Image], shared: float, seconds: float) -> str:
    """The table that ends a build.

    Args:
        images: with the seconds of their own steps.
        shared: seconds of the steps below several of them.
        seconds: from the beginning to the end; steps run side by side.
    """
    width = max(len(image.reference) for image in images)
    lines = [f"{'image':<{width}}  {'size MB':>8}  {'unique MB':>9}  {'seconds':>7}"]
    for image in images:
        lines.append(
            f"{image.reference:<{width}}  {_mb(image.size):>8}  {_mb(unique(image, images)):>9}  {image.seconds:>7.1f}"
        )
    lines.append(f"{'layers that jobs share':<{width}}  {'':>8}  {'':>9}  {shared:>7.1f}")
    lines.append(f"{'all, shared layers once':<{width}}  {_mb(total(images)):>8}  {'':>9}  {seconds:>7.1f}")
    lines.append("Largest layers:")
    for layer, users in largest(images):
        lines.append(f"{_mb(layer.size):>8} MB  {layer.made_by}  ({', '.join(users)})")
    return "\n".join(lines)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f}"


def _words(created_by: str) -> str:
    text = re.sub(r"^(RUN )?(\|\d+ .*?)?/bin/sh -c (#\(nop\) +)?", "", created_by)
    text = " ".join(text.removesuffix("# buildkit").split())
    return text if len(text) <= 70 else text[:67] + "..."


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True, encoding="utf-8")
    return done.stdout
