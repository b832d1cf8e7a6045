"""The clocks that measuring reads, in one place, so that a test can hand in others."""

from __future__ import annotations

import time
from collections.abc import Callable

from amorsize.frozen import Frozen

try:
    from resource import RUSAGE_THREAD, getpagesize, getrusage
except ImportError:  # not Linux
    IS_COUNTED, PAGE_BYTES = False, 4096
else:
    IS_COUNTED, PAGE_BYTES = True, getpagesize()

Counts = tuple[int, int, int]
NOTHING: Counts = (0, 0, 0)


def thread_counts() -> Counts:
    """What the system counts of the calling thread; zeros where it does not say. Takes 0.5 µs.

    Returns
    -------
    given_up, taken_away, pages : int
        How often it has given up its core to wait for something, how often its core was taken away, and how many pages
        of memory it was the first to touch.
    """
    if not IS_COUNTED:
        return NOTHING
    used = getrusage(RUSAGE_THREAD)
    return used.ru_nvcsw, used.ru_nivcsw, used.ru_minflt


class Clock(Frozen, kw_only=False):
    """Three readings in seconds, each from an arbitrary zero, and one of counts.

    Attributes
    ----------
    wall, thread_cpu, process_cpu : callable
        Wall time, CPU time of the calling thread, CPU time of all threads of the process.
    counts : callable
        See `thread_counts`.
    """

    wall: Callable[[], float] = time.perf_counter
    thread_cpu: Callable[[], float] = time.thread_time
    process_cpu: Callable[[], float] = time.process_time
    counts: Callable[[], Counts] = lambda: NOTHING


REAL = Clock(counts=thread_counts)


def busy_s(wall_s: float, cpu_s: float, before: Counts, after: Counts) -> float:
    """CPU seconds, with those in which a thread that did not wait for anything had to wait for its turn on a core.

    Wall time without CPU time looks like waiting, of which threads could do many at a time. Where others use all cores
    it is not: the thread's core was taken away, and it never gave it up (`thread_counts` before and after).

    Examples
    --------
    >>> [busy_s(10e-3, 6e-3, (7, 1, 0), after) for after in ((7, 3, 0), (8, 3, 0), (7, 1, 0))]
    [0.01, 0.006, 0.006]
    """
    was_robbed = after[0] == before[0] and after[1] > before[1]
    return max(wall_s, cpu_s) if was_robbed else cpu_s
