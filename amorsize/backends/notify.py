"""Tells who listens what happens in a run, in the calling thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

from amorsize import events
from amorsize.facts import Failure

Listener = Callable[[events.Event], object]


class News:
    """Makes records of what happens, and calls the listeners with each.

    Parameters
    ----------
    listeners : iterable of callable
        What one of them raises ends the run.
    close : callable
        Called when the run is over, however it ended.
    """

    def __init__(self, listeners: Iterable[Listener], close: Callable[[], object] = lambda: None) -> None:
        self.listeners = tuple(listeners)
        self.close = close
        self.failed = 0
        self._began_s = perf_counter()

    def tell(self, kind: type[events.Event], **facts: Any) -> None:
        """Something has happened."""
        event = kind(at_s=perf_counter() - self._began_s, **facts)
        for listener in self.listeners:
            listener(event)

    def started(self, items: int | None) -> None:
        """The run begins."""
        self._began_s = perf_counter()
        self.tell(events.RunStarted, items=items)

    def chose(self, backend: str, workers: int = 1, start_method: str | None = None) -> None:
        """This backend runs the items now."""
        self.tell(events.BackendChosen, backend=backend, workers=workers, start_method=start_method)

    def chunk(
        self, worker: int | None, start: int, items: int, failed: int, wall_s: float, cpu_s: float, rss_bytes: int = 0
    ) -> None:
        """Some items have been run."""
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
        """An item has failed for good."""
        self.failed += 1
        self.tell(events.ItemFailed, index=failure.index, exception=failure.exception)

    def worker_started(self, worker: int, pid: int | None = None) -> None:
        """A worker is on its way."""
        self.tell(events.WorkerStarted, worker=worker, pid=pid)

    def worker_retired(self, worker: int) -> None:
        """A worker was let go."""
        self.tell(events.WorkerRetired, worker=worker)

    def worker_lost(self, worker: int, index: int | None, code: int | None, oom: bool) -> None:
        """A worker died."""
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
        """So many workers are wanted from now on."""
        self.tell(events.WorkersResized, workers=workers)

    def finished(self, items: int) -> None:
        """Every item has been run."""
        self.tell(events.RunFinished, items=items, failed=self.failed)
