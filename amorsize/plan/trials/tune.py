"""``tune()``: the model selects a few candidates, trials decide among them (`amorsize.plan.trials.halving`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from itertools import chain, islice
from math import exp, hypot, log
from typing import Any, Final

from amorsize.backends.engines import facts_of
from amorsize.backends.workers.native_threads import native_threads
from amorsize.facts import OWN_THREADS, Breakdown, Costs, Forecast, Machine, Sample, Trial
from amorsize.formatting import count, seconds
from amorsize.frozen import replace
from amorsize.history.history import History
from amorsize.history.run_row import Run
from amorsize.history.shape import shape_of
from amorsize.learn.parts import engine_of, shares
from amorsize.model.cost import forecast
from amorsize.model.engine_forecast import forecast as engine_forecast
from amorsize.model.intervals import NOISE, Z_80
from amorsize.model.memory_limit import refusal
from amorsize.model.search import chunk_sizes, worker_counts
from amorsize.model.statistics import NOTICEABLE
from amorsize.options import Request
from amorsize.plan.optimize import known_costs, shown_safe
from amorsize.plan.past_runs import past_runs, pruner_for
from amorsize.plan.plan import Plan
from amorsize.plan.plan_text import describe
from amorsize.plan.pool_watch import PoolWatch
from amorsize.plan.trials import ways
from amorsize.plan.trials.halving import SHARE, Halving, cut, shortlist
from amorsize.plan.trials.subset import Subset, planned_anew, read, spread_items
from amorsize.plan.trials.ways import Way
from amorsize.system.clock import REAL, Clock
from amorsize.system.memory import forked_bytes
from amorsize.system.start_methods import resolve_start_method

# Share of the time that a first run of all items may take.
# guess
WARM_SHARE: Final = 0.125
# Share of the time that a loop over the items read of an iterator may take.
# guess
READ_SHARE: Final = 0.5
# Relative difference of two runs of a pool.
# guess
RUN_NOISE: Final = 1.5 * NOISE
# Relative error, at least, of a total scaled from a slice of next to no items.
# guess
UNSEEN_NOISE: Final = 0.06


def tune_request(request: Request, *, max_seconds: float, clock: Clock = REAL) -> Plan:
    """Carry out one call of ``tune`` with checked arguments."""
    plan = _tuned(request, max_seconds, clock)
    return replace(plan, pool_watch=PoolWatch(request.func, shape_of(plan.data), None, list))


def _tuned(request: Request, max_seconds: float, clock: Clock) -> Plan:
    began = clock.wall()
    subset = read(request, partial(_readable, READ_SHARE * max_seconds))
    plan = subset.plan
    if plan.sample is None or plan.machine is None:  # there are no items
        return plan
    if not plan.sample.n_sampled:
        return _untried(subset, "nothing could be sampled, so nothing was tried")
    if plan.predicted_s is not None and plan.predicted_s <= WARM_SHARE * max_seconds and not ways.not_runnable(plan):
        # Without this run, the first trial of a slice would fill the caches for the others.
        ways.timed(ways.way_of_plan(request, plan, subset.items))
        subset = planned_anew(request, subset)
    request, why = shown_safe(request, None, list(islice(subset.items, 1)))
    if why is not None and not any("safe in threads" in said for said in subset.plan.warnings):
        subset = replace(subset, plan=replace(subset.plan, warnings=(*subset.plan.warnings, why)))
    field = Field(request, subset) if request.executor is None else EngineField(request, subset)
    if not field.candidates:
        return _untried(subset, "no candidate could run, so nothing was tried")
    contest = Contest(request, field, clock)
    contest.hold(began + max_seconds)
    return contest.plan(subset)


def _readable(loop_s: float, plan: Plan) -> int:
    item_s = plan.sample.item_s if plan.sample is not None else 0.0
    return max(1, int(loop_s / item_s)) if item_s > 0 else sys.maxsize


def _untried(subset: Subset, why: str) -> Plan:
    return _with_all_data(replace(subset.plan, warnings=(*subset.plan.warnings, why)), subset)


def _with_all_data(plan: Plan, subset: Subset) -> Plan:
    """Return the plan for all of the user's data; without forecast if the number of items is unknown."""
    if subset.rest is None:
        return plan
    return replace(
        plan,
        data=chain(subset.items, subset.rest),
        predicted_s=None,
        predicted_interval_s=None,
        serial_s=None,
        estimated_speedup=None,
    )


