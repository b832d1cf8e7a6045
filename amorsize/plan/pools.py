"""The pool that a plan opens: a real ``multiprocessing.Pool``, a ``ThreadPool``, or a plain loop with their methods.

They differ from the originals in one thing: without a chunksize, a map uses the plan's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from itertools import starmap
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from amorsize.backends.gc_pause import RESULTS_ARE_KEPT

if TYPE_CHECKING:
    from amorsize.facts import Backend
    from amorsize.plan.pool_watch import Watch


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
) -> PoolLike:
    """Open the pool of a plan.

    ``native_threads`` caps the BLAS and OpenMP threads of each worker process; ``watch`` is told of each use.
    """
    kind: Any
    options: dict[str, Any] = {}
    if backend == "serial":
        kind = LoopPool
    else:
        import multiprocessing.pool

        kind = multiprocessing.pool.ThreadPool if backend == "threads" else multiprocessing.pool.Pool
        options = {"processes": workers}
        if backend != "threads":
            options["context"] = multiprocessing.get_context(start_method)
            if native_threads is not None:
                from amorsize.backends.workers.native_threads import limit_native_threads

                options |= {"initializer": limit_native_threads, "initargs": (native_threads,)}
        kind = _planned(kind, chunksize)
    pool: PoolLike = (kind if watch is None else _watched(kind, watch))(**options)
    if watch is not None:
        watch.opened()
    return pool


def _planned(kind: Any, planned: int) -> Any:
    """Return a subclass of ``Pool`` or ``ThreadPool`` whose default chunksize is the plan's."""

    class Planned(kind):  # type: ignore[misc]
        def map(self, func: Any, iterable: Any, chunksize: int | None = None) -> Any:
            return super().map(func, iterable, chunksize or planned)

        def starmap(self, func: Any, iterable: Any, chunksize: int | None = None) -> Any:
            return super().starmap(func, iterable, chunksize or planned)

        def imap(self, func: Any, iterable: Any, chunksize: int | None = None) -> Any:
            return super().imap(func, iterable, chunksize or planned)

        def imap_unordered(self, func: Any, iterable: Any, chunksize: int | None = None) -> Any:
            return super().imap_unordered(func, iterable, chunksize or planned)

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
