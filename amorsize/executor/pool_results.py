"""What the methods of a `Pool` return, and the calls behind them: `AsyncResult`, and the iterators of ``imap()``.

The manager's thread puts results in, any thread takes them out.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError
from queue import SimpleQueue
from typing import Any, Final, Generic, NoReturn, Self, TypeVar

from amorsize.executor.calls import Call, Chunk
from amorsize.executor.pending import Batch, Raised, SteadyCondition, Submitted
from amorsize.hints import folded

T = TypeVar("T")

AHEAD_ITEMS: Final = 1024
"""Items that an ``imap()`` reads of an iterable ahead of the reader of its results, or of the workers (a guess)."""

ROOM: Final = 1 << 36
"""Indices reserved for the items of an iterable whose length is unknown. A frame's header has room for 2 ** 27 such."""

CONSTANTS: Final = (tuple, range, str, bytes)
"""Types whose items are taken by their index."""

CONTAINERS: Final = (list, dict, set, frozenset)
"""Types that are copied into a list at once, because that runs no code of the user's."""


class TerminatedError(CancelledError):
    """The pool was terminated before this call was done."""

    def __init__(self) -> None:
        super().__init__("the pool was terminated before this call was done")


class AsyncResult(Generic[T]):
    """The result of ``apply_async()``, ``map_async()`` or ``starmap_async()``.

    Parameters
    ----------
    pool : Pool
        Is kept alive until the result is there.
    callback, error_callback : callable, optional
        Called with the result, or with the exception, before it is ready; in the thread of the pool, so it should be
        quick. What it raises is logged (logger ``amorsize``). Neither is called when the pool is terminated.
    """

    def __init__(
        self,
        pool: object,
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        for name, called in (("callback", callback), ("error_callback", error_callback)):
            if called is not None and not callable(called):
                raise TypeError(f"{name}: must be callable or None, not {type(called).__name__}")
        self._pool: object = pool
        self._callback = callback
        self._error_callback = error_callback
        self._news = SteadyCondition()
        self._is_ready = False
        self._value: Any = None
        self._error: BaseException | None = None

    def ready(self) -> bool:
        """Return True if the result, or the exception, is there."""
        return self._is_ready

    def successful(self) -> bool:
        """Return True if nothing was raised. Raises ValueError if the result is not ready."""
        if not self._is_ready:
            raise ValueError(f"{self!r} not ready")
        return self._error is None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result is ready, for at most ``timeout`` seconds."""
        with self._news:
            self._news.wait_for(self.ready, timeout)

    @folded
    def get(self, timeout: float | None = None) -> T:
        """Return the result, or raise the exception of the call.

        Raises
        ------
        multiprocessing.TimeoutError
            If it is not ready within ``timeout`` seconds.
        concurrent.futures.CancelledError
            If the pool was terminated before.
        """
        self.wait(timeout)
        if not self._is_ready:
            late()
        if self._error is None:
            return self._value  # type: ignore[no-any-return]
        try:
            raise self._error
        finally:
            # The traceback holds this frame: no cycle.
            del self

    def settle(self, value: Any, error: BaseException | None) -> None:
        """Set the result, or the exception; the first one counts."""
        if self._is_ready:
            return
        self._value, self._error = value, error
        try:
            if error is None and self._callback is not None:
                self._callback(value)
            elif error is not None and self._error_callback is not None and type(error) is not TerminatedError:
                self._error_callback(error)
        # An exception here would end the thread that all calls depend on.
        except BaseException:
            import logging

            logging.getLogger("amorsize").exception("a callback of a Pool raised an exception")
        self._callback = self._error_callback = self._pool = None
        with self._news:
            self._is_ready = True
            self._news.notify_all()


def late() -> NoReturn:
    """Raise multiprocessing's own TimeoutError, which is another one than the built-in one."""
    from multiprocessing import TimeoutError as LateError

    raise LateError


class Applied(Submitted):
    """One call of ``apply_async()``."""

    __slots__ = ("result",)

    def __init__(self, call: Call, result: AsyncResult[Any]) -> None:
        self.call = call
        self.result = result

    def go(self) -> bool:
        """Return True: it cannot be cancelled."""
        return True

    def settle(self, result: Any, error: BaseException | None) -> None:
        """Set its result, or its error."""
        self.result.settle(result, error)


class Whole(Batch):
    """The calls of one ``map_async()``. Their results are put together; the error with the lowest index counts."""

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: list[Any],
        fixed: int | None,
        result: AsyncResult[list[Any]],
        *,
        unpacks: bool,
    ) -> None:
        super().__init__(function, arguments, fixed)
        self.unpacks = unpacks
        self._result = result
        self._values: list[Any] = [None] * self.length
        self._lowest = self.length
        self._error: BaseException | None = None

    def put(self, start: int, results: list[Any], errors: Mapping[int, BaseException]) -> None:
        """Take these results; an error counts instead of a result."""
        at, n = start - self.first, len(results)
        self._values[at : at + n] = results
        self.arguments[at : at + n] = [None] * n
        for index, error in errors.items():
            if index - self.first < self._lowest:
                self._lowest, self._error = index - self.first, error
        self.left -= n
        if not self.left:
            self._result.settle(self._values if self._error is None else None, self._error)
            self._values, self._error = [], None

    def abort(self, error: Callable[[], BaseException]) -> None:
        """Fail the map."""
        self._result.settle(None, error())


