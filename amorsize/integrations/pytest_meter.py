"""Measures tests in the process that runs them, and stops that process between two tests.

After each test it reads CPU time, waiting for a core and peak memory (10 µs). A limit is compared before each test by
the clock, memory four times a second.
"""

from __future__ import annotations

import os
import time
from typing import Final, NamedTuple

from amorsize.backends.workers.item_times import Peak
from amorsize.limits import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Reading the memory takes 0.1 ms.
MEMORY_EVERY_S: Final = 0.25


class Used(NamedTuple):
    """What one test has used.

    Attributes
    ----------
    cpu_s : float
        CPU seconds of this process and of its children that have ended.
    queued_s : float
        Seconds in which the main thread could run but other programs had the cores, or a quota was used up; 0 if the
        system does not tell.
    raised_bytes : int
        By how much the peak memory of this process has risen.
    """

    cpu_s: float
    queued_s: float
    raised_bytes: int


class Meter:
    """Reads what this process has used since the last reading."""

    def __init__(self) -> None:
        self._peak = Peak()
        self._before = self._read()

    def lap(self) -> Used:
        """Return what was used since the last lap."""
        before, self._before = self._before, self._read()
        cpu_s, queued_s, peak = self._before
        return Used(max(0.0, cpu_s - before[0]), max(0.0, queued_s - before[1]), max(0, peak - before[2]))

    def peak_bytes(self) -> int:
        """Return the peak memory of this process; 0 if unknown."""
        return self._peak.read()

    def _read(self) -> Used:
        children = os.times()
        return Used(time.process_time() + children[2] + children[3], _queued_s(), self._peak.read())


def _queued_s() -> float:
    """Return how long the main thread has waited for a core; 0 where the system does not tell."""
    try:
        # Not kept open: a test may close any descriptor, and open another file under its number.
        fd = os.open("/proc/self/schedstat", os.O_RDONLY)
        try:
            return int(os.read(fd, 128).split()[1]) * 1e-9
        finally:
            os.close(fd)
    except (OSError, ValueError, IndexError):
        return 0.0


class Brake:
    """Says when a run must stop.

    Parameters
    ----------
    limits : Limits
        The limits on time and memory.
    deadline_s : float
        Time of day at which ``max_seconds`` have passed.
    flag : str
        Path of a file that the first of several processes makes when it stops, for the others.
    now : callable
        Time of day, in seconds.
    memory : callable, optional
        Returns available and total bytes.
    """

    def __init__(
        self,
        limits: Limits,
        deadline_s: float,
        flag: str,
        *,
        now: Callable[[], float] = time.time,
        memory: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self.limits = limits
        self.deadline_s = deadline_s
        self.flag = flag
        self._now = now
        self._memory = _memory() if memory is None and limits.max_memory_percent is not None else memory
        self._next_look_s = 0.0

    def reason(self) -> str | None:
        """Return why the run must stop now; None: it goes on."""
        now_s = self._now()
        if self.limits.max_seconds is not None and now_s >= self.deadline_s:
            return self._stop(f"{self.limits.max_seconds:g} s have passed (--amorsize-max-seconds)")
        if os.path.exists(self.flag):
            with open(self.flag, encoding="utf-8") as file:
                return file.read() or "another worker has reached a limit"
        percent = self.limits.max_memory_percent
        # The time of day may be set back.
        rests = self._next_look_s - MEMORY_EVERY_S <= now_s < self._next_look_s
        if percent is not None and self._memory is not None and not rests:
            self._next_look_s = now_s + MEMORY_EVERY_S
            available, total = self._memory()
            used = 100.0 * (1.0 - available / total) if total > 0 else 0.0
            if used > percent:
                why = f"{used:.1f} % of the memory is in use, {percent:g} % may be (--amorsize-max-memory-percent)"
                return self._stop(why)
        return None

    def _stop(self, why: str) -> str:
        try:
            with open(self.flag, "x", encoding="utf-8") as file:
                file.write(why)
        except OSError:
            # Another worker was faster, or there is no such folder: then each worker finds out by itself.
            pass
        return why


def _memory() -> Callable[[], tuple[int, int]]:
    from amorsize.backends.watchers import memory_reader
    from amorsize.system.cgroups import own_groups

    return memory_reader(own_groups())
