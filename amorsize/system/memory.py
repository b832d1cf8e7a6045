"""Memory and CPU time of processes."""

from __future__ import annotations

import os
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, TypeVar

    T = TypeVar("T")

# guess
TOUCHED_BYTES: Final = 1 << 19
# Share of the cost of touching a page that remains: filling a page that the kernel has just cleared takes less time
# than one mapped long ago, like those of the sample (4 MB: 0.035 instead of 0.13 ns a byte).
WARMED: Final = 0.65
# An allocator may have this much ready: glibc keeps up to 64 MB at the top of its heap.
READY_BYTES: Final = 32 << 20


def keeping_s(n_items: int, unseen_bytes: float) -> float:
    """Return the seconds per item for keeping all results, beyond the measured time of a few.

    Parameters
    ----------
    n_items : int
        Number of results.
    unseen_bytes : float
        Bytes of a measured result that came from memory the allocator had ready.
    """
    return WARMED * unseen_bytes * touch_s_per_byte() if n_items * unseen_bytes >= READY_BYTES else 0.0


def touch_s_per_byte() -> float:
    """Measure the seconds per byte of untouched memory: the kernel clears a page and maps it. Takes 0.15 ms.

    480 MB of arrays on a virtual machine took 0.2 ns a byte (120,000 pages, 0.8 µs each), and the arrays themselves
    0.14. This measures 0.24-0.27, and 0.45 at the first time after a pause: so the least of four parts counts.
    """
    import mmap
    import time

    with mmap.mmap(-1, TOUCHED_BYTES) as block:
        took = []
        quarter = TOUCHED_BYTES // 4
        for start in range(0, TOUCHED_BYTES, quarter):
            began = time.perf_counter()
            for at in range(start, start + quarter, mmap.PAGESIZE):
                block[at] = 1
            took.append(time.perf_counter() - began)
        return min(took) / quarter


def resident_bytes() -> int:
    """Return the resident set size of this process in bytes; 0 if unknown. Takes some 10 µs on Linux."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return _by_psutil()


def resident_bytes_of(pid: int) -> int | None:
    """Return the resident set size of a process in bytes; None if unknown. Takes some 10 µs on Linux."""
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        if os.path.exists("/proc/self/statm"):
            return None
    return _ask_psutil(pid, lambda process: int(process.memory_info().rss))


def cpu_seconds(pid: int) -> float | None:
    """Return the CPU seconds that a process has used so far; None if unknown. Takes some 15 µs on Linux."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            # The name in parentheses may hold any characters.
            fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        if os.path.exists("/proc/self/stat"):
            return None
    return _ask_psutil(pid, lambda process: float(sum(process.cpu_times()[:2])))


def _ask_psutil(pid: int, question: Callable[[Any], T]) -> T | None:
    try:
        import psutil

        return question(psutil.Process(pid))
    except Exception:  # noqa: BLE001  (it has gone, or is none of ours)
        return None


def forked_bytes() -> int:
    """Return the bytes of this process whose page tables a fork must copy; its resident size if unknown.

    Page tables are more exact than the resident size: memory in huge pages costs a fork next to nothing (256 MB: 0.2 ms
    instead of 4.5 ms). One page of page table maps 512 pages of memory.
    """
    try:
        with open("/proc/self/status", "rb") as file:
            for line in file:
                if line.startswith(b"VmPTE:"):
                    return min(int(line.split()[1]) * 1024 * 512, resident_bytes())
    except (OSError, ValueError, IndexError):
        return resident_bytes()
    return resident_bytes()


def _by_psutil() -> int:
    try:
        import psutil

        return int(psutil.Process().memory_info().rss)
    except Exception:  # noqa: BLE001  (psutil.Error, or a platform without it)
        return 0
