"""The pool that a plan opens: a real ``multiprocessing.Pool``, a ``ThreadPool``, or a plain loop with their methods.

They differ from the originals in two things: without a chunksize, a map uses the plan's; and worker processes get the
plan's own function once, as the pool opens, if it is heavy (`amorsize.backends.workers.handed`).
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from itertools import starmap
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from amorsize.backends.gc_pause import RESULTS_ARE_KEPT
from amorsize.hints import warn
from amorsize.system.start_methods import (
    NAME,
    NO_THREAD,
    UNGUARDED_CODE,
    can_start_a_thread,
    refuse_in_a_child,
    unguarded,
)

if TYPE_CHECKING:
    from amorsize.backends.workers.handed import Handed
    from amorsize.facts import Backend
    from amorsize.plan.pool_watch import Watch


# Seconds between two looks at workers that start.
# guess
LOOK_S: Final = 0.01
# guess: one may have been killed by chance as it started; so many for each place have not
MOST_DEATHS: Final = 3


class PoolLike(Protocol):
    """The methods of every pool of a plan."""

    def map(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """Return the results in the order of the items."""

    def imap(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> Iterator[Any]:
        """Yield the results in the order of the items."""

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> Iterator[Any]:
        """Yield the results in the order in which they arrive."""

    def starmap(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """Return the results of a map that unpacks each item into arguments."""

    def __enter__(self) -> Self:
        """Return the pool itself."""

    def __exit__(self, kind: Any, exc: Any, tb: Any) -> None:
        """End the pool's workers."""


class LoopResult:
    """The result of an asynchronous method of `LoopPool`, ready at once; the methods are those of ``AsyncResult``."""

    def __init__(self, run: Callable[[], Any], callback: Any = None, error_callback: Any = None) -> None:
        self._value: Any = None
        self._error: Exception | None = None
        try:
            self._value = run()
        except Exception as exc:  # noqa: BLE001  (get() raises it)
            self._error = exc
            if error_callback is not None:
                error_callback(exc)
        else:
            if callback is not None:
                callback(self._value)

    def get(self, timeout: float | None = None) -> Any:
        """Return the result, or raise the exception of the function."""
        if self._error is not None:
            raise self._error
        return self._value

    def wait(self, timeout: float | None = None) -> None:
        """Return at once: the result is ready."""

    def ready(self) -> bool:
        """Return True."""
        return True

    def successful(self) -> bool:
        """Return True if nothing was raised."""
        return self._error is None


def _listed(results: Iterator[Any]) -> list[Any]:
    """Return the results as a list, without full garbage collections meanwhile."""
    try:
        RESULTS_ARE_KEPT.begin(results)
        return list(results)
    finally:
        RESULTS_ARE_KEPT.end(results)


class LoopPool:
    """A plain loop in the caller's thread with the methods of a ``Pool``."""

    def __init__(self) -> None:
        self._open = True

    def map(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """Return ``list(map(func, iterable))``."""
        self._check()
        return _listed(map(func, iterable))

    def imap(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> Iterator[Any]:
        """Return ``map(func, iterable)``."""
        self._check()
        return map(func, iterable)

    imap_unordered = imap

    def starmap(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """Return ``list(itertools.starmap(func, iterable))``."""
        self._check()
        return _listed(starmap(func, iterable))

    def apply(self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: Mapping[str, Any] | None = None) -> Any:
        """Return ``func(*args, **kwds)``."""
        self._check()
        return func(*args, **(kwds or {}))

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: Any = None,
        error_callback: Any = None,
    ) -> LoopResult:
        """Call the function at once; ``get()`` raises its exception."""
        self._check()
        return LoopResult(lambda: func(*args, **(kwds or {})), callback, error_callback)

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Any = None,
        error_callback: Any = None,
    ) -> LoopResult:
        """Run `map` at once."""
        self._check()
        return LoopResult(lambda: list(map(func, iterable)), callback, error_callback)

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Any = None,
        error_callback: Any = None,
    ) -> LoopResult:
        """Run `starmap` at once."""
        self._check()
        return LoopResult(lambda: list(starmap(func, iterable)), callback, error_callback)

    def close(self) -> None:
        """Take no more work."""
        self._open = False

    terminate = close

    def join(self) -> None:
        """Return at once; as with a ``Pool``, raise ValueError if it is not closed."""
        if self._open:
            raise ValueError("Pool is still running")

    def _check(self) -> None:
        if not self._open:
            raise ValueError("Pool not running")

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def open_pool(
    backend: Backend,
    workers: int,
    chunksize: int,
    start_method: str | None,
    native_threads: int | None = None,
    watch: Watch | None = None,
    uses: Sequence[Any] = (),
    func_bytes: float = 0.0,
) -> PoolLike:
    """Open the pool of a plan.

    ``native_threads`` caps the BLAS and OpenMP threads of each worker process; ``watch`` is told of each use; ``uses``
    are the plan's function and its first item; ``func_bytes`` is the size of the function's pickle.
    """
    kind: Any
    options: dict[str, Any] = {}
    handed: Handed | None = None
    # A pool of processes has three threads, too.
    if backend != "serial" and not can_start_a_thread():
        warnings.warn(f"{NO_THREAD}: the plan's pool is a plain loop", RuntimeWarning, stacklevel=3)
        backend = "serial"
    if backend == "processes":
        refuse_in_a_child()
    if backend == "serial":
        kind = LoopPool
    else:
        import multiprocessing.pool

        kind = multiprocessing.pool.ThreadPool if backend == "threads" else multiprocessing.pool.Pool
        options = {"processes": workers}
        if backend != "threads":
            handed = handed_for(uses, start_method, func_bytes)
            options |= process_options(start_method, native_threads, uses, handed)
        kind = _planned(kind, chunksize, handed)
    kind = kind if watch is None else _watched(kind, watch)
    pool: PoolLike
    if backend == "processes":
        from amorsize.backends.workers.start import free_to_start, sigterm_waits

        with free_to_start(), sigterm_waits(start_method):
            pool = kind(**options)
        if start_method != "fork" and _is_unguarded(pool):
            warn(f"the plan's pool is a plain loop: {unguarded()}", RuntimeWarning)
            # Not watched: its time is not that of the plan.
            return LoopPool()
    else:
        pool = kind(**options)
    if watch is not None:
        watch.opened()
    return pool


