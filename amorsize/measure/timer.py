"""Repeated measurement, until it is steady or its time is spent.

The result is the median, with half the interquartile range over the median as its spread: both tolerate that a quarter
of the rounds is disturbed. Measurements to be compared take turns, so that a change in the machine's speed affects all
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from amorsize.system.clock import REAL, Clock

# With fewer rounds than this, a spread is taken as at least `UNKNOWN` (a guess).
LEAST: Final = 3
# Least spread that is assumed with fewer rounds: starts differ by 10-30 %.
UNKNOWN: Final = 0.3


class Timing(NamedTuple):
    """The result of a repeated measurement.

    Attributes
    ----------
    median_s : float
        Median of the rounds that were kept.
    spread : float
        Half their interquartile range over their median: 0.1 is ±10 %.
    rounds : int
        Number of rounds kept.
    steady : bool
        True if the spread was within the target; False: the time was spent first.
    """

    median_s: float
    spread: float
    rounds: int
    steady: bool


def steady(
    measures: Sequence[Callable[[], float]],
    budget_s: float,
    *,
    target: float = 0.05,
    warm_up: int = 1,
    most: int = 50,
    clock: Clock = REAL,
) -> list[Timing]:
    """Measure in rounds until every spread is below ``target`` or the next round would not fit into the budget.

    Parameters
    ----------
    measures : sequence of callable
        Each returns the seconds that it measured; a round calls each once.
    budget_s : float
        Seconds for all of it. One round always runs.
    target : float
        Relative spread to reach.
    warm_up : int
        Number of first rounds to leave out, as soon as there are others.
    most : int
        Most rounds to keep.
    clock : Clock
        Measures how much of the budget is spent.

    Examples
    --------
    >>> steady([lambda: 2.0], budget_s=0.01, most=5)
    [Timing(median_s=2.0, spread=0.0, rounds=3, steady=True)]
    """
    began = clock.wall()
    values: list[list[float]] = [[] for _ in measures]
    rounds = 0
    while True:
        round_began = clock.wall()
        for found, measure in zip(values, measures, strict=True):
            found.append(measure())
        rounds += 1
        now = clock.wall()
        timings = [_timing(found[warm_up:] or found, target) for found in values]
        if all(timing.steady for timing in timings) or rounds >= warm_up + most:
            return timings
        if now - began + (now - round_began) > budget_s:
            return timings


def _timing(values: Sequence[float], target: float) -> Timing:
    spread = relative_spread(values)
    return Timing(quantile(values, 0.5), spread, len(values), len(values) >= LEAST and spread <= target)


def timed(work: Callable[[], object], clock: Clock = REAL) -> Callable[[], float]:
    """Return a function that runs ``work`` and returns its seconds."""

    def measure() -> float:
        began = clock.wall()
        work()
        return clock.wall() - began

    return measure


def relative_spread(values: Sequence[float]) -> float:
    """Return half the interquartile range over the median; with fewer than `LEAST` values at least `UNKNOWN`.

    Examples
    --------
    >>> relative_spread([1.0, 2.0, 2.0, 2.0, 3.0]), relative_spread([1.0]), round(relative_spread([1.0, 2.0, 3.0]), 3)
    (0.0, 0.3, 0.25)
    """
    middle = quantile(values, 0.5)
    wide = (quantile(values, 0.75) - quantile(values, 0.25)) / 2
    spread = wide / middle if middle > 0 else (1.0 if wide else 0.0)
    return spread if len(values) >= LEAST else max(spread, UNKNOWN)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of the values lies, interpolated (type 7 of Hyndman & Fan 1996).

    Examples
    --------
    >>> quantile([3.0, 1.0, 2.0], 0.5), quantile([1.0, 2.0], 0.25)
    (2.0, 1.25)
    """
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    # No arithmetic between equal neighbours: rounding could leave the range of the values.
    step = ordered[above] - ordered[below]
    return min(ordered[above], ordered[below] + step * (at - below)) if step else ordered[below]
