"""Who notes what a plan's own pool took: one row of history for a map over the plan's data.

Seconds are those of opening the pool, of the map, and of leaving: what a user does between these is no part of it. Only
what can be compared with the forecast leaves a row: exactly one ``map`` of the plan's function over the plan's data, in
the plan's chunks, in a ``with`` block that ended well.

A plan that comes from history has seen no item of this data. So its map is held against it from the first chunks on
(`amorsize.plan.watched_map`), and as soon as items take much longer than promised, what is left goes to whoever can run
it in another way (`Finish`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from amorsize.history.agreement import surprised
from amorsize.history.history import History
from amorsize.history.this_process import Shape, shape_of
from amorsize.learn.features import shares
from amorsize.plan.record import PlanRecord
from amorsize.plan.watched_map import WORTH_IT, Promise, loop_while, pool_while

Finish = Callable[[list[Any]], list[Any]]
"""Given the results of the first items of the data, runs the others: all results."""


@dataclass(frozen=True, slots=True)
class PoolWatch:
    """What there is to know of a plan besides the plan.

    Parameters
    ----------
    func : callable
    shape : Shape
        Of the data.
    history : History
        Where the row goes.
    finish : Finish
        Who runs what is left after a surprise.
    """

    func: Callable[..., Any]
    shape: Shape
    history: History
    finish: Finish

    @classmethod
    def of(cls, func: Callable[..., Any], data: object, history: History | None, finish: Finish) -> PoolWatch | None:
        """Return the watch; None where the history is off."""
        history = History() if history is None else history
        return cls(func, shape_of(data), history, finish) if history.is_on else None

    def watch(self, plan: PlanRecord) -> Watch:
        """Watch a pool that is about to be opened."""
        return Watch(self, plan)

    def __reduce__(self) -> Any:
        """A plan that goes to another process goes without: its function might not be able to."""
        return _nobody, ()


def _nobody() -> None:
    return None


class Watch:
    """Watches one pool (`amorsize.plan.pools` says what it is told, and when)."""

    def __init__(self, pool_watch: PoolWatch, plan: PlanRecord) -> None:
        self.pool_watch, self.plan = pool_watch, plan
        self.began = perf_counter()
        self.spent_s = 0.0
        self.maps = 0
        self.n_items: int | None = None
        self.spoilt = False
        self.surprised = False

    def opened(self) -> None:
        """The pool is there."""
        self._stop()

    def mapping(self, func: object, data: object, chunksize: int | None) -> None:
        """A map begins."""
        self.maps += 1
        theirs = func is not self.pool_watch.func or data is not self.plan.data
        self.spoilt = self.spoilt or theirs or chunksize not in (None, self.plan.chunksize)
        self.began = perf_counter()

    def run(
        self, run: Callable[..., list[Any]], start: Callable[..., Promise], func: Any, data: Any, chunksize: int | None
    ) -> list[Any]:
        """Carry it out by the pool's own map, or, where nobody has looked at an item yet, under watch."""
        if not self.plan.known_runs or self.spoilt or not sequence(data):
            return run(func, data, chunksize)
        results = run(func, (), None)  # raises if the pool is closed
        if not self._watched(start, func, data, results):
            self.surprised = True
            return self.pool_watch.finish(results)
        return results

    def _watched(self, start: Callable[..., Promise], func: Any, data: Any, results: list[Any]) -> bool:
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
        """It has ended well."""
        self._stop()
        self.n_items = len(results)

    def other(self) -> None:
        """The pool is used for something else."""
        self.spoilt = True

    def leaving(self) -> None:
        """The ``with`` block has ended."""
        self.began = perf_counter()

    def left(self, well: bool) -> None:
        """The pool has gone."""
        self._stop()
        if well and not self.spoilt and self.maps == 1 and self.n_items:
            self.pool_watch.history.record(self._row(self.n_items))

    def _stop(self) -> None:
        self.spent_s += perf_counter() - self.began

    def _row(self, n_items: int) -> dict[str, Any]:
        plan, clock_s = self.plan, self.spent_s
        row: dict[str, Any] = {
            "function": self.pool_watch.func,
            "source": "optimize",
            "shape": self.pool_watch.shape,
            "n_items": n_items,
            "backend": plan.backend,
            "n_jobs": plan.n_jobs,
            "chunksize": plan.chunksize,
            "start_method": plan.start_method,
            "predicted_s": plan.predicted_s,
            "predicted_interval_s": plan.predicted_interval_s,
            "parts": shares(plan.breakdown),
            "serial_s": plan.serial_s,
            "clock_s": clock_s,
            "sample": plan.sample,
            "machine": plan.machine,
        }
        if plan.trials:  # the forecast is not the model's, but the clock's
            row["tuned"] = True
        if plan.model_s is not None:
            row |= {"predicted_s": plan.model_s, "predicted_interval_s": None, "pruned_s": plan.predicted_s}
        if plan.known_runs:
            row["known"] = plan.known_runs
            off = plan.predicted_s is not None and surprised(plan.predicted_s, clock_s, plan.predicted_interval_s)
            if off or self.surprised:
                row["surprise"] = True
        return row


def sequence(data: Iterable[Any]) -> bool:
    """Whether data is of the kinds that `shape_of` looks into."""
    return type(data) in (list, tuple, range)