def _is_unguarded(pool: Any) -> bool:
    """Wait until a worker has started. Return True, and end the pool, if none ever will (`unguarded`).

    A ``Pool`` would start others in their place without end.

    Raises
    ------
    RuntimeError
        If `MOST_DEATHS` workers for each place have ended for another reason, such as an exception in the main module.
    """
    from multiprocessing.pool import Pool

    try:
        # The pool takes those that end off its own list.
        workers: dict[int, Any] = {}
        most = MOST_DEATHS * pool._processes
        started = Pool.apply_async(pool, int)
        while not started.ready():
            workers |= {id(worker): worker for worker in list(pool._pool)}
            codes = [code for worker in workers.values() if (code := worker.exitcode) is not None]
            if UNGUARDED_CODE in codes:
                pool.terminate()
                return True
            if len(codes) >= most:
                last = codes[-1]
                how = f"with exit code {last}" if last >= 0 else f"by signal {-last}"
                raise RuntimeError(
                    f"no worker of the plan's pool could start: {len(codes)} ended, the last {how}, while they "
                    "imported the program's main module. What they printed is above; backend='threads' needs no import"
                )
            started.wait(LOOK_S)
    except BaseException:
        pool.terminate()
        raise
    return False


def handed_for(uses: Sequence[Any], start_method: str | None, func_bytes: float) -> Handed | None:
    """Return the plan's function as its workers get it; None where it goes with every chunk.

    Forked workers inherit it in any case, because it may turn out that it cannot be pickled.
    """
    from amorsize.backends.workers.handed import Handed
    from amorsize.model.cost import HANDED_BYTES
    from amorsize.system.start_methods import main_is_interactive

    heavy = func_bytes > HANDED_BYTES
    if not uses or not (heavy or start_method == "fork"):
        return None
    try:
        handed = Handed(uses[0], forks=start_method == "fork", by_value=main_is_interactive())
    # The map itself will raise the error.
    except Exception:  # noqa: BLE001
        return None
    handed.goes_once = heavy
    return handed


def process_options(
    start_method: str | None, native_threads: int | None, uses: Sequence[Any], handed: Handed | None = None
) -> dict[str, Any]:
    """Return the arguments of a ``multiprocessing.Pool`` whose workers run a function as the caller would.

    Workers that are not forked get what the caller has made of the globals that it names. Those of a daemonic process
    end with it: else they would stay behind, which is why multiprocessing allows it none.
    """
    import multiprocessing

    from amorsize.backends.workers.process_setup import enter_pool, filters_here
    from amorsize.system.start_methods import main_is_interactive

    values = None
    if uses and start_method != "fork" and not main_is_interactive():
        from amorsize.backends.workers.main_module import values_of

        values = values_of(uses)
    if start_method == "forkserver":
        from amorsize.backends.workers import fork_server

        fork_server.prepare()
    options: dict[str, Any] = {"context": multiprocessing.get_context(start_method)}
    is_daemonic = multiprocessing.current_process().daemon
    filters = None if start_method == "fork" else filters_here()
    # A handler of the caller's program is inherited by a fork; see `enter_pool`.
    catches = callable(signal.getsignal(signal.SIGTERM))
    if filters is not None or native_threads is not None or is_daemonic or catches or handed is not None:
        options["initializer"] = enter_pool
        options["initargs"] = ({} if values is None else values.pickled, native_threads, is_daemonic, filters, handed)
    return options


