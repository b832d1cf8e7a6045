"""The clocks that measuring reads, in one place, so that a test can hand in others."""

from __future__ import annotations

import time
from collections.abc import Callable

from amorsize.frozen import Frozen

try:
    from resource import RUSAGE_THREAD, getrusage  # 0.5 µs a call
except ImportError:  # not Linux: nobody can tell

    def context_switches() -> tuple[int, int]:
        """How often the calling thread has given up its core to wait for something, and how often it was taken away."""
        return 0, 0
else:

    def context_switches() -> tuple[int, int]:
        """How often the calling thread has given up its core to wait for something, and how often it was taken away."""
        used = getrusage(RUSAGE_THREAD)
        return used.ru_nvcsw, used.ru_nivcsw


def never() -> tuple[int, int]:
    """No switches."""
    return 0, 0


class Clock(Frozen, kw_only=False):
    """Three readings in seconds, each from an arbitrary zero, and one in counts.

    Attributes
    ----------
    wall, thread_cpu, process_cpu : callable
        Wall time, CPU time of the calling thread, CPU time of all threads of the process.
    switches : callable
        See `context_switches`.
    """

    wall: Callable[[], float] = time.perf_counter
    thread_cpu: Callable[[], float] = time.thread_time
    process_cpu: Callable[[], float] = time.process_time
    switches: Callable[[], tuple[int, int]] = never


REAL = Clock(switches=context_switches)


def busy_s(wall_s: float, cpu_s: float, before: tuple[int, int], after: tuple[int, int]) -> float:
    """CPU seconds, with those in which a thread that did not wait for anything had to wait for its turn on a core.

    Wall time without CPU time looks like waiting, of which threads could do many at a time. Where others use all cores
    it is not: the thread's core was taken away, and it never gave it up (`context_switches` before and after).

    Examples
    --------
    >>> busy_s(10e-3, 6e-3, (7, 1), (7, 3)), busy_s(10e-3, 6e-3, (7, 1), (8, 3)), busy_s(10e-3, 6e-3, (0, 0), (0, 0))
    (0.01, 0.006, 0.006)
    """
    was_robbed = after[0] == before[0] and after[1] > before[1]
    return max(wall_s, cpu_s) if was_robbed else cpu_s
