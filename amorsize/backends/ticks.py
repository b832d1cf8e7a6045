"""Calls the watchers of a run at intervals.

This happens in the driver's loop, since a separate thread would make forking unsafe.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Generator, Iterable, Sequence
    from typing import Final, Protocol

    from amorsize.backends.stop import Stop
    from amorsize.facts import Ran
    from amorsize.schedule.messages import Event

    class Ticker(Protocol):
        """A watcher that is called at intervals."""

        def tick(self, now_s: float, pids: Sequence[int]) -> Iterable[Event]:
            """Return events for the schedule. ``pids``: worker processes. An exception ends the run."""


# Seconds between two calls of the tickers (a guess). `amorsize.backends.memory_guard` gives the cost of a call.
TICK_S: Final = 0.25
# Number of absences that are remembered (a guess). If there are more, the earliest are forgotten, and an item that
# began before them gets less time.
GAPS: Final = 1024
# An item that hangs is ended within 5 % of its time limit.
LOOKS_PER_TIMEOUT: Final = 20
# Longest interval in seconds between two checks for late items (a guess).
LONGEST_LOOK_S: Final = 0.1
# If more than this many intervals lie between two checks, the caller was stopped meanwhile.
LATE_LOOKS: Final = 2


def look_every_s(timeout_s: float) -> float:
    """Return the interval of the checks for late items, when items may run for ``timeout_s``."""
    return max(1e-3, min(LONGEST_LOOK_S, timeout_s / LOOKS_PER_TIMEOUT))


class Later:
    """A ticker that is made only after a run has lasted `TICK_S` seconds: a short run pays nothing for it."""

    def __init__(self, make: Callable[[], Ticker]) -> None:
        self.make = make
        self._since_s: float | None = None
        self._ticker: Ticker | None = None

    def tick(self, now_s: float, pids: Sequence[int] = ()) -> Iterable[Event]:
        """Call the ticker, once it is made."""
        if self._since_s is None:
            self._since_s = now_s
        if self._ticker is None:
            if now_s - self._since_s < TICK_S:
                return ()
            self._ticker = self.make()
        return self._ticker.tick(now_s, pids)


class Ticks:
    """Calls the tickers about every `TICK_S` seconds.

    Attributes
    ----------
    poll : bool
        True if the loop must not sleep, since its thread has other work to do.
    stop : Stop or None
        Can end the run from another thread.
    """

    def __init__(self, tickers: Iterable[Ticker] = (), stop: Stop | None = None) -> None:
        self.tickers = list(tickers)
        self.stop = stop
        self.poll = False
        self._next_s = 0.0

    def wait_s(self, now_s: float, *others: float | None) -> float | None:
        """Return the seconds that the loop may sleep: until the tickers are due, at most the least of ``others``."""
        if self.poll:
            return 0.0
        waits = [s for s in others if s is not None]
        if self.tickers:
            waits.append(max(0.0, self._next_s - now_s))
        return min(waits, default=None)

    def look(self, now_s: float, pids: Callable[[], Sequence[int]] = tuple) -> list[Event]:
        """Call the tickers if their time has come; only then call ``pids``. Raises `Stopped` if the run must end."""
        if self.stop is not None:
            self.stop.check()
        if not self.tickers or now_s < self._next_s:
            return []
        self._next_s = now_s + TICK_S
        found = pids()
        return [event for ticker in self.tickers for event in ticker.tick(now_s, found)]


class Absence:
    """Measures how long something has lasted, without the time in which the driver's loop did not run.

    The caller may be stopped (Ctrl-Z, a debugger, ``docker pause``), or wait for the reader of a stream. Then it cannot
    receive the messages of workers, and mostly the workers are stopped as well. So this time does not count towards the
    time limit of an item.

    Parameters
    ----------
    most_s : float
        Longest time between two calls of `look` that counts in full. Of a longer one, the excess does not count.

    Examples
    --------
    >>> absence = Absence(1.0)
    >>> for now_s in (10.0, 11.0, 21.0, 21.5):
    ...     absence.look(now_s)
    >>> absence.present_s(10.0, 21.5), absence.present_s(21.0, 21.5)
    (2.5, 0.5)
    """

    def __init__(self, most_s: float) -> None:
        # Not loaded by a plain loop.
        from collections import deque

        self.most_s = most_s
        self._last_s: float | None = None
        # Periods in which the loop did not run, the latest one last.
        self._gaps: deque[tuple[float, float]] = deque(maxlen=GAPS)

    def look(self, now_s: float) -> None:
        """Note that the loop runs at this time."""
        if self._last_s is not None and now_s - self._last_s > self.most_s:
            self._gaps.append((self._last_s + self.most_s, now_s))
        self._last_s = now_s

    def present_s(self, since_s: float, now_s: float) -> float:
        """Return the seconds since ``since_s``, without those in which the loop did not run."""
        return now_s - since_s - sum(stop - max(start, since_s) for start, stop in self._gaps if stop > since_s)


class OomCount:
    """Compares the out-of-memory killer's count of kills before and after a worker was lost.

    Parameters
    ----------
    read : callable
        Returns the count; None where the system has none.
    """

    def __init__(self, read: Callable[[], int | None]) -> None:
        self.read = read
        self._accounted = read()

    def struck(self) -> bool:
        """Return True if a kill was counted that no earlier loss accounts for. This loss then accounts for it."""
        now = self.read()
        if now is None or self._accounted is None or now <= self._accounted:
            return False
        self._accounted += 1
        return True


def drain(steps: Generator[None, None, Ran]) -> Ran:
    """Run all steps of a driver, and return its record of the run."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            ran: Ran = end.value
            return ran
