"""rich: the bar of ``progress="rich"``."""

from __future__ import annotations

from typing import Any

from amorsize.hints import Needs

with Needs("amorsize.integrations.rich", "rich", "rich"):
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.text import Text

__all__: list[str] = []


class _Left(ProgressColumn):
    """The time left, by the forecast of the run."""

    def render(self, task: Task) -> Text:
        per_item_s = task.fields["per_item_s"]
        if per_item_s is None or task.remaining is None:
            return Text("-:--:--", style="progress.remaining")
        minutes, seconds = divmod(round(max(0.0, task.remaining) * per_item_s), 60)
        hours, minutes = divmod(minutes, 60)
        return Text(f"{hours}:{minutes:02}:{seconds:02}", style="progress.remaining")


class _Bar:
    """A bar drawn by rich, without the thread that would draw it anew: no process can be forked safely beside one."""

    def __init__(self, file: Any, total: int | None, done: int, desc: str) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            _Left(),
            TextColumn("{task.fields[failed]}"),
            console=Console(file=file),
            auto_refresh=False,
            # These would take the place of sys.stdout and sys.stderr in forked workers, too.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task(desc, total=total, completed=done, failed="", per_item_s=None)
        self._bar.start()

    def show(self, done: int, failed: int, per_item_s: float | None) -> None:
        """Move the bar."""
        told = f"{failed} failed" if failed else ""
        self._bar.update(self._task, completed=done, failed=told, per_item_s=per_item_s, refresh=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.stop()


open_display = _Bar
