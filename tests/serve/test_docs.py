"""docs/serving.md shows what the service answers."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.serve.conftest import Service

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```bash\n(curl .*?)```\n\n```json\n(.*?)\n```", PAGE, re.DOTALL)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == PAGE.count("```json") == PAGE.count("curl -s") == 4


@pytest.mark.parametrize(("call", "shown"), EXAMPLES)
def test_an_example_answers_as_shown(service: Service, call: str, shown: str) -> None:
    words = shlex.split(call)
    address = urlsplit(next(word for word in words if word.startswith("http://localhost:8090")))
    target = f"{address.path}?{address.query}" if address.query else address.path
    if "-d" in words:
        answer = service.http.post(target, content=words[words.index("-d") + 1].encode())
    else:
        answer = service.http.get(target)
    assert answer.text == shown
