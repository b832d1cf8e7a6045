"""Sends the events of a run to its listeners, in the calling thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter

from amorsize import events
from amorsize.errors import StopRun
from amorsize.facts import Failure
from amorsize.system import log
from amorsize.system.looks import is_interrupt, trace_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Listener = Callable[[events.Event], object]


class Guarded:
    """Calls an observer's functions until one of them raises: that is logged, and none is called any more.

    Parameters
    ----------
    name : str
        The argument through which the observer came.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._is_dropped = False

    def __call__(self, function: Callable[..., object], *args: Any) -> None:
        """Call the function, if the observer has not been dropped. Raises what ends a run: `StopRun`, Ctrl-C."""
        if self._is_dropped:
            return
        try:
            function(*args)
        except Exception as exc:
            if isinstance(exc, StopRun) or is_interrupt(exc):
                raise
            self._is_dropped = True
            why = "%s= raised, so it is not called any more, and the run goes on:\n%s"
            log.warning("observers", why, self.name, trace_of(exc))


class News:
    """Makes an event of each thing that happens, and calls the listeners with it.

    Parameters
    ----------
    listeners : iterable of callable
        One that may raise is `Guarded`; what the others raise ends the run.
    close : callable
        Called when the run is over, however it ended.
    """

    def __init__(self, listeners: Iterable[Listener], close: Callable[[], object] = lambda: None) -> None:
        self.listeners = tuple(listeners)
        self.close = close
        self.failed = 0
        self._began_s = perf_counter()

    def tell(self, kind: type[events.Event], **facts: Any) -> None:
        """Call the listeners with an event of this kind."""
        event = kind(at_s=perf_counter() - self._began_s, **facts)
        for listener in self.listeners:
            listener(event)

    def started(self, items: int | None, skipped: int = 0) -> None:
        """Report the begin of the run; so many of its items are done already."""
        self._began_s = perf_counter()
        self.tell(events.RunStarted, items=items, skipped=skipped)

    def chose(self, backend: str, workers: int = 1, start_method: str | None = None) -> None:
        """Report the backend that runs the items from now on."""
        self.tell(events.BackendChosen, backend=backend, workers=workers, start_method=start_method)

    def chunk(
        self, worker: int | None, start: int, items: int, failed: int, wall_s: float, cpu_s: float, rss_bytes: int = 0
    ) -> None:
        """Report a chunk that has been run."""
        self.tell(
            events.ChunkDone,
            worker=worker,
            start=start,
            items=items,
            failed=failed,
            wall_s=wall_s,
            cpu_s=cpu_s,
            rss_bytes=rss_bytes,
        )

    def item_failed(self, failure: Failure) -> None:
        """Report an item that failed for good."""
        self.failed += 1
        self.tell(events.ItemFailed, index=failure.index, exception=failure.exception)

    def item_repeated(self, index: int, tries: int, wait_s: float) -> None:
        """Report an item that is going to be repeated."""
        self.tell(events.ItemRepeated, index=index, tries=tries, wait_s=wait_s)

    def worker_started(self, worker: int, pid: int | None = None) -> None:
        """Report a worker that is starting."""
        self.tell(events.WorkerStarted, worker=worker, pid=pid)

    def worker_retired(self, worker: int) -> None:
        """Report a worker that was retired."""
        self.tell(events.WorkerRetired, worker=worker)

    def worker_lost(self, worker: int, index: int | None, code: int | None, oom: bool) -> None:
        """Report a worker that was lost."""
        killed = code is not None and code < 0
        self.tell(
            events.WorkerLost,
            worker=worker,
            index=index,
            exitcode=None if killed else code,
            signal=-code if killed and code is not None else None,
            oom=oom,
        )

    def resized(self, workers: int) -> None:
        """Report the new number of workers, or of tasks at a time."""
        self.tell(events.WorkersResized, workers=workers)

    def finished(self, items: int) -> None:
        """Report the end of the run: every item has been run."""
        self.tell(events.RunFinished, items=items, failed=self.failed)
