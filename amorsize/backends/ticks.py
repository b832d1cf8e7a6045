"""What the one loop looks after besides messages.

It is a part of that loop, since a thread of its own would make forking unsafe.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Protocol

    from amorsize.backends.stop import Stop
    from amorsize.facts import Ran
    from amorsize.schedule.messages import Event

    class Ticker(Protocol):
        """Somebody who wants to look every now and then."""

        def tick(self, now_s: float, pids: Sequence[int]) -> Iterable[Event]:
            """Look, and say what the schedule should hear. ``pids``: worker processes. May raise, to end the run."""


TICK_S: Final = 0.25


class Later:
    """A ticker that is made only when a run has gone on for a while, so that a short one pays nothing for it."""

    def __init__(self, make: Callable[[], Ticker], after_s: float = TICK_S) -> None:
        self.make = make
        self.after_s = after_s
        self._since_s: float | None = None
        self._ticker: Ticker | None = None

    def tick(self, now_s: float, pids: Sequence[int] = ()) -> Iterable[Event]:
        """Look, once it is there."""
        if self._since_s is None:
            self._since_s = now_s
        if self._ticker is None:
            if now_s - self._since_s < self.after_s:
                return ()
            self._ticker = self.make()
        return self._ticker.tick(now_s, pids)


class Ticks:
    """Calls the tickers about every `TICK_S` seconds.

    Attributes
    ----------
    poll : bool
        Whether the loop is only to do what can be done now: somebody else has something to do in its thread.
    stop : Stop or None
        Who may end the run from another thread.
    """

    def __init__(self, tickers: Iterable[Ticker] = (), every_s: float = TICK_S, stop: Stop | None = None) -> None:
        self.tickers = list(tickers)
        self.stop = stop
        self.every_s = every_s
        self.poll = False
        self._next_s = 0.0

    def wait_s(self, now_s: float, *others: float | None) -> float | None:
        """How long the loop may sleep: until the next look, and no longer than any of the ``others``."""
        if self.poll:
            return 0.0
        waits = [s for s in others if s is not None]
        if self.tickers:
            waits.append(max(0.0, self._next_s - now_s))
        return min(waits, default=None)

    def look(self, now_s: float, pids: Callable[[], Sequence[int]] = tuple) -> list[Event]:
        """Call the tickers, if it is time. Raises `Stopped` when the run is to end. ``pids``: asked only then."""
        if self.stop is not None:
            self.stop.check()
        if not self.tickers or now_s < self._next_s:
            return []
        self._next_s = now_s + self.every_s
        found = pids()
        return [event for ticker in self.tickers for event in ticker.tick(now_s, found)]


class OomCount:
    """Compares the out-of-memory killer's own count of its kills before and after a worker was lost.

    Parameters
    ----------
    read : callable
        Returns the count; None where the system does not tell.
    """

    def __init__(self, read: Callable[[], int | None]) -> None:
        self.read = read
        self._accounted = read()

    def struck(self) -> bool:
        """Return True if there was a kill that explains no earlier loss; it explains this one."""
        now = self.read()
        if now is None or self._accounted is None or now <= self._accounted:
            return False
        self._accounted += 1
        return True


def drain(steps: Generator[None, None, Ran]) -> Ran:
    """Go through all the steps of a driver."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            ran: Ran = end.value
            return ran