class Field:
    """The candidates and their forecasts.

    Attributes
    ----------
    grid : list of Forecast
        All settings that could be tried.
    candidates : list of Forecast
        The settings worth a trial.
    """

    def __init__(self, request: Request, subset: Subset) -> None:
        plan = subset.plan
        assert plan.sample is not None
        assert plan.machine is not None
        self.request = request
        self.sample: Sample = plan.sample
        self.machine: Machine = plan.machine
        self.items, self.n = subset.items, len(subset.items)
        method = None
        if "processes" in request.backends:
            method = plan.start_method or resolve_start_method(request.start_method)[0]
        self.costs: Costs = known_costs(request, self.sample, self.machine, method, self.n, [])
        self.caller_rss_bytes = forked_bytes()
        self.grid = self._grid(request)
        self.pruner = pruner_for(
            request, past_runs(request, self.machine), self.sample, self.costs, self.machine, self.n
        )
        self.candidates = self._shortlist()

    def _grid(self, request: Request) -> list[Forecast]:
        found = []
        for backend in request.backends:
            cost = {"threads": self.costs.threads, "processes": self.costs.processes}.get(backend)
            for workers in worker_counts(self.sample, self.machine, backend, self.n, request.most_workers):
                for chunksize in chunk_sizes(self.sample, backend, workers, self.n, shrinking=False):
                    one = self._forecast(backend, workers, chunksize, self.n)
                    why = refusal(one, self.sample, cost, self.machine, request.memory_limit_bytes)
                    found.append(replace(one, refused=why))
        return found

    def _shortlist(self) -> list[Forecast]:
        """Return the model's candidates; where past runs correct the model, the trials are half as many."""
        corrected = [self.corrected(one) for one in self.grid]
        if all(new is one for new, one in zip(corrected, self.grid, strict=True)):
            return shortlist(self.grid)
        models = {id(new): one for new, one in zip(corrected, self.grid, strict=True)}
        return [models[id(new)] for new in shortlist(corrected, share=SHARE / 2)]

    def corrected(self, one: Forecast) -> Forecast:
        """Return a forecast of the model, corrected by past runs."""
        if self.pruner is None:
            return one
        return self.pruner.correct(one, engine_of(one.backend), self.sample.n_sampled)

    def expect(self, candidate: int, items: int) -> Forecast:
        """Return the model's forecast of a candidate for a number of items."""
        one = self.candidates[candidate]
        if items >= self.n:
            return one
        return self._forecast(one.backend, one.workers, cut(one, items, self.n).chunksize, items)

    def _forecast(self, backend: Any, workers: int, chunksize: int, items: int) -> Forecast:
        return forecast(
            self.sample,
            self.costs,
            self.machine,
            backend,
            workers,
            chunksize,
            n_items=items,
            caller_rss_bytes=self.caller_rss_bytes,
        )

    def native_threads(self, one: Forecast) -> int | None:
        """Return the cap on the native threads of each worker, for a function that starts threads of its own."""
        runs_threads = one.backend == "processes" and self.sample.own_threads > OWN_THREADS
        return native_threads(runs_threads, self.machine.usable_cores, one.workers)

    def way(self, one: Forecast, items: Sequence[Any], what: str) -> Way:
        """Return the way to run items as one candidate, which ``what`` describes."""
        how = (one.backend, one.workers, one.chunksize, one.start_method, self.native_threads(one))
        run = ways.PlanRun(self.request.func, items, *how, func_bytes=self.sample.func_bytes)
        return Way(name="trial", what=what, run=run, settle=run.settle)


