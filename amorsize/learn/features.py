"""Features of a candidate, as a row of numbers to learn from.

Most are shares and ratios, so that a function ten times as slow, or a machine with ten times the cores, has similar
features if it behaves similarly. Times are logarithms. A missing measurement has a value of its own.
"""

from __future__ import annotations

from math import ceil, log, log1p
from typing import Final, NamedTuple

from amorsize.facts import Breakdown, Forecast, Machine, Sample
from amorsize.model.cost import cpu_per_item

ENGINES: Final = ("loop", "pool", "threadpool", "team", "threads", "executor")
"""Engines that run a map. Forecasts of a ``Pool`` and of amorsize's own workers err differently: each has a fit."""

# Smallest argument of a logarithm.
LEAST: Final = 1e-9
MEGABYTE: Final = 1e6


class Cores(NamedTuple):
    """The fields of a `Machine` that features use."""

    usable_cores: float
    logical_cores: int


class Case(NamedTuple):
    """One forecast, and its inputs.

    Attributes
    ----------
    sample : Sample
    machine : Machine or Cores
    n_items : int
    engine : str
        One of `ENGINES`.
    forecast : Forecast
        The model's.
    """

    sample: Sample
    machine: Machine | Cores
    n_items: int
    engine: str
    forecast: Forecast


def engine_of(backend: str) -> str:
    """Return the engine that `amorsize.optimize` opens for a backend.

    Examples
    --------
    >>> engine_of("processes")
    'pool'
    """
    return {"serial": "loop", "processes": "pool", "threads": "threadpool"}.get(backend, "executor")


def features(case: Case) -> tuple[float, ...]:
    """Return the features, in the order of `NAMES`.

    Examples
    --------
    >>> from amorsize.testing import a_machine
    >>> one = Forecast(backend="processes", workers=4, chunksize=5, start_method="fork", total_s=0.5, low_s=0.4,
    ...                high_s=0.6, breakdown=Breakdown(start_s=0.1, compute_s=0.4))
    >>> row = features(Case(Sample(n_sampled=5, item_s=1e-3), a_machine(2), 100, "pool", one))
    >>> named = dict(zip(NAMES, row))
    >>> named["start_share"], named["workers_per_core"], named["waits"]
    (0.2, 0.693..., 1.0)
    """
    sample, machine, n, _, one = case
    item_s = max(sample.item_s, LEAST)
    total_s, parts = max(one.total_s, LEAST), one.breakdown
    workers = max(1, one.workers)
    chunk = max(1, min(one.chunksize, n))
    moved = sample.arg_bytes + sample.result_bytes
    values = (
        log(item_s),
        log(max(sample.item_cpu_s, 1e-3 * item_s) / item_s),
        sample.waits,
        sample.item_std_s / item_s,
        log(max(sample.item_max_s, item_s) / item_s),
        log(max(sample.last_s, 1e-3 * item_s) / item_s) if sample.last_s > 0 else 0.0,
        log(max(1, n)),
        log1p(sample.n_sampled),
        min(2.0, sample.error_s / item_s),
        log(total_s),
        log(workers / max(machine.usable_cores, LEAST)),
        log(chunk * item_s),
        log(max(1.0, ceil(n / chunk) / workers)),
        parts.start_s / total_s,
        parts.transfer_s / total_s,
        parts.dispatch_s / total_s,
        parts.tail_s / total_s,
        sample.gil_held if sample.gil_held is not None else UNKNOWN,
        sample.own_threads,
        log1p(moved / item_s / MEGABYTE),
        log1p(sample.result_bytes / item_s / MEGABYTE),
        log1p(sample.touched_bytes / item_s / MEGABYTE),
        log1p(sample.rss_growth_bytes / MEGABYTE),
        min(10.0, sample.first_call_s / total_s),
        cpu_per_item(sample) * n / total_s / max(machine.usable_cores, LEAST),
        log(max(machine.usable_cores, LEAST)),
        machine.usable_cores / max(1, machine.logical_cores),
        float(one.start_method in (None, "fork")),
    )
    return tuple(float(value) for value in values)


UNKNOWN: Final = -1.0


def shares(parts: Breakdown) -> list[int] | None:
    """Return the parts of a forecast in percent, as history stores them; None if all is computing, or nothing is known.

    Examples
    --------
    >>> shares(Breakdown(start_s=0.1, compute_s=0.3))
    [25, 75, 0, 0, 0]
    """
    values = [getattr(parts, name) for name in PARTS]
    total = sum(values)
    return [round(100 * value / total) for value in values] if total > parts.compute_s else None


PARTS: Final = ("start_s", "compute_s", "transfer_s", "dispatch_s", "tail_s")


def breakdown_of(percent: object, total_s: float) -> Breakdown | None:
    """Convert `shares` back to seconds; None if they are invalid or missing.

    Examples
    --------
    >>> breakdown_of([25, 75, 0, 0, 0], 2.0).start_s
    0.5
    """
    if not isinstance(percent, list | tuple) or len(percent) != len(PARTS):
        return None
    if not all(isinstance(one, int | float) and 0 <= one <= 100 for one in percent):
        return None
    return Breakdown(**{name: total_s * one / 100 for name, one in zip(PARTS, percent, strict=True)})


NAMES: Final = (
    "item_s", "cpu_share", "waits", "variation", "longest", "last", "n_items", "sampled", "sample_error", "total_s",
    "workers_per_core", "chunk_s", "chunks_per_worker", "start_share", "transfer_share", "dispatch_share", "tail_share",
    "gil_held", "own_threads", "moved_rate", "result_rate", "touched_rate", "growth", "first_call", "busy", "cores",
    "quota_share", "forks",
)  # fmt: skip
"""Names of the features; a fit with other names is not used."""
