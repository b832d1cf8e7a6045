"""Shares of the machine that other processes and other virtual machines used during a measurement.

They follow from two readings of the system's CPU counters. Of all CPU time between them, idle time was free, steal went
to other virtual machines, and our own processes used theirs; other processes used the rest.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

import psutil

TOO_BUSY = 0.10
PROBE_S = 0.3


class Reading(NamedTuple):
    """CPU seconds since boot, summed over all cores, and those of our own (finished) processes."""

    total_s: float
    idle_s: float
    steal_s: float
    ours_s: float


class Busy(NamedTuple):
    """Shares of all CPU time, 0 to 1."""

    others: float
    steal: float


def read() -> Reading:
    times = psutil.cpu_times()
    # Linux counts guest time within user and nice already.
    total = sum(value for name, value in times._asdict().items() if not name.startswith("guest"))
    own = os.times()
    return Reading(
        total,
        times.idle + getattr(times, "iowait", 0.0),
        getattr(times, "steal", 0.0),
        own.user + own.system + own.children_user + own.children_system,
    )


def between(before: Reading, after: Reading) -> Busy:
    """Return the shares that others used between two readings.

    Examples
    --------
    >>> between(Reading(100.0, 50.0, 1.0, 9.0), Reading(110.0, 53.0, 2.0, 13.0))
    Busy(others=0.2, steal=0.1)
    """
    total = after.total_s - before.total_s
    if total <= 0:
        return Busy(0.0, 0.0)
    steal = after.steal_s - before.steal_s
    others = total - (after.idle_s - before.idle_s) - steal - (after.ours_s - before.ours_s)
    return Busy(round(max(0.0, others / total), 4), round(max(0.0, steal / total), 4))


def probe(seconds: float = PROBE_S) -> Busy:
    """Return the shares that others use while this process sleeps."""
    before = read()
    time.sleep(seconds)
    return between(before, read())


def load() -> float | None:
    """Return the load average over the last minute; None where there is none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def too_busy(shares: list[Busy]) -> bool:
    return any(busy.others + busy.steal > TOO_BUSY for busy in shares)
