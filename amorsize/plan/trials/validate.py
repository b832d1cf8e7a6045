"""``validate()``: the plan, `execute()`, the plain loop and the usual rivals, in turns by the clock."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from amorsize.executor.calls import name_of
from amorsize.facts import WAITS
from amorsize.options import Request
from amorsize.plan.plan import Plan
from amorsize.plan.trials import ways as trial_runs
from amorsize.plan.trials.race import EXECUTE, LOOP, PLAN, Contender
from amorsize.plan.trials.same_results import alike
from amorsize.plan.trials.subset import Subset, planned_anew, portion_of
from amorsize.plan.trials.validation import Validation
from amorsize.plan.trials.ways import Way, no_pool
from amorsize.system import other_programs
from amorsize.system.clock import REAL, Clock

AIM: Final = 5  # rounds that should fit
SHARE: Final = 0.8  # of the time goes into rounds: a forecast may be too short, and sampling takes its part
FUTURE_S: Final = 30e-6  # what a future costs, at least: shorter items are nothing for an executor's map()
RIVALS: Final = ("pool", "threads")


def validate_request(
    request: Request,
    *,
    max_seconds: float,
    rounds: int | None = None,
    rivals: Sequence[str] = RIVALS,
    clock: Clock = REAL,
) -> Validation:
    """Carry out one call of ``validate``, all of whose arguments are valid."""
    began = clock.wall()
    before = other_programs.read()
    portion = portion_of(request, partial(affordable_items, SHARE * max_seconds / ((rounds or AIM) + 1)))
    entries = race(request, portion, rivals) if len(portion.items) else []
    if (first := next((way for _, way in entries if way is not None), None)) is not None:
        # Forecast and clock must see the same: items that have run before (files in the cache, say).
        trial_runs.timed(first)
        portion = planned_anew(request, portion)
        entries = race(request, portion, rivals)
    left_s = max_seconds - (clock.wall() - began)
    return Validation(
        func=name_of(request.func),
        n_used=len(portion.items),
        n_items=portion.n_items,
        plan=portion.plan,
        contenders=run_race(request, entries, left_s, rounds, clock),
        busy=other_programs.share_between(before, other_programs.read()),
        took_s=clock.wall() - began,
        warnings=portion.plan.warnings,
    )


def run_race(
    request: Request,
    contenders: Sequence[tuple[Contender, Way | None]],
    max_seconds: float,
    rounds: int | None,
    clock: Clock = REAL,
) -> tuple[Contender, ...]:
    """Run those who take part by turns; everyone, with what it took and whether its results were the first one's."""
    ways = [run for _, run in contenders if run is not None]
    same: dict[str, list[bool | None]] = {way.name: [] for way in ways}
    times: dict[str, list[float]] = {}
    if ways:
        trial_runs.warm_up(trial_runs.default_method(request.start_method) if "processes" in request.backends else None)
        took = trial_runs.interleaved(ways, max_seconds, rounds, Sameness(same), clock)
        times = {way.name: seconds for way, seconds in zip(ways, took, strict=True)}
    return tuple(
        replace(one, times_s=tuple(times.get(one.name, ())), same=_verdict(same.get(one.name, ())))
        for one, _ in contenders
    )


class Sameness:
    """Holds everyone's results against those of the very first run."""

    def __init__(self, same: dict[str, list[bool | None]]) -> None:
        self.same = same
        self.first: list[Any] | None = None
        self.first_name = ""
        self.varies = False  # the first one's own results do: nothing can be said of others'

    def __call__(self, way: Way, results: list[Any]) -> None:
        """Take in the results of one run."""
        if self.first is None:
            self.first, self.first_name = results, way.name
        answer = alike(self.first, results)
        if way.name == self.first_name and answer is False:
            self.varies = True
            for answers in self.same.values():
                answers[:] = [None] * len(answers)
        self.same[way.name].append(None if self.varies else answer)


