"""Writes the generated reference pages: ``python -m docs.build``. A test fails when they are out of date.

Each page is made from the table that the code itself works by, so it cannot say anything else.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import pyarrow as pa

from jobs.common.contract import DATASETS, FORMATS
from jobs.common.products import PRODUCTS, REQUEST_FEATURES, Feature, Product
from jobs.common.settings import Settings

REFERENCE = Path(__file__).with_name("reference")
JOBS = ("generate", "bronze", "features", "materialize", "verify", "verify.show", "serve")
_NOTE = "<!-- Written by `make docs`. Edit the source named below instead. -->\n"


def pages() -> dict[str, str]:
    """File name → Markdown."""
    return {
        "features.md": _features(),
        "settings.md": _settings(),
        "landing.md": _landing(),
        "commands.md": _commands(),
    }


def _features() -> str:
    sections = [
        _NOTE,
        "# Feature catalogue",
        "From `jobs/common/products.py`. Every window is `[t - w, t)`: the transaction at t and those of the same "
        "microsecond are not in it. Amounts are integer cents, times are UTC. Sums and counts are over approved "
        "transactions of the 90 days before t. The number is the feature's row in the design's feature table.",
        *(_product(p) for p in PRODUCTS),
        "## request_features",
        "Computed by Feast's on-demand view at request time, from `card_last_state`, `card_daily`, `mcc_daily` and the "
        "request itself; the same code makes training rows.",
        _feature_table(REQUEST_FEATURES),
    ]
    return "\n\n".join(sections) + "\n"


def _product(product: Product) -> str:
    ttl = f"Served for {product.ttl.days} days. " if product.ttl else "Not served: offline only. "
    text = f"{product.description} {ttl}Key `{product.key}`; files in `{product.dataset}/event_date=…/`."
    parts = [f"## {product.name}", text, _feature_table(product.features)]
    if product.carried:
        parts += ["Carried along, no features:", _feature_table(product.carried, numbered=False)]
    return "\n\n".join(parts)


def _feature_table(features: Iterable[Feature], numbered: bool = True) -> str:
    rows = [
        ([str(f.number or "")] if numbered else [])
        + [f"`{f.name}`", _type(f.type), "yes" if f.nullable else "", f.description]
        for f in features
    ]
    return _table([*(["#"] if numbered else []), "column", "type", "null", "meaning"], rows)


def _type(kind: pa.DataType) -> str:
    return f"list of {kind.value_type}" if pa.types.is_list(kind) else str(kind)


def _settings() -> str:
    rows = [
        [f"`{name.upper()}`", "" if field.default is None else f"`{field.default}`", field.description or ""]
        for name, field in Settings.model_fields.items()
    ]
    text = (
        "From `jobs/common/settings.py`. The jobs read them from the environment, under the same names on every substrate. "
        "A wrong value stops the job at its start with exit code 2 and one sentence that names every wrong variable. "
        "S3 credentials come from the AWS default chain (`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, a profile, or the "
        "identity of the pod), so no static key is needed where there is an identity."
    )
    return "\n\n".join([_NOTE, "# Settings", text, _table(["variable", "default", "meaning"], rows)]) + "\n"


def _landing() -> str:
    sections = [
        _NOTE,
        "# Landing contract",
        "From `jobs/common/contract.py`. What files must look like that your own exporter writes to "
        f"`landing/<dataset>/ingest_date=<the day they arrive>/`. Formats: {', '.join(f'`{f}`' for f in FORMATS)}, UTF-8, 16 to 128 MB "
        "a file. JSONL holds one flat object a line; CSV has these columns as its header, in any order. Unknown columns "
        "are left out and counted. Every value is judged on its text. A line that breaks a rule goes to "
        "`bronze/quarantine/` with the reason; one that repeats a key of an earlier line counts as a duplicate.",
        "Files in folders below that one count as well. What begins with `_` or `.`, a file or a folder, is not looked at: write a "
        "file under such a name and rename it when it is complete, so that no run reads half of it. (In S3 an object is there only "
        "when its upload has ended.)",
        "The generate job makes synthetic files in the same folders and must be switched off where your own land: it refuses "
        "a day whose folders hold files that it did not make.",
    ]
    for dataset in DATASETS:
        rows = [
            [
                f"`{c.name}`",
                "yes" if c.required else f"no, default `{c.default}`" if c.default else "no",
                c.kind.words,
                f"`{c.kind.pattern}`".replace("|", "\\|"),
            ]
            for c in dataset.columns
        ]
        key = ", ".join(f"`{k}`" for k in dataset.key)
        sections += [f"## {dataset.name}", f"Key: {key}.", _table(["column", "required", "holds", "pattern"], rows)]
    return "\n\n".join(sections) + "\n"


def _commands() -> str:
    sections = [
        _NOTE,
        "# Command lines",
        "Every job is `python -m jobs.<name>`, in a shell as in its container. Exit code 0: done; 1: failed, such as "
        "for a service that does not answer, and worth another try; 2: wrong call or settings, nothing was written; 3: more "
        "bad data than allowed, nothing was published. Running a job again is safe, and a quick no-op when nothing changed; "
        "but let one run at a time write a lake: the jobs do not lock it. Airflow sees to that for its own runs, so start none by "
        "hand beside them.",
    ]
    for job in JOBS:
        command = _command(job)
        context = click.Context(command, info_name=f"python -m jobs.{job}", terminal_width=100, max_content_width=100)
        sections += [f"## {job}", f"```text\n{command.get_help(context)}\n```"]
    return "\n\n".join(sections) + "\n"


def _command(job: str) -> click.Command:
    module = importlib.import_module(f"jobs.{job}" if "." in job else f"jobs.{job}.__main__")
    command = module.command
    assert isinstance(command, click.Command)
    return command


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
        print(f"docs/reference/{name}")
