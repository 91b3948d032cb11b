"""Builds the images: ``python3 -m images.build``, from the repository's root. What ``make images`` runs.

The tag comes from the Git commit, and from the files' content where they differ from it. Ends with a table of sizes;
``compose/.env`` then names the tag. Needs Docker with buildx and Git; of Python only the standard library.

Exit codes: 0 done, 1 a build failed, 2 something is missing or the call is wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from images.sizes import Image, inspect, largest, table, total, unique

ROOT = Path(__file__).resolve().parents[1]
BAKE = "images/docker-bake.hcl"
SOURCES = ("dags", "feast_fast", "feature_repo", "images", "jobs", "requirements", ".dockerignore")
"""What can change an image; `images/offline` has its own."""
ENV_FILE = ROOT / "compose" / ".env"
LOG = ROOT / ".tools" / "images.log"
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class Missing(Exception):
    """Something that the build needs is not there; the message says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    os.chdir(ROOT)
    say: Callable[[str], object] = partial(print, file=sys.stderr if options.json else sys.stdout, flush=True)
    try:
        require_docker()
        environment = build_environment(options.tag)
        plan = bake_plan(environment)
        names = chosen(options.only, plan)
        require_upstream_images()
    except Missing as error:
        print(error, file=sys.stderr)
        return 2
    tag = environment["FTI_IMAGE_TAG"]
    say(f"Building {len(names)} images, tag {tag}. Log: {LOG.relative_to(ROOT)}")
    began = time.monotonic()
    seconds = bake(names, plan, environment, say)
    if seconds is None:
        print("\n".join(LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-30:]), file=sys.stderr)
        print(f"The build failed: see above, and all of it in {LOG}.", file=sys.stderr)
        return 1
    total = time.monotonic() - began
    images = [inspect(name, plan[name], seconds.pop(name, 0.0)) for name in names]
    shared = sum(seconds.values())
    if all(exists(image) for image in plan.values()):  # Compose and the launchers need all of them
        write_env("FTI_IMAGE_PREFIX", environment["FTI_IMAGE_PREFIX"])
        write_env("FTI_IMAGE_TAG", tag)
        say(f"{ENV_FILE.relative_to(ROOT)} names the tag.")
    print(json.dumps(as_json(tag, images, shared, total)) if options.json else table(images, shared, total))
    return 0


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python3 -m images.build", description="Builds the project's images.")
    result.add_argument("--only", nargs="+", metavar="NAME", help="build these, such as bronze airflow")
    result.add_argument("--tag", help="this tag instead of the one made from the commit")
    result.add_argument("--json", action="store_true", help="print the table as JSON; what goes on, to standard error")
    return result


def require_docker() -> None:
    """Raises Missing unless a Docker Engine with buildx answers."""
    if not succeeds("docker", "version"):
        raise Missing("No Docker Engine answers: start Docker Desktop, or on Debian run `make engine`.")
    if not succeeds("docker", "buildx", "version"):
        raise Missing("Docker has no buildx: install Docker's buildx plugin, or on Debian run `make engine`.")