def _verdict(answers: Sequence[bool | None]) -> bool | None:
    return None if not answers or None in answers else all(answers)


def affordable_items(round_s: float, plan: Plan) -> int:
    """How many items all contenders can run within a round of so many seconds."""
    sample = plan.sample
    if sample is None or sample.item_s <= 0:
        return sys.maxsize
    gains = max(1.0, plan.estimated_speedup or 1.0)
    threads_gain = gains if sample.waits > WAITS else 1.0
    loop, plan_and_execute_and_pool, threads = 1.0, 3 / gains, 1 / threads_gain
    per_item_s = sample.item_s * (loop + plan_and_execute_and_pool + threads)
    return max(LEAST, int((round_s - 3 * plan.breakdown.start_s) / per_item_s))


LEAST: Final = 2  # items: fewer are no map
# ------------------------------------------------------------------------------------------------------ who takes part


def race(request: Request, portion: Subset, rivals: Sequence[str]) -> list[tuple[Contender, Way | None]]:
    """Everyone who could take part, with a way to run it, or why it does not."""
    import concurrent.futures.thread  # noqa: F401  (loaded before the clock starts, as is the next one)
    import multiprocessing.pool  # noqa: F401

    found = [_loop(request, portion), _plan(request, portion), _execute(request, portion)]
    if "pool" in rivals:
        found.append(_pool(request, portion))
    if "threads" in rivals:
        found.append(_threads(request, portion))
    return [(one, None if one.why_not else way_of(one, run)) for one, run in found]


Run = Callable[[], list[Any]]
Entry = tuple[Contender, Run]


def way_of(one: Contender, run: Run) -> Way:
    """The way that a contender goes."""
    settle = run.settle if isinstance(run, trial_runs.PlanRun) else bool
    return Way(name=one.name, what=one.what, run=run, settle=settle)


def _loop(request: Request, portion: Subset) -> Entry:
    why_not = "func may not be called in this process" if request.backends == ("processes",) else None
    one = Contender(name=LOOP, what="a plain loop", why_not=why_not, allowed="serial" in request.backends)
    return one, partial(trial_runs.loop, request.func, portion.items, portion.index_of)


def _plan(request: Request, portion: Subset) -> Entry:
    way = trial_runs.way_of_plan(request, portion.plan, portion.items)
    return Contender(name=PLAN, what=way.what, why_not=trial_runs.not_runnable(portion.plan)), way.run


def _execute(request: Request, portion: Subset) -> Entry:
    return Contender(name=EXECUTE, what="execute()"), partial(trial_runs.executed, request, portion.items)


def _pool(request: Request, portion: Subset) -> Entry:
    workers, method = trial_runs.default_workers(request.max_workers), trial_runs.default_method(request.start_method)
    if "processes" not in request.backends:
        why_not: str | None = "backend= rules processes out"
    else:
        why_not = no_pool(portion.plan) or _too_large(portion.plan, workers)
    one = Contender(name="pool", what=f"multiprocessing.Pool({workers}) ({method})", why_not=why_not)
    return one, partial(trial_runs.default_pool, request.func, portion.items, workers, method)


def _too_large(plan: Plan, workers: int) -> str | None:
    """Why so many worker processes must not be started, if so."""
    refused = (f.refused for f in plan.alternatives if f.backend == "processes" and f.workers <= workers)
    return next((why for why in refused if why is not None), None)


def _threads(request: Request, portion: Subset) -> Entry:
    sample = portion.plan.sample
    why_not = None
    if "threads" not in request.backends:
        why_not = "backend= rules threads out"
    elif sample is None or sample.item_s < FUTURE_S:
        why_not = "the items are too short to be worth a future each"
    one = Contender(name="threads", what=f"ThreadPoolExecutor({request.max_workers or ''})", why_not=why_not)
    return one, partial(trial_runs.default_threads, request.func, portion.items, request.max_workers)
