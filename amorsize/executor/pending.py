"""Calls that have been submitted, and the receivers of their results: futures, and iterators over a map."""

from __future__ import annotations

import _thread
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from concurrent.futures import CancelledError, InvalidStateError
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Condition
from typing import Any, NamedTuple, TypeVar

from amorsize.executor.calls import Call, Chunk, name_of
from amorsize.hints import folded
from amorsize.system.critical import at_most

T = TypeVar("T")


class SteadyCondition(_thread.RLock, Condition):  # type: ignore[misc]  # typeshed calls it final
    """A condition whose lock does not stay acquired after an interrupt.

    An interrupt can come between two lines of the Python code by which `Condition` is entered and left, but not within
    the C code of a lock. So this class is itself the lock, and inherits ``wait`` and ``notify`` from `Condition`.
    """

    def __init__(self) -> None:
        self._waiters: deque[Any] = deque()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until notified, or for ``timeout`` seconds, `LONGEST_WAIT_S` at most: the caller looks again."""
        try:
            return super().wait(at_most(timeout))
        except BaseException:
            # An interrupt has come when `Condition` had released the lock, before it was ready to take it again.
            if not self._is_owned():  # type: ignore[attr-defined]
                self.acquire()
            raise


class Future(futures.Future[T]):
    """A future whose traceback holds the user's frames alone, and whose waiting ends at Ctrl-C."""

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call has raised, or None; wait at most ``timeout`` seconds."""
        with self._condition:
            self._condition.wait_for(self.done, timeout)
        return super().exception(0)

    @folded
    def result(self, timeout: float | None = None) -> T:
        """Return the result, or raise what the call has raised; wait at most ``timeout`` seconds."""
        # Not `super().result()`, whose frames would be left.
        error = self.exception(timeout)
        if error is None:
            return self._result  # type: ignore[return-value]
        try:
            raise error
        finally:
            # The traceback of an error of ours holds this frame: no cycle.
            del self, error


class Submitted:
    """One call and its future."""

    __slots__ = ("call", "future", "goes")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.future: Future[Any] = Future()
        self.future._condition = SteadyCondition()
        # True once it has been sent, and cannot be cancelled any more.
        self.goes = False

    def go(self) -> bool:
        """Return True if it is to be sent; from then on it cannot be cancelled."""
        if not self.goes:
            try:
                self.goes = self.future.set_running_or_notify_cancel()
            except (InvalidStateError, RuntimeError):
                # The caller has set the future itself.
                pass
        return self.goes

    def settle(self, result: Any, error: BaseException | None) -> None:
        """Set the future's result, or its error."""
        try:
            if error is None:
                self.future.set_result(result)
            else:
                self.future.set_exception(error)
        except InvalidStateError:
            # The caller has set it itself.
            pass

    def cancel(self) -> None:
        """Cancel the future, and wake the threads that wait for it."""
        self.future.cancel()
        self.go()


class Singles:
    """The group of all calls that came by ``submit()``."""

    def __init__(self) -> None:
        self._by_index: dict[int, Submitted] = {}

    def add(self, index: int, submitted: Submitted) -> None:
        """Add a call under this index."""
        self._by_index[index] = submitted

    def take(self, start: int, stop: int, as_sent: Callable[[Any], Any]) -> list[Call]:
        """Return the calls of this span; none if it has been cancelled. (A span of single calls is one call.)"""
        submitted = self._by_index[start]
        if submitted.go():
            function, args, keywords = submitted.call
            return [(as_sent(function), args, keywords)]
        del self._by_index[start]
        return []

    def put(self, start: int, results: Sequence[Any], errors: Mapping[int, BaseException]) -> None:
        """Hand on these results; an error counts instead of a result."""
        for index, result in enumerate(results, start):
            self._by_index.pop(index).settle(result, errors.get(index))

    def cancel(self, start: int, stop: int) -> None:
        """Cancel these calls, so that they are not sent."""
        for index in range(start, stop):
            self._by_index.pop(index).cancel()

    def abort(self, error: Callable[[], BaseException]) -> None:
        """Fail all calls that are still pending."""
        while self._by_index:
            submitted = self._by_index.popitem()[1]
            if submitted.go():
                submitted.settle(None, error())

    def place(self, index: int) -> tuple[int | None, str]:
        """Return the position of an item in the map (None for a single call), and the name of the function."""
        return None, name_of(self._by_index[index].call[0])


