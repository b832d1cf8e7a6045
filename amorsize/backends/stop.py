"""How another thread ends a run: whoever drives it waits for this too, and looks at it between two steps."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


class Stopped(Exception):  # noqa: N818
    """The run was asked to end before it was done."""


class Stop:
    """Asks one run to end, and wakes whoever waits in it.

    A run that is at an item in the caller or in a thread ends when that item does; worker processes are ended at once.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self._ends: tuple[int, int] | None = None
        self._calls: list[Callable[[], object]] = []

    @property
    def asked(self) -> bool:
        """Whether the run is to end."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Have the run end; from any thread, as often as you like."""
        with self._lock:
            if self._asked.is_set():
                return
            self._asked.set()
            if self._ends is not None:
                os.write(self._ends[1], b"x")
            calls = list(self._calls)
        for call in calls:
            call()

    def check(self) -> None:
        """Raise `Stopped` if the run is to end."""
        if self._asked.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Sleep, unless the run is to end: then raise `Stopped`."""
        if self._asked.wait(seconds):
            raise Stopped

    def fileno(self) -> int:
        """A descriptor that can be read from once the run is to end: for a selector."""
        with self._lock:
            if self._ends is None:
                self._ends = os.pipe()
                if self._asked.is_set():
                    os.write(self._ends[1], b"x")
            return self._ends[0]

    def wake(self, call: Callable[[], object]) -> None:
        """Call this, in whichever thread asks, when the run is to end (at once if it is already)."""
        with self._lock:
            if not self._asked.is_set():
                self._calls.append(call)
                return
        call()

    def close(self) -> None:
        """The run has ended: let go of the descriptors."""
        with self._lock:
            ends, self._ends = self._ends, None
            self._calls.clear()
        for end in ends or ():
            os.close(end)
