"""``Executor``: the standard library's interface, on the workers and the schedule of ``execute()``.

What runs the calls is loaded at the first one, while the fork server boots (`amorsize.executor.opening`).
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor as StandardExecutor
from concurrent.futures import Future
from math import ceil
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from amorsize.backends.workers import fork_server
from amorsize.executor import shutdown
from amorsize.hints import fold, hinted
from amorsize.options import check, whole
from amorsize.system.critical import held_signals, load
from amorsize.system.start_methods import (
    refuse_in_a_child,
    share_of,
    start_method_beside_threads,
)

if TYPE_CHECKING:
    from amorsize.executor.manager import Manager
    from amorsize.executor.pending import Batch
    from amorsize.facts import Machine

P = ParamSpec("P")
T = TypeVar("T")


class Executor(StandardExecutor):
    """Worker processes that stay warm: a ``concurrent.futures.Executor`` that survives what happens to its workers.

    Use it as `concurrent.futures.ProcessPoolExecutor`. What is different: a lost worker is replaced and only its own
    call is repeated (once, so a call may run twice), a ``timeout`` ends the one call that is late, lambdas and closures
    can be called, what cannot be pickled fails alone and says why, and `map` finds its own chunksize.

    Workers start when there is work for them, beside a thread of this process that looks after them; to fork there
    could deadlock the child (CPython gh-84559) and prints a warning from 3.12 on. So by default they start as the
    interpreter would start them, and by forkserver where that is fork: what is the default from 3.14 on holds on any
    version. The first result then comes after 60 ms and as long as the main module takes to be imported once more (2
    cores, CPython 3.11), and programs must guard that module with ``if __name__ == "__main__":``. An ``mp_context``
    that says fork is obeyed: all workers are forked at the first call, in the calling thread and before there is the
    other (first result after 10 ms), and hold what the caller held then. Only those that replace a lost one are forked
    beside the executor's own thread, as `multiprocessing.Pool` does; by another method they would not hold what the
    others hold.

    Parameters
    ----------
    max_workers : int, optional
        Most worker processes at a time; by default as many as there are usable cores (inside a worker: its share).
    mp_context : multiprocessing context, optional
        Says how worker processes start, as ``multiprocessing.get_context("spawn")``.
    initializer : callable, optional
        Called with ``initargs`` in each worker before its first call. If it raises, the executor is broken.
    initargs : tuple
    timeout : float, optional
        Seconds that one call may run, counted from when it begins. After that its worker is ended and replaced.
    strict : bool
        True: the loss of any worker breaks the executor, as it does in the standard library.

    Raises
    ------
    TypeError, ValueError
        For bad arguments, with the argument's name first.

    Notes
    -----
    A future gives what its call raised, with the worker's traceback as the ``__cause__``; or
    `~amorsize.errors.WorkerLostError` when its worker died at it twice, `~amorsize.errors.ItemTimeoutError` when it
    ran too long, `~amorsize.errors.TransferError` when it or its result cannot be pickled, and
    `concurrent.futures.process.BrokenProcessPool` when no worker can begin: ``submit`` then raises that, too.

    A round trip takes 0.1 to 0.2 ms; when many calls are queued, each costs the executor's own thread 40 µs (2 cores,
    CPython 3.11). An idle executor costs no time.

    Examples
    --------
    >>> from amorsize import Executor
    >>> with Executor(max_workers=2) as executor:                           # doctest: +SKIP
    ...     print(executor.submit(pow, 2, 10).result(), *executor.map(lambda x: x * x, range(5)))
    1024 0 1 4 9 16
    """

    @hinted
    def __init__(
        self,
        max_workers: int | None = None,
        *,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        timeout: float | None = None,
        strict: bool = False,
    ) -> None:
        # The standard library's own words.
        if isinstance(max_workers, int) and max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0, not {max_workers}")
        if mp_context is not None and not hasattr(mp_context, "get_start_method"):
            raise TypeError(f"mp_context: must be a multiprocessing context or None, not {type(mp_context).__name__}")
        self._request = check(
            callable, (), max_workers=max_workers, initializer=initializer, initargs=initargs, timeout=timeout
        )
        self._start_method = None if mp_context is None else str(mp_context.get_start_method())
        self._strict = bool(strict)
        here = _machine()
        self._cores = here.usable_cores
        most = min(self._request.most_workers or here.most_processes, here.most_processes)
        self._max_workers = min(self._request.max_workers or max(1, ceil(self._cores)), most)
        self._lock = threading.RLock()
        self._manager: Manager | None = None
        self._shut = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have ``fn(*args, **kwargs)`` run in a worker process.

        Calls begin in the order of their submission, one at a time per worker, so that calls may wait for each other
        as long as there are as many workers. A future can be cancelled until its call is sent.

        Raises
        ------
        RuntimeError
            After `shutdown`, or when the interpreter is on its way out.
        concurrent.futures.process.BrokenProcessPool
            When no worker can begin, or (``strict``) one has been lost.
        """
        if not callable(fn):
            raise TypeError(f"fn: must be callable, not {type(fn).__name__}")
        return self._ready().add_call((fn, args, kwargs))

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
    ) -> Generator[T, None, None]:
        """Have ``fn`` run on the items of ``iterables``, which are read at once; give the results in order.

        Parameters
        ----------
        fn : callable
        *iterables : iterable
        timeout : float, optional
            Seconds from now until TimeoutError is raised if the next result is not there.
        chunksize : int, optional
            Items that are sent at a time. By default one at first, then as many as the time that they take suggests.

        Returns
        -------
        iterator
            Raises what the first failing item raised. Closing it drops the items that have not been sent.
        """
        if not callable(fn):
            raise TypeError(f"fn: must be callable, not {type(fn).__name__}")
        fixed = whole("chunksize", chunksize, least=1, optional=True)
        deadline_s = None if timeout is None else timeout + time.monotonic()
        arguments = list(zip(*iterables, strict=False))
        manager = self._ready()
        return _results(manager.add_map(fn, arguments, fixed), manager, deadline_s)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and let the workers leave when all has been done.

        Parameters
        ----------
        wait : bool
            True: return only after that.
        cancel_futures : bool
            True: cancel the calls that have not been sent yet.
        """
        with self._lock:
            self._shut = True
            manager = self._manager
        if manager is not None:
            manager.shut(cancel=cancel_futures)
            if wait:
                manager.join()

    def _ready(self) -> Manager:
        manager = self._manager
        if manager is not None:
            return manager
        with self._lock:
            if self._shut or shutdown.is_exiting():
                raise RuntimeError(shutdown.refusal())
            if self._manager is None:
                refuse_in_a_child()
                method = self._start_method or start_method_beside_threads()
                if method == "forkserver":
                    # It boots while the rest is loaded and made.
                    fork_server.start()
                load("amorsize.executor.opening")
                from amorsize.executor.opening import manager_of

                with held_signals():
                    manager = manager_of(self._request, method, self._max_workers, self._cores, strict=self._strict)
                    manager.begin()
                    weakref.finalize(self, manager.forsake).atexit = False
                    self._manager = manager
            return self._manager


def _machine() -> Machine:
    from amorsize.system.machine import machine

    return share_of(machine())


def _results(batch: Batch, manager: Manager, deadline_s: float | None) -> Generator[Any, None, None]:
    """Give the results of a map. Refers to the manager, not to the executor, which may be collected meanwhile."""
    try:
        yield from batch.results(deadline_s)
    except BaseException as exc:
        fold(exc)
        raise
    finally:
        manager.drop(batch)
