"""The clocks of all measurements, in one place, so that a test can replace them.

A clock of CPU time may be coarse: that of Windows moves by a tick of the system timer, and charges a whole one to the
thread that runs at that moment. A computing item of 2 ms then seems to have used none of it, or 15.6 ms. `CpuTime`
keeps such items from looking as if they waited, or ran threads of their own.
"""

from __future__ import annotations

import sys
import time

from amorsize.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

try:
    from resource import RUSAGE_THREAD, getpagesize, getrusage
except ImportError:
    IS_COUNTED, PAGE_BYTES = False, 4096
else:
    IS_COUNTED, PAGE_BYTES = True, getpagesize()

# Items that take so long on average are measured one by one, by the wall clock alone.
MEASURE_S: Final = 0.5e-3
# Items that take less time than this are not recorded: their CPU time and peak memory would take 0.5 % of it.
LONG_S: Final = 2e-3

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


def ready_s(task: int) -> float | None:
    """Return the seconds for which a thread has run or waited for a core, since it began.

    The rest it has waited for something else. None where the system does not tell. Takes 20 µs. Source: as `late_s`.

    Parameters
    ----------
    task : int
        Its `threading.get_native_id`; or the id of a process, for its main thread.
    """
    try:
        with open(f"/proc/{task}/schedstat", "rb") as stream:
            ran, waited, _ = stream.read().split()
            return (int(ran) + int(waited)) * 1e-9
    except (OSError, ValueError):
        return None


# Some platforms (WebAssembly) have no clock for the thread's CPU time: the process's is as good where it has one
# thread, and wall time says that all items compute.
process_cpu: Callable[[], float] = getattr(time, "process_time", time.perf_counter)
thread_cpu: Callable[[], float] = getattr(time, "thread_time", process_cpu)

# The period of Windows' system timer. `time.get_clock_info` tells the unit of its figures, 100 ns.
CPU_TICK_S = 1 / 64 if sys.platform == "win32" else 0.0


class Clock(Frozen, kw_only=False):
    """Three readings in seconds, each from an arbitrary zero, and one of counts.

    Attributes
    ----------
    wall, thread_cpu, process_cpu : callable
        Wall time, CPU time of the calling thread, CPU time of all threads of the process.
    counts : callable
        See `thread_counts`.
    cpu_tick_s : float
        By how much the clocks of CPU time move at a time; 0: by no more than they are asked for.
    """

    wall: Callable[[], float] = time.perf_counter
    thread_cpu: Callable[[], float] = thread_cpu
    process_cpu: Callable[[], float] = process_cpu
    counts: Callable[[], Counts] = lambda: NOTHING
    cpu_tick_s: float = 0.0


REAL = Clock(counts=thread_counts, cpu_tick_s=CPU_TICK_S)


class CpuTime:
    """CPU seconds of one stretch after the other, by clocks whose sum may be wrong by a tick.

    The clocks leave open, by up to a tick, what the true sum of the stretches is. Among the possible sums the one is
    taken that is nearest to the assumption that the thread computes all the time, and alone.

    Examples
    --------
    Ten items of 5 ms that wait, and ten that compute, by a clock with a tick of 15 ms:

    >>> waits, computes = CpuTime(), CpuTime()
    >>> round(sum(waits.of(5e-3, 0.0, 0.0, 15e-3)[0] for _ in range(10)), 6)
    0.015
    >>> ticks = (0, 0, 15e-3, 0, 0, 15e-3, 0, 0, 15e-3, 0)
    >>> round(sum(computes.of(5e-3, tick, tick, 15e-3)[0] for tick in ticks), 6)
    0.05
    """

    def __init__(self) -> None:
        # Sums of the stretches, as shown by the clocks and as returned by `of`.
        self._wall_s = self._thread_s = self._process_s = 0.0
        self._told_thread_s = self._told_process_s = 0.0

    def of(self, wall_s: float, thread_s: float, process_s: float, tick_s: float) -> tuple[float, float]:
        """Return the CPU seconds of thread and process to believe for the next stretch; ``tick_s``: see `Clock`."""
        self._wall_s += wall_s
        self._thread_s += thread_s
        self._process_s += process_s
        thread = min(self._wall_s, self._thread_s + tick_s)
        process = max(self._process_s - tick_s, min(thread, self._process_s + tick_s))
        thread_s, self._told_thread_s = max(0.0, thread - self._told_thread_s), max(thread, self._told_thread_s)
        process_s, self._told_process_s = max(0.0, process - self._told_process_s), max(process, self._told_process_s)
        return thread_s, process_s


def busy_s(wall_s: float, cpu_s: float, before: Counts, after: Counts) -> float:
    """Return CPU seconds, with those in which a thread that could run had to wait for a core.

    Wall time without CPU time looks like waiting, which many threads could do at once. If other programs use all cores
    it is not: the thread's core was taken away, but it never gave the core up (`thread_counts` before and after). No
    thread computes for longer than the wall time, though a coarse clock may say so.

    Examples
    --------
    >>> [busy_s(10e-3, 6e-3, (7, 1, 0), after) for after in ((7, 3, 0), (8, 3, 0), (7, 1, 0))]
    [0.01, 0.006, 0.006]
    >>> busy_s(2e-3, 15.6e-3, NOTHING, NOTHING)
    0.002
    """
    was_robbed = after[0] == before[0] and after[1] > before[1]
    return wall_s if was_robbed else min(wall_s, cpu_s)
