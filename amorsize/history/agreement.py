"""Combines rows of history that agree on a function's items, so that a plan can be made without calling the function.

Pure: rows in, a `Known` or None out. No item is run to check the answer, so the conditions are stricter than those of
`amorsize.history.this_process`, whose answers a run checks against its first items:

* only rows of the same function (`amorsize.history.fingerprint`), of machines like this one, no older than `RECENT_S`,
* over data of the same kind whose items differ in size by at most a factor of `CLOSE`; if sizes are unknown, the
  numbers of items may differ by that factor,
* at least `LEAST` rows, each with a measurement, that agree within a factor of `AGREE` of their median, where one of
  four may be off; or rows that are all so short that a loop is best by each of them,
* only rows younger than the last surprise: a run whose clock contradicted such an answer.

A row that itself rests on earlier ones (``recalled``, ``known``) counts only with its own clock. So a wrong row cannot
confirm itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import sqrt
from statistics import median
from typing import Any, Final, NamedTuple

from amorsize.facts import WAITS, Sample, on_a_core_s
from amorsize.frozen import replace
from amorsize.history.run_row import Run, is_number, sample_of
from amorsize.history.shape import ALIKE, Shape

# Fewest rows that must agree: one cannot confirm itself.
LEAST: Final = 2
# The most rows used; newer ones are more relevant (a guess).
MOST: Final = 6
# Older rows are ignored: functions that func calls may have changed, which no fingerprint shows (a guess).
RECENT_S: Final = 30 * 86_400.0
# Factor between sizes (a guess). It is below `ALIKE`, since a wrong answer costs a whole run here, a few items there.
CLOSE: Final = 1.25
AGREE: Final = ALIKE
# Largest difference in the share of waiting (a guess).
AGREE_WAITS: Final = 0.3
# Share of rows that may disagree: a first run with cold caches, a run on a busy machine (a guess).
MAY_BE_OFF: Final = 0.25
# No pool on any machine opens in less, and the clock of such a short run is mostly noise.
NOTHING_S: Final = 1e-3
# Factor between clock and forecast that noise of the machine alone hardly causes (a guess).
SURPRISED: Final = 2.0
# Smallest difference of a surprise: the time to open a pool varies by that.
SURPRISED_S: Final = 1e-3


class Known(NamedTuple):
    """The combined rows.

    Attributes
    ----------
    sample : Sample
        Medians of these rows, with the spread between rows as the error.
    runs : int
        Number of rows.
    weighed : bool
        True if some row has the size of results. If not, transfer costs are missing, which makes processes look
        better than they are.
    sent : bool
        True if some row has the size of items: forked workers inherit them, the workers of a ``Pool`` do not.
    """

    sample: Sample
    runs: int
    weighed: bool
    sent: bool


def known(runs: Iterable[Run], shape: Shape, n_items: int, now_s: float) -> Known | None:
    """Combine the runs of a function on this machine.

    Parameters
    ----------
    runs : iterable of Run
        Newest first; no more are read than are needed.
    shape : Shape
        The data's shape.
    n_items : int
        Number of items.
    now_s : float
        Seconds since the epoch.

    Returns
    -------
    Known or None
        None if some items must be sampled.

    Examples
    --------
    >>> shape = Shape("range", "int", 50.0)
    >>> rows = [Run(shape=shape, n_items=100, clock_s=seconds, at_s=9.0) for seconds in (1.0, 1.2, 1.1)]
    >>> round(known(rows, shape, 100, now_s=10.0).sample.item_s, 6)
    0.011
    >>> known([Run(shape=shape, n_items=100, clock_s=5.0, at_s=9.0), rows[0]], shape, 100, now_s=10.0)
    """
    return agreed(like(runs, shape, n_items, now_s), n_items)


def agreed(runs: Iterable[Run], n_items: int) -> Known | None:
    """Combine runs that are `like` a map of so many items."""
    found: list[tuple[Run, Sample]] = []
    for run in runs:
        sample = measured(run)
        # Several rows may share one sample: a plan's pool opened twice, or the trials of one tuning.
        if sample is not None and all(sample.item_s != other.item_s for _, other in found):
            found.append((run, sample))
            if len(found) == MOST:
                break
    samples = agreeing([sample for _, sample in found], n_items)
    if len(samples) < max(LEAST, (1 - MAY_BE_OFF) * len(found)):
        return None
    weighed = next((sample for sample in samples if sample.result_bytes > 0 or sample.transfer_error), None)
    sent = next((sample for sample in samples if sample.arg_bytes > 0), None)
    return Known(_together(samples, weighed, sent), len(samples), weighed is not None, sent is not None)


def like(runs: Iterable[Run], shape: Shape, n_items: int, now_s: float) -> Iterator[Run]:
    """Yield the recent runs over such data, newest first, that are younger than the last surprise."""
    for run in runs:
        if not is_recent(run, now_s) or not is_like(run, shape, n_items):
            continue
        if run.extra.get("surprise"):
            break
        yield run


def is_recent(run: Run, now_s: float) -> bool:
    """True if a run ended well and is recent; a time in the future is from another clock, at most a day off."""
    return run.outcome == "ok" and -86_400.0 < now_s - run.at_s < RECENT_S


def is_like(run: Run, shape: Shape, n_items: int) -> bool:
    """Return True if the data of a run were like these."""
    if run.shape is None or not run.n_items or not run.shape.items or not run.shape.resembles(shape, CLOSE):
        return False
    return shape.size is not None or n_items / CLOSE <= run.n_items <= CLOSE * n_items


def measured(run: Run) -> Sample | None:
    """Return a run's own measurement of its items; None if it only repeats an earlier one."""
    told = sample_of(run)
    echo = bool(run.extra.get("recalled") or run.extra.get("known"))
    if run.backend == "serial":
        return _by_the_clock(run, told, echo)
    if run.work_s and run.work_items:
        each_s = run.work_s / run.work_items
        cpu_s = min(each_s, (run.work_cpu_s or 0.0) / run.work_items)
        if told is None:
            # func did not run in the caller.
            return Sample(n_sampled=run.work_items, item_s=each_s, item_cpu_s=cpu_s, worker_s=each_s)
        # Waiting threads do not slow each other.
        if run.backend == "threads" and told.waits >= WAITS:
            return replace(told, n_sampled=run.work_items, item_s=each_s, item_cpu_s=cpu_s, worker_s=None)
        if run.backend == "processes" and not echo:
            cores: Any = (run.machine or {}).get("usable_cores")
            if is_number(cores) and told.waits < WAITS:
                each_s = on_a_core_s(each_s, run.n_jobs, cores)
            return replace(told, worker_s=each_s)
    return None if echo else told


