"""Threads that spin while they wait for work: those of a BLAS do so for 70 ms after an import, and after each call.

Their CPU time looks as if the items ran threads of their own. Only time tells: threads that wait fall asleep.
"""

from __future__ import annotations

import time

from amorsize.system.clock import CPU_TICK_S, process_cpu, thread_cpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# The CPU time of other threads is counted by ticks of 4 ms, on Windows of 15.6.
LOOK_S: Final = max(10e-3, 2 * CPU_TICK_S)
# guess: of one core; what is busy for less rests
BUSY: Final = 0.25
# Twice the time for which a thread of OpenBLAS spins (numpy 2.4, Linux).
LONGEST_S: Final = 0.15


def busy_at_rest() -> float:
    """Wait until the other threads of this process rest, and return how many cores they keep busy then.

    Returns
    -------
    float
        0.0 after 10 to 150 ms, if they only spun; else, after `LONGEST_S`, what they compute whatever this thread does.
    """
    until = time.monotonic() + LONGEST_S
    while True:
        wall_s, before_s = time.perf_counter(), process_cpu() - thread_cpu()
        time.sleep(LOOK_S)
        busy = (process_cpu() - thread_cpu() - before_s) / (time.perf_counter() - wall_s)
        if busy < BUSY:
            return 0.0
        if time.monotonic() >= until:
            return busy
