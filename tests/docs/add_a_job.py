"""Does to a copy of the repository what docs/add-a-job.md says."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-a-job.md"
STEP = re.compile(
    r"\*\*`(?P<file>[^`]+)`\*\*, (?:a new file|after `(?P<after>[^\n]+)`):\n\n```\w+\n(?P<text>.*?)```", re.DOTALL
)


def follow(repository: Path) -> int:
    """Writes the new files and the additions; returns how many steps there were."""
    steps = list(STEP.finditer(PAGE.read_text(encoding="utf-8")))
    for step in steps:
        path = repository / step["file"]
        if step["after"] is None:
            assert not path.exists(), f"{step['file']} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step["text"], encoding="utf-8")
        else:
            text = path.read_text(encoding="utf-8")
            assert text.count(step["after"]) == 1, (
                f"{step['file']} has {step['after']!r} {text.count(step['after'])} times"
            )
            path.write_text(text.replace(step["after"], step["after"] + step["text"].rstrip("\n")), encoding="utf-8")
    return len(steps)
