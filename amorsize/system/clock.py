"""The clocks of all measurements, in one place, so that a test can replace them."""

from __future__ import annotations

import time
from collections.abc import Callable

from amorsize.frozen import Frozen

try:
    from resource import RUSAGE_THREAD, getpagesize, getrusage
except ImportError:
    IS_COUNTED, PAGE_BYTES = False, 4096
else:
    IS_COUNTED, PAGE_BYTES = True, getpagesize()

Counts = tuple[int, int, int]
NOTHING: Counts = (0, 0, 0)


def thread_counts() -> Counts:
    """Return the system's counts for the calling thread; zeros if it has none. Takes 0.5 µs.

    Returns
    -------
    given_up, taken_away, pages : int
        Voluntary and involuntary context switches, and pages of memory that it was the first to touch.
    """
    if not IS_COUNTED:
        return NOTHING
    used = getrusage(RUSAGE_THREAD)
    return used.ru_nvcsw, used.ru_nivcsw, used.ru_minflt


def late_s() -> float:
    """Return the seconds for which the calling thread could run and had to wait for a core, since it began.

    0 where the system does not tell. Takes 20 µs. Source: ``/proc/PID/schedstat``, see Linux's ``sched-stats``.
    """
    try:
        with open("/proc/thread-self/schedstat", "rb") as stream:
            return int(stream.read().split()[1]) * 1e-9
    except (OSError, ValueError, IndexError):
        return 0.0


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
    """Return CPU seconds, with those in which a thread that could run had to wait for a core.

    Wall time without CPU time looks like waiting, which many threads could do at once. If other programs use all cores
    it is not: the thread's core was taken away, but it never gave the core up (`thread_counts` before and after).

    Examples
    --------
    >>> [busy_s(10e-3, 6e-3, (7, 1, 0), after) for after in ((7, 3, 0), (8, 3, 0), (7, 1, 0))]
    [0.01, 0.006, 0.006]
    """
    was_robbed = after[0] == before[0] and after[1] > before[1]
    return max(wall_s, cpu_s) if was_robbed else cpu_s
