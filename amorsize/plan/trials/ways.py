"""Ways to run one map, and their timing in interleaved rounds."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from amorsize.backends.results import annotate
from amorsize.backends.workers.main_module import used
from amorsize.backends.workers.start import free_to_start, sigterm_waits
from amorsize.facts import Backend, Failure
from amorsize.frozen import replace
from amorsize.history.history import History
from amorsize.options import Request
from amorsize.plan.plan import Plan
from amorsize.plan.plan_text import describe_plan
from amorsize.plan.pools import LoopPool, open_pool, process_options
from amorsize.system.clock import REAL, Clock
from amorsize.system.start_methods import (
    NO_THREAD,
    can_start_a_thread,
    refuse_in_a_child,
    resolve_start_method,
    unguarded,
)

# Beyond so many rounds the interval of a median hardly narrows.
# guess
MOST_ROUNDS: Final = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to run a map.

    Attributes
    ----------
    name : str
        A short name.
    what : str
        A description in words.
    run : callable
        Runs the map and returns the results.
    settle : callable
        Waits for threads that end of themselves; this time is not measured.
    """

    name: str
    what: str
    run: Callable[[], list[Any]]
    settle: Callable[[], object] = bool


def interleaved(
    ways: Sequence[Way],
    max_seconds: float,
    rounds: int | None,
    saw: Callable[[Way, list[Any]], None],
    clock: Clock = REAL,
) -> list[list[float]]:
    """Run every way once per round, in the order A B B A; return the seconds of each way in each round.

    Parameters
    ----------
    ways : sequence of Way
    max_seconds : float
        A round starts only if it fits into this time; the first round always starts.
    rounds : int, optional
        Number of rounds, without regard to the time; by default as many as fit, `MOST_ROUNDS` at most.
    saw : callable
        Takes each way's results; this time is not measured.
    clock : Clock
    """
    times: list[list[float]] = [[] for _ in ways]
    turns = list(zip(ways, times, strict=True))
    began = clock.wall()
    for _ in range(rounds or MOST_ROUNDS):
        round_began = clock.wall()
        for way, took in turns:
            results, seconds = timed(way, clock)
            took.append(seconds)
            saw(way, results)
            # Free the results now, not in the measured time of the next way.
            del results
        turns.reverse()
        now = clock.wall()
        if rounds is None and now - began + (now - round_began) > max_seconds:
            break
    return times


def timed(way: Way, clock: Clock = REAL) -> tuple[list[Any], float]:
    """Run one way; return its results and seconds. An exception of func gets a note that names the way."""
    began = clock.wall()
    try:
        results = way.run()
    except Exception as exc:
        exc.add_note(f"amorsize: raised while {way.what} was being timed")
        raise
    seconds = clock.wall() - began
    way.settle()
    return results, seconds


def warm_up(method: str | None) -> None:
    """Start the fork server, so that the first pool need not wait for it, and see that a worker starts.

    Raises
    ------
    RuntimeError
        If workers come to this call while they import the program's main module: a plain ``Pool`` would start others
        in their place without end.
    """
    if method in (None, "fork") or not can_start_a_thread():
        return
    refuse_in_a_child()
    if method == "forkserver":
        from amorsize.backends.workers import fork_server

        fork_server.start()
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning), open_pool("processes", 1, 1, method) as one:
        if isinstance(one, LoopPool):
            raise RuntimeError(unguarded())


# ---------------------------------------------------------------------------------------------------------- the ways


def way_of_plan(request: Request, plan: Plan, items: Sequence[Any]) -> Way:
    """Return the way that runs a plan's own pool."""
    what = f"optimize(): {describe_plan(plan)}"
    if plan.backend == "executor":
        return Way(name="plan", what=what, run=partial(on_engine, request, items, plan.chunksize))
    how = (plan.backend, plan.n_jobs, plan.chunksize, plan.start_method, plan.native_threads)
    run = PlanRun(request.func, items, *how, func_bytes=0.0 if plan.sample is None else plan.sample.func_bytes)
    return Way(name="plan", what=what, run=run, settle=run.settle)


