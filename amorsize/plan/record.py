"""The record of a plan: what was chosen, what was forecast, and why."""

from __future__ import annotations

from collections.abc import Iterable

from amorsize.facts import Attempt, Backend, Breakdown, Forecast, ItemRecord, Machine, Sample, Trial
from amorsize.frozen import Frozen, field, field_names, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class PlanRecord(Frozen):
    """The best way to run a map on this machine, and its forecast.

    Attributes
    ----------
    backend : {"serial", "threads", "processes", "executor", "async"}
        Backend that runs the items. ``n_jobs`` and ``chunksize`` belong to it. "async": a coroutine function ran as
        tasks on an event loop.
    n_jobs : int
        Number of workers; 1 for serial; for "async" the most tasks at a time.
    chunksize : int
        Items per chunk.
    start_method : str or None
        Start method of worker processes; None unless ``backend`` is "processes".
    estimated_speedup : float or None
        ``serial_s / predicted_s``.
    serial_s : float or None
        Forecast seconds of the plain loop.
    predicted_s : float or None
        Forecast seconds from entering ``plan.pool()`` to leaving it, map included.
    predicted_interval_s : (float, float) or None
        Interval that contains the measured time in 80 % of runs. This and the three before are None if the number of
        items is unknown.
    model_s : float or None
        The model's own forecast, where history has corrected it (`amorsize.learn.pruner`).
    reason : str
        The reason for the choice, in one sentence.
    warnings : tuple of str
        Doubts about a measurement, objects that cannot be pickled, the reason against fork.
    alternatives : tuple of Forecast
        The other candidates, fastest first.
    breakdown : Breakdown
        The parts of the forecast seconds.
    data : iterable
        All items, also those that sampling has taken from a generator: pass this, not the generator, to the pool.
    sample : Sample or None
        The measurements of the sampled items.
    machine : Machine or None
        The machine that the plan is for.
    native_threads : int or None
        Cap on the BLAS and OpenMP threads of each worker process; None: no cap.
    slowest, hungriest : tuple of ItemRecord
        After a run (``return_plan=True``): the items of 2 ms and more that took longest, and those that raised their
        process's memory the most; at most ten of each, the largest first.
    trials : tuple of Trial
        Measured times of candidates on slices of the data, if the plan comes from `amorsize.tune`.
    known_runs : int
        Number of earlier runs that the plan rests on, if it comes from history and func was not called; 0: items were
        run.
    took_s : float or None
        Seconds that the plan took, once it has run: ``execute()`` in all, or the pool's start, map and end. A pool
        counts if it has run exactly one ``map`` of the plan's function over ``plan.data``.
    workers_ready_s : float or None
        After a run (``return_plan=True``): seconds from the start of the first worker until one could take items, the
        imports of its main module included.
    withdrawn : tuple of Attempt
        After a run: the backends that were tried and left again, and what they cost.
    """

    backend: Backend
    n_jobs: int
    chunksize: int
    start_method: str | None = None
    estimated_speedup: float | None = None
    serial_s: float | None = None
    predicted_s: float | None = None
    predicted_interval_s: tuple[float, float] | None = None
    model_s: float | None = field(default=None, repr=False)
    reason: str = ""
    warnings: tuple[str, ...] = ()
    alternatives: tuple[Forecast, ...] = field(default=(), repr=False)
    breakdown: Breakdown = field(default=Breakdown(), repr=False)
    data: Iterable[Any] = field(default=(), repr=False, compare=False)
    sample: Sample | None = field(default=None, repr=False)
    machine: Machine | None = field(default=None, repr=False)
    native_threads: int | None = field(default=None, repr=False)
    slowest: tuple[ItemRecord, ...] = field(default=(), repr=False)
    hungriest: tuple[ItemRecord, ...] = field(default=(), repr=False)
    trials: tuple[Trial, ...] = field(default=(), repr=False)
    known_runs: int = field(default=0, repr=False)
    took_s: float | None = field(default=None, repr=False, compare=False)
    workers_ready_s: float | None = field(default=None, repr=False, compare=False)
    withdrawn: tuple[Attempt, ...] = field(default=(), repr=False, compare=False)

    def ran(self, took_s: float | None) -> None:
        """Note the seconds that the plan has taken, which only its pool knows; None: it did other work as well."""
        self.__dict__["took_s"] = took_s

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the data, as plain dicts, lists, numbers and strings."""
        return {name: plain(getattr(self, name)) for name in field_names(PlanRecord) if name != "data"}

    def to_json(self, *, indent: int | None = None) -> str:
        """Return `to_dict` as JSON."""
        import json

        return json.dumps(self.to_dict(), indent=indent)
