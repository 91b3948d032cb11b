"""Values, schema, README and templates say the same; what is wrong is refused with a sentence."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charts import build
from tests.charts.harness import CHARTS, NAMES, at, default_values, invalid_values, merged, refusal, values_yaml

Path_ = tuple[str, ...]


def schema(chart: str) -> dict[str, Any]:
    return json.loads((CHARTS / chart / "values.schema.json").read_text(encoding="utf-8"))


def parts(node: dict[str, Any], path: Path_ = ()) -> Iterator[tuple[Path_, dict[str, Any]]]:
    """Every key of a schema with what it says of it; the root too."""
    yield path, node
    for key, below in node.get("properties", {}).items():
        yield from parts(below, (*path, key))


def own(chart: str) -> Iterator[tuple[Path_, dict[str, Any]]]:
    """Those that the chart's own values.yaml holds: `global` has keys of others too, an umbrella charts of its own."""
    for path, node in parts(schema(chart)):
        value: Any = values_yaml(chart)
        for key in path:
            value = value.get(key, ...) if isinstance(value, dict) else ...
        if value is not ...:
            yield path, node


@pytest.mark.parametrize("chart", NAMES)
def test_derived_files_are_current(chart: str) -> None:
    for path, text in build.derived(CHARTS / chart).items():
        assert path.exists(), f"{path.name}: run `python -m charts.build`"
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `python -m charts.build`"


@pytest.mark.parametrize("chart", NAMES)
def test_every_key_is_described(chart: str) -> None:
    values = [value for top in build.read_values(CHARTS / chart) for value in top.walk()]
    assert [".".join(v.path) for v in values if not v.description.endswith((".", "`", "?"))] == []


@pytest.mark.parametrize("chart", NAMES)
def test_every_key_of_the_values_is_in_the_schema_with_the_type_of_its_default(chart: str) -> None:
    kinds = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict, "number": float}

    def check(values: dict[str, Any], node: dict[str, Any], path: Path_) -> None:
        for key, value in values.items():
            below = node.get("properties", {}).get(key)
            if below is None:
                assert node.get("additionalProperties", True) is not False, (*path, key)
                continue
            assert type(value) in {kinds[t] for t in [below["type"]] for t in ([t] if isinstance(t, str) else t)}, (
                *path,
                key,
            )
            if isinstance(value, dict):
                check(value, below, (*path, key))

    check(values_yaml(chart), schema(chart), ())


@pytest.mark.parametrize("chart", NAMES)
def test_an_unknown_key_is_refused_wherever_it_is(chart: str) -> None:
    strict = [path for path, node in own(chart) if node.get("additionalProperties") is False]
    assert () in strict
    message = refusal(chart, merged(default_values(chart), *(at((*path, "typo"), "x") for path in strict)))
    for path in strict:
        assert f"at '{''.join(f'/{key}' for key in path)}': additional properties 'typo' not allowed" in message


@pytest.mark.parametrize("chart", NAMES)
def test_a_wrong_type_is_refused_wherever_it_is(chart: str) -> None:
    """All keys of one depth at once: Helm names each."""
    by_depth: dict[int, list[tuple[Path_, Any]]] = {}
    wrong = {"string": 7, "integer": "seven", "number": "seven", "boolean": "yes", "array": "one", "object": "one"}
    for path, node in own(chart):
        value = wrong[node["type"]] if isinstance(node["type"], str) else True
        if CHARTS.joinpath(chart, "charts", *path[:1]).exists() and path:  # a subchart's values: Helm asks no schema
            assert f"type mismatch on {path[0]}" in refusal(chart, merged(default_values(chart), at(path, value)))
        elif path:
            by_depth.setdefault(len(path), []).append((path, value))
    assert by_depth
    for keys in by_depth.values():
        message = refusal(chart, merged(default_values(chart), *(at(path, value) for path, value in keys)))
        for path, _ in keys:
            assert f"at '/{'/'.join(path)}'" in message


@functools.cache
def said_to(chart: str, number: int) -> str:
    """What Helm says to an entry of ci/invalid.yaml; `alone`: without the chart's ci/default-values.yaml."""
    entry = invalid_values(chart)[number]
    return refusal(chart, entry["values"] if entry.get("alone") else merged(default_values(chart), entry["values"]))


def all_said_to(chart: str) -> list[str]:
    return [said_to(chart, number) for number in range(len(invalid_values(chart)))]


INVALID = [
    pytest.param(chart, number, entry["says"], id=f"{chart}-{entry['says'][:60]}")
    for chart in NAMES
    for number, entry in enumerate(invalid_values(chart))
]


@pytest.mark.parametrize(("chart", "number", "says"), INVALID)
def test_invalid_values_stop_with_a_sentence(chart: str, number: int, says: str) -> None:
    assert says in said_to(chart, number)


def failures(*templates: Path) -> Iterator[tuple[str, str]]:
    """Each text with which a template fails, and a pattern for what becomes of it; one that names no key is no good."""
    for path in templates:
        for text in re.findall(r'\bfail (?:\(printf )?"((?:[^"\\]|\\.)*)"', path.read_text(encoding="utf-8")):
            assert re.search(r"[a-z]\w*\.[a-z%]|%s", text), f"{path.name}: {text!r} names no key"
            parts = re.split(r"%[sdvq]", text.replace("%%", "\0").replace('\\"', '"'))
            yield text, ".*".join(re.escape(part) for part in parts).replace("\0", "%")


@pytest.mark.parametrize("chart", NAMES)
def test_every_failure_of_the_templates_has_its_invalid_values(chart: str) -> None:
    said = all_said_to(chart)
    templates = [p for p in (CHARTS / chart / "templates").rglob("*") if p.is_file() and p.name != "_common.tpl"]
    assert [t for t, pattern in failures(*templates) if not any(re.search(pattern, message) for message in said)] == []


def test_every_failure_of_the_shared_helpers_has_its_invalid_values() -> None:
    said = [message for chart in NAMES for message in all_said_to(chart)]
    found = list(failures(CHARTS / "common.tpl"))
    assert [text for text, pattern in found if not any(re.search(pattern, message) for message in said)] == []
    assert found
