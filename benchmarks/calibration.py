"""The number of steps of `functions.burn` per second: measured once per comparison, then the same for every process.

If each process (or each row) calibrated for itself, a busy moment would change the work instead of its time.
"""

from __future__ import annotations

import statistics
import time

from benchmarks.functions import burn

_adopted: float | None = None


def measure(repeats: int = 15, iterations: int = 200_000) -> float:
    """Return the steps per second of an undisturbed `burn`, here and now."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        burn(iterations)
        times.append(time.perf_counter() - start)
    # The lower quartile: neighbours only ever add time, and the very fastest may be a burst of turbo.
    return iterations / statistics.quantiles(times, n=4)[0]


def adopt(iterations_per_s: float) -> None:
    """Take over the calibration of the process that leads the comparison."""
    global _adopted
    _adopted = iterations_per_s


def iterations(seconds: float) -> int:
    """Return the number of steps that take about that long; at least one."""
    if _adopted is None:
        adopt(measure())
    assert _adopted is not None
    return max(1, round(seconds * _adopted))