def loop(func: Callable[[Any], Any], items: Sequence[Any], index_of: Callable[[int], int] = lambda i: i) -> list[Any]:
    """Return ``list(map(func, items))``; an exception of func gets a note with the item's index in all the data."""
    results: list[Any] = []
    try:
        results.extend(map(func, items))
    except Exception as exc:
        # list.extend keeps the results taken before its iterator raised: their number is the failed item's position.
        at = len(results)
        annotate(Failure(index_of(at), exc), lambda _: items[at])
        raise
    return results


def pooled(opening: AbstractContextManager[Any], func: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Run ``map`` of a pool, from entering to leaving it."""
    with opening as pool:
        results = pool.map(func, items)
        # The map of an executor returns an iterator.
        return results if isinstance(results, list) else list(results)


def no_threads() -> str | None:
    """Return why no pool of any kind can be opened here; None if one can."""
    return None if can_start_a_thread() else NO_THREAD


def no_pool(plan: Plan) -> str | None:
    """Return why a ``multiprocessing.Pool`` could not run the map or would wait for ever; None if it can."""
    if plan.sample is None:
        return no_threads()
    if not plan.sample.n_sampled:
        return "no item could be sampled: a Pool waits for ever when a worker dies"
    return plan.sample.transfer_error or no_threads()


def not_runnable(plan: Plan) -> str | None:
    """Return why the plan's own pool could not run the map; None if it can."""
    return no_pool(plan) if plan.backend == "processes" else None


class PlanRun:
    """Runs a map in a plan's own pool.

    Parameters
    ----------
    func, items
        The map.
    backend, workers, chunksize, method, native
        The plan: its pool's kind, and the cap on native threads.
    func_bytes : float
        Size of the function's pickle.
    """

    def __init__(
        self,
        func: Callable[[Any], Any],
        items: Sequence[Any],
        backend: Backend,
        workers: int,
        chunksize: int,
        method: str | None,
        native: int | None = None,
        func_bytes: float = 0.0,
    ) -> None:
        self.func, self.items, self.func_bytes = func, items, func_bytes
        self.how = (backend, workers, chunksize, method, native)
        self.pool: Any = None

    def __call__(self) -> list[Any]:
        """Run the map."""
        self.pool = open_pool(*self.how, uses=used(self.func, self.items), func_bytes=self.func_bytes)
        return pooled(self.pool, self.func, self.items)

    def settle(self) -> None:
        """Wait for a ``ThreadPool``'s threads, which end a moment later: a fork beside them is not safe."""
        self.pool.join()


def executed(request: Request, items: Sequence[Any]) -> list[Any]:
    """Run the map by ``execute()``."""
    from amorsize.run.execute import Execution

    return Execution(replace(request, data=items)).run()


def on_engine(request: Request, items: Sequence[Any], chunksize: int) -> list[Any]:
    """Run the map on the user's executor in tasks of ``chunksize`` items."""
    return executed(replace(request, chunksize=chunksize, history=History("off")), items)


def default_pool(func: Any, items: Sequence[Any], workers: int, method: str) -> list[Any]:
    """Run the map in a ``multiprocessing.Pool()`` with its default settings, chunks included."""
    import multiprocessing.pool

    with free_to_start(), sigterm_waits(method):
        pool = multiprocessing.pool.Pool(workers, **process_options(method, None, used(func, items)))
    return pooled(pool, func, items)


def default_threads(func: Any, items: Sequence[Any], workers: int | None) -> list[Any]:
    """Run the map in a ``ThreadPoolExecutor()`` with its default settings."""
    from concurrent.futures import ThreadPoolExecutor

    return pooled(ThreadPoolExecutor(workers), func, items)


def default_method(asked: str | None) -> str:
    """Return the start method of a ``multiprocessing.Pool()``, or a safe one where fork could hang."""
    import multiprocessing

    if asked is not None:
        return asked
    default: str = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    return resolve_start_method(None)[0] if default == "fork" else default


def default_workers(most: int | None) -> int:
    """Return the default number of workers of a ``multiprocessing.Pool()``, at most the user's maximum."""
    cores = os.cpu_count() or 1
    return cores if most is None else min(cores, most)
