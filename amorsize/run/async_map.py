"""``await execute_async()``: runs a map beside an event loop, and coroutine functions as tasks on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from time import perf_counter, time
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

from amorsize.backends.arrivals import Arrivals
from amorsize.backends.concurrent_calls import CALLS
from amorsize.backends.coroutines import Tasks, call
from amorsize.backends.stop import Stop
from amorsize.history.history import History
from amorsize.history.run_row import Run
from amorsize.history.shape import shape_of
from amorsize.options import Request
from amorsize.run.execute import Execution
from amorsize.run.map_state import MapState
from amorsize.schedule.task_count import MOST, START
from amorsize.system import log
from amorsize.system.critical import free_import_lock, held_signals
from amorsize.system.looks import is_async
from amorsize.system.start_methods import NO_THREAD

if TYPE_CHECKING:
    from amorsize.backends.results import Outcome

R = TypeVar("R")


async def in_this_loop(request: Request) -> tuple[Execution | TaskRun, list[Any]]:
    """Run the map beside the running event loop; return how it ran, and its results.

    A map of a plain function runs in a separate thread. A coroutine function runs as tasks on this loop.
    """
    if request.is_coroutine:
        run = TaskRun(request)
        return run, await run.run()
    stop = Stop()
    arrivals = arrivals_of(request, stop)

    def work() -> tuple[Execution, list[Any]]:
        execution = Execution(request, stop=stop, arrivals=arrivals)
        return execution, execution.run()

    try:
        execution, results = await in_a_thread(work, stop)
    finally:
        if arrivals is not None:
            await arrivals.close()
    refuse_coroutines(results)
    return execution, results


def in_a_new_loop(request: Request) -> tuple[TaskRun, list[Any]]:
    """Run ``execute()`` of a coroutine function on a new event loop in this thread."""
    runs: list[TaskRun] = []

    async def main() -> tuple[TaskRun, list[Any]]:
        runs.append(run := TaskRun(request))
        return run, await run.run()

    if asyncio._get_running_loop() is not None:
        raise RuntimeError(
            "execute() of a coroutine function starts an event loop, and one is running in this thread already: "
            "use await amorsize.execute_async() there"
        )
    try:
        return _apart(main)
    except KeyboardInterrupt as exc:
        for run in runs:
            run.state.outcome.interrupted(exc)
        raise


def _apart(run: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """Run a coroutine by `asyncio.run`, which sees neither its result nor its exception.

    It takes the repr of either (CPython 3.11), which may raise or run long.
    """
    results: list[R] = []
    errors: list[BaseException] = []

    async def main() -> None:
        try:
            results.append(await run())
        # These must reach `asyncio.run`, which cancels the task on Ctrl-C and then raises KeyboardInterrupt.
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:  # noqa: BLE001
            errors.append(exc)

    asyncio.run(main())
    try:
        if errors:
            raise errors[0]
        return results[0]
    finally:
        # The exception refers to this frame: break the cycle.
        errors.clear()


def arrivals_of(request: Request, stop: Stop | None = None) -> Arrivals | None:
    """Return what reads the data of a call on the running event loop; None if they are an ordinary iterable."""
    return Arrivals(request.data, stop) if is_async(request.data) else None  # type: ignore[arg-type]


class TaskRun:
    """One map of a coroutine function, as tasks on the running event loop.

    Parameters
    ----------
    request : Request
    outcome : Outcome, optional
        Collects the results; by default all of them are kept, in order.
    window : int, optional
        Number of items that may be ahead of the consumer of the results.

    Attributes
    ----------
    wall_s : float
        Seconds of the whole run.
    """

    def __init__(self, request: Request, outcome: Outcome | None = None, *, window: int | None = None) -> None:
        self.request = request
        self.arrivals = arrivals_of(request)
        self.state = state = MapState(request, outcome, window=window, arrivals=self.arrivals)
        self.tasks = Tasks(
            request.func,
            state.source,
            state.outcome,
            request.max_workers or min(MOST, request.most_workers or MOST),
            retries=state.repeats,
            timeout_s=request.timeout_s,
            pace=state.pace,
            ticks=state.ticks,
            records=state.records,
            news=state.news,
            arrivals=self.arrivals,
            window=window,
        )
        self.wall_s = 0.0

    async def run(self) -> list[Any]:
        """Run the map and return its results; a row is left in the history even if it raises."""
        request, state, tasks = self.request, self.state, self.tasks
        began, outcome = perf_counter(), "raised"
        try:
            CALLS.begin(self)
            if self.arrivals is not None and state.checkpoint is not None:
                if state.news is not None:
                    state.news.started(None)
                # It waits for the items up to the last one that is finished.
                self.arrivals.stop = stop = Stop()
                state.todo = await in_a_thread(state.checkpoint.resume, stop)
                self.arrivals.stop = None
            else:
                state.begin()
            tasks.todo = state.todo
            if state.news is not None:
                state.news.chose("async", min(START, tasks.most_in_flight))
            if request.initializer is not None:
                await call(request.initializer, request.initargs)
            results = await tasks.run()
            state.finish()
            outcome = "ok"
            return results
        finally:
            CALLS.end(self)
            try:
                if self.arrivals is not None:
                    await self.arrivals.close()
            finally:
                state.close()
                self.wall_s = wall_s = perf_counter() - began
                ended = {"backend": "async", "items": tasks.begun, "wall_s": wall_s}
                log.info("run", "%d items in %.3g s, as at most %d tasks", tasks.begun, wall_s, tasks.most, **ended)
                if state.window is None:
                    self._record(outcome)

    def _record(self, outcome: str) -> None:
        request, tasks, state = self.request, self.tasks, self.state
        skipped = 0 if state.checkpoint is None else state.checkpoint.skipped
        history = History() if request.history is None else request.history
        history.record(
            Run.of_call(
                request.func,
                shape_of(request.data),
                tasks.begun,
                self.wall_s,
                at_s=time(),
                backend="async",
                n_jobs=max(1, tasks.most),
                outcome=outcome,
                extra={"skipped": skipped or None},
            )
        )


def refuse_coroutines(results: list[Any]) -> None:
    """Raise TypeError if the results are coroutines: a lambda that returns them is not seen as a coroutine function."""
    if not (results and type(results[0]) is CoroutineType):
        return
    for one in results:
        if type(one) is CoroutineType:
            one.close()
    raise TypeError(
        "func: made coroutines, which nobody has awaited. Pass the coroutine function itself (async def), or "
        "functools.partial of it; a lambda around it does not show what it makes"
    )


async def in_a_thread(work: Callable[[], R], stop: Stop | None = None) -> R:
    """Run ``work`` in a separate thread; if this task is cancelled, stop the work and wait until it has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    results: list[R] = []
    errors: list[BaseException] = []
    stop = stop or Stop()

    def run() -> None:
        try:
            results.append(work())
        # Raised again in the task.
        except BaseException as exc:  # noqa: BLE001
            errors.append(exc)
        finally:
            stop.close()
            try:
                loop.call_soon_threadsafe(ended.set)
            except RuntimeError:
                # The loop is closed: no task waits any more.
                pass

    # Else no worker could be forked in the thread.
    free_import_lock()
    thread = threading.Thread(target=copy_context().run, args=(run,), daemon=True, name="amorsize")
    cancelled: BaseException | None = None
    try:
        # At its end a held signal may raise, and then the thread must stop.
        with held_signals():
            try:
                thread.start()
            except RuntimeError as exc:
                stop.close()
                raise RuntimeError(
                    f"{NO_THREAD}, and execute_async() never runs func on the event loop's own thread: nothing was "
                    "run. Raise that limit, or use execute(), which needs no thread"
                ) from exc
        while not ended.is_set():
            try:
                await ended.wait()
            except asyncio.CancelledError as exc:
                stop.ask()
                cancelled = cancelled or exc
        # The thread ends at once: its work is done.
        thread.join()
        if cancelled is not None:
            raise cancelled
        if errors:
            raise errors[0]
        return results[0]
    finally:
        # The work must also stop if the loop was closed under this task.
        stop.ask()
        # The exceptions refer to this frame: break the cycle.
        errors.clear()
