"""Times and memory of single items: measured in the worker; only the ten slowest and ten hungriest items are kept.

Items that are too short to be measured one by one pay nothing. The chunk before tells if items are short. In a worker's
first chunk, items are measured until one is short.

An item of less than `LONG_S` pays a reading of the wall clock, which enters no kernel. A system call takes 0.5 to
0.8 µs, and what follows it runs some 4 µs longer: three of them made items of 1 ms 1.2 % dearer (2 cores, Linux,
CPython 3.11).
"""

from __future__ import annotations

import sys
import time
from io import FileIO

from amorsize.system.clock import LONG_S, MEASURE_S, thread_cpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

# Number of records that are kept, of the slowest and of the hungriest items each (a guess).
TOP: Final = 10

Record = tuple[int, float, float, int, int]
"""Index, wall seconds, CPU seconds, the process's peak memory so far, and by how much this item raised it (bytes)."""

try:
    import resource
# Windows has no such module: peak memory is unknown.
except ImportError:
    resource = None  # type: ignore[assignment]

# guess: ``/proc/PID/status`` is no longer before its line of the peak
STATUS_BYTES: Final = 1 << 14

# getrusage(2): ``ru_maxrss`` is in bytes on macOS, else in kilobytes.
TO_BYTES: Final = 1 if sys.platform == "darwin" else 1024


class Peak:
    """Reads the peak memory of this process in bytes; 0 where it is unknown. Costs about 1 µs.

    On Linux ``ru_maxrss`` survives exec: a spawned worker begins with the peak of its parent. Until its own peak is
    higher, the slower ``VmHWM`` (10 µs) is read, which belongs to this process alone. A forked process that runs no
    other program (``execs=False``) inherits no peak.
    """

    def __init__(self, *, execs: bool = True) -> None:
        ours = _high_water_bytes() if execs else 0
        asked = self._asked() if ours else 0
        self._inherited = asked if asked > 1.05 * ours else 0

    def read(self) -> int:
        """Return the peak memory so far, in bytes."""
        peak = self._asked()
        return peak if peak > self._inherited else _high_water_bytes()

    @staticmethod
    def _asked() -> int:
        return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * TO_BYTES


def _high_water_bytes() -> int:
    try:
        # Not open(), which asks more; nor os.open(), since an interrupt after it would leave the descriptor open.
        with FileIO("/proc/self/status") as file:
            text = file.read(STATUS_BYTES) or b""
        return int(text[text.index(b"VmHWM:") + 6 :].split(maxsplit=1)[0]) * 1024
    except (OSError, ValueError, IndexError):
        return 0


class Records:
    """The slowest and the hungriest items seen so far."""

    def __init__(self) -> None:
        # Ascending; of equal ones the later item comes first.
        self.by_wall: list[tuple[float, int, Record]] = []
        self.by_growth: list[tuple[int, int, Record]] = []

    def take(self, records: Iterable[Record]) -> None:
        """Add the records of several items."""
        for record in records:
            self.add(record)

    def add(self, record: Record) -> bool:
        """Add the record of one item; return True if it is among the slowest or hungriest."""
        slow = _place(self.by_wall, record[1], record)
        hungry = record[4] > 0 and _place(self.by_growth, record[4], record)
        return slow or hungry

    @property
    def slowest(self) -> list[Record]:
        """The records with the longest wall time, longest first."""
        return [record for _, _, record in self.by_wall[::-1]]

    @property
    def hungriest(self) -> list[Record]:
        """The records that raised the peak memory most, largest rise first."""
        return [record for _, _, record in self.by_growth[::-1]]


def _place(top: list[Any], key: float, record: Record) -> bool:
    if len(top) >= TOP:
        if key <= top[0][0]:
            return False
        del top[0]
    top.append((key, -record[0], record))
    top.sort()
    return True


class Meter:
    """Runs items in one worker, and measures them if they are long enough.

    Only records among the worker's own ten slowest or hungriest are reported, so that few records travel.

    Parameters
    ----------
    peak : Peak or None
        Of this worker's process; None if it shares its memory with other workers (a thread).
    """

    def __init__(self, peak: Peak | None) -> None:
        # Nothing is known yet: the first items are measured.
        self.measures = True
        self._is_first = True
        self._skips = False
        self._func: Callable[[Any], Any] = _none
        self._index = 0
        # The last reading of the CPU time in this chunk, and wall seconds of the items since.
        self._cpu_s = self._unread_s = 0.0
        self._own = Records()
        self._fresh: list[Record] = []
        # Threads share their memory, so a peak per thread has no meaning. Where the peak was inherited, a read costs
        # 15 µs and a wait for the GIL: 64 threads then took twice as long to start, and 500 waits of 5 ms took 0.09 s,
        # not 0.06 s.
        self._peak = peak
        self._peak_bytes = self._peak.read() if self._peak is not None else 0

    def over(self, func: Callable[[Any], Any], start: int) -> Callable[[Any], Any]:
        """Return the function to call for the items from ``start`` on."""
        if not self.measures:
            return func
        self._func, self._index = func, start
        self._cpu_s, self._unread_s = thread_cpu(), 0.0
        return self

    def __call__(self, item: Any) -> Any:
        """Run an item, and measure it if the meter does not skip it."""
        if self._skips:
            return self._func(item)
        wall_s = time.perf_counter()
        try:
            return self._func(item)
        finally:
            wall_s = time.perf_counter() - wall_s
            if wall_s >= LONG_S:
                before_s, self._cpu_s = self._cpu_s, thread_cpu()
                # Shorter items since the last reading are taken to have computed.
                cpu_s = min(wall_s, self._cpu_s - before_s - self._unread_s)
                self._saw(self._index, wall_s, max(0.0, cpu_s))
                self._unread_s = 0.0
            else:
                self._unread_s += wall_s
                if self._unread_s >= LONG_S:
                    self._cpu_s, self._unread_s = thread_cpu(), 0.0
                if self._is_first and wall_s < MEASURE_S:
                    self._skips = True
            self._index += 1

    def go_on(self, index: int) -> None:
        """Note that the next item is this one: those before it were not all given to func."""
        self._index = index

    def _saw(self, index: int, wall_s: float, cpu_s: float) -> None:
        peak = 0 if self._peak is None else self._peak.read()
        growth = max(0, peak - self._peak_bytes)
        self._peak_bytes = max(peak, self._peak_bytes)
        record = (index, wall_s, cpu_s, peak, growth)
        if self._own.add(record):
            self._fresh.append(record)

    def report(self, start: int, items: int, wall_s: float, cpu_s: float) -> tuple[int, list[Record]]:
        """Return the peak memory of this process in bytes (0 in a thread) and the new records, after a chunk."""
        if items == 1 and not self.measures and wall_s >= LONG_S:
            self._saw(start, wall_s, cpu_s)
        self._is_first = self._skips = False
        self.measures = items > 0 and wall_s >= MEASURE_S * items
        fresh, self._fresh = self._fresh, []
        if self._peak is None:
            return 0, fresh
        peak = self._peak.read()
        if not self.measures:
            # The item that raised the peak is unknown.
            self._peak_bytes = max(peak, self._peak_bytes)
        return peak, fresh


def _none(item: Any) -> Any:
    return item