def build_environment(tag: str | None) -> dict[str, str]:
    """The variables of the bake file.

    Raises:
        Missing: this is no Git checkout, or the tag is none.
    """
    if tag is not None and (not TAG.fullmatch(tag) or tag == "latest"):
        raise Missing(f"{tag!r} is no tag for these images: letters, digits, dots and hyphens, and never latest.")
    version = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if not succeeds("git", "rev-parse", "HEAD"):
        if tag is None:
            raise Missing("This is no Git checkout with a commit, so it gives no tag: name one with --tag.")
        return {"FTI_IMAGE_PREFIX": prefix(), "FTI_IMAGE_TAG": tag, "FTI_VERSION": version}
    committed = int(output("git", "show", "--no-patch", "--format=%ct", "HEAD"))
    return {
        "FTI_IMAGE_PREFIX": prefix(),
        "FTI_IMAGE_TAG": tag or commit_tag(),
        "FTI_VERSION": version,
        "FTI_REVISION": output("git", "rev-parse", "HEAD"),
        "FTI_CREATED": datetime.fromtimestamp(committed, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "SOURCE_DATE_EPOCH": str(committed),  # in place of the time of the build: the same commit, the same image
    }


def prefix() -> str:
    """Of the images' names: the shell's, else what ``compose/.env`` says, as Compose itself looks for it."""
    lines = ENV_FILE.read_text(encoding="utf-8").splitlines() if ENV_FILE.exists() else []
    kept = dict(line.split("=", 1) for line in lines if "=" in line)
    return os.environ.get("FTI_IMAGE_PREFIX") or kept.get("FTI_IMAGE_PREFIX") or "fti-"


def commit_tag() -> str:
    """Twelve digits of the commit; where sources differ from it, also eight of their content."""
    commit = output("git", "rev-parse", "--short=12", "HEAD")
    with tempfile.TemporaryDirectory() as folder:  # nothing of this is left in the repository
        objects = Path(output("git", "rev-parse", "--git-path", "objects")).resolve()
        separate = {
            "GIT_INDEX_FILE": str(Path(folder, "index")),
            "GIT_OBJECT_DIRECTORY": folder,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
        }
        output("git", "read-tree", "HEAD", **separate)
        output("git", "add", "--all", "--", *(path for path in SOURCES if Path(path).exists()), **separate)
        tree = output("git", "write-tree", **separate)
    return commit if tree == output("git", "rev-parse", "HEAD^{tree}") else f"{commit}-{tree[:8]}"


def bake_plan(environment: Mapping[str, str]) -> dict[str, str]:
    """Each target's image, as the bake file names it.

    Raises:
        Missing: the file cannot be read, or an image has no fixed tag.
    """
    done = run("docker", "buildx", "bake", "--file", BAKE, "--print", **environment)
    if done.returncode:
        raise Missing(f"{BAKE} cannot be read: {done.stderr.strip()}")
    plan = json.loads(done.stdout)
    images = {name: plan["target"][name]["tags"][0] for name in plan["group"]["default"]["targets"]}
    if moving := [image for image in images.values() if ":" not in image or image.endswith(":latest")]:
        raise Missing(f"Without a fixed tag: {', '.join(moving)}.")
    return images


def chosen(only: Sequence[str] | None, plan: Mapping[str, str]) -> list[str]:
    """The targets to build.

    Raises:
        Missing: one of them is not in the bake file.
    """
    if unknown := set(only or ()) - set(plan):
        raise Missing(f"There is no image {', '.join(sorted(unknown))}; there are {', '.join(plan)}.")
    return [name for name in plan if not only or name in only]


def upstream_images() -> list[str]:
    """The images of others that the Dockerfiles start from, and that the stack runs."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path("images").glob("*/Dockerfile")))
    stack = Path("compose/docker-compose.yml").read_text(encoding="utf-8")
    bases = re.findall(r"^FROM +(\S+:\S+)", text, re.MULTILINE)
    return sorted({*bases, *re.findall(r"^ +image: ([a-z]\S*:\S+)$", stack, re.MULTILINE)})


def require_upstream_images() -> None:
    """Raises Missing where an upstream image is neither here nor can be pulled."""
    for image in upstream_images():
        if not exists(image) and not succeeds("docker", "pull", "--quiet", image):
            raise Missing(f"{image} is not here and no registry is reached: run `make offline-images` first.")


def bake(
    names: Sequence[str], plan: Mapping[str, str], environment: Mapping[str, str], say: Callable[[str], object]
) -> dict[str, float] | None:
    """Builds, and returns the seconds that each target's own steps took; None where one failed."""
    LOG.parent.mkdir(exist_ok=True)
    builder = run("docker", "context", "show").stdout.strip() or "default"  # the Engine's own, which has the images
    command = ["docker", "buildx", "bake", "--builder", builder, "--file", BAKE, "--progress", "plain", *names]
    quiet = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}  # they hold the time of the build
    with (
        LOG.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            env=os.environ | dict(environment) | quiet,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        steps = Steps(shared_stages(plan))
        for line in process.stdout or ():
            log.write(line)
            log.flush()
            finished = steps.read(line)
            if finished in names:
                say(f"  {finished:<12} {steps.seconds.get(finished or '', 0.0):6.1f} s")
    return None if process.returncode else steps.seconds


def shared_stages(plan: Mapping[str, str]) -> set[str]:
    """The stages below the images: buildx names them by any of the images above."""
    below = [path for path in Path("images").glob("*/Dockerfile") if path.parent.name not in plan]
    return {
        stage for path in below for stage in re.findall(r"^FROM .+ AS (\S+)", path.read_text("utf-8"), re.MULTILINE)
    }


class Steps:
    """Reads buildx's plain progress: which target each step belongs to, and how long it took.

    What several images share belongs to the target ``""``.
    """

    def __init__(self, shared: Collection[str] = ()) -> None:
        self._shared = shared
        self.seconds: dict[str, float] = {}
        self._owners: dict[str, str] = {}
        self._exports: set[str] = set()

    def read(self, line: str) -> str | None:
        """Takes one line; returns a target's name when its image is finished."""
        if found := re.match(r"#(\d+) \[([\w-]+)[ \]](.*)", line):
            step, target, rest = found.groups()
            stage = rest.split(" ", 1)[0]
            self._owners.setdefault(step, "" if stage in self._shared else target)
            if "exporting to image" in rest:
                self._exports.add(step)
        elif found := re.match(r"#(\d+) DONE ([\d.]+)s", line):
            step, took = found.groups()
            target = self._owners.get(step)
            if target is not None:
                self.seconds[target] = self.seconds.get(target, 0.0) + float(took)
                return target if step in self._exports else None
        return None


def write_env(name: str, value: str) -> None:
    """Sets one variable in compose/.env and keeps the file's other lines."""
    ENV_FILE.parent.mkdir(exist_ok=True)
    lines = ENV_FILE.read_text(encoding="utf-8").splitlines() if ENV_FILE.exists() else []
    kept = [line for line in lines if not line.startswith(f"{name}=")]
    ENV_FILE.write_text("\n".join([*kept, f"{name}={value}", ""]), encoding="utf-8", newline="\n")


def as_json(tag: str, images: Sequence[Image], shared: float, seconds: float) -> dict[str, object]:
    return {
        "tag": tag,
        "seconds": round(seconds, 1),
        "shared_seconds": round(shared, 1),
        "bytes": total(images),
        "images": [
            {
                "name": image.name,
                "image": image.reference,
                "bytes": image.size,
                "unique_bytes": unique(image, images),
                "seconds": round(image.seconds, 1),
            }
            for image in images
        ],
        "largest_layers": [
            {"bytes": layer.size, "made_by": layer.made_by, "images": users} for layer, users in largest(images)
        ],
    }


def exists(image: str) -> bool:
    return succeeds("docker", "image", "inspect", "--format", "{{.Id}}", image)


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", errors="replace", env=os.environ | environment
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]} is not installed")


def succeeds(*command: str) -> bool:
    return run(*command).returncode == 0


def output(*command: str, **environment: str) -> str:
    done = run(*command, **environment)
    if done.returncode:
        raise Missing(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
