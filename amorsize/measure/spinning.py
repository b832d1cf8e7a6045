"""Threads that spin while they wait for work: those of a BLAS do so for 70 ms after an import, and after each call.

Their CPU time looks as if the items ran threads of their own. Only time tells: threads that wait fall asleep.
"""

from __future__ import annotations

import os
import threading
import time

from amorsize.system.clock import process_cpu, thread_cpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# The CPU time of other threads is counted by ticks of 4 ms.
LOOK_S: Final = 10e-3
# guess: of one core
BUSY: Final = 0.25
# Twice the time for which a thread of OpenBLAS spins (numpy 2.4, Linux).
LONGEST_S: Final = 0.15
# guess: of an older thread that still computes it is known that it does not only spin after its start
YOUNG_S: Final = 0.5


def rest() -> bool:
    """Wait until the other threads of this process rest; takes 10 to 150 ms.

    Returns
    -------
    bool
        False, at once, if none of them is younger than `YOUNG_S`, or if the system does not tell their age (only Linux
        does); False, too, if they go on: then they compute.
    """
    if not _has_young_threads():
        return False
    until = time.monotonic() + LONGEST_S
    while time.monotonic() < until:
        before_s = process_cpu() - thread_cpu()
        time.sleep(LOOK_S)
        if process_cpu() - thread_cpu() - before_s < BUSY * LOOK_S:
            return True
    return False


def _has_young_threads() -> bool:
    """Return True if a thread beside this one and the main thread was started within the last `YOUNG_S`."""
    try:
        now_s, per_s = time.clock_gettime(time.CLOCK_BOOTTIME), os.sysconf("SC_CLK_TCK")
        others = set(map(int, os.listdir("/proc/self/task"))) - {threading.get_native_id(), os.getpid()}
        return any(now_s - _started(task) / per_s < YOUNG_S for task in others)
    except (OSError, ValueError, IndexError, AttributeError):
        return False


def _started(task: int) -> int:
    """Return when a thread was started, in ticks of ``SC_CLK_TCK`` since the machine was. Source: proc(5), ``stat``."""
    with open(f"/proc/self/task/{task}/stat", "rb") as stream:
        # Its name, in brackets, may hold anything.
        return int(stream.read().rpartition(b")")[2].split()[19])
