"""Ends a run from another thread: the driver waits for this signal too, and checks it between two steps."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from amorsize.system import belongings
from amorsize.system.critical import Latch


class Stopped(Exception):  # noqa: N818
    """Raised in a run that was asked to end early."""


class Stop:
    """Asks one run to end, and wakes its waiting threads.

    In the caller and in threads, the item that runs is finished first. Worker processes are killed at once.
    """

    def __init__(self) -> None:
        self._asked = Latch()
        self._lock = threading.Lock()
        self._ends: tuple[int, int] | None = None
        self._calls: list[Callable[[], object]] = []

    @property
    def asked(self) -> bool:
        """True if the run must end."""
        return self._asked.is_set

    def ask(self) -> None:
        """Ask the run to end. May be called from any thread, any number of times."""
        with self._lock:
            if self._asked.is_set:
                return
            self._asked.set()
            if self._ends is not None:
                os.write(self._ends[1], b"x")
            calls = list(self._calls)
        for call in calls:
            call()

    def check(self) -> None:
        """Raise `Stopped` if the run must end."""
        if self._asked.is_set:
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds``; raise `Stopped` as soon as the run must end."""
        if self._asked.wait(seconds):
            raise Stopped

    def fileno(self) -> int:
        """Return a descriptor for a selector: it becomes readable when the run must end."""
        with self._lock:
            if self._ends is None:
                self._ends = os.pipe()
                belongings.opened("pipe of a call that can be stopped", *self._ends)
                if self._asked.is_set:
                    os.write(self._ends[1], b"x")
            return self._ends[0]

    def wake(self, call: Callable[[], object]) -> None:
        """Register ``call``, to be called by the thread that asks the run to end; at once if that has happened."""
        with self._lock:
            if not self._asked.is_set:
                self._calls.append(call)
                return
        call()

    def close(self) -> None:
        """Close the descriptors, after the run has ended."""
        with self._lock:
            ends, self._ends = self._ends, None
            self._calls.clear()
        for end in ends or ():
            os.close(end)
