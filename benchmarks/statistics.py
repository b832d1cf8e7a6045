"""Statistics of times: pure functions, without clock or file.

Times of different contenders in one round share that round's disturbances, so contenders are compared by the ratio
within each round, and the median of these ratios is reported: not the ratio of two medians.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

RESAMPLES = 2_000
LOOP_TOLERANCE = 1.03  # "slower than the loop": by more than 3 % …
LOOP_TOLERANCE_S = 2e-3  # … and 2 ms: below that a timing on a busy desktop says nothing


class Estimate(NamedTuple):
    """A median, its bootstrap interval (95 %), and the number of its values. One value has no interval."""

    median: float
    low: float | None
    high: float | None
    n: int


def median(values: Sequence[float]) -> float:
    return float(np.median(values))


def iqr(values: Sequence[float]) -> float:
    """Return the distance between the quartiles."""
    low, high = np.percentile(values, [25, 75])
    return float(high - low)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` percent of the values lie."""
    return float(np.percentile(values, share))


def estimate(values: Sequence[float], *, level: float = 0.95, seed: int = 0) -> Estimate:
    """Return the median with a percentile-bootstrap interval; the same values always give the same interval."""
    if not len(values):
        raise ValueError("no values to take a median of")
    if len(values) == 1:
        return Estimate(float(values[0]), None, None, 1)
    array = np.asarray(values, dtype=float)
    picks = np.random.default_rng(seed).integers(0, len(array), size=(RESAMPLES, len(array)))
    medians = np.median(array[picks], axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return Estimate(median(values), float(low), float(high), len(array))


def paired_ratios(numerator: Sequence[float | None], denominator: Sequence[float | None]) -> list[float]:
    """Return the ratio of each round that both have; None stands for a round that was not run."""
    return [a / b for a, b in zip(numerator, denominator, strict=True) if a is not None and b is not None]


def paired_differences(left: Sequence[float | None], right: Sequence[float | None]) -> list[float]:
    """Return ``left - right`` of each round that both have."""
    return [a - b for a, b in zip(left, right, strict=True) if a is not None and b is not None]


def lower(found: dict[str, Any]) -> float:
    """Return the lower end of an estimate's interval; the estimate itself if it has no interval."""
    low = found["median"] if found["low"] is None else found["low"]
    return float(low)


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))


def slower_than_loop(seconds: float, loop_s: float) -> bool:
    """Return True if the time exceeds the loop's by more than both tolerances together."""
    return seconds > loop_s * LOOP_TOLERANCE + LOOP_TOLERANCE_S


def log_error(predicted: float, clock: float) -> float:
    """Return |log(predicted / clock)|: twice too high and twice too low are equally wrong."""
    return abs(math.log(predicted / clock))


def best(medians: dict[str, float], among: Callable[[str], bool] = lambda name: True) -> str:
    """Return the name of the smallest median. The least of several noisy medians is a little too low: against us."""
    return min((name for name in medians if among(name)), key=medians.__getitem__)
