"""How much memory this process holds."""

from __future__ import annotations

import os


def resident_bytes() -> int:
    """Resident set size of this process in bytes; 0 when nobody can tell. Takes some 10 µs on Linux."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return _by_psutil()


def forked_bytes() -> int:
    """Bytes of this process whose page tables a fork must copy; its resident size where nobody can tell.

    Page tables tell better than the resident size: memory in huge pages costs a fork next to nothing (256 MB: 0.2 ms
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
