"""What the rows of history say of a function's items, if they agree: then nobody need call it to make a plan.

Pure: rows in, a `Known` or None out. Whoever wants to believe rows without looking at a single item must be stricter
than a run is that checks what it was told against its first items (`amorsize.history.this_process`):

* only rows of this very function (`amorsize.history.fingerprint`), of machines like this one, no older than `RECENT_S`,
* over data of the same kind whose items are larger by less than `CLOSE` times; where nobody can tell how large items
  are, there must be about as many,
* at least `LEAST` of them that have measured something each and agree: within `AGREE` times of their median, where of
  four one may be off; or all so short that a loop is best whichever is right,
* and all younger than the last surprise: a run whose clock contradicted such an answer makes that all begin anew.

A row that itself rests on earlier ones (``recalled``, ``known``) counts only for what its own clock has shown. So a
wrong row cannot confirm itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import median
from typing import Any, Final, NamedTuple

from amorsize.facts import WAITS, Sample
from amorsize.frozen import replace
from amorsize.history.run_record import Run, sample_of
from amorsize.history.this_process import ALIKE, Shape

LOOKED_AT: Final = 16  # rows of a function, the newest ones: 0.5 ms to open the file and read them
LEAST: Final = 2
MOST: Final = 6  # newer ones tell more
RECENT_S: Final = 30 * 86_400.0  # functions that it calls may have changed: no fingerprint shows that
CLOSE: Final = 1.25  # of sizes. A surprise in memory's own range (`ALIKE`) costs a run here, and a few items there
AGREE: Final = ALIKE
AGREE_WAITS: Final = 0.3  # difference in the share of waiting
MAY_BE_OFF: Final = 0.25  # of the rows: the first run of all had cold caches, one had a busy machine
NOTHING_S: Final = 1e-3  # in all: no pool on any machine is open in less, and the clock of such a run is mostly noise
SURPRISED: Final = 2.0  # times: what noise of the machine alone hardly does to a whole run
SURPRISED_S: Final = 1e-3  # and at least by so much: opening a pool varies by that


class Known(NamedTuple):
    """What rows have told.

    Attributes
    ----------
    sample : Sample
        Of all these rows: medians, with the spread between rows as the error.
    runs : int
        How many rows that are.
    weighed : bool
        Whether some row knows what results weigh. If not, costs of transfer are missing, which can only make
        processes look better than they are.
    sent : bool
        The same of items and the function itself: forked workers inherit them, the ones of a ``Pool`` do not.
    """

    sample: Sample
    runs: int
    weighed: bool
    sent: bool


def known(runs: Iterable[Run], shape: Shape, n_items: int, now_s: float) -> Known | None:
    """What is known of the function that made these runs on this machine.

    Parameters
    ----------
    runs : iterable of Run
        Newest first; no more are taken than are needed.
    shape : Shape
        What the data looks like.
    n_items : int
        How many items there are.
    now_s : float
        Seconds since the epoch.

    Returns
    -------
    Known or None
        None: nobody can tell without a look at some items.

    Examples
    --------
    >>> shape = Shape("range", "int", 50.0)
    >>> rows = [Run(shape=shape, n_items=100, clock_s=seconds, at_s=9.0) for seconds in (1.0, 1.2, 1.1)]
    >>> round(known(rows, shape, 100, now_s=10.0).sample.item_s, 6)
    0.011
    >>> known([Run(shape=shape, n_items=100, clock_s=5.0, at_s=9.0), rows[0]], shape, 100, now_s=10.0)
    """
    found: list[tuple[Run, Sample]] = []
    for run in runs:
        if not is_recent(run, now_s) or not is_like(run, shape, n_items):
            continue
        if run.extra.get("surprise"):
            break
        sample = measured(run)
        # Of one sample several rows may be made: the pool of a plan was opened twice, trials of one contest.
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


def is_recent(run: Run, now_s: float) -> bool:
    """Whether a row is young enough, and well; what seems to come from the future was stored under another clock."""
    return run.outcome == "ok" and -86_400.0 < now_s - run.at_s < RECENT_S


def is_like(run: Run, shape: Shape, n_items: int) -> bool:
    """Whether a run was over such data."""
    if run.shape is None or not run.n_items or not run.shape.items or not run.shape.resembles(shape, CLOSE):
        return False
    return shape.size is not None or n_items / CLOSE <= run.n_items <= CLOSE * n_items


def measured(run: Run) -> Sample | None:
    """What a run has measured of its items; None when it only repeats what it was told."""
    told = sample_of(run)
    echo = bool(run.extra.get("recalled") or run.extra.get("known"))
    if run.backend == "serial":
        return _by_the_clock(run, told, echo)
    if run.work_s and run.work_items:
        each_s = run.work_s / run.work_items
        cpu_s = min(each_s, (run.work_cpu_s or 0.0) / run.work_items)
        if told is None:  # func was not to run in the caller
            return Sample(n_sampled=run.work_items, item_s=each_s, item_cpu_s=cpu_s, worker_s=each_s)
        if run.backend == "threads" and told.waits >= WAITS:  # threads that wait are in nobody's way
            return replace(told, n_sampled=run.work_items, item_s=each_s, item_cpu_s=cpu_s, worker_s=None)
        if run.backend == "processes" and not echo:
            return replace(told, worker_s=each_s)
    return None if echo else told


def _by_the_clock(run: Run, told: Sample | None, echo: bool) -> Sample | None:
    """Of a plain loop. What ``execute()`` says of its items is without what it takes itself."""
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
    """Those that tell about the same of an item as most do."""
    if not samples or n_items * max(sample.item_s for sample in samples) < NOTHING_S:
        return samples
    item_s, waits = median(sample.item_s for sample in samples), median(sample.waits for sample in samples)
    return [
        sample
        for sample in samples
        if item_s / AGREE <= sample.item_s <= AGREE * item_s and abs(sample.waits - waits) <= AGREE_WAITS
    ]


def _together(samples: Sequence[Sample], weighed: Sample | None, sent: Sample | None) -> Sample:
    """One sample of all, newest first: medians of what was timed, and the newest word on everything else."""
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
    """Whether a run took something quite different from what earlier ones had promised.

    Examples
    --------
    >>> surprised(1.0, 1.9, (0.8, 1.25)), surprised(1.0, 2.1, (0.8, 1.25)), surprised(1e-4, 9e-4, (0.8e-4, 1.2e-4))
    (False, True, False)
    """
    if interval_s is not None and interval_s[0] <= clock_s <= interval_s[1]:
        return False
    low, high = sorted((predicted_s, clock_s))
    return high > SURPRISED * low and high - low > SURPRISED_S
