"""The contenders: ways to run a map, each used as its documentation says, with its own defaults.

``run(func, data, facts) -> list``; data is any iterable, and a contender that needs a list makes it on the clock.
Starting and ending workers is part of the time, since a user waits for both: joblib's reusable workers are therefore
ended too. ``facts`` is an empty dict to which a contender may add facts (amorsize: its plan); it is read after the
clock has stopped.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

Func = Callable[[Any], Any]
Facts = dict[str, Any]

LOOP = "loop"
EXECUTE = "amorsize.execute"
UNKNOWN = "execute, unknown function"
OPTIMIZE = "amorsize.optimize"
OPTIMIZE_POOL = "optimize + Pool"
AMORSIZE = (EXECUTE, UNKNOWN, OPTIMIZE, OPTIMIZE_POOL)
MOST_ITEMS = 10_000


@dataclass(frozen=True, slots=True)
class Rival:
    """One contender.

    Attributes
    ----------
    name : str
        Unique.
    run : callable
        ``run(func, data, facts) -> list`` of results in the order of data.
    needs : str
        ``"module"`` or ``"module:attribute"`` without which it cannot run; imported before any clock starts.
    most_items : int or None
        Does not run on more items than these, where it takes minutes: each costs it 0.1 ms and more.
    around : callable
        Makes a context in which it runs, entered and left off the clock.
    """

    name: str
    run: Callable[[Func, Iterable[Any], Facts], list[Any]]
    needs: str = ""
    most_items: int | None = None
    around: Callable[[], AbstractContextManager[object]] = nullcontext

    def missing(self) -> str | None:
        """Return why it cannot run here; None: it can. Imports the module that it needs."""
        module, _, attribute = self.needs.partition(":")
        if not module:
            return None
        try:
            imported = importlib.import_module(module)
        except ImportError as error:
            return f"{type(error).__name__}: {error}"
        return None if not attribute or hasattr(imported, attribute) else f"{module} has no {attribute} yet"


def loop(func: Func, data: Iterable[Any], facts: Facts) -> list[Any]:
    return list(map(func, data))


def pool(func: Func, data: Iterable[Any], facts: Facts) -> list[Any]:
    import multiprocessing

    with multiprocessing.Pool() as workers:
        return workers.map(func, data)


def process_executor(func: Func, data: Iterable[Any], facts: Facts) -> list[Any]:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor() as workers:
        return list(workers.map(func, data))


def threads(func: Func, data: Iterable[Any], facts: Facts) -> list[Any]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as workers:
        return list(workers.map(func, data))


def threads_64(func: Func, data: Iterable[Any], facts: Facts) -> list[Any]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(64) as workers:
        return list(workers.map(func, data))


def joblib_loky(func: Func, data: Iterable[Any], facts: Facts) -> list[Any]:
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    try:
        return list(Parallel(n_jobs=-1)(delayed(func)(item) for item in data))
    finally:
        # reuse=True: else loky first makes a new executor, with its own defaults, only to shut that down.
        get_reusable_executor(reuse=True).shutdown(wait=True)


def joblib_threading(func: Func, data: Iterable[Any], facts: Facts) -> list[Any]:
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=-1, backend="threading")(delayed(func)(item) for item in data))


def mpire(func: Func, data: Iterable[Any], facts: Facts) -> list[Any]:
    from mpire import WorkerPool
    from tqdm import tqdm

    # Even without a progress bar it starts tqdm's monitor thread, which then stays: a caller with a second thread is
    # one in which fork is no longer safe, and the contenders after it would choose for that caller.
    tqdm.monitor_interval = 0
    items = data if isinstance(data, list) else list(data)  # of unknown length it would make chunks of 4
    with WorkerPool() as workers:
        # Its default glues arrays together into one, which is another result than the loop's.
        return list(workers.map(func, items, concatenate_numpy_output=False))


def amorsize_execute(func: Func, data: Iterable[Any], facts: Facts) -> list[Any]:
    import amorsize

    return amorsize.execute(func, data)


@contextmanager
def knowing_nothing() -> Iterator[None]:
    """Hide the memory of `amorsize.execute`, as in a process that has run no map yet; restore it afterwards."""
    from unittest import mock

    from amorsize.history.this_process import Memory

    with mock.patch("amorsize.run.deciding.THIS_PROCESS", Memory()):
        yield


def amorsize_optimize(func: Func, data: Iterable[Any], facts: Facts) -> list[Any]:
    """Choose, then run the plan. ``map_s`` is the time that the plan forecasts, start and end of its pool included."""
    import amorsize

    start = time.perf_counter()
    plan = amorsize.optimize(func, data)
    chosen = time.perf_counter()
    with plan.pool() as workers:
        results = list(workers.map(func, plan.data, chunksize=plan.chunksize))
    facts.update(plan=plan, optimize_s=chosen - start, map_s=time.perf_counter() - chosen)
    return results


def optimize_pool(func: Func, data: Iterable[Any], facts: Facts) -> list[Any]:
    """Choose between ``multiprocessing.Pool`` and the loop only, then run the plan."""
    import multiprocessing

    import amorsize

    start = time.perf_counter()
    plan = amorsize.optimize(func, data, backend=("serial", "processes"))
    chosen = time.perf_counter()
    if plan.backend == "serial":
        results = list(map(func, plan.data))
    else:
        with multiprocessing.get_context(plan.start_method).Pool(plan.n_jobs) as workers:
            results = workers.map(func, plan.data, chunksize=plan.chunksize)
    facts.update(plan=plan, optimize_s=chosen - start, map_s=time.perf_counter() - chosen)
    return results


ALL: tuple[Rival, ...] = (
    Rival(LOOP, loop),
    Rival("Pool", pool),
    Rival("joblib loky", joblib_loky, "joblib"),
    Rival("mpire", mpire, "mpire:WorkerPool"),
    Rival("threads", threads),
    Rival("64 threads", threads_64),
    Rival("ProcessPoolExecutor", process_executor, most_items=MOST_ITEMS),
    Rival("joblib threading", joblib_threading, "joblib", most_items=MOST_ITEMS),
    Rival(EXECUTE, amorsize_execute, "amorsize:execute"),
    Rival(UNKNOWN, amorsize_execute, "amorsize:execute", around=knowing_nothing),
    Rival(OPTIMIZE, amorsize_optimize, "amorsize:optimize"),
    Rival(OPTIMIZE_POOL, optimize_pool, "amorsize:optimize"),
)


def by_name() -> dict[str, Rival]:
    return {rival.name: rival for rival in ALL}
