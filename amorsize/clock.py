"""The clocks that measuring reads, in one place, so that a test can hand in others."""

from __future__ import annotations

import time
from collections.abc import Callable

from amorsize.frozen import Frozen


class Clock(Frozen, kw_only=False):
    """Three readings in seconds, each from an arbitrary zero.

    Attributes
    ----------
    wall, thread_cpu, process_cpu : callable
        Wall time, CPU time of the calling thread, CPU time of all threads of the process.
    """

    wall: Callable[[], float] = time.perf_counter
    thread_cpu: Callable[[], float] = time.thread_time
    process_cpu: Callable[[], float] = time.process_time


REAL = Clock()
