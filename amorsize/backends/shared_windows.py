"""Let maps of the same coroutine function on one event loop share one limit on the number of calls in flight.

Each would find the capacity of the server for itself, and together they would ask twice as much of it. A map that comes
a short while after the last one begins with what that one has learnt.

A map that runs within an item of the same function has a window of its own. In the shared window it would wait for a
place, while the item that holds the place waits for the map.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from time import perf_counter
from types import MethodType
from weakref import WeakKeyDictionary, ref

from amorsize.schedule.task_count import MOST, Concurrency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# Seconds for which a window outlives its last map. A server may have changed after a longer time.
# guess
KEEP_S: Final = 10.0

# The windows of each event loop, by what makes two functions the same.
_windows: WeakKeyDictionary[AbstractEventLoop, dict[object, Window]] = WeakKeyDictionary()

# The windows in which the running item, and those that it runs in, hold a place.
_held: ContextVar[tuple[Window, ...]] = ContextVar("amorsize.windows", default=())


def join(func: Callable[..., Any], most: int, wake: Callable[[], object]) -> Share:
    """Return this map's share of the window of its function on the running event loop.

    Parameters
    ----------
    func : callable
        Two bound methods of one object, or two `functools.partial` with the same arguments, are the same function.
    most : int
        Largest number of calls of this map in flight.
    wake : callable
        Called when the map may begin calls again.
    """
    windows = _windows.setdefault(get_running_loop(), {})
    now_s = perf_counter()
    for key in [key for key, window in windows.items() if window.is_stale(now_s)]:
        del windows[key]
    parts = tuple(_parts(func))
    window = windows.setdefault(tuple(map(id, parts)), Window(parts))
    if window in _held.get():
        window = Window(parts)
    return window.join(most, wake)


def _parts(func: Any) -> Iterator[Any]:
    """Yield the objects that make up a function; it is the same if all of them are."""
    if issubclass(type(func), partial):
        yield from _parts(func.func)
        yield from func.args
        for name, value in sorted(func.keywords.items()):
            yield name
            yield value
    elif type(func) is MethodType:
        yield func.__self__
        yield func.__func__
    else:
        yield func


class Window:
    """The calls in flight of all maps of one function.

    Parameters
    ----------
    parts : tuple
        The objects that make up the function. They are not kept alive after the last map.
    """

    def __init__(self, parts: tuple[Any, ...] = ()) -> None:
        self.climb = Concurrency()
        self.shares: list[Share] = []
        # Shares that want to begin a call, in the order in which they may.
        self.waiting: deque[Share] = deque()
        self._parts = parts
        self._left_s = 0.0
        self._refs: list[ref[Any]] = []

    def is_stale(self, now_s: float) -> bool:
        """Return True if no map uses the window any more, and none will."""
        if self.shares:
            return False
        return now_s - self._left_s > KEEP_S or any(one() is None for one in self._refs)

    def join(self, most: int, wake: Callable[[], object]) -> Share:
        """Return a new share."""
        share = Share(self, most, wake)
        self.shares.append(share)
        self._cap()
        return share

    def leave(self, share: Share) -> None:
        """Take a share away; none of its calls is in flight."""
        self.shares.remove(share)
        share.passes()
        if self.shares:
            self._cap()
            return
        self._left_s = perf_counter()
        for part in self._parts:
            try:
                self._refs.append(ref(part))
            # A number or a text: its identity says enough.
            except TypeError:
                pass
        self._parts = ()

    def _cap(self) -> None:
        self.climb.cap(min(MOST, sum(share.most for share in self.shares)))

    def call_next(self) -> None:
        """Wake the share whose turn it is, if a call may begin now or at a known time."""
        if self.waiting and self.climb.wait_s(perf_counter()) is not None:
            self.waiting[0].wake()


class Share:
    """One map's part of a window; where several maps want to begin calls, they take turns.

    Attributes
    ----------
    in_flight : int
        Calls of this map in flight.
    """

    def __init__(self, window: Window, most: int, wake: Callable[[], object]) -> None:
        self.window = window
        self.most = most
        self.wake = wake
        self.in_flight = 0

    def wait_s(self, now_s: float) -> float | None:
        """Return the seconds until this map may begin a call: 0 for now; None: when it is woken or a call ends."""
        if self.in_flight >= self.most:
            self.passes()
            return None
        window = self.window
        if len(window.shares) == 1:
            return window.climb.wait_s(now_s)
        if not self.in_flight:
            # No map depends on the progress of another one, for which its items may wait.
            if self in window.waiting:
                window.waiting.remove(self)
            return 0.0
        if self not in window.waiting:
            window.waiting.append(self)
        if window.waiting[0] is not self:
            window.call_next()
            return None
        wait_s = window.climb.wait_s(now_s)
        if wait_s == 0.0:
            window.waiting.popleft()
        return wait_s

    def passes(self) -> None:
        """Give up this map's turn: it has no item to begin with."""
        if self in self.window.waiting:
            self.window.waiting.remove(self)
        self.window.call_next()

    def holds(self) -> None:
        """Mark the running task as one that holds a place in this window."""
        _held.set((*_held.get(), self.window))

    def began(self, now_s: float) -> int:
        """Record that a call begins. Return its ticket."""
        self.in_flight += 1
        return self.window.climb.began(now_s)

    def ended(self, ticket: int, now_s: float, *, well: bool) -> None:
        """Record that a call has ended."""
        self.in_flight -= 1
        self.window.climb.ended(ticket, now_s, well=well)
        self.window.call_next()

    def dropped(self, ticket: int) -> None:
        """Record that a call was cancelled."""
        self.in_flight -= 1
        self.window.climb.dropped(ticket)
        self.window.call_next()

    def leave(self) -> None:
        """End this share."""
        self.window.leave(self)
