"""The interval around a forecast that should hold the clock in 80 % of runs, before any history is known.

Most of a forecast's error is the sample's: of log(clock / forecast) in a corpus of 1,926 runs, 75 % of the variance
lies between maps, 23 % between settings of one map, 2 % between repeats. What a sample says of its own error is too
small where little was seen, since it tells nothing of what lies elsewhere. So the error is at least ``1 / sqrt(n)`` for
n sampled items, as for costs whose deviation equals their mean, and `WIDTHS` says how many such errors hold 80 %.
"""

from __future__ import annotations

from math import exp, hypot, sqrt

from amorsize.facts import WAITS, Sample

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# A normal variable is within ±1.28 standard deviations in 80 % of cases.
Z_80: Final = 1.2816
# Relative difference between two runs of the same map on a cloud machine. 47 loops, each repeated at once: 3 % at the
# median, 14 % at the 90th percentile, as from a deviation of 0.05-0.085.
NOISE: Final = 0.08
# guess: the same for a map on workers, which other programs disturb more
WORKERS_NOISE: Final = 1.5 * NOISE
# Relative error for many items that wait for an external service, since they may queue there: a server that bears 8
# callers took 2.2 times the forecast for 44 threads.
UNKNOWN_PLACES: Final = 0.6
# guess: that error applies to more workers per core
MANY_WAIT: Final = 3.0
# guess: largest relative error of a mean
MOST_ERROR: Final = 1.5

# Sampled items up to which a forecast rests on few.
FEW: Final = 3
# How many errors of the sample lie below and above the forecast, by engine, where few items were sampled and where
# more were: so the intervals of the recorded corpus hold 79 % of its 1,926 runs, 80 % where few were sampled and 76 %
# where more were (docs/why/learning.md), and 88 % of 681 whole maps of the benchmark. A clock lies more often far above
# its forecast than far below, since a sample can miss a few dear items, and workers can be disturbed.
WIDTHS: Final = {
    "loop": ((0.5, 0.7), (2.5, 2.0)),
    "pool": ((0.4, 1.0), (1.0, 2.2)),
    "threadpool": ((0.4, 0.7), (2.0, 2.5)),
    "team": ((0.4, 1.4), (1.0, 2.8)),
    "threads": ((0.4, 0.7), (1.0, 2.5)),
}


def interval(
    total_s: float,
    start_s: float,
    start_spread: float,
    sample: Sample,
    n_items: int,
    engine: str,
    queue: bool = False,
) -> tuple[float, float]:
    """Return both ends, in seconds, around a forecast of ``total_s`` of which ``start_s`` are the start of workers.

    ``start_spread``: relative uncertainty of the start. ``engine``: as in `amorsize.facts.BackendCost`, or ``"loop"``.
    ``queue``: the items may queue at a service (`may_queue`).

    Examples
    --------
    >>> seen = Sample(n_sampled=1, item_s=1e-3)
    >>> [round(end, 2) for end in interval(1.0, 0.0, 0.0, seen, 1000, "loop")]
    [0.6, 2.03]
    """
    share = start_s / total_s if total_s > 0 else 0.0
    error = (1 - share) * sample_error(sample, n_items)
    noise = Z_80 * hypot(share * start_spread, NOISE if engine == "loop" else WORKERS_NOISE)
    # What other executors do is not known; the widest fits.
    below, above = WIDTHS.get(engine, WIDTHS["team"])[sample.n_sampled > FEW]
    places = Z_80 * UNKNOWN_PLACES if queue else 0.0
    return total_s * exp(-hypot(below * error, noise)), total_s * exp(hypot(above * error, noise, places))


def sample_error(sample: Sample, n_items: int) -> float:
    """Return the relative standard error of the sum over all items, of which only some were measured.

    Examples
    --------
    >>> sample_error(Sample(n_sampled=4, item_s=1.0), 100), sample_error(Sample(n_sampled=4, item_s=1.0), 4)
    (0.489..., 0.0)
    """
    if sample.item_s <= 0:
        return 1.0
    unseen = 1.0 if n_items <= 0 else max(0.0, 1.0 - sample.n_sampled / n_items)
    error = max(sample.error_s / sample.item_s, 1 / sqrt(max(1, sample.n_sampled)))
    return min(MOST_ERROR, error) * sqrt(unseen)


def may_queue(sample: Sample, workers: int, cores: float) -> bool:
    """Return True if far more workers than cores wait for an external service of unknown capacity."""
    return sample.waits > WAITS and workers > MANY_WAIT * cores
