"""Copies a module and the modules of this project that it imports: ``closure.py jobs.common.class_archive /folder``.

Runs while the image is built, in the folder that holds ``jobs``. What is made from the copy is made anew only when one
of these modules changes, not with everything beside them.
"""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path


def main(module: str, folder: str) -> None:
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        source = source_of(name)
        if name in seen or not source:
            continue
        seen.add(name)
        copy = Path(folder, source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)
        waiting += [name.rpartition(".")[0], *imports(source)]
    for other in Path(*module.split(".")[:-1]).glob("*.properties"):
        shutil.copy(other, Path(folder, other))


def source_of(module: str) -> Path | None:
    """The file of a module of this project."""
    path = Path(*module.split("."))
    candidates = [path.with_suffix(".py"), path / "__init__.py"] if module else []
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def imports(source: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
