"""Forecast a map on an executor or a cluster, from the first of its tasks.

The function may not run in the caller, so the forecast is made while the map runs: once each place has answered. Then
it is known what a task costs beside its items (measured with tasks that do nothing), and what the items took there. ::

    T = elapsed + max(R μ / p, D) + D / p + r / 2 + tail,   D = K h + R b / B

``R`` items are left, of ``μ`` seconds each on ``p`` places, in ``K`` tasks of ``h`` seconds; ``b`` bytes move for each
item, ``B`` a second; ``r`` is the round trip. While a task waits behind each that runs, the round trip is paid once.
The tail is half a task, while the others are done.

The interval has four errors: the clock's own, since equal maps take longer at one time than at another; the same of the
items seen, where they were run before the map; that of their mean; and that of the costs measured with no-ops.
"""

from __future__ import annotations

from math import ceil, exp, hypot, inf, sqrt

from amorsize.facts import Breakdown, Forecast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Standard deviation of the logarithm of the clock, of equal runs: the same batches by hand, without any forecast, of
# two maps on six engines of two cores (the last line of ``python -m benchmarks.clusters --table PATH``). It was 0.16 in
# one run of the benchmark, 0.08 in a later one on a quieter machine, and 0.25 beside other programs.
SPREAD: Final = 0.16
# The same of the costs that no-ops have shown: 0.46 over 20 probes of each of six engines (0.1-0.2 on clusters, 0.5-0.9
# on pools of processes). Beside busy workers a task took 1.6-1.8 times as long as the probe's on Dask and Ray.
PROBED: Final = 0.5
# Other programs' work comes in spells, and tasks side by side share them: one in so many tells something new (a guess).
ALIKE: Final = 4
# Of a normal distribution, 80 % lie within so many standard deviations.
WITHIN_80: Final = 1.2816


def forecast(
    *,
    elapsed_s: float,
    left: int,
    places: int,
    item_s: float,
    item_std_s: float,
    seen: int,
    per_task_s: float,
    round_trip_s: float,
    item_bytes: float = 0.0,
    bytes_per_s: float = inf,
    chunk: int | None = None,
    apart: bool = False,
) -> Forecast:
    """Return the forecast of the whole map.

    Parameters
    ----------
    elapsed_s : float
        Seconds since the map began.
    left : int
        Items that have not been run.
    places : int
        Tasks that run at a time.
    item_s, item_std_s : float
        Mean and standard deviation of the items seen.
    seen : int
        Number of those.
    per_task_s, round_trip_s : float
        Of the engine.
    item_bytes, bytes_per_s : float
        Of an item and its result, and how fast they move.
    chunk : int, optional
        Items in each task; None: the best number.
    apart : bool
        The items seen were run before the map, when other programs had another share of the cores.

    Examples
    --------
    >>> made = forecast(elapsed_s=0.1, left=1000, places=2, item_s=1e-3, item_std_s=0.0, seen=8,
    ...                 per_task_s=1e-3, round_trip_s=5e-3)
    >>> made.chunksize, round(made.total_s, 2), made.low_s < made.total_s < made.high_s
    (31, 0.63, True)
    """
    if chunk is None:
        chunk = best_chunk(left, places, item_s, per_task_s, round_trip_s)
    tasks = left / chunk
    places = max(1, min(places, ceil(tasks)))
    compute_s, moved_s = left * item_s / places, left * item_bytes / bytes_per_s
    caller_s = tasks * per_task_s + moved_s
    over_s = max(0.0, caller_s - compute_s) + caller_s / places
    # The last items of a few long ones end one by one.
    tail_s = min(chunk, left) * item_s / 2 * (places > 1) + item_std_s * sqrt(min(left, places)) / 2
    rest_s = compute_s + over_s + tail_s + round_trip_s / 2
    moved_share = moved_s / caller_s if caller_s > 0 else 0.0
    unsure = item_std_s / item_s / sqrt(max(1, min(seen, left)) / ALIKE) if item_s > 0 else 0.0
    probed_share = (over_s + round_trip_s / 2) / rest_s if rest_s > 0 else 0.0
    spread = WITHIN_80 * hypot(SPREAD, SPREAD * apart, min(1.0, unsure), PROBED * probed_share)
    return Forecast(
        backend="executor",
        workers=places,
        chunksize=chunk,
        start_method=None,
        total_s=elapsed_s + rest_s,
        low_s=elapsed_s + rest_s * exp(-spread),
        high_s=elapsed_s + rest_s * exp(spread),
        breakdown=Breakdown(
            start_s=elapsed_s,
            compute_s=compute_s,
            transfer_s=round_trip_s / 2 + over_s * moved_share,
            dispatch_s=over_s * (1 - moved_share),
            tail_s=tail_s,
        ),
    )


def best_chunk(left: int, places: int, item_s: float, per_task_s: float, round_trip_s: float) -> int:
    """Return the number of items for each of many equal tasks.

    What all tasks cost and the tail, ``(R / c) h / p + c μ / 2``, are least at ``c = sqrt(2 R h / (p μ))``.
    At least, two tasks at each place take as long as an answer; at most, each place has three.

    Examples
    --------
    >>> best_chunk(4000, 2, 1e-3, 4e-3, 20e-3), best_chunk(4000, 2, 1e-3, 0.1e-3, 0.3e-3), best_chunk(12, 2, 1e-3, 1, 1)
    (126, 20, 2)
    """
    most = max(1, left // (3 * places))
    if item_s <= 0:
        return most
    return max(1, min(most, int(max(sqrt(2 * left * per_task_s / (places * item_s)), round_trip_s / (2 * item_s)))))


def most_that_pay(item_s: float, chunk: int, per_task_s: float) -> int:
    """Return the number of places beyond which the one caller cannot hand out tasks fast enough.

    Examples
    --------
    >>> most_that_pay(1e-3, 40, 1e-3)
    40
    """
    return max(1, int(chunk * item_s / per_task_s))
