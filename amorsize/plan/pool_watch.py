"""Watches the pool of a plan: after one map over the plan's data the plan knows what it took, and so does the history.

That is the seconds of opening the pool, of the map, and of leaving the pool; the user's work in between does not
count. Only a run that can be compared with the forecast counts: exactly one ``map`` of the plan's function over
the plan's data, in the plan's chunks, in a ``with`` block that raised nothing.

A plan that comes from history was made without a look at this data. Its map is therefore compared with the forecast
from the first chunks on (`amorsize.plan.watched_map`). When items take much longer than forecast, the map ends early
and ``finish`` runs the other items in another way.
"""

from __future__ import annotations

from time import perf_counter

from amorsize.frozen import Frozen
from amorsize.history.history import History
from amorsize.history.run_row import Run
from amorsize.history.shape import Shape, shape_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from amorsize.plan.record import PlanRecord
    from amorsize.plan.watched_map import Promise

    Finish = Callable[[list[Any]], list[Any]]
    """Takes the results of the first items of the data, runs the other items, and returns all results."""


class PoolWatch(Frozen, kw_only=False):
    """The facts that a row of a plan's run needs besides the plan.

    Attributes
    ----------
    func : callable
    shape : Shape
        Of the data.
    history : History or None
        Takes the row; None where it is off.
    finish : Finish
        Runs the items left after a surprise.
    """

    func: Callable[..., Any]
    shape: Shape
    history: History | None
    finish: Finish

    @classmethod
    def of(cls, func: Callable[..., Any], data: object, history: History | None, finish: Finish) -> PoolWatch:
        """Return the watch."""
        history = History() if history is None else history
        return cls(func, shape_of(data), history if history.is_on else None, finish)

    def watch(self, plan: PlanRecord) -> Watch:
        """Watch a pool that is about to be opened."""
        return Watch(self, plan)

    def __reduce__(self) -> Any:
        """Pickle as None: the function of a plan sent to another process may not be picklable."""
        return _none, ()


def _none() -> None:
    return None


class Watch:
    """Watches one pool; `amorsize.plan.pools` calls its methods in the order of the pool's life."""

    def __init__(self, pool_watch: PoolWatch, plan: PlanRecord) -> None:
        self.pool_watch, self.plan = pool_watch, plan
        self.began = perf_counter()
        self.spent_s = 0.0
        self.maps = 0
        self.n_items: int | None = None
        self.is_incomparable = False
        self.surprised = False

    def opened(self) -> None:
        """Note that the pool is open."""
        self._stop()

    def mapping(self, func: object, data: object, chunksize: int | None) -> None:
        """Note that a map begins."""
        self.maps += 1
        theirs = func is not self.pool_watch.func or data is not self.plan.data
        self.is_incomparable = self.is_incomparable or theirs or chunksize not in (None, self.plan.chunksize)
        self.began = perf_counter()

    def run(
        self, run: Callable[..., list[Any]], start: Callable[..., Promise], func: Any, data: Any, chunksize: int | None
    ) -> list[Any]:
        """Run a map by ``run``, the pool's own map, or watched by ``start``, its ``map_async``.

        The map is watched if the plan comes from history, without a sample of this data.
        """
        if not self.plan.known_runs or self.is_incomparable or not sequence(data):
            return run(func, data, chunksize)
        # An empty map raises if the pool is closed.
        results = run(func, (), None)
        if not self._watched(start, func, data, results):
            self.surprised = True
            return self.pool_watch.finish(results)
        return results

    def _watched(self, start: Callable[..., Promise], func: Any, data: Any, results: list[Any]) -> bool:
        from amorsize.plan.watched_map import WORTH_IT, loop_while, pool_while

        plan = self.plan
        item_s = plan.sample.item_s if plan.sample is not None else 0.0
        if plan.backend == "serial":
            return loop_while(func, data, results, item_s)
        if len(data) < WORTH_IT * plan.n_jobs or plan.predicted_s is None:
            results.extend(start(func, data, plan.chunksize).get())
            return True
        return pool_while(
            lambda items, chunksize: start(func, items, chunksize),
            data,
            results,
            workers=plan.n_jobs,
            chunksize=plan.chunksize,
            item_s=item_s,
            total_s=plan.predicted_s,
            start_s=plan.breakdown.start_s,
        )

    def mapped(self, results: list[Any]) -> None:
        """Note that the map has returned."""
        self._stop()
        self.n_items = len(results)
        self._tell()

    def other(self) -> None:
        """Note a use of the pool other than ``map``: no row is left."""
        self.is_incomparable = True

    def leaving(self) -> None:
        """Note that the ``with`` block has ended."""
        self.began = perf_counter()

    def left(self, well: bool) -> None:
        """Note that the pool is closed; ``well`` is True if nothing was raised. Leave the row."""
        self._stop()
        history = self.pool_watch.history
        if well and self._tell() and self.n_items and history is not None:
            history.record(self._row(self.n_items))

    def _tell(self) -> bool:
        """Tell the plan what it has taken so far; return False if that cannot be compared with its forecast."""
        is_comparable = not self.is_incomparable and self.maps == 1 and self.n_items is not None
        self.plan.ran(self.spent_s if is_comparable else None)
        return is_comparable

    def _stop(self) -> None:
        self.spent_s += perf_counter() - self.began

    def _row(self, n_items: int) -> Run:
        from amorsize.learn.parts import shares

        plan, clock_s = self.plan, self.spent_s
        extra: dict[str, Any] = {"parts": shares(plan.breakdown)}
        # After trials the forecast is measured, not the model's.
        if plan.trials:
            extra["tuned"] = True
        if plan.model_s is not None:
            extra["pruned_s"] = plan.predicted_s
            extra["pruned_interval_s"] = plan.predicted_interval_s
        if plan.known_runs:
            from amorsize.history.agreement import surprised

            extra["known"] = plan.known_runs
            off = plan.predicted_s is not None and surprised(plan.predicted_s, clock_s, plan.predicted_interval_s)
            if off or self.surprised:
                extra["surprise"] = True
        return Run.of_call(
            self.pool_watch.func,
            self.pool_watch.shape,
            n_items,
            clock_s,
            source="optimize",
            backend=plan.backend,
            n_jobs=plan.n_jobs,
            chunksize=plan.chunksize,
            start_method=plan.start_method,
            predicted_s=plan.predicted_s if plan.model_s is None else plan.model_s,
            predicted_interval_s=plan.predicted_interval_s if plan.model_s is None else None,
            serial_s=plan.serial_s,
            sample=plan.sample,
            machine=plan.machine,
            extra=extra,
        )


def sequence(data: Iterable[Any]) -> bool:
    """Return True if data is of a kind that `shape_of` inspects."""
    return type(data) in (list, tuple, range)
