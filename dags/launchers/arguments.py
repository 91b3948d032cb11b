"""Optional arguments in a DAG: one that renders empty is left out of the job's command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context


class JobArguments(BaseOperator):
    """Base of the three operators: drops empty arguments after rendering."""

    arguments: list[Any]

    def render_template_fields(self, context: Context, jinja_env: jinja2.Environment | None = None) -> None:
        super().render_template_fields(context, jinja_env)
        self.arguments = [argument for argument in self.arguments if argument]
