"""The items of an async iterable: a task of the event loop reads them, and hands them to the thread that runs the map.

It reads no further than it is asked to, but for one item that may be on its way. One task reads them all, since an
async generator may hold what belongs to a task (a timeout, a group of tasks).
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from time import perf_counter

from amorsize.backends.source import PATIENCE_S
from amorsize.backends.stop import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# An item waits so long for others that come right behind it: to wake a thread for each takes 50 µs.
# guess
LINGER_S: Final = 1e-3


class Arrivals:
    """An iterator over an async iterable. Made on the event loop that is to read it.

    Parameters
    ----------
    data : async iterable
    stop : Stop, optional

    Attributes
    ----------
    stop : Stop or None
        Ends the wait for items in another thread.
    on_news : callable or None
        Called on the event loop when an item has arrived, or no more come.
    """

    def __init__(self, data: AsyncIterable[Any], stop: Stop | None = None) -> None:
        self.stop = stop
        self.on_news: Callable[[], object] | None = None
        self._later = aiter(data)
        self._loop = asyncio.get_running_loop()
        self._reader: asyncio.Task[None] | None = None
        # For the reader: set when items are wanted. For the other thread: notified when items have come.
        self._asked = asyncio.Event()
        self._came = threading.Condition()
        self._items: deque[Any] = deque()
        # True when the thread is to take what has come: all that it wants, or what came within `LINGER_S`.
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        # Number of items to have at hand.
        self._wanted = 0
        # A generator may go on after it was cancelled.
        self._is_closing = False
        # What the iterator raised at its end, StopIteration if it ended well.
        self._end: Exception | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Return the next item. It must be at hand."""
        if self._items:
            return self._items.popleft()
        assert self._end is not None
        raise self._end

    # -- on the event loop -------------------------------------------------------------------------------------------

    @property
    def at_hand(self) -> bool:
        """True if an item has arrived, or no more come."""
        return bool(self._items) or self._end is not None

    def want(self, items: int) -> None:
        """Have so many items at hand, as soon as they come."""
        self._wanted = items
        self._read_on()

    def _read_on(self) -> None:
        if self._reader is None and self._end is None:
            self._reader = asyncio.ensure_future(self._read())
        self._asked.set()

    async def _read(self) -> None:
        since = perf_counter()
        try:
            while not self._is_closing:
                if perf_counter() - since > LINGER_S:
                    # An iterator that never waits lets no other task run.
                    await asyncio.sleep(0)
                    since = perf_counter()
                while len(self._items) >= self._wanted:
                    self._asked.clear()
                    await self._asked.wait()
                item = await anext(self._later)
                self._items.append(item)
                if len(self._items) >= self._wanted:
                    self._hand_on()
                elif self._timer is None:
                    self._timer = self._loop.call_later(LINGER_S, self._hand_on)
                self._tell()
        except StopAsyncIteration:
            self._end = StopIteration()
        except Exception as exc:  # noqa: BLE001  (raised to the user by the source)
            self._end = exc
        finally:
            self._hand_on()
            self._tell()

    def _hand_on(self) -> None:
        """Wake the thread of the map: it takes what has come."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with self._came:
            self._is_due = True
            self._came.notify()

    def _tell(self) -> None:
        if self.on_news is not None:
            self.on_news()

    async def close(self) -> None:
        """End the reading, and close the iterator if it has not ended."""
        self.on_news = None
        self._is_closing = True
        try:
            if self._reader is not None:
                await ended([self._reader])
        finally:
            close = getattr(self._later, "aclose", None)
            if self._end is None and close is not None:
                await close()

    # -- in the thread of the map ------------------------------------------------------------------------------------

    def gather(self, into: list[Any], wanted: int) -> bool:
        """Append the items that come within `PATIENCE_S`, at most so many. Return True if there are no more."""
        with self._came:
            if not self.at_hand:
                self._wanted, self._is_due = wanted, False
                self._loop.call_soon_threadsafe(self._read_on)
                self._came.wait_for(lambda: self._is_due, PATIENCE_S)
            into.extend(self._items.popleft() for _ in range(min(wanted, len(self._items))))
            self._wanted = 0
            end = None if self._items else self._end
        if self.stop is not None:
            self.stop.check()
        if end is None or type(end) is StopIteration:
            return end is not None and len(into) < wanted
        raise end


async def ended(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait for their end, even if this task is cancelled meanwhile."""
    running = list(tasks)
    for task in running:
        task.cancel()
    cancelled: BaseException | None = None
    while any(not task.done() for task in running):
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError as exc:
            cancelled = exc
    for task in running:
        if not task.cancelled():
            # Mark the exception as retrieved; else asyncio logs it.
            task.exception()
    if cancelled is not None:
        raise cancelled
