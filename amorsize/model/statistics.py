"""Medians of few rounds and their intervals.

The interval of a median is that of the percentile bootstrap (Efron 1979), computed exactly instead of by resampling:
how often each value is the median of a resample is binomial (Maritz & Jarrett 1978).

Contenders that took turns share each round's disturbances. So they are compared by the median of their ratios within
each round, not by the ratio of two medians.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Final, NamedTuple

LEVEL: Final = 0.95
# A smaller difference, relative or in seconds, does not matter.
NOTICEABLE: Final = 0.05
NOTICEABLE_S: Final = 2e-3
# guess: fewer rounds cannot tell a difference from noise, unless it is as large as `NOTICEABLE_OF_FEW`
FEW: Final = 3
NOTICEABLE_OF_FEW: Final = 0.25


class Estimate(NamedTuple):
    """A median, its 95 % interval, and the number of values."""

    median: float
    low: float
    high: float
    n: int


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two in the middle.

    Examples
    --------
    >>> median([3.0, 1.0, 2.0]), median([1.0, 2.0])
    (2.0, 1.5)
    """
    ordered = sorted(values)
    n = len(ordered)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Return the median and its bootstrap interval; that of one or two values is their range.

    Examples
    --------
    >>> estimate([5.0, 1.0, 2.0, 3.0, 4.0, 90.0, 2.5])
    Estimate(median=3.0, low=2.0, high=5.0, n=7)
    """
    ordered = sorted(values)
    n, tail = len(ordered), (1 - level) / 2
    low = next(k for k in range(1, n + 1) if _share_up_to(k, n, (n + 1) // 2) >= tail)
    high = next(k for k in range(1, n + 1) if _share_up_to(k, n, n // 2 + 1) >= 1 - tail)
    return Estimate(median(ordered), ordered[low - 1], ordered[high - 1], n)


def _share_up_to(k: int, n: int, middle: int) -> float:
    """Return the share of resamples whose ``middle``-th smallest value is among the ``k`` smallest of all ``n``."""
    share = k / n
    return sum(comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(middle, n + 1))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Return the ratio of our time to theirs, round by round.

    Examples
    --------
    >>> ratio([2.0, 4.0, 6.0], [1.0, 2.0, 2.0]).median
    2.0
    """
    return estimate([a / b if b > 0 else 1.0 for a, b in zip(ours, theirs, strict=True)])


def noticeably_slower(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    """Return True if ours took longer, beyond noise and by enough to matter.

    Examples
    --------
    >>> noticeably_slower([1.2, 1.3, 1.25], [1.0, 1.0, 1.0]), noticeably_slower([1.2, 0.9, 1.25], [1.0, 1.0, 1.0])
    (True, False)
    """
    found = ratio(ours, theirs)
    least = NOTICEABLE_OF_FEW if found.n < FEW else NOTICEABLE
    return found.low > 1 and found.median > 1 + least and median(ours) - median(theirs) > NOTICEABLE_S