class EngineField(Field):
    """The candidates on the user's executor: sizes of its tasks, at all of its places."""

    def __init__(self, request: Request, subset: Subset) -> None:
        plan = subset.plan
        assert plan.sample is not None
        assert plan.machine is not None
        self.request, self.sample, self.machine = request, plan.sample, plan.machine
        self.items, self.n = subset.items, len(subset.items)
        self.facts = facts_of(request.executor, lambda: None)
        self.costs, self.pruner = Costs(), None
        sizes = chunk_sizes(self.sample, "executor", plan.n_jobs, self.n, shrinking=False)
        self.grid = [self._forecast("executor", plan.n_jobs, size, self.n) for size in sizes]
        self.candidates = shortlist(self.grid)

    def _forecast(self, backend: Any, workers: int, chunksize: int, items: int) -> Forecast:
        return engine_forecast(
            elapsed_s=0.0,
            left=items,
            places=workers,
            item_s=self.sample.item_s,
            item_std_s=self.sample.item_std_s,
            seen=self.sample.n_sampled,
            per_task_s=self.facts.per_task_s,
            round_trip_s=self.facts.round_trip_s,
            item_bytes=self.sample.arg_bytes + self.sample.result_bytes,
            bytes_per_s=self.facts.bytes_per_s,
            chunk=chunksize,
            apart=True,
        )

    def way(self, one: Forecast, items: Sequence[Any], what: str) -> Way:
        """Return the way to run items in tasks of one size."""
        return Way(name="trial", what=what, run=partial(ways.on_engine, self.request, items, one.chunksize))


