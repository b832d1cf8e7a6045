"""``await execute_async()``: runs a map beside an event loop, and coroutine functions as tasks on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from time import perf_counter, time
from types import CoroutineType
from typing import Any

from amorsize.backends.concurrent_calls import CALLS
from amorsize.backends.coroutines import Tasks, call
from amorsize.backends.results import Outcome
from amorsize.backends.stop import Stop
from amorsize.history.history import History
from amorsize.history.run_row import Run
from amorsize.history.shape import shape_of
from amorsize.options import Request
from amorsize.run.execute import Execution
from amorsize.schedule.rate_limit import Pace
from amorsize.schedule.task_count import MOST
from amorsize.system.critical import free_import_lock
from amorsize.system.start_methods import NO_THREAD


async def in_this_loop(request: Request, return_plan: bool) -> tuple[list[Any], Execution | None]:
    """Run the map beside the running event loop; return its results, and the execution for a plan.

    A map of a plain function runs in a separate thread. A coroutine function runs as tasks on this loop, without an
    execution (None).

    Raises
    ------
    ValueError
        If a plan is requested for a coroutine function.
    """
    if request.is_coroutine:
        _refuse_plan(return_plan)
        return await _run_tasks(request), None
    stop = Stop()
    execution = Execution(request, stop=stop)
    results = await _in_a_thread(execution.run, stop)
    _refuse_coroutines(results)
    return results, execution


def in_a_new_loop(request: Request, return_plan: bool = False) -> list[Any]:
    """Run ``execute()`` of a coroutine function on a new event loop in this thread."""
    _refuse_plan(return_plan)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _apart(lambda: _run_tasks(request))
    raise RuntimeError(
        "execute() of a coroutine function starts an event loop, and one is running in this thread already: "
        "use await amorsize.execute_async() there"
    )


def _apart(run: Callable[[], Coroutine[Any, Any, list[Any]]]) -> list[Any]:
    """Run a coroutine by `asyncio.run`, which sees neither its results nor its exception.

    It takes the repr of either (CPython 3.11), which may raise or run long.
    """
    results: list[list[Any]] = []
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


def _refuse_plan(return_plan: bool) -> None:
    if return_plan:
        raise ValueError(
            "return_plan: there is no plan for a coroutine function, since nothing is forecast for its tasks"
        )


async def _run_tasks(request: Request) -> list[Any]:
    """Run a coroutine function over its data on this loop, and record the run in the history even if it fails."""
    tasks = Tasks(
        request.func,
        request.data,
        Outcome(request.on_error, request.max_failures),
        request.max_workers or min(MOST, request.most_workers or MOST),
        retries=request.repeats(),
        timeout_s=request.timeout_s,
        pace=None if request.rate is None else Pace(request.rate),
    )
    began, outcome = perf_counter(), "raised"
    try:
        CALLS.begin(tasks)
        if request.initializer is not None:
            await call(request.initializer, request.initargs)
        results = await tasks.run()
        outcome = "ok"
        return results
    finally:
        CALLS.end(tasks)
        history = History() if request.history is None else request.history
        history.record(
            Run.of_call(
                request.func,
                shape_of(request.data),
                tasks.length,
                perf_counter() - began,
                at_s=time(),
                backend="tasks",
                n_jobs=max(1, tasks.most),
                outcome=outcome,
            )
        )


def _refuse_coroutines(results: list[Any]) -> None:
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


async def _in_a_thread(work: Callable[[], list[Any]], stop: Stop) -> list[Any]:
    """Run ``work`` in a separate thread; if this task is cancelled, stop the work and wait until it has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    results: list[list[Any]] = []
    errors: list[BaseException] = []

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
    try:
        thread.start()
    except RuntimeError as exc:
        stop.close()
        raise RuntimeError(
            f"{NO_THREAD}, and execute_async() never runs func on the event loop's own thread: nothing was run. Raise "
            "that limit, or use execute(), which needs no thread"
        ) from exc
    cancelled: BaseException | None = None
    try:
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
