"""The docs say what the code does: generated pages are current, links lead somewhere, commands exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from docs.build import REFERENCE, pages

ROOT = Path(__file__).resolve().parents[2]
MARKDOWN = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("name", sorted(pages()))
def test_generated_page_is_current(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == pages()[name], "run `make docs` and commit the result"


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_make_verb_in_the_docs_exists(page: Path) -> None:
    verbs = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for verb in re.findall(r"`?make ([a-z][a-z0-9-]*)", "\n".join(_code(page))):
        assert verb in verbs, f"{page.name} shows make {verb}"


def test_help_lists_every_verb() -> None:
    text = (ROOT / "Makefile").read_text()
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for verb in re.findall(r"^\.PHONY: ([a-z0-9-]+)", text, flags=re.MULTILINE):
        assert re.search(rf"make {verb}\s+\S", said), verb


def _code(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(r"```(?:bash|shell|text)?\n(.*?)```", text, flags=re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
