"""Any executor with ``submit()``, driven by the same Schedule: the user's own pool, or a cluster's client.

It starts its workers itself and says nothing of them, so each place for a task that it may run at a time stands for a
worker. A span is one task: the function (by cloudpickle where need be), its items, and back come results and errors as
from a worker of ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from queue import Empty, SimpleQueue
from typing import Any, Final

from amorsize.backends.results import Outcome, failure_from, failure_here
from amorsize.backends.source import Indexable, Streamed
from amorsize.backends.ticks import Ticks, drain
from amorsize.backends.workers import child, protocol
from amorsize.errors import TransferError
from amorsize.facts import Failure, Ran
from amorsize.schedule.messages import (
    Done,
    Event,
    Fail,
    Finish,
    GiveUp,
    Ready,
    Retire,
    Send,
    ShortSend,
    SourceEnded,
    Span,
    Start,
    Tick,
)
from amorsize.schedule.schedule import Schedule

UNKNOWN_PLACES: Final = 8  # of an executor that does not say how many tasks it runs at a time


def places_of(executor: Any) -> int:
    """How many tasks an executor runs at a time, as far as it says so."""
    for name in ("_max_workers", "max_workers", "_processes", "n_workers"):
        number = getattr(executor, name, None)
        if isinstance(number, int) and number > 0:
            return number
    cores = getattr(executor, "ncores", None)  # a client of dask: cores by worker
    if callable(cores):
        return max(1, int(sum(cores().values())))
    return UNKNOWN_PLACES


class Portable:
    """A function that crosses to wherever the executor runs it, with cloudpickle if it must."""

    def __init__(self, func: Callable[[Any], Any]) -> None:
        self.func = func

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (protocol.dumps(self.func)[0],)


def _rebuilt(pickled: bytes) -> Portable:
    return Portable(protocol.loads([pickled]))


def run_span(func: Portable, start: int, items: Any, keep_going: bool) -> tuple[list[Any], list[Any], float, float]:
    """One task: results (None where an item raised), errors, and the wall and CPU seconds it took."""
    wall_s, cpu_s = time.perf_counter(), time.thread_time()
    results, errors = child.run_items(func.func, items, start, keep_going, [0, 0])
    return results, errors, time.perf_counter() - wall_s, time.thread_time() - cpu_s


class ExecutorDriver:
    """Runs what a schedule says as tasks of an executor, which stays the user's: nothing here shuts it down.

    Parameters
    ----------
    schedule : Schedule
    executor : object
        Has ``submit(func, *args)``, which returns a future with ``add_done_callback``, ``result`` and ``cancel``.
    source : Indexable or Streamed
    outcome : Outcome
    func : callable
    vigil : Ticks, optional
    """

    def __init__(
        self,
        schedule: Schedule,
        executor: Any,
        source: Indexable | Streamed,
        outcome: Outcome,
        func: Callable[[Any], Any],
        vigil: Ticks | None = None,
    ) -> None:
        self.schedule = schedule
        self.executor = executor
        self.source = source
        self.outcome = outcome
        self.vigil = vigil or Ticks()
        self.warnings: list[str] = []
        self.left_over: list[tuple[int, int | None]] = []
        self._func = Portable(func)
        self._keep_going = outcome.most_failures != 0 or schedule.retries > 0
        self._futures: dict[Any, tuple[int, Span]] = {}
        self._mail: SimpleQueue[Any] = SimpleQueue()
        self._finished = False
        self._work_s = self._work_cpu_s = 0.0
        self._items = self._chunks = 0

    def run(self) -> Ran:
        """Run to the end. Failures of items stand in the outcome; what the executor itself raises is raised."""
        return drain(self.steps())

    def steps(self) -> Generator[None, None, Ran]:
        """The same, step by step: whoever goes through them may look at the results between two of them."""
        began = time.perf_counter()
        try:
            self._carry_out(self.schedule.begin(began))
            while not self._is_over():
                self._turn()
                yield
        finally:
            for future in self._futures:
                future.cancel()
        return Ran(
            wall_s=time.perf_counter() - began,
            ready_s=None,
            work_s=self._work_s,
            work_cpu_s=self._work_cpu_s,
            items=self._items,
            chunks=self._chunks,
        )

    def _is_over(self) -> bool:
        return self._finished or self.outcome.doomed

    def _turn(self) -> None:
        now = time.perf_counter()
        wait_s = self.vigil.wait_s(now, self.schedule.wait_s(now))
        try:
            future = self._mail.get(timeout=wait_s) if wait_s != 0.0 else self._mail.get_nowait()
            while not self._is_over():
                self._carry_out(self._on_done(future))
                future = self._mail.get_nowait()
        except Empty:
            pass
        now = time.perf_counter()
        events = self.vigil.look(now)
        if self.schedule.wait_s(now) is not None:
            events.append(Tick())
        self.tell(events)

    def tell(self, events: Iterable[Event]) -> None:
        """Have the schedule hear of something that happened outside."""
        for event in events:
            if not self._is_over():
                self._carry_out(self._handle(event))

    def _handle(self, event: Event) -> list[Any]:
        return self.schedule.handle(event, time.perf_counter())

    def _carry_out(self, instructions: list[Any]) -> None:
        todo = instructions[::-1]
        while todo:
            match todo.pop():
                case Start(number):
                    todo.extend(self._handle(Ready(number))[::-1])
                case Send(number, span):
                    todo.extend(self._send(number, span)[::-1])
                case Retire():
                    pass
                case Fail(index):
                    self.outcome.fail(self.outcome.last_error[index])
                    if self.outcome.doomed:
                        return
                case Finish():
                    self._finished = True
                case GiveUp():
                    self.left_over = self.schedule.left_over()
                    self._finished = True

    def _send(self, number: int, span: Span) -> list[Any]:
        out: list[Any] = []
        items = () if self.schedule.dry else self.source.items(span.start, span.stop)
        if len(items) < len(span):
            length = self.source.length
            out = self._handle(
                ShortSend(number, span.start, span.start + len(items)) if length is None else SourceEnded(length)
            )
        if len(items):
            future = self.executor.submit(run_span, self._func, span.start, items, self._keep_going)
            self._futures[future] = (number, Span(span.start, span.start + len(items)))
            future.add_done_callback(self._mail.put)
        return out

    def _on_done(self, future: Any) -> list[Any]:
        number, span = self._futures.pop(future)
        try:
            results, errors, wall_s, cpu_s = future.result()
        except Exception as exc:  # noqa: BLE001  (whatever the executor makes of what cannot be pickled)
            return self._handle(self._on_lost_task(number, span, exc))
        self._chunks += 1
        self._items += len(results)
        self._work_s += wall_s
        self._work_cpu_s += cpu_s
        failed = self.outcome.take_errors([failure_from(error) for error in errors])
        self.outcome.put(span.start, results, but=failed)
        self.source.release(span.start, span.start + len(results), but=failed)
        return self._handle(Done(number, wall_s, failed, len(results), cpu_s=cpu_s))

    def _on_lost_task(self, number: int, span: Span, exc: Exception) -> Event:
        """The task itself came to grief: an item or result that cannot be pickled, or an executor that is broken."""
        if is_broken(exc):
            exc.add_note(
                f"amorsize: while items {span.start} to {span.stop - 1} were under way; the executor is yours to mend"
            )
            raise exc
        if len(span) > 1:
            return Done(number, 0.0, apart=True)
        detail = f"{type(exc).__name__}: {exc}"
        error = TransferError("item or result", span.start, detail)
        error.__cause__ = exc
        failure: Failure = failure_here(span.start, error)
        return Done(number, 0.0, self.outcome.take_errors([failure]), 1)


def is_broken(exc: Exception) -> bool:
    """Whether an executor says with this that it will run nothing any more."""
    from concurrent.futures import BrokenExecutor, CancelledError

    return isinstance(exc, BrokenExecutor | CancelledError)