def _sendable(func: Any, forks: bool, kept: list[Any], handed: Handed | None = None) -> Any:
    """Return ``func``, or a placeholder if a worker could not find it, because the pool would then wait without end.

    ``kept`` holds the last one asked for, and the answer. ``handed``: what the workers have been given.
    """
    mine = handed is not None and handed.func is func
    if handed is not None and mine and handed.goes_once:
        return handed.token()
    if kept and kept[0] is func:
        return kept[1]
    from amorsize.backends.workers import child, protocol
    from amorsize.backends.workers.functions import Portable, sent
    from amorsize.errors import TransferError
    from amorsize.measure.transfer import cannot
    from amorsize.system.start_methods import main_is_interactive

    by_value = not forks and main_is_interactive()
    found, named = func, func if forks else sent(func, by_value)
    if named is not func or by_value or cannot(func, "func", in_band=True) is not None:
        if handed is not None and mine:
            # Inherited, as it is.
            return handed.token()
        try:
            found = Portable(func, protocol.dumps(named, by_value))
            protocol.loads(found.parts)
        except Exception as exc:
            raise TransferError("func", None, child.describe(func, exc)) from exc
    kept[:] = [func, found]
    return found


def _planned(kind: Any, planned: int, handed: Handed | None = None) -> Any:
    """Return a subclass of ``Pool`` or ``ThreadPool`` whose default chunksize is the plan's.

    ``handed``: the plan's function, where the workers are given it.
    """
    import multiprocessing.pool

    sends = not issubclass(kind, multiprocessing.pool.ThreadPool)

    class Planned(kind):  # type: ignore[misc]
        kept: list[Any]

        @staticmethod
        def Process(*args: Any, **kwargs: Any) -> Any:  # noqa: N802  (as the original has it)
            made = kind.Process(*args, **kwargs)
            made.name = f"{NAME}-{made.name}"
            return made

        def _map_async(self, func: Any, *args: Any, **kwargs: Any) -> Any:
            return super()._map_async(self._sendable(func), *args, **kwargs)

        def apply_async(self, func: Any, *args: Any, **kwargs: Any) -> Any:
            return super().apply_async(self._sendable(func), *args, **kwargs)

        def _sendable(self, func: Any) -> Any:
            if not sends:
                return func
            self.kept = getattr(self, "kept", [])
            return _sendable(func, self._ctx.get_start_method() == "fork", self.kept, handed)

        def terminate(self) -> None:
            super().terminate()
            self._let_go()

        def join(self) -> None:
            super().join()
            self._let_go()

        def _let_go(self) -> None:
            # Only now does no worker start any more.
            self.kept = []
            if handed is not None:
                handed.close()

        def map(self, func: Any, iterable: Any, chunksize: int | None = None) -> Any:
            return super().map(func, iterable, chunksize or planned)

        def starmap(self, func: Any, iterable: Any, chunksize: int | None = None) -> Any:
            return super().starmap(func, iterable, chunksize or planned)

        def imap(self, func: Any, iterable: Any, chunksize: int | None = None) -> Any:
            return super().imap(self._sendable(func), iterable, chunksize or planned)

        def imap_unordered(self, func: Any, iterable: Any, chunksize: int | None = None) -> Any:
            return super().imap_unordered(self._sendable(func), iterable, chunksize or planned)

    Planned.__name__ = Planned.__qualname__ = f"Planned{kind.__name__}"
    return Planned


OTHERS = ("starmap", "imap", "imap_unordered", "apply", "apply_async", "map_async", "starmap_async")


def _watched(kind: Any, watch: Watch) -> Any:
    """Return a subclass of a pool that tells ``watch`` of each use."""

    class Watched(kind):  # type: ignore[misc]
        def map(self, func: Any, iterable: Any, chunksize: int | None = None) -> Any:
            watch.mapping(func, iterable, chunksize)
            results = watch.run(super().map, super().map_async, func, iterable, chunksize)
            watch.mapped(results)
            return results

        def __exit__(self, kind: Any, exc: Any, tb: Any) -> None:
            watch.leaving()
            super().__exit__(kind, exc, tb)
            watch.left(exc is None)

    def telling(name: str) -> Any:
        method = getattr(kind, name)

        @wraps(method)
        def tell(self: Any, *args: Any, **kwargs: Any) -> Any:
            watch.other()
            return method(self, *args, **kwargs)

        return tell

    for name in OTHERS:
        setattr(Watched, name, telling(name))
    Watched.__name__ = Watched.__qualname__ = kind.__name__
    return Watched
