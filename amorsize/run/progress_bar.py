"""The listeners of a run, among them the progress bar of ``progress=True``, drawn by tqdm (extra ``progress``)."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from amorsize.backends.notify import News
from amorsize.events import ChunkDone, Event, ItemFailed, RunStarted

if TYPE_CHECKING:
    from amorsize.options import Request


def listeners(request: Request) -> News:
    """Return the notifier of a run, with the listeners that the request names."""
    theirs = [] if request.on_event is None else [request.on_event]
    # Without a terminal or file to draw on (pythonw, a service) there is no bar.
    if not request.progress or sys.stderr is None:
        return News(theirs)
    bar = Bar()
    return News([bar, *theirs], bar.close)


class Bar:
    """A listener that shows how many items are done."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._failed = 0

    def __call__(self, event: Event) -> None:
        """Move the bar."""
        if isinstance(event, RunStarted):
            self._bar = _quiet_tqdm()(total=event.items, unit="item", file=_Stream(sys.stderr))
        elif isinstance(event, ChunkDone):
            self._bar.update(event.items - event.failed)
        elif isinstance(event, ItemFailed):
            self._failed += 1
            self._bar.set_postfix(failed=self._failed, refresh=False)
            self._bar.update(1)

    def close(self) -> None:
        """Remove the bar after the run."""
        if self._bar is not None:
            self._bar.close()


class _Stream:
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


def _quiet_tqdm() -> Any:
    """Return a tqdm class without a monitor thread (unsafe to fork beside) and without a lock of multiprocessing."""
    if "ipykernel" in sys.modules:
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm

    class Quiet(tqdm):  # type: ignore[misc]  # it is not typed
        """A tqdm without a monitor thread."""

        monitor_interval = 0

    if not hasattr(Quiet, "_lock"):
        Quiet.set_lock(threading.RLock())
    return Quiet
