"""Any executor with ``submit()``, driven by the same Schedule: the user's own pool, or a cluster's client.

The executor starts its own workers and does not report them, so each task that it can run at a time counts as a worker.
A chunk is one task: it sends the function (by cloudpickle if necessary) and the items, and returns results and errors
like a worker of amorsize.

Objects that cross to another process are pickled and unpickled here, not by the executor. So a worker gets the very
same methods and functions, the values of the main module's globals are sent too, and an object that cannot be unpickled
is an error of its item. In a ``ProcessPoolExecutor``, an error of unpickling would end the worker, and the executor
with it. Threads get the objects themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from amorsize.backends.driver import Driver, opening
from amorsize.backends.results import Outcome, failure_from, failure_here
from amorsize.backends.source import Indexable, Streamed
from amorsize.backends.ticks import Ticks
from amorsize.backends.workers import child, protocol
from amorsize.backends.workers.functions import sent
from amorsize.backends.workers.main_module import FEW, carried, used, values_of
from amorsize.errors import TransferError
from amorsize.facts import Failure
from amorsize.schedule.messages import Done, Event, Instruction, Ready, Span
from amorsize.schedule.schedule import Schedule
from amorsize.system.clock import thread_cpu
from amorsize.system.looks import is_interrupt, kind_of, note, text_of

if TYPE_CHECKING:
    from amorsize.backends.driver import Work
    from amorsize.backends.notify import News
    from amorsize.facts import Forecast

# Assumed number of tasks that an executor runs at a time, if it is unknown (a guess).
UNKNOWN_PLACES: Final = 8


def places_of(executor: Any) -> int:
    """Return the number of tasks that an executor runs at a time; `UNKNOWN_PLACES` if it is unknown."""
    for name in ("_max_workers", "max_workers", "_processes", "n_workers"):
        number = getattr(executor, name, None)
        if type(number) is int and number > 0:
            return number
    # A client of dask returns the number of cores of each worker.
    cores = getattr(executor, "ncores", None)
    try:
        return max(1, int(sum(cores().values()))) if callable(cores) else UNKNOWN_PLACES
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return UNKNOWN_PLACES


@opening
def open_driver(
    work: Work, chosen: Forecast, schedule_for: Callable[[Forecast], Schedule]
) -> Generator[ExecutorDriver, None, None]:
    """Return the driver of a map on the user's executor; see `amorsize.backends.table`."""
    schedule = schedule_for(chosen)
    yield ExecutorDriver(schedule, work.executor, work.source, work.outcome, work.func, work.ticks, work.news)