class Contest:
    """Runs the trials and makes a plan of their times."""

    def __init__(self, request: Request, field: Field, clock: Clock) -> None:
        self.request, self.field, self.clock = request, field, clock
        self.history = History() if request.history is None else request.history
        self.halving = Halving(
            len(field.candidates), field.n, lambda number, items: field.expect(number, items).total_s
        )
        self.trials: list[Trial] = []

    def hold(self, until: float) -> None:
        """Run one rung after the other, until the search is decided or the time ``until`` is reached."""
        import multiprocessing.pool  # noqa: F401  (loaded before the clock starts)

        processes = self.field.costs.processes
        ways.warm_up(processes.start_method if processes is not None else None)
        while (rung := self.halving.next(until - self.clock.wall())) is not None:
            items: Any = self.field.items
            if rung.items < self.field.n:
                items = spread_items(items, rung.items)
            for number in rung.candidates:
                self._try(number, items, rung.number)

    def _try(self, number: int, items: Sequence[Any], rung: int) -> None:
        field = self.field
        whole, one = field.candidates[number], field.expect(number, len(items))
        took_s = ways.timed(field.way(one, items, describe(whole)), self.clock)[1]
        self._record(one, items, took_s)
        self.trials.append(
            Trial(
                backend=whole.backend,
                workers=whole.workers,
                chunksize=whole.chunksize,
                items=len(items),
                seconds=took_s,
                forecast_s=one.total_s,
                total_s=self.halving.saw(number, took_s),
                rung=rung,
            )
        )

    def _record(self, one: Forecast, items: Sequence[Any], took_s: float) -> None:
        """Record the trial in the history."""
        if not self.history.is_on:
            return
        field, pruned = self.field, self.field.corrected(one)
        self.history.record(
            Run.of_call(
                self.request.func,
                shape_of(items),
                len(items),
                took_s,
                forecast=one,
                source="tune",
                serial_s=field.sample.item_s * len(items),
                sample=field.sample,
                machine=field.machine,
                extra={"pruned_s": None if pruned is one else pruned.total_s, "parts": shares(one.breakdown)},
            )
        )

    # -- the plan ------------------------------------------------------------------------------------------------

    def plan(self, subset: Subset) -> Plan:
        """Return the plan of the fastest candidate."""
        best = self._best()
        found = self._measured(best)
        chosen = found.pop(best)
        loop = next((f for f in [chosen, *found.values()] if f.backend == "serial"), None)
        serial_s = loop.total_s if loop is not None else subset.plan.serial_s
        speedup = serial_s / chosen.total_s if serial_s is not None and chosen.total_s > 0 else 1.0
        plan = replace(
            subset.plan,
            backend=chosen.backend,
            n_jobs=chosen.workers,
            chunksize=chosen.chunksize,
            start_method=chosen.start_method,
            estimated_speedup=speedup,
            serial_s=serial_s,
            predicted_s=chosen.total_s,
            predicted_interval_s=(chosen.low_s, chosen.high_s),
            model_s=None,
            reason=self._reason(chosen, speedup),
            alternatives=tuple(sorted(found.values(), key=lambda f: f.total_s)),
            breakdown=chosen.breakdown,
            native_threads=self.field.native_threads(chosen),
            trials=tuple(self.trials),
        )
        return _with_all_data(plan, subset)

    def _best(self) -> int:
        """Return the fastest candidate, or the loop if it is not noticeably slower."""
        best, totals = self.halving.best, self.halving.totals
        loop = next((number for number in totals if self.field.candidates[number].backend == "serial"), best)
        return loop if totals[loop] <= totals[best] * (1 + NOTICEABLE) else best

    def _measured(self, best: int) -> dict[int, Forecast]:
        """Return the forecasts of all candidates tried, with measured totals in place of the model's."""
        history = self.halving.history
        ours = history[best]
        found = {}
        for number, readings in history.items():
            one, total = self.field.candidates[number], readings[-1]
            if one.backend != "serial" and len(readings) < len(ours):
                # Later rungs showed how much too short the best one's reading on this slice was: assume the same here.
                total *= max(1.0, ours[-1] / ours[len(readings) - 1])
            before = readings[-2] if len(readings) > 1 else None
            found[number] = measured(
                one, total, spread(self.halving.lengths[len(readings) - 1] / self.field.n, total, before)
            )
        return found

    def _reason(self, chosen: Forecast, speedup: float) -> str:
        item = f"an item takes {seconds(self.field.sample.item_s)}"
        after = f"after {count(len(self.trials), 'trial')} of {count(len(self.halving.history), 'candidate')}"
        if chosen.backend == "serial":
            return f"{item}, and nothing was noticeably faster than a plain loop, {after}"
        gain = f"{speedup:.1f} times as fast as the loop"
        took = "took" if self.halving.items == self.field.n else "should take"
        return f"{item}: {describe(chosen)} {took} {seconds(chosen.total_s)} in all, {gain}, {after}"


def spread(share: float, total_s: float, before_s: float | None) -> float:
    """Return the relative uncertainty of a total scaled from a slice.

    Parameters
    ----------
    share : float
        Share of the items in the longest slice.
    total_s, before_s : float
        Seconds for all items, scaled from the longest slice and from the slice before it.

    Examples
    --------
    >>> round(spread(1.0, 2.0, 1.0), 3), round(spread(0.5, 2.0, 1.0), 3)
    (0.12, 0.367)
    """
    moved = abs(log(total_s / before_s)) if before_s and total_s > 0 else 0.0
    return hypot(RUN_NOISE, (1 - share) * max(UNSEEN_NOISE, moved))


def measured(one: Forecast, total_s: float, wide: float) -> Forecast:
    """Return a forecast with the measured total in place of the model's; its parts keep their shares."""
    factor = total_s / one.total_s if one.total_s > 0 else 1.0
    parts = {name: getattr(one.breakdown, name) * factor for name in Breakdown.__dataclass_fields__}
    return replace(
        one,
        total_s=total_s,
        low_s=total_s * exp(-Z_80 * wide),
        high_s=total_s * exp(Z_80 * wide),
        breakdown=Breakdown(**parts),
    )
