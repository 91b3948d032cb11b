"""What can be asked for: the plans of services and features, and the columns that a request must bring.

All of it is made from the feature repo's own definitions when the service starts; no registry is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from feast import FeatureView, Field
from feast.errors import FeatureNameCollisionError
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import Bool, Float64, Int64, PrimitiveFeastType, String

from feast_fast.plan import Plan, Unsupported
from feast_fast.reads import Definitions, make_plan
from feature_repo.definitions import NULLABLE, REPO, REQUEST_KEYS, card, request
from jobs.online.repo import repo_settings

CARD_KEY: str = card.join_key
_KNOWN_PLANS = 1_000
_LARGEST = 1e308
_WORDS = {
    String: ("a text", str),
    Int64: ("an integer", int),
    Float64: ("a number", float),
    Bool: ("true or false", bool),
}


class Refusal(Exception):
    """A request that cannot be answered: an HTTP status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class RequestColumn:
    """A value that a request brings beside its cards: another key, or a fact of the transaction."""

    name: str
    words: str
    python: Any
    nullable: bool

    def checked(self, value: Any, row: int) -> Any:
        """The value as the plan takes it.

        Raises:
            Refusal: it is of another type.
        """
        if value is None and self.nullable:
            return None
        # JSON has larger integers than Feast, and 1e999 in it is an infinity.
        if self.python is float and type(value) in (int, float) and abs(value) < _LARGEST:
            return float(value)
        if self.python is int and type(value) is int and -(1 << 63) <= value < 1 << 63:
            return value
        if self.python in (str, bool) and type(value) is self.python:
            return value
        shown = "null" if value is None else repr(value)[:40]
        null = " or null" if self.nullable else ""
        raise Refusal(422, f'"request" of card {row}: {self.name} must be {self.words}{null}, not {shown}.')


class Catalogue:
    """The features of the repo by reference, by service, and by default: all that is stored of a card."""

    def __init__(self) -> None:
        self._project: str = repo_settings()["project"]
        self._definitions = Definitions(REPO)
        views = [thing for thing in REPO if isinstance(thing, FeatureView | OnDemandFeatureView)]
        self.references = {f"{view.name}:{field.name}": None for view in views for field in view.features}
        self.services = sorted(self._definitions.services)
        self.of_card = tuple(
            f"{view.name}:{field.name}"
            for view in views
            if isinstance(view, FeatureView) and view.join_keys == [CARD_KEY]
            for field in view.features
        )
        keys = {field.name: field for view in views if isinstance(view, FeatureView) for field in view.entity_columns}
        self._columns = {field.name: _column(field) for field in (*keys.values(), *request.schema)}
        self.plan_of_service = lru_cache(_KNOWN_PLANS)(self._plan_of_service)
        self.plan_of = lru_cache(_KNOWN_PLANS)(self._plan_of)

    def warm_up(self) -> None:
        """Makes the plans that are asked for most, and answers each once, of nothing: whatever loads late loads now."""
        made_up = {name: column.python() for name, column in self._columns.items()}
        for plan in (self.plan_of(self.of_card), *map(self.plan_of_service, self.services)):
            lookup = plan.lookup(self.columns(plan, [""], [made_up]))
            plan.answer(lookup, [[None] * len(fields) for _, fields in lookup.commands()], 0)

    def _plan_of_service(self, name: str) -> Plan:
        """Raises Refusal: there is no such service."""
        service = self._definitions.services.get(name)
        if service is None:
            raise Refusal(422, f"There is no service {name!r:.80}; there are {', '.join(self.services)}.")
        return make_plan(self._definitions, self._project, service)

    def _plan_of(self, references: tuple[str, ...]) -> Plan:
        """
        Args:
            references: each once.

        Raises:
            Refusal: a feature does not exist, or two have one name.
        """
        unknown = [reference for reference in references if reference not in self.references]
        if unknown:
            raise Refusal(
                422, f"There is no feature {unknown[0]!r:.80}; write view:feature, such as {self.of_card[0]}."
            )
        try:
            return make_plan(self._definitions, self._project, list(references))
        except (FeatureNameCollisionError, Unsupported):
            raise Refusal(422, "Two of these features have the same name: ask for them in two requests.") from None

    def columns(
        self, plan: Plan, cards: Sequence[Any], request_rows: Sequence[Mapping[str, Any]]
    ) -> dict[str, list[Any]]:
        """The columns of a request for a plan, checked.

        Args:
            request_rows: as many as cards, or one for all of them.

        Raises:
            Refusal: one is missing or of another type.
        """
        for at, name in enumerate(cards):
            if type(name) is not str:
                raise Refusal(422, f'"cards" must hold texts, but card {at} is {name!r:.40}.')
        columns: dict[str, list[Any]] = {CARD_KEY: list(cards)}
        wanted = plan.request_data.union(plan.key_columns, REQUEST_KEYS if plan.on_demand else ()) - {CARD_KEY}
        missing = sorted(wanted.difference(*request_rows[:1]))
        if missing:
            raise Refusal(422, f'These features need {", ".join(missing)} in "request".')
        for name in sorted(wanted):
            column = self._columns[name]
            try:
                values = [column.checked(row[name], at) for at, row in enumerate(request_rows)]
            except KeyError:
                raise Refusal(422, f'All objects in "request" must have {name}.') from None
            columns[name] = values * len(cards) if len(request_rows) == 1 else values
        return columns


def _column(field: Field) -> RequestColumn:
    words, python = _WORDS[cast(PrimitiveFeastType, field.dtype)]
    return RequestColumn(field.name, words, python, field.tags == NULLABLE)
