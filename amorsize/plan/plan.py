"""The plan: what users hold. A frozen forecast, its reasons, and the pool that carries it out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from amorsize.facts import Backend, Breakdown, Forecast, ItemRecord, Machine, Sample, Trial
from amorsize.plan import plan_text

if TYPE_CHECKING:
    from amorsize.plan.pool_watch import PoolWatch
    from amorsize.plan.pools import PoolLike


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a map should run here, and what that should take.

    Attributes
    ----------
    backend : {"serial", "threads", "processes", "executor"}
        What runs the items. ``n_jobs`` and ``chunksize`` belong to it.
    n_jobs : int
        Workers; 1 for serial.
    chunksize : int
        Items per chunk.
    start_method : str or None
        How worker processes start; None unless ``backend`` is "processes".
    estimated_speedup : float or None
        ``serial_s / predicted_s``.
    serial_s : float or None
        Seconds that the plain loop should take.
    predicted_s : float or None
        Seconds from entering ``plan.pool()`` to leaving it, map included.
    predicted_interval_s : (float, float) or None
        Holds the clock in 80 % of runs. This and the three before are None when nobody knows how many items there are.
    model_s : float or None
        What the model alone had forecast, where history has corrected that (`amorsize.learn.pruner`).
    reason : str
        One sentence.
    warnings : tuple of str
        What the user should know: doubts about a measurement, what cannot be pickled, why fork was passed over.
    alternatives : tuple of Forecast
        The other candidates, fastest first.
    breakdown : Breakdown
        Where the forecast seconds go.
    data : iterable
        All items, also those that sampling has taken from a generator: pass this, not the generator, to the pool.
    sample : Sample or None
        What the items told.
    machine : Machine or None
        Where.
    native_threads : int or None
        Cap on the BLAS and OpenMP threads of each worker process; None: left alone.
    slowest, hungriest : tuple of ItemRecord
        After a run (``return_plan=True``): the items of 1 ms and more that took longest, and those that raised their
        process's memory the most; at most ten of each, the first one first.
    trials : tuple of Trial
        What candidates really took on slices of the data, if the plan comes from `amorsize.tune`.
    known_runs : int
        How many earlier runs the plan rests on, if it comes from history and func was not called; 0: items were run.
    witness : PoolWatch or None
        Notes in the history what the map took, when ``pool()`` has run exactly one over ``data``.
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
    witness: PoolWatch | None = field(default=None, repr=False, compare=False)

    def pool(self) -> PoolLike:
        """Open what the plan says: a ``multiprocessing.Pool``, a ``ThreadPool``, or a plain loop.

        Its ``map``, ``imap``, ``imap_unordered`` and ``starmap`` use the plan's chunksize unless given another.

        Returns
        -------
        context manager
            Leaving it ends the workers.

        Examples
        --------
        >>> import amorsize
        >>> plan = amorsize.optimize(abs, [-2, 1])
        >>> with plan.pool() as pool:
        ...     pool.map(abs, plan.data)
        [2, 1]
        """
        from amorsize.plan.pools import open_pool

        watch = None if self.witness is None else self.witness.watch(self)
        return open_pool(self.backend, self.n_jobs, self.chunksize, self.start_method, self.native_threads, watch)

    def explain(self) -> str:
        """The plan, its forecast, the sample and the rejected candidates, in a few lines."""
        return plan_text.explain(self)

    def plot(self, path: str | None = None) -> Any:
        """Draw the forecast of every candidate; needs the extra ``plot``.

        Parameters
        ----------
        path : str, optional
            Where to save the picture.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            When matplotlib is not installed.
        """
        from amorsize.plan.plan_plot import plot_plan

        return plot_plan(self, path)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the data, as plain dicts, lists, numbers and strings."""
        names = (name for name in self.__dataclass_fields__ if name not in ("data", "witness"))
        return {name: _plain(getattr(self, name)) for name in names}

    def to_json(self, *, indent: int | None = None) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=indent)

    def _repr_html_(self) -> str:
        from amorsize.plan.plan_html import plan_html

        return plan_html(self)

    def __str__(self) -> str:
        return self.explain()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return _plain(asdict(value))
    return value
