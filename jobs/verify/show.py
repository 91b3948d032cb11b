"""``python -m jobs.verify.show --card ID``: a card's online features as a table, for a person."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import click

from jobs.common.cli import main
from jobs.common.errors import WrongCall
from jobs.common.lake import Lake
from jobs.common.log import setup_logging
from jobs.common.products import ONLINE_PRODUCTS
from jobs.common.settings import load_settings
from jobs.online.loaded import read_marker
from jobs.online.redis_client import connect, redis_errors
from jobs.online.repo import open_store, registry_errors, registry_url, repo_settings
from jobs.online.silver import read_partitions


@click.command("python -m jobs.verify.show")
@click.option("--card", help="The card's card_id. Default: the first of the loaded state.")
@click.option("--lake", help="Lake URI. Default: LAKE_URI.")
@click.option("--as-of", help="Moment at which age is judged, ISO 8601. Default: the loaded state's own time.")
def command(card: str | None, lake: str | None, as_of: str | None) -> None:
    """Prints what the online store answers for a card, each value with its status."""
    settings = load_settings()
    setup_logging("show", settings.log_format)
    uri = lake or settings.lake_uri
    if not uri:
        raise WrongCall("No lake given: pass --lake file:///folder or --lake s3://bucket, or set LAKE_URI.")
    opened = Lake.open(uri, settings)
    client = connect(settings.redis_url)
    with opened.errors(), redis_errors(settings.redis_url), registry_errors(registry_url(settings, opened)):
        loaded = read_marker(client, repo_settings()["project"])
        if loaded is None:
            raise WrongCall("The online store holds no whole state: run materialize first.")
        moment = _moment(as_of) if as_of else loaded.event_timestamp
        card = card or _first_card(opened, loaded.day)
        store = open_store(settings, opened)
        from jobs.online.reader import OnlineReader

        products = [product for product in ONLINE_PRODUCTS if product.key == "card_id"]
        references = [f"{product.name}:{feature.name}" for product in products for feature in product.features]
        columns = OnlineReader(store).read(references, [{"card_id": card}], moment)
    _print(card, moment, loaded.event_timestamp, products, columns)


def _first_card(lake: Lake, day: date) -> str:
    rows = read_partitions(lake, ONLINE_PRODUCTS[0], [day]).head(1, columns=["card_id"])
    if not rows.num_rows:
        raise WrongCall(f"No card was active in the 90 days to {day}: name one with --card.")
    return str(rows["card_id"][0])


def _print(card: str, moment: datetime, loaded: datetime, products: Any, columns: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"card {card} as of {moment:%Y-%m-%d %H:%M:%S} UTC (loaded: {loaded:%Y-%m-%d %H:%M} UTC)")
    for heading in ("view", "feature", "value", "status"):
        table.add_column(heading, overflow="fold")
    for product in products:
        for feature in product.features:
            column = columns[feature.name]
            value = column.values[0]
            table.add_row(product.name, feature.name, "" if value is None else _shown(value), column.statuses[0])
        table.add_section()
    Console().print(table)


def _shown(value: Any) -> str:
    if isinstance(value, list) and len(value) > 4:
        return f"[… {', '.join(map(str, value[-3:]))}] ({len(value)})"
    return str(value)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise WrongCall(f"--as-of {text!r} is not a moment such as 2026-01-31T12:00:00+00:00.") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


if __name__ == "__main__":
    main(command)
