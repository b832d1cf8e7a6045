"""The share of the machine that other programs and other virtual machines used.

It is the difference between two readings of the system's CPU counters: all CPU time that passed, less idle time and
the time of this process and its children. Steal (time of other virtual machines) is part of it.
"""

from __future__ import annotations

import os

from amorsize.frozen import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# CPU time of all cores together: the counters go in steps of 10 ms.
SHORTEST_S: Final = 0.5


class Reading(NamedTuple):
    """CPU seconds of all cores since the system started: in all, idle, and of this process with its children."""

    total_s: float
    idle_s: float
    ours_s: float


def read() -> Reading:
    """Read the CPU counters of the system; all are 0 if it shows none. Takes some 0.2 ms."""
    try:
        import psutil
    except ImportError:
        return Reading(0.0, 0.0, 0.0)
    times = psutil.cpu_times()
    # Linux counts guest time in user and nice, too.
    total = sum(value for name, value in times._asdict().items() if not name.startswith("guest"))
    own = os.times()
    ours = own.user + own.system + own.children_user + own.children_system
    # os.times() counts only children that have been reaped.
    for child in psutil.Process().children(recursive=True):
        try:
            ours += sum(child.cpu_times()[:2])
        except psutil.Error:
            continue
    return Reading(total, times.idle + getattr(times, "iowait", 0.0), ours)


def share_between(before: Reading, after: Reading) -> float | None:
    """Return the share of all CPU time that others used between two readings; None if too little time passed.

    Examples
    --------
    >>> share_between(Reading(100.0, 50.0, 9.0), Reading(110.0, 53.0, 13.0))
    0.3
    """
    total = after.total_s - before.total_s
    if total < SHORTEST_S:
        return None
    others = total - (after.idle_s - before.idle_s) - (after.ours_s - before.ours_s)
    return round(min(1.0, max(0.0, others / total)), 3)