class Raised(NamedTuple):
    """An error in the place of a result."""

    error: BaseException


class Batch:
    """The calls of one ``map()``, and its results on their way to the iterator.

    Parameters
    ----------
    function : callable
    arguments : list of tuple
        One tuple of arguments per call.
    fixed : int or None
        Calls per chunk; None: the schedule chooses.
    """

    unpacks = True
    """False if each of ``arguments`` is the only argument of its call."""

    def __init__(self, function: Callable[..., Any], arguments: list[Any], fixed: int | None) -> None:
        self.function = function
        self.arguments = arguments
        self.fixed = fixed
        # Index of its first call, and number of its group; the manager sets them.
        self.first = self.group = -1
        self.left = self.length = len(arguments)
        # Not a condition: an interrupt in its `__enter__` or `__exit__`, written in Python, leaves its lock taken.
        self._news: SimpleQueue[None] = SimpleQueue()
        # Results by the position of the first, until their turn comes.
        self._ready: dict[int, list[Any]] = {}
        # Position of the result that the iterator gives next.
        self._next = 0
        self._broken: BaseException | None = None

    # -- the manager's side --------------------------------------------------------------------------------------

    def take(self, start: int, stop: int, as_sent: Callable[[Any], Any]) -> Chunk:
        """Return the calls of this span."""
        return self.chunk(self.arguments[start - self.first : stop - self.first], as_sent)

    def chunk(self, arguments: list[Any], as_sent: Callable[[Any], Any]) -> Chunk:
        """Return calls with these arguments, of ``as_sent(function)``."""
        return Chunk(as_sent(self.function), arguments, self.unpacks)

    def put(self, start: int, results: list[Any], errors: Mapping[int, BaseException]) -> None:
        """Hand on these results; an error counts instead of a result."""
        for index, error in errors.items():
            results[index - start] = Raised(error)
        at, n = start - self.first, len(results)
        self.arguments[at : at + n] = [None] * n
        self.left -= n
        # First the results, then the look at what the iterator waits for: it looks in the opposite order.
        self._ready[at] = results
        if at == self._next:
            self._news.put(None)

    def cancel(self, start: int, stop: int) -> None:
        """Cancel these calls, so that they are not sent."""
        self.put(start, [Raised(CancelledError())] * (stop - start), {})

    def abort(self, error: Callable[[], BaseException]) -> None:
        """Fail all calls that are still pending."""
        self._broken = error()
        self._news.put(None)

    def place(self, index: int) -> tuple[int | None, str]:
        """Return the position of an item in the map (None for a single call), and the name of the function."""
        return index - self.first, name_of(self.function)

    # -- the iterator's side -------------------------------------------------------------------------------------

    def results(self, deadline_s: float | None) -> Iterator[Any]:
        """Give the results in order. Raises TimeoutError when the next is not there at ``deadline_s`` (monotonic)."""
        while self._next < self.length:
            ready = self._wait(deadline_s)
            ready.reverse()
            # No reference to a result may be left here once it has been given away.
            while ready:
                if type(ready[-1]) is Raised:
                    raise ready.pop().error
                yield ready.pop()

    def _wait(self, deadline_s: float | None) -> list[Any]:
        while self._next not in self._ready:
            if self._broken is not None:
                raise self._broken
            wait_s = None if deadline_s is None else deadline_s - time.monotonic()
            if wait_s is not None and wait_s <= 0:
                raise TimeoutError
            with suppress(Empty):
                self._news.get(timeout=at_most(wait_s))
        ready = self._ready.pop(self._next)
        self._next += len(ready)
        return ready


class Unwanted(NamedTuple):
    """A request: cancel the calls of this map that have not been sent."""

    batch: Batch


Group = Singles | Batch
