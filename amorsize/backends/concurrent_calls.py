"""Counts the calls that run at the same time in this process, and estimates how they slow each other down."""

from __future__ import annotations

import os
import sys

from amorsize.frozen import replace
from amorsize.loop_facts import Observation
from amorsize.system.clock import late_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

# Number of threads with which all calls together start. Each call may add more later. Starting one thread beside many
# others takes 0.1-0.2 ms.
THREADS_AT_FIRST: Final = 128


class ConcurrentCalls:
    """Counts the calls that run in this process at the moment."""

    def __init__(self) -> None:
        # A call is kept by its id, because an interrupted call may begin or end twice and must count once. Adding an
        # element to a set and discarding one are atomic.
        self._calls: set[int] = set()

    @property
    def size(self) -> int:
        """Number of calls that run."""
        return len(self._calls)

    def begin(self, call: object) -> None:
        """Count a call as running until `end` is called for it."""
        self._calls.add(id(call))

    def end(self, call: object) -> None:
        """Stop counting a call."""
        self._calls.discard(id(call))

    def clear(self) -> None:
        """Reset: no call is running."""
        self._calls.clear()

    def threads(self, wanted: int) -> int:
        """Return the number of threads with which a call starts if it asks for ``wanted``; more may be added later."""
        return wanted if self.size < 2 else min(wanted, max(2, THREADS_AT_FIRST // self.size))

    def observe(self, run: Callable[[int, int], Observation], start: int, stop: int) -> Observation:
        """Run some items and return the time that they would have taken without other calls."""
        if self.size < 2:
            return run(start, stop)
        queued_s = late_s()
        seen = run(start, stop)
        return alone(seen, self.size - 1, sys.getswitchinterval(), late_s() - queued_s)


CALLS = ConcurrentCalls()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=CALLS.clear)


def alone(seen: Observation, others: int, switch_s: float, queued_s: float = 0.0) -> Observation:
    """Return the time that these items would have taken without the ``others``.

    Parameters
    ----------
    seen : Observation
        The measured times.
    others : int
        Other threads that may have waited for the GIL.
    switch_s : float
        The interpreter's switch interval.
    queued_s : float
        Seconds in which the thread was ready to run, yet no core was free.

    Examples
    --------
    One item computes for 5 ms beside three others that do the same; another sleeps for 20 ms while no other computes:

    >>> computed = alone(Observation(0, 1, wall_s=20e-3, cpu_s=5e-3, process_cpu_s=20e-3), 3, 5e-3)
    >>> slept = alone(Observation(0, 1, wall_s=20e-3, cpu_s=0.1e-3, process_cpu_s=0.4e-3), 3, 5e-3)
    >>> round(computed.wall_s, 4), round(slept.wall_s, 4)
    (0.005, 0.0197)
    """
    waited_s = max(0.0, seen.wall_s - seen.cpu_s)
    by_others_s = max(0.0, seen.process_cpu_s - seen.cpu_s)
    turns_s = others * (switch_s * seen.items + seen.cpu_s)
    lost_s = min(waited_s, min(by_others_s, turns_s) + queued_s)
    if lost_s <= 0.0:
        return seen
    wall_s = seen.wall_s - lost_s
    return replace(seen, wall_s=wall_s, process_cpu_s=seen.cpu_s, slowdown=seen.wall_s / wall_s if wall_s > 0 else 1.0)