def _by_the_clock(run: Run, told: Sample | None, echo: bool) -> Sample | None:
    """Return the sample of a run that was a plain loop; if the run has no sample of its own, from its measured time.

    The sample of ``execute()`` is preferred, because its times leave out the overhead of ``execute()``.
    """
    if told is not None and not echo and run.source != "optimize":
        return told
    if not run.n_items or run.clock_s <= 0:
        return None
    item_s = run.clock_s / run.n_items
    if told is None:
        return Sample(n_sampled=run.n_items, item_s=item_s, item_cpu_s=item_s, item_max_s=item_s, last_s=item_s)
    scale = item_s / told.item_s
    return replace(told, n_sampled=run.n_items, item_s=item_s, item_cpu_s=told.item_cpu_s * scale)


def agreeing(samples: Sequence[Sample], n_items: int) -> Sequence[Sample]:
    """Return the samples whose time and share of waiting per item are near the median."""
    if not samples or n_items * max(sample.item_s for sample in samples) < NOTHING_S:
        return samples
    item_s, waits = median(sample.item_s for sample in samples), median(sample.waits for sample in samples)
    return [
        sample
        for sample in samples
        if item_s / AGREE <= sample.item_s <= AGREE * item_s and abs(sample.waits - waits) <= AGREE_WAITS
    ]


def _together(samples: Sequence[Sample], weighed: Sample | None, sent: Sample | None) -> Sample:
    """Merge samples, newest first: medians of the times, the newest value of everything else."""
    newest = samples[0]
    item_s = median(sample.item_s for sample in samples)
    between_s = sqrt(sum((sample.item_s - item_s) ** 2 for sample in samples) / (len(samples) - 1))
    in_workers = [sample.worker_s for sample in samples if sample.worker_s is not None]
    values: dict[str, Any] = {
        "n_sampled": sum(sample.n_sampled for sample in samples),
        "item_s": item_s,
        "item_cpu_s": item_s * median(1.0 - sample.waits for sample in samples),
        "item_std_s": median(sample.item_std_s for sample in samples),
        "item_max_s": max(item_s, median(sample.item_max_s for sample in samples)),
        "last_s": median(sample.last_s for sample in samples) or item_s,
        "first_call_s": median(sample.first_call_s for sample in samples),
        "error_s": between_s,
        "worker_s": median(in_workers) if in_workers else None,
        "gil_held": next((sample.gil_held for sample in samples if sample.gil_held is not None), None),
    }
    for source, names in ((weighed, RESULTS), (sent, ITEMS)):
        values |= {name: getattr(source or newest, name) for name in names}
    return replace(newest, **values)


RESULTS: Final = ("result_bytes", "result_pickle_s", "result_unpickle_s", "transfer_error")
ITEMS: Final = ("arg_bytes", "arg_pickle_s", "arg_unpickle_s")


def surprised(predicted_s: float, clock_s: float, interval_s: tuple[float, float] | None) -> bool:
    """True if a run's clock contradicts the forecast from earlier runs.

    Examples
    --------
    >>> surprised(1.0, 1.9, (0.8, 1.25)), surprised(1.0, 2.1, (0.8, 1.25)), surprised(1e-4, 9e-4, (0.8e-4, 1.2e-4))
    (False, True, False)
    """
    if interval_s is not None and interval_s[0] <= clock_s <= interval_s[1]:
        return False
    low, high = sorted((predicted_s, clock_s))
    return high > SURPRISED * low and high - low > SURPRISED_S
