"""The listeners of a run, among them the one behind ``progress=``: it counts items for a bar or for a function."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol

from amorsize.backends.notify import Guarded, News
from amorsize.events import ChunkDone, Event, ItemFailed, RunFinished, RunStarted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from amorsize.backends.ticks import Ticker
    from amorsize.options import Bar, Request

    PerItem = Callable[[], float | None]

# Least seconds between two displays: "at most ten times a second" is promised.
SHOW_S: Final = 0.1


class Display(Protocol):
    """Shows how many items are done. A module that draws has an ``open_display``, which returns one."""

    def show(self, done: int, failed: int, per_item_s: float | None) -> object:
        """Show that ``done`` items are done, and that ``failed`` of them have failed.

        ``per_item_s``: the forecast of the seconds until one more is done; None: unknown.
        """

    def close(self) -> object:
        """Leave the display: the run is over."""


def listeners(request: Request, tickers: list[Ticker], per_item_s: PerItem) -> News:
    """Return the notifier of a run, with the listeners that the request names; add those that time must wake.

    ``per_item_s`` returns the forecast of the seconds until one more item is done; None: unknown.
    """
    theirs = [] if request.on_event is None else [partial(Guarded("on_event"), request.on_event)]
    asked = request.progress
    # Without a terminal or file to draw on (pythonw, a service) there is no bar.
    if asked is None or (sys.stderr is None and not callable(asked)):
        return News(theirs)
    progress = Progress(asked, per_item_s)
    tickers.append(progress)
    return News([progress, *theirs], progress.close)


class Progress:
    """A listener that counts the items that are done, and shows their number ten times a second at most.

    A ticker, too: a number that came too soon after another one is shown a little later.

    Parameters
    ----------
    asked : Bar or callable
        What the user asked for.
    per_item_s : callable
        Returns the forecast of the seconds until one more item is done; None: unknown.
    """

    def __init__(self, asked: Bar | Callable[[int, int | None], object], per_item_s: PerItem) -> None:
        self._asked = asked
        self._per_item_s = per_item_s
        self._guard = Guarded("progress")
        self._display: Display | None = None
        self._done = self._failed = 0
        # The number shown last.
        self._shown: int | None = None
        self._due_s = 0.0

    def __call__(self, event: Event) -> None:
        """Count, and show the number if that is due."""
        if isinstance(event, RunStarted):
            self._done = event.skipped
            self._guard(self._open, event.items)
        elif isinstance(event, ChunkDone):
            self._done += event.items - event.failed
            self.tick(perf_counter())
        elif isinstance(event, ItemFailed):
            self._done += 1
            self._failed += 1
            self.tick(perf_counter())
        elif isinstance(event, RunFinished):
            self._done, self._due_s = event.items, 0.0
            self.tick(perf_counter())

    def tick(self, now_s: float, pids: Sequence[int] = ()) -> tuple[()]:
        """Show the number, if it is new and the last one was shown long enough ago."""
        if self._done != self._shown and now_s >= self._due_s:
            self._due_s = now_s + SHOW_S
            self._guard(self._show)
        return ()

    def close(self) -> None:
        """Leave the display after the run, whatever came of it."""
        if self._display is not None:
            self._guard(self._display.close)

    def _open(self, items: int | None) -> None:
        if callable(self._asked):
            self._display = _Called(self._asked, items)
            return
        module = import_module(self._asked.module)
        total = items if self._asked.total is None else self._asked.total
        self._display = module.open_display(Stream(sys.stderr), total, self._done, self._asked.desc)

    def _show(self) -> None:
        self._shown = self._done
        assert self._display is not None
        self._display.show(self._done, self._failed, self._per_item_s())


class _Called:
    """The user's own function of the number of items that are done and of their total."""

    def __init__(self, function: Callable[[int, int | None], object], total: int | None) -> None:
        self._function = function
        self._total = total

    def show(self, done: int, failed: int, per_item_s: float | None) -> None:
        self._function(done, self._total)

    def close(self) -> None:
        pass


class Stream:
    """A stream to draw on. One that is broken (a pipe without a reader, a service's) ends the drawing, not the run."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write a text, if that is possible."""
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flush what has been written, if that is possible."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
