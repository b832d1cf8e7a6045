"""Whether the machine was ours alone: what other programs and other virtual machines took of it.

One reading of the system's CPU counters tells nothing; the difference of two does. Of all CPU time that passed, idle
time was free, steal went to other virtual machines, this process and its children had theirs, the rest was others'.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

SHORTEST_S: Final = 0.5  # of CPU time, all cores together: the counters go in steps of 10 ms


class Reading(NamedTuple):
    """CPU seconds since the system started, of all cores together: in all, idle, and of this process's family."""

    total_s: float
    idle_s: float
    ours_s: float


def read() -> Reading:
    """Read the counters (some 0.2 ms)."""
    import psutil

    times = psutil.cpu_times()
    # Linux counts guest time within user and nice already.
    total = sum(value for name, value in times._asdict().items() if not name.startswith("guest"))
    own = os.times()
    ours = own.user + own.system + own.children_user + own.children_system
    for child in psutil.Process().children(recursive=True):  # os.times() knows only those that have been reaped
        try:
            ours += sum(child.cpu_times()[:2])
        except psutil.Error:
            continue
    return Reading(total, times.idle + getattr(times, "iowait", 0.0), ours)


def share_between(before: Reading, after: Reading) -> float | None:
    """The share of all CPU time that others had between two readings; None when too little passed to tell.

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