class Stream(Batch):
    """The calls of one ``imap()``, whose items are read while the first ones run already.

    A thread of its own reads the iterable, which may be slow, endless, or wait for results of the same pool. It stays
    at most `AHEAD_ITEMS` items ahead of the reader of the results; or of the workers, if the number of results is
    limited by the length of the iterable, if the iterator has been dropped, or if `join` waits for the end.

    Parameters
    ----------
    function : callable
    iterable : iterable
    fixed : int or None
        Items per chunk; None: the schedule chooses.
    pool : Pool
        Is kept alive until all results are there.
    ordered : bool
        True: results come in the order of the items.

    Attributes
    ----------
    n_fed : int
        Items that the manager has.
    is_noted : bool
        True if it is in the manager's inbox.
    """

    unpacks = False

    def __init__(
        self, function: Callable[..., Any], iterable: Iterable[Any], fixed: int | None, pool: object, *, ordered: bool
    ) -> None:
        super().__init__(function, [], fixed)
        self._is_whole = False
        # The end of the items counts as one.
        self.left = 1
        self._pool: object = pool
        self._ordered = ordered
        self._iterable: Iterable[Any] | None = iterable
        # Items on their way to the manager.
        self._fresh: deque[Any] = deque()
        self._is_read = False
        self._read_error: BaseException | None = None
        # Items by position, until the result is there.
        self._args: Any = {}
        self.n_fed = 0
        self.is_noted = False
        # Items: read, done, and given to the reader.
        self._n_read = self._n_done = self._n_given = 0
        self._most_ahead = max(AHEAD_ITEMS, 16 * (fixed or 1))
        self._is_free = hasattr(type(iterable), "__len__")
        self._is_dropped = self._is_stopped = self._waits = False
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._changed = SteadyCondition()
        self._items: deque[Any] = deque()
        self.length = ROOM
        if type(iterable) in CONSTANTS or type(iterable) in CONTAINERS:
            self._args = iterable if type(iterable) in CONSTANTS else [*iterable]
            self.length = len(self._args)
            self._iterable, self._is_read = None, True

    @property
    def needs_reader(self) -> bool:
        """True if a thread is needed that calls `read`."""
        return self._iterable is not None

    # -- the thread that reads the iterable ----------------------------------------------------------------------

    def read(self, nudge: Callable[[], object]) -> None:
        """Read the iterable to its end; call ``nudge`` after each item, and at the end."""
        iterable, self._iterable = self._iterable, None
        assert iterable is not None
        try:
            for item in iterable:
                if self._is_stopped:
                    return
                self._fresh.append(item)
                del item
                self._n_read += 1
                nudge()
                self._await_room()
        # The reader of the results gets whatever it is.
        except BaseException as exc:  # noqa: BLE001
            self.end(exc)
        else:
            self.end(None)
        nudge()

    def end(self, error: BaseException | None) -> None:
        """Note that there are no more items, and why."""
        self._read_error = error
        self._is_read = True

    def stop(self) -> None:
        """Read no more items. Takes no lock."""
        self._is_stopped = True
        self._tokens.put(None)

    def _await_room(self) -> None:
        if self._n_ahead() < self._most_ahead:
            return
        # Half of them at a time: the two threads need not change places at each item.
        while not self._is_stopped and self._n_ahead() > self._most_ahead // 2:
            self._waits = True
            if not self._is_stopped and self._n_ahead() > self._most_ahead // 2:
                self._tokens.get()
            self._waits = False

    def _n_ahead(self) -> int:
        return self._n_read - (self._n_done if self._is_free else self._n_given)

    def free(self) -> None:
        """Read on, however few results have been taken. Takes no lock."""
        self._is_free = True
        self._tokens.put(None)

    def drop(self) -> None:
        """Keep no more results: the iterator is gone. Takes no lock, since a garbage collection may call it."""
        self._is_dropped = True
        self.free()

    # -- the manager's side --------------------------------------------------------------------------------------

    def grow(self) -> int:
        """Hand the items that have been read to the schedule; return their number."""
        # Read before the items, which are then all that there will be.
        is_read = self._is_read
        if type(self._args) is dict:
            n = len(self._fresh)
            if self.fixed is not None and (not is_read or self._read_error is not None):
                # As with multiprocessing, the error of the iterable takes the place of its whole chunk.
                n -= n % self.fixed
            for position in range(self.n_fed, self.n_fed + n):
                self._args[position] = self._fresh.popleft()
        else:
            n = self.length
        self.n_fed += n
        self.left += n
        if is_read and not self._is_whole:
            self._is_whole = True
            self._fresh.clear()
            with self._changed:
                self.left -= 1
                self._changed.notify_all()
            self._release()
        return n

    def has_ended(self) -> bool:
        """Return True if the manager has all items."""
        return self._is_whole

    def take(self, start: int, stop: int, as_sent: Callable[[Any], Any]) -> Chunk:
        """Return the calls of this span."""
        return self.chunk([self._args[position] for position in range(start - self.first, stop - self.first)], as_sent)

    def put(self, start: int, results: list[Any], errors: Mapping[int, BaseException]) -> None:
        """Hand on these results; an error counts instead of a result."""
        for index, error in errors.items():
            results[index - start] = Raised(error)
        at, n = start - self.first, len(results)
        if type(self._args) is dict:
            for position in range(at, at + n):
                del self._args[position]
        elif type(self._args) is list:
            self._args[at : at + n] = [None] * n
        with self._changed:
            if self._is_dropped:
                self._items.clear()
            elif not self._ordered:
                self._items.extend(results)
            else:
                self._ready[at] = results
                while self._next in self._ready:
                    ready = self._ready.pop(self._next)
                    self._next += len(ready)
                    self._items.extend(ready)
            # At once: a reader that has the last result must see that it was the last.
            self.left -= n
            self._changed.notify_all()
        self._n_done += n
        self._release()
        if self._waits and self._is_free:
            self._tokens.put(None)

    def _release(self) -> None:
        """Let the pool go once all results are there. Not under the lock: the pool may end now."""
        if not self.left:
            self._pool = None

    def abort(self, error: Callable[[], BaseException]) -> None:
        """Fail all calls that are still pending, and read no more items."""
        if not self.left:
            return
        self._pool = None
        self.stop()
        with self._changed:
            self._broken = error()
            self._changed.notify_all()

    # -- the reader's side ---------------------------------------------------------------------------------------

    def next(self, timeout: float | None) -> Any:
        """Return the next result, or raise its error; see `IMapIterator.next`."""
        deadline_s = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._items:
                self._raise_if_over()
                wait_s = None if deadline_s is None else deadline_s - time.monotonic()
                if wait_s is not None and wait_s <= 0:
                    late()
                self._changed.wait(wait_s)
            item = self._items.popleft()
            self._n_given += 1
        if self._waits:
            self._tokens.put(None)
        if type(item) is not Raised:
            return item
        try:
            raise item.error
        finally:
            # The traceback holds this frame: no cycle.
            del item

    def _raise_if_over(self) -> None:
        if not self.left:
            if self._read_error is None:
                raise StopIteration
            error, self._read_error = self._read_error, None
            try:
                raise error
            finally:
                del error
        if self._broken is not None:
            raise self._broken


class IMapIterator(Generic[T]):
    """The results of ``imap()``. After an exception the next call gives the result that follows.

    It may be read from several threads. When it is dropped, the remaining items are run all the same.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __iter__(self) -> Self:
        return self

    @folded
    def __next__(self) -> T:
        """Return the next result; wait for it without a limit."""
        return self._stream.next(None)  # type: ignore[no-any-return]

    @folded
    def next(self, timeout: float | None = None) -> T:
        """Return the next result, or raise the exception of its call.

        Raises
        ------
        StopIteration
            After the last one.
        multiprocessing.TimeoutError
            If it is not there within ``timeout`` seconds.
        concurrent.futures.CancelledError
            If the pool was terminated before.
        """
        return self._stream.next(timeout)  # type: ignore[no-any-return]

    def __del__(self) -> None:
        # There is none if an argument was refused.
        if (stream := self.__dict__.get("_stream")) is not None:
            stream.drop()


class IMapUnorderedIterator(IMapIterator[T]):
    """The results of ``imap_unordered()``, in the order in which they come."""
