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


def _by_psutil() -> int:
    try:
        import psutil

        return int(psutil.Process().memory_info().rss)
    except Exception:  # noqa: BLE001  (psutil.Error, or a platform without it)
        return 0
