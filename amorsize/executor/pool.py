"""``Pool``: the interface of ``multiprocessing.Pool``, on the workers and the schedule of ``execute()``."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from math import ceil
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeVar

from amorsize.backends.workers import fork_server
from amorsize.executor.calls import NO_KEYWORDS
from amorsize.executor.pool_results import Applied, AsyncResult, IMapIterator, IMapUnorderedIterator, Stream, Whole
from amorsize.hints import folded, hinted
from amorsize.options import check, whole
from amorsize.system.critical import held_signals, load
from amorsize.system.looks import defined, kind_of
from amorsize.system.start_methods import (
    available_start_methods,
    refuse_in_a_child,
    share_of,
    start_method_of_a_pool,
)

if TYPE_CHECKING:
    from amorsize.backends.workers.connection import Handle
    from amorsize.executor.pool_manager import PoolManager

S = TypeVar("S")
T = TypeVar("T")

# The names of multiprocessing's own states.
INIT: Final = "INIT"
RUN: Final = "RUN"
CLOSE: Final = "CLOSE"
TERMINATE: Final = "TERMINATE"

CHUNKS_PER_WORKER: Final = 4
"""Chunks per worker in a map of ``multiprocessing.Pool``."""


class Pool:
    """A pool of worker processes: ``multiprocessing.Pool`` that survives what happens to its workers.

    Use it as the original. What is different: a worker that is killed is replaced, its item is repeated once and then
    fails with `~amorsize.errors.WorkerLostError`, where the original waits for ever; lambdas and closures can be
    called; chunks find their size; ``imap`` reads an iterable only so far ahead as its results are read; what is still
    pending when the pool is terminated raises; a pool may be made within a worker of another one.

    Parameters
    ----------
    processes : int, optional
        Number of worker processes; by default as many as there are usable cores (inside a worker: its share).
    initializer : callable, optional
        Called with ``initargs`` in each worker before its first call. If it raises, all calls of the pool fail.
    initargs : tuple
    maxtasksperchild : int, optional
        Chunks after which a worker is replaced by a new one; a call of `apply_async` is one chunk. Chunks have the
        original's size then, unless ``chunksize`` is given.
    context : multiprocessing context, optional
        Says how workers start, as ``multiprocessing.get_context("spawn")``. By default as multiprocessing's own pool
        starts them; where that is fork (Linux up to CPython 3.13) they are forked only while the program has no other
        threads, and else started by forkserver.

    Raises
    ------
    TypeError, ValueError
        For bad arguments.

    Notes
    -----
    All workers start in the constructor, in the calling thread: two forked ones in some 5 ms, by forkserver in 60 ms,
    by spawn in 110 ms (2 cores, CPython 3.11). Then there is one more thread in this process. A round trip takes 0.1 to
    0.2 ms. Workers that are not forked import the main module, so guard it with ``if __name__ == "__main__":``.

    An exception keeps its type and has the worker's traceback as its ``__cause__``. What cannot be pickled fails with
    `~amorsize.errors.TransferError`, an exception that cannot be rebuilt with `~amorsize.errors.RemoteError`; when no
    worker can begin, `concurrent.futures.process.BrokenProcessPool` is raised.

    Examples
    --------
    >>> from amorsize import Pool
    >>> with Pool(2) as pool:                                                       # doctest: +SKIP
    ...     print(pool.map(lambda x: x * x, range(5)), pool.apply(pow, (2, 10)))
    [0, 1, 4, 9, 16] 1024
    """

    # `__del__` reads it, also if the arguments were refused.
    _state = INIT

    @hinted
    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
    ) -> None:
        # The original's words.
        if isinstance(processes, int) and processes < 1:
            raise ValueError(f"processes: Number of processes must be at least 1, not {processes}")
        if maxtasksperchild is not None and not (isinstance(maxtasksperchild, int) and maxtasksperchild > 0):
            raise ValueError(
                f"maxtasksperchild: maxtasksperchild must be a positive int or None, not {maxtasksperchild!r}"
            )
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer: initializer must be a callable, not {kind_of(initializer)}")
        if context is not None and not hasattr(context, "get_start_method"):
            raise TypeError(f"context: must be a multiprocessing context or None, not {kind_of(context)}")
        count = whole("processes", processes, least=1, optional=True)
        args = () if initializer is None else tuple(initargs)
        request = check(callable, (), max_workers=count, initializer=initializer, initargs=args)
        refuse_in_a_child()
        method = start_method_of_a_pool() if context is None else str(context.get_start_method())
        if method not in available_start_methods():
            raise ValueError(f"context: its start method must be one of {available_start_methods()}, not {method!r}")
        if method == "forkserver":
            # It boots while the rest is loaded.
            fork_server.start()
        load("amorsize.executor.pool_manager")
        load("amorsize.executor.opening")
        load("amorsize.system.machine")
        from amorsize.executor.opening import team_of
        from amorsize.executor.pool_manager import PoolManager
        from amorsize.system.machine import machine

        here = share_of(machine())
        most = min(request.most_workers or here.most_processes, here.most_processes)
        self._processes = min(request.max_workers or max(1, ceil(here.usable_cores)), most)
        self._maxtasksperchild = maxtasksperchild
        with held_signals():
            team = team_of(request, method, self._processes, here.usable_cores)
            manager = PoolManager(team, self._processes, maxtasksperchild)
            manager.begin()
            weakref.finalize(self, manager.forsake).atexit = False
            self._manager: PoolManager = manager
            self._state = RUN

    def __del__(self, _warn: Callable[..., object] = warnings.warn) -> None:
        if self._state == RUN:
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)

    def __repr__(self) -> str:
        kind = type(self)
        return f"<{kind.__module__}.{kind.__qualname__} state={self._state} pool_size={len(self._pool)}>"

    def __reduce__(self) -> NoReturn:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    # -- calls -----------------------------------------------------------------------------------------------------

    @folded
    def apply(self, func: Callable[..., T], args: Iterable[Any] = (), kwds: Mapping[str, Any] = NO_KEYWORDS) -> T:
        """Return ``func(*args, **kwds)``, called in a worker."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = NO_KEYWORDS,
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[T]:
        """Have ``func(*args, **kwds)`` run in a worker. Calls begin in their order, one at a time per worker.

        ``callback`` is called with the result, ``error_callback`` with the exception: see `AsyncResult`.
        """
        self._check(func)
        result: AsyncResult[T] = AsyncResult(self, callback, error_callback)
        self._post(Applied((func, tuple(args), dict(kwds)), result))
        return result

    @folded
    def map(self, func: Callable[[S], T], iterable: Iterable[S], chunksize: int | None = None) -> list[T]:
        """Return ``list(map(func, iterable))``, called in the workers.

        Parameters
        ----------
        func : callable
        iterable : iterable
            Is read at once.
        chunksize : int, optional
            Items that are sent at a time. By default one at first, then as many as the time that they take suggests.

        Raises
        ------
        Exception
            What the first failing item raised, once all items are done.
        """
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[T]]:
        """Begin a `map`; its result is a list. For the callbacks see `AsyncResult`."""
        self._check(func)
        # Not list(iterable), which would call its ``__len__``.
        return self._map(func, [item for item in iterable], chunksize, callback, error_callback)  # noqa: C416

    @folded
    def starmap(
        self, func: Callable[..., T], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[T]:
        """Return ``list(itertools.starmap(func, iterable))``, called in the workers; see `map`."""
        return self.starmap_async(func, iterable, chunksize).get()

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[T]]:
        """Begin a `starmap`; its result is a list. For the callbacks see `AsyncResult`."""
        self._check(func)
        arguments = [tuple(item) for item in iterable]
        return self._map(func, arguments, chunksize, callback, error_callback, unpacks=True)

    def imap(self, func: Callable[[S], T], iterable: Iterable[S], chunksize: int | None = None) -> IMapIterator[T]:
        """Return an iterator over the results of a map, in order.

        Parameters
        ----------
        func : callable
        iterable : iterable
            Is read by a thread of its own, at most some 1,000 items ahead of the reader of the results; if its length
            is known, ahead of the workers. What it raises comes after the results of its items.
        chunksize : int, optional
            Items that are sent at a time; by default as in `map`, so that the first result comes at once.
        """
        self._check(func)
        return IMapIterator(self._stream(func, iterable, chunksize, ordered=True))

    def imap_unordered(
        self, func: Callable[[S], T], iterable: Iterable[S], chunksize: int | None = None
    ) -> IMapIterator[T]:
        """Return an iterator over the results of a map, in the order in which they come; see `imap`."""
        self._check(func)
        return IMapUnorderedIterator(self._stream(func, iterable, chunksize, ordered=False))

    # -- the end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take no more calls; the workers leave when all has been done."""
        if self._state == RUN:
            self._state = CLOSE
            self._manager.shut()

    def terminate(self) -> None:
        """Kill the workers that are busy, and let the others leave.

        All pending calls raise `concurrent.futures.CancelledError`.
        """
        self._state = TERMINATE
        self._manager.terminate()

    def join(self) -> None:
        """Wait until the workers have left. Raises ValueError if the pool is neither closed nor terminated."""
        if self._state == RUN:
            raise ValueError("Pool is still running")
        self._manager.join()

    def __enter__(self) -> Self:
        self._check_running()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.terminate()

    # -- helpers ---------------------------------------------------------------------------------------------------

    @property
    def _pool(self) -> list[Handle]:
        """The workers, under the name that the original's list has."""
        return list(self._manager.team.handles.values()) if self._state != INIT else []

    def _check(self, func: object) -> None:
        self._check_running()
        if not callable(func):
            raise TypeError(f"func: must be callable, not {kind_of(func)}")

    def _check_running(self) -> None:
        if self._state != RUN:
            raise ValueError("Pool not running")

    def _map(
        self,
        func: Callable[..., T],
        arguments: list[Any],
        chunksize: int | None,
        callback: Callable[[list[T]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        *,
        unpacks: bool = False,
    ) -> AsyncResult[list[T]]:
        fixed = whole("chunksize", chunksize, least=1, optional=True)
        if fixed is None and self._maxtasksperchild is not None:
            fixed = max(1, ceil(len(arguments) / (CHUNKS_PER_WORKER * self._processes)))
        result: AsyncResult[list[T]] = AsyncResult(self, callback, error_callback)
        if arguments:
            self._post(Whole(func, arguments, fixed, result, unpacks=unpacks))
        else:
            result.settle([], None)
        return result

    def _stream(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None, *, ordered: bool
    ) -> Stream:
        fixed = whole("chunksize", chunksize, least=1, optional=True)
        if defined(type(iterable), "__iter__") is None and defined(type(iterable), "__getitem__") is None:
            raise TypeError(f"iterable: must be iterable, not {kind_of(iterable)}")
        if fixed is None and self._maxtasksperchild is not None:
            fixed = 1
        stream = Stream(func, iterable, fixed, self, ordered=ordered)
        self._post(stream)
        return stream

    def _post(self, request: Applied | Whole | Stream) -> None:
        try:
            if isinstance(request, Stream):
                self._manager.add_stream(request)
            else:
                self._manager.post(request)
        except RuntimeError:
            # Another thread has ended the pool meanwhile.
            self._check_running()
            raise
