"""Writes what is derived from each chart's own files: ``python -m charts.build``. A test fails when it is out of date.

For every folder here with a Chart.yaml and a values.yaml:

- ``values.schema.json`` and the table in ``README.md`` from ``values.yaml``, where ``# --`` above a key, or behind its
  value, opens its description. A key's type is that of its value. ``# @schema`` above it says more: one of the names in
  TYPES, or a piece of JSON schema. Under a key with such a line nothing is read any more. No key is let through that
  ``values.yaml`` does not hold, but in ``global``, which all charts of a release share: there the keys of all charts are.
- the head of ``README.md`` from ``Chart.yaml`` and, if there is one, ``README.head.md``,
- ``templates/_common.tpl`` from ``common.tpl``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import yaml

FOLDER = Path(__file__).parent
MARK = "<!-- Written by `python -m charts.build`. Edit values.yaml and README.head.md instead. -->"

_QUANTITY = {"type": ["string", "integer"], "pattern": r"^[0-9]+(\.[0-9]+)?(m|[kMGT]i?)?$"}
_OUR_LABELS = ["name", "instance", "component", "part-of", "managed-by", "version"]
TYPES: dict[str, dict[str, Any]] = {
    "name": {"type": "string", "pattern": "^([a-z]([a-z0-9-]{0,61}[a-z0-9])?)?$"},
    "quantity": _QUANTITY,
    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "nodePort": {"type": "integer", "anyOf": [{"const": 0}, {"minimum": 30000, "maximum": 32767}]},
    "names": {"type": "array", "items": {"type": "string", "minLength": 1}},
    "object": {"type": "object"},
    "objects": {"type": "array", "items": {"type": "object"}},
    "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    "labels": {
        "type": "object",
        "additionalProperties": {"type": "string", "pattern": "^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$"},
        "propertyNames": {"not": {"enum": [*(f"app.kubernetes.io/{name}" for name in _OUR_LABELS), "helm.sh/chart"]}},
    },
    "resources": {
        "type": "object",
        "additionalProperties": False,
        "required": ["requests", "limits"],
        "properties": {
            "requests": {
                "description": "What the scheduler keeps free for it.",
                "type": "object",
                "additionalProperties": False,
                "required": ["cpu", "memory"],
                "properties": {"cpu": _QUANTITY, "memory": _QUANTITY, "ephemeral-storage": _QUANTITY},
            },
            "limits": {
                "description": "What it may take. A limit of CPU only slows it down: leave it out.",
                "type": "object",
                "additionalProperties": False,
                "required": ["memory"],
                "properties": {"cpu": _QUANTITY, "memory": _QUANTITY, "ephemeral-storage": _QUANTITY},
            },
        },
    },
}


@dataclass
class Value:
    """A key of values.yaml with what stands about it there."""

    path: tuple[str, ...]
    default: Any
    description: str
    schema: dict[str, Any] | None
    children: list[Value] = field(default_factory=list)

    def walk(self) -> Iterator[Value]:
        yield self
        for child in self.children:
            yield from child.walk()


def charts() -> list[Path]:
    """The charts' folders, by name."""
    return sorted(path.parent for path in FOLDER.glob("*/Chart.yaml") if path.with_name("values.yaml").exists())


def read_values(chart: Path) -> list[Value]:
    """The keys at the top of the chart's values.yaml, with those below them."""
    text = (chart / "values.yaml").read_text(encoding="utf-8")
    return _children(yaml.compose(text), text.splitlines(), ())


def _children(node: yaml.Node, lines: list[str], path: tuple[str, ...]) -> list[Value]:
    assert isinstance(node, yaml.MappingNode)
    values = []
    for key, value in node.value:
        description, schema = _comments(lines, key.start_mark.line, value.end_mark)
        found = Value((*path, key.value), yaml.safe_load(yaml.serialize(value)), description, schema)
        if isinstance(value, yaml.MappingNode) and schema is None:
            found.children = _children(value, lines, found.path)
        values.append(found)
    return values


def _comments(lines: list[str], line: int, end: yaml.Mark) -> tuple[str, dict[str, Any] | None]:
    """The description and the schema in the comments above a key and behind its value."""
    above: list[str] = []
    while line > 0 and lines[line - len(above) - 1].lstrip().startswith("#"):
        above.insert(0, lines[line - len(above) - 1].strip().removeprefix("#").strip())
    behind = lines[end.line][end.column :].strip() if end.line < len(lines) else ""
    if behind.startswith("# -- "):
        above.append(behind.removeprefix("#").strip())
    words: list[str] = []
    schema = None
    for comment in above:
        if comment.startswith("@schema "):
            said = yaml.safe_load(comment.removeprefix("@schema "))
            schema = TYPES[said] if isinstance(said, str) else said
        elif comment.startswith("-- "):
            words = [comment.removeprefix("-- ")]
        elif words:
            words.append(comment)
    return " ".join(words), schema


_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


def _schema_of(value: Value) -> dict[str, Any]:
    about = {"description": value.description} if value.description else {}
    if value.schema is not None:
        return {**about, "type": _JSON_TYPES[type(value.default)], **value.schema}
    if isinstance(value.default, dict):
        return {**about, **_object(value.children)}
    return {**about, "type": _JSON_TYPES[type(value.default)]}


def _object(values: list[Value]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {value.path[-1]: _schema_of(value) for value in values},
    }


def schema(chart: Path) -> str:
    whole = _object(read_values(chart))
    shared = {}
    for other in charts():
        for value in read_values(other):
            if value.path == ("global",):
                shared.update(_object(value.children)["properties"])
    if "global" in whole["properties"]:
        whole["properties"]["global"]["properties"] = dict(sorted(shared.items()))
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"Values of the chart {chart.name}"}
    return json.dumps({**head, **whole}, indent=2, ensure_ascii=False) + "\n"


def readme(chart: Path) -> str:
    about = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))
    parts = [MARK, f"# {about['name']}", about["description"]]
    head = chart / "README.head.md"
    if head.exists():
        parts.append(head.read_text(encoding="utf-8").strip())
    rows = [_row(value) for top in read_values(chart) for value in top.walk()]
    parts += ["## Values", "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _row(value: Value) -> str:
    default = "" if value.children else f"`{json.dumps(value.default, ensure_ascii=False)}`"
    cells = (f"`{'.'.join(value.path)}`", default, re.sub(r"\|", r"\\|", value.description))
    return "| " + " | ".join(cells) + " |"


def derived(chart: Path) -> dict[Path, str]:
    """File → its text."""
    return {
        chart / "values.schema.json": schema(chart),
        chart / "README.md": readme(chart),
        chart / "templates" / "_common.tpl": (FOLDER / "common.tpl").read_text(encoding="utf-8"),
    }


@click.command(help=__doc__)
def main() -> None:
    for chart in charts():
        for path, text in derived(chart).items():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
                click.echo(f"{path.relative_to(FOLDER.parent)} written.")


if __name__ == "__main__":
    main()
