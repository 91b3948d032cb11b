"""What the docs show for the stack, typed as they show it."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.docs.run_commands import blocks, left_out
from tests.e2e.compose_stack.stack import BOOT, ROOT, Stack

SHOWN = [
    (page, text)
    for page, language, text in blocks()
    if language == "bash" and left_out(text) == "left to make e2e-compose" and "make " not in text
]


def test_docs_show_the_four_commands_that_booted_this_stack() -> None:
    page = (ROOT / "docs" / "compose.md").read_text(encoding="utf-8")
    block = next(text for text in re.findall(r"```powershell\n(.*?)```", page, re.DOTALL) if "docker compose" in text)
    assert block.splitlines() == ["py -m images.build", "cd compose", *BOOT]


@pytest.mark.parametrize(("page", "text"), SHOWN, ids=[f"{page}: {text.splitlines()[-1][:40]}" for page, text in SHOWN])
def test_commands_of_the_docs_work(stack: Stack, page: str, text: str) -> None:
    stack.wait_until_healthy("airflow-webserver", "airflow-scheduler", "redis", "minio")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=ROOT, env=stack.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout or "docker compose" in text