class Parcel:
    """An object to send. If the executor pickles its tasks, it is pickled as for amorsize's own workers."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def open(self) -> Any:
        """Return the object."""
        return self.held

    def __reduce__(self) -> tuple[Any, ...]:
        return Sealed, (_bytes_of(self.held),)


class Sealed:
    """A `Parcel` that has been sent.

    Its object is unpickled only by `open`, so that an error of unpickling is raised in the code of the task.
    """

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    def open(self) -> Any:
        """Unpickle the object and return it."""
        return protocol.loads(self.parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return Sealed, (self.parts,)


def _bytes_of(obj: Any) -> list[bytes]:
    return [bytes(part) for part in protocol.dumps(obj)]


class FuncParcel(Parcel):
    """The function of a map, with the values of the main module's globals that it names. Pickled once for all tasks.

    Parameters
    ----------
    func : callable
    warn : callable
        Called with a warning for each global whose value cannot be sent.
    """

    def __init__(self, func: Callable[[Any], Any], warn: Callable[[str], object]) -> None:
        super().__init__(func)
        self.uses: list[Any] = [func]
        self._warn = warn
        self._parts: list[bytes] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self._parts is None:
            values = values_of(self.uses)
            for warning in values.warnings() if values is not None else ():
                self._warn(warning)
            self._parts = _bytes_of(carried(values, sent(self.held)))
        return Sealed, (self._parts,)


def run_span(
    func: Parcel | Sealed, start: int, items: Parcel | Sealed, keep_going: bool
) -> tuple[Parcel | Sealed, list[Any], float, float]:
    """Run one task; return results (None where an item raised), errors, and the wall and CPU seconds it took."""
    try:
        call = func.open()
    except Exception as exc:
        detail = f"it cannot be rebuilt in a worker of the executor ({kind_of(exc)}: {text_of(exc)})"
        raise TransferError("func", None, detail) from exc
    taken = items.open()
    wall_s, cpu_s = time.perf_counter(), thread_cpu()
    results, errors = child.run_items(call, taken, start, keep_going, [0, 0])
    return Parcel(results), errors, time.perf_counter() - wall_s, thread_cpu() - cpu_s


class ExecutorDriver(Driver):
    """Carries out a schedule as tasks of the user's executor, and never shuts that executor down.

    Parameters
    ----------
    schedule : Schedule
    executor : object
        Has ``submit(func, *args)``, which returns a future with ``add_done_callback``, ``result`` and ``cancel``.
    source : Indexable or Streamed
    outcome : Outcome
    func : callable
    ticks : Ticks, optional
    news : News, optional
    """

    def __init__(
        self,
        schedule: Schedule,
        executor: Any,
        source: Indexable | Streamed,
        outcome: Outcome,
        func: Callable[[Any], Any],
        ticks: Ticks | None = None,
        news: News | None = None,
    ) -> None:
        super().__init__(schedule, source, outcome, ticks, news=news)
        self.executor = executor
        self._func = FuncParcel(func, self.warnings.append)
        self._keep_going = outcome.most_failures != 0 or schedule.repeats.retries > 0
        self._submitted = False
        self._futures: dict[Any, tuple[int, Span]] = {}
        self._mail: SimpleQueue[Any] = SimpleQueue()

    def start(self, number: int) -> list[Instruction]:
        return self._handle(Ready(number))

    def submit(self, number: int, start: int, items: Any) -> None:
        if not self._submitted:
            self._submitted, self._func.uses = True, used(self._func.held, list(items[:FEW]))
        try:
            future = self.executor.submit(run_span, self._func, start, Parcel(items), self._keep_going)
        except BaseException as exc:
            if not is_interrupt(exc):
                blame(exc, start, start + len(items))
            raise
        self._futures[future] = (number, Span(start, start + len(items)))
        future.add_done_callback(self._mail.put)

    def receive(self, wait_s: float | None) -> None:
        try:
            future = self._mail.get(timeout=wait_s) if wait_s != 0.0 else self._mail.get_nowait()
            while not self.is_over():
                self._carry_out(self._on_done(future))
                future = self._mail.get_nowait()
        except Empty:
            pass

    def per_item_s(self) -> float | None:
        # Each place of the executor has one more task in the queue.
        return self.schedule.per_item_s(places_of(self.executor))

    def abort(self, exc: BaseException) -> None:
        self.close()

    def close(self) -> None:
        for future in self._futures:
            future.cancel()

    def _on_done(self, future: Any) -> list[Instruction]:
        number, span = self._futures.pop(future)
        try:
            parcel, errors, wall_s, cpu_s = future.result()
            results = parcel.open()
        # For an object that cannot be pickled, each kind of executor raises another exception.
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            return self._handle(self._on_lost_task(number, span, exc))
        failures = [failure_from(error) for error in errors]
        return self._handle(self._keep(number, span.start, results, failures, wall_s, cpu_s))

    def _on_lost_task(self, number: int, span: Span, exc: BaseException) -> Event:
        """Handle a task that failed as a whole: an item or result cannot be pickled, or the executor is broken."""
        if is_broken(exc):
            blame(exc, span.start, span.stop)
        if is_broken(exc) or (isinstance(exc, TransferError) and exc.what == "func"):
            raise exc
        if len(span) > 1:
            return Done(number, 0.0, apart=True)
        detail = f"{kind_of(exc)}: {text_of(exc)}"
        error = TransferError("item or result", span.start, detail)
        error.__cause__ = exc
        failure: Failure = failure_here(span.start, error)
        return Done(number, 0.0, self.outcome.take_errors([failure]), 1, final=self._final([failure]))


def blame(exc: BaseException, start: int, stop: int) -> None:
    """Add a note to an exception that the user's executor raised."""
    note(exc, f"amorsize: while items {start} to {stop - 1} were under way; the executor is yours to mend")


def is_broken(exc: BaseException) -> bool:
    """Return True if this is the exception of an executor that runs no more tasks."""
    from concurrent.futures import BrokenExecutor, CancelledError

    return isinstance(exc, BrokenExecutor | CancelledError)
