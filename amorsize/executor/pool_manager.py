"""The manager of a `Pool`: that of an `Executor`, with all workers from the start, streams of items, an early end."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from amorsize.errors import RemoteTraceback, TransferError
from amorsize.executor.manager import Manager
from amorsize.executor.pending import Batch
from amorsize.executor.pool_results import ROOM, Stream, TerminatedError
from amorsize.schedule.messages import Instruction, ItemsAdded, Recycle, Span
from amorsize.system.critical import held_signals
from amorsize.system.looks import set_cause

if TYPE_CHECKING:
    from amorsize.backends.remote_errors import ItemError
    from amorsize.backends.workers.team import Team


class _Ended(Exception):  # noqa: N818
    """The pool has been terminated."""


class PoolManager(Manager):
    """Runs the calls of a pool.

    Parameters
    ----------
    team : Team
        None of its workers started yet.
    workers : int
        Number of workers.
    spans_per_worker : int or None
        Chunks after which a worker is replaced.
    """

    kind = "Pool"
    finishes = False

    def __init__(self, team: Team, workers: int, spans_per_worker: int | None) -> None:
        super().__init__(team, workers, None, strict=False)
        self.eager = True
        self._thread.daemon = True
        self._spans_per_worker = spans_per_worker
        # Chunks sent, by worker.
        self._sent: dict[int, int] = {}
        if spans_per_worker is not None:
            # A worker must not be sent a chunk that is one too many.
            self.schedule.prefetch = False
        self._ends = self._frees = self._is_foreign = self._is_closed = False

    def begin(self) -> None:
        super().begin()
        # Now: the hooks of multiprocessing, which ends its own children, run after those that are registered later.
        atexit.register(self.terminate)
        if self._is_closed:
            atexit.unregister(self.terminate)

    # -- in any thread -------------------------------------------------------------------------------------------

    def add_stream(self, stream: Stream) -> None:
        """Have the items of a stream run; see `post`."""
        self.post(stream)
        if not stream.needs_reader:
            return
        nudge = self._nudge_for(stream)
        reader = threading.Thread(target=stream.read, args=(nudge,), name="amorsize-pool-reader", daemon=True)
        try:
            # An interrupt within the start can leave the new thread waiting for ever.
            with held_signals():
                reader.start()
        except BaseException as exc:
            # What Ctrl-C raises comes when the reader has started.
            stream.stop()
            stream.end(exc)
            nudge()
            raise

    def _nudge_for(self, stream: Stream) -> Callable[[], object]:
        def note() -> None:
            stream.is_noted = True
            self._inbox.append(stream)
            if self._asleep:
                self.bell.ring()

        def nudge() -> None:
            if not stream.is_noted:
                try:
                    note()
                except BaseException:
                    # An interrupt may have come between two lines, and then no later nudge would do anything.
                    note()
                    raise

        return nudge

    def forsake(self) -> None:
        """Begin to end everything. Takes no lock, and waits for nothing."""
        if not self._is_foreign:
            self._ends = self._closing = True
            self.bell.ring()

    def terminate(self) -> None:
        """End everything now: kill workers that are busy, fail all pending calls; wait until that is done."""
        self.forsake()
        if not self._is_foreign:
            super().join()

    def join(self) -> None:
        """Wait until all calls are done and the workers have left; meanwhile streams do not wait for their readers."""
        self._frees = True
        self.bell.ring()
        super().join()

    def strand(self) -> None:
        self._is_foreign = True
        super().strand()

    # -- in its own thread ---------------------------------------------------------------------------------------

    def _take_requests(self) -> None:
        if self._ends:
            raise _Ended
        super()._take_requests()
        if self._frees:
            self._frees = False
            for group in self._groups.values():
                if isinstance(group, Stream):
                    group.free()

    def _may_close(self) -> bool:
        # Each worker that has been started calls the initializer.
        is_growing = any(isinstance(group, Stream) and not group.has_ended() for group in self._groups.values())
        return not is_growing and not self.schedule.workers.starting

    def _take_on(self, batch: Batch) -> None:
        if not isinstance(batch, Stream):
            super()._take_on(batch)
            return
        batch.is_noted = False
        if batch.has_ended():
            return
        if batch.group < 0:
            batch.first, batch.group = self._next_index, self._next_group
            self._next_index += batch.length
            self._next_group += 1
            self._groups[batch.group] = batch
        start = batch.first + batch.n_fed
        items = batch.grow()
        if items:
            self._note(ItemsAdded(start, start + items, batch.group, batch.fixed))
        if batch.has_ended() and self._next_index == batch.first + ROOM:
            # No other indices have been given out meanwhile.
            self._next_index = batch.first + batch.n_fed
        self._forget(batch.group)

    def send(self, number: int, span: Span) -> list[Instruction]:
        out = super().send(number, span)
        if self._spans_per_worker is not None:
            self._sent[number] = self._sent.get(number, 0) + 1
            if self._sent[number] == self._spans_per_worker:
                del self._sent[number]
                out += self._handle(Recycle(number))
        return out

    def _error(self, error: ItemError, group: int) -> BaseException:
        exc = super()._error(error, group)
        cause = exc.__cause__
        if type(cause) is RemoteTraceback:
            set_cause(exc, _as_multiprocessing_has_it(cause))
        elif type(exc) is TransferError and isinstance(cause, Exception):
            return _also(exc, cause)
        return exc

    # -- the end -------------------------------------------------------------------------------------------------

    def abort(self, exc: BaseException) -> None:
        if not isinstance(exc, _Ended):
            super().abort(exc)
            return
        with self.lock:
            self.broken = "this Pool has been terminated"
        self._kill_busy_workers()
        self._fail_all(TerminatedError)
        self.close()

    def _kill_busy_workers(self) -> None:
        """Kill the workers that are not idle; the others leave in order, and write out what they have buffered."""
        busy = [number for number, worker in self.schedule.workers.items() if worker.flying or not worker.ready]
        for number in busy:
            if number in self.team.handles:
                self.team.handles[number].kill()
        for number in busy:
            self.team.end(number)

    def close(self) -> None:
        self._is_closed = True
        atexit.unregister(self.terminate)
        super().close()


def _as_multiprocessing_has_it(cause: RemoteTraceback) -> BaseException:
    """Return the same traceback as an instance of multiprocessing's own class."""
    from multiprocessing import pool

    made: BaseException = pool.RemoteTraceback(f'\n"""\n{cause.text}"""')  # type: ignore[attr-defined]
    return made


def _also(error: TransferError, cause: Exception) -> TransferError:
    """Return the error as one that is of the type of its cause, too, which the original pool raises.

    Plain `TransferError`, if that type does not allow it.
    """
    try:
        both = type(
            "TransferError",
            (TransferError, type(cause)),
            {"__reduce__": _as_plain, "__module__": TransferError.__module__},
        )
        made: TransferError = both(error.what, error.index, error.detail)
        made.__cause__ = cause
    # A class may forbid subclasses, or take other arguments.
    except Exception:  # noqa: BLE001
        return error
    return made


def _as_plain(error: TransferError) -> tuple[Any, ...]:
    return TransferError, (error.what, error.index, error.detail)
