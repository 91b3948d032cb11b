"""Shows a run while it works: a moving line a step on a terminal, plain lines elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

_MARKS = {"success": ("✓", "green"), "failed": ("✗", "red"), "skipped": ("–", "yellow")}


class StepDisplay:
    """One step at a time: ``start``, any number of ``update``, ``end``."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar: Progress | None = None

    def start(self, step: str) -> None:
        self.close()
        if not self.console.is_terminal:
            self._print(f"{step}: started")
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:<12}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[now]}"),
        )
        self._bar = Progress(*columns, console=self.console, transient=True)
        self._bar.add_task(step, total=None, now="")
        self._bar.start()

    def update(self, step: str, now: str) -> None:
        if self._bar:
            self._bar.update(self._bar.task_ids[0], now=now[: max(20, self.console.width - 30)])
        else:
            self._print(f"{step}: {now}")

    def end(self, step: str, state: str, seconds: float, result: str = "") -> None:
        self.close()
        mark, color = _MARKS[state]
        self.console.print(Text.assemble((mark, color), f" {step:<12}{seconds:7.1f} s  {result}"), soft_wrap=True)

    def close(self) -> None:
        """Takes the moving line away."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
