"""``validate()``: the plan, `execute()`, the plain loop and the usual rivals, timed in interleaved rounds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Final

from amorsize.backends.engines import facts_of
from amorsize.executor.calls import name_of
from amorsize.facts import WAITS
from amorsize.options import Request
from amorsize.plan.optimize import shown_safe
from amorsize.plan.plan import Plan
from amorsize.plan.trials import ways as trial_runs
from amorsize.plan.trials.race import EXECUTE, LOOP, PLAN, TASKS, Contender
from amorsize.plan.trials.same_results import same_results
from amorsize.plan.trials.subset import Subset, planned_anew, subset_of
from amorsize.plan.trials.validation import Validation
from amorsize.plan.trials.ways import Way, no_pool
from amorsize.system import other_programs
from amorsize.system.clock import REAL, Clock

# Rounds that should fit into the time.
# guess
AIM: Final = 5
# Share of the time for the rounds: a forecast may be too short, and sampling takes time.
# guess
SHARE: Final = 0.8
# Seconds that a future costs, at least: an executor's map() does not pay for shorter items.
# guess
FUTURE_S: Final = 30e-6
# Items, at least: fewer are no map.
LEAST: Final = 2
RIVALS: Final = ("pool", "threads")


def validate_request(
    request: Request,
    *,
    max_seconds: float,
    rounds: int | None = None,
    rivals: Sequence[str] = RIVALS,
    profile: str | None = None,
    clock: Clock = REAL,
) -> Validation:
    """Carry out one call of ``validate`` with checked arguments."""
    began = clock.wall()
    before = other_programs.read()
    afford = affordable_items if request.executor is None else partial(affordable_on_engine, request.executor)
    subset = subset_of(request, partial(afford, SHARE * max_seconds / ((rounds or AIM) + 1)))
    entries = race(request, subset, rivals) if len(subset.items) else []
    if (first := next((way for _, way in entries if way is not None), None)) is not None:
        # Forecast and measurement must see the same: items that have run before (files in the cache, say).
        trial_runs.timed(first)
        subset = planned_anew(request, subset)
        entries = race(request, subset, rivals)
    left_s = max_seconds - (clock.wall() - began)
    found = Validation(
        func=name_of(request.func),
        n_used=len(subset.items),
        n_items=subset.n_items,
        plan=subset.plan,
        contenders=run_race(request, entries, left_s, rounds, clock),
        busy=other_programs.share_between(before, other_programs.read()),
        took_s=clock.wall() - began,
        warnings=subset.plan.warnings,
    )
    return found if profile is None else _profiled(found, profile, request, subset)


def may_call(request: Request) -> bool:
    """Return True if func may be called in this process."""
    return request.backends not in (("processes",), ("executor",))


def _profiled(found: Validation, profile: str, request: Request, subset: Subset) -> Validation:
    """Return the validation with a profile of some items, made when all times have been taken."""
    if not may_call(request):
        return replace(found, warnings=(*found.warnings, "no profile: func may not be called in this process"))
    if not subset.items:
        return found
    from amorsize.plan.trials.profiling import profiled

    sample = subset.plan.sample
    item_s = sample.item_s if sample is not None else 0.0
    return replace(found, profile=profiled(profile, request.func, subset.items, item_s))


def run_race(
    request: Request,
    contenders: Sequence[tuple[Contender, Way | None]],
    max_seconds: float,
    rounds: int | None,
    clock: Clock = REAL,
) -> tuple[Contender, ...]:
    """Run the contenders in turns; return all of them with their times and the comparison of their results."""
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
    """Compares the results of each run with those of the very first run."""

    def __init__(self, same: dict[str, list[bool | None]]) -> None:
        self.same = same
        self.first: list[Any] | None = None
        self.first_name = ""
        # True if the first contender's own results differ from run to run: then no results can be compared.
        self.varies = False

    def __call__(self, way: Way, results: list[Any]) -> None:
        """Compare the results of one run."""
        if self.first is None:
            self.first, self.first_name = results, way.name
        answer = same_results(self.first, results)
        if way.name == self.first_name and answer is False:
            self.varies = True
            for answers in self.same.values():
                answers[:] = [None] * len(answers)
        self.same[way.name].append(None if self.varies else answer)


def _verdict(answers: Sequence[bool | None]) -> bool | None:
    return None if not answers or None in answers else all(answers)


def affordable_items(round_s: float, plan: Plan) -> int:
    """Return how many items all contenders can run within a round of ``round_s`` seconds."""
    sample = plan.sample
    if sample is None or sample.item_s <= 0:
        return sys.maxsize
    gains = max(1.0, plan.estimated_speedup or 1.0)
    threads_gain = gains if sample.waits > WAITS else 1.0
    loop, plan_and_execute_and_pool, threads = 1.0, 3 / gains, 1 / threads_gain
    per_item_s = sample.item_s * (loop + plan_and_execute_and_pool + threads)
    return max(LEAST, int((round_s - 3 * plan.breakdown.start_s) / per_item_s))


def affordable_on_engine(executor: Any, round_s: float, plan: Plan) -> int:
    """Return the same for contenders on the user's executor, one of which pays for a task with each item."""
    if plan.sample is None:
        return sys.maxsize
    facts, item_s = facts_of(executor, bool), plan.sample.item_s / plan.n_jobs
    per_item_s = 2 * (item_s + facts.per_task_s / plan.chunksize) + max(item_s, facts.per_task_s)
    return max(LEAST, int((round_s - 3 * facts.round_trip_s) / per_item_s))


# -- contenders ------------------------------------------------------------------------------------------------------


def race(request: Request, subset: Subset, rivals: Sequence[str]) -> list[tuple[Contender, Way | None]]:
    """Return all contenders, each with a way to run it, or None if it cannot run."""
    # Load both modules before the clock starts.
    import concurrent.futures.thread  # noqa: F401
    import multiprocessing.pool  # noqa: F401

    found = [_loop(request, subset), _plan(request, subset), _execute(request, subset)]
    if request.executor is not None:
        found.append(_tasks(request, subset))
        rivals = ()
    if "pool" in rivals:
        found.append(_pool(request, subset))
    if "threads" in rivals:
        found.append(_threads(request, subset))
    return [(one, None if one.why_not else way_of(one, run)) for one, run in found]


Run = Callable[[], list[Any]]
Entry = tuple[Contender, Run]


def way_of(one: Contender, run: Run) -> Way:
    """Return the way to run a contender."""
    settle = run.settle if isinstance(run, trial_runs.PlanRun) else bool
    return Way(name=one.name, what=one.what, run=run, settle=settle)


def _loop(request: Request, subset: Subset) -> Entry:
    why_not = None if may_call(request) else "func may not be called in this process"
    one = Contender(name=LOOP, what="a plain loop", why_not=why_not, allowed="serial" in request.backends)
    return one, partial(trial_runs.loop, request.func, subset.items, subset.index_of)


def _plan(request: Request, subset: Subset) -> Entry:
    way = trial_runs.way_of_plan(request, subset.plan, subset.items)
    return Contender(name=PLAN, what=way.what, why_not=trial_runs.not_runnable(subset.plan)), way.run


def _execute(request: Request, subset: Subset) -> Entry:
    return Contender(name=EXECUTE, what="execute()"), partial(trial_runs.executed, request, subset.items)


def _tasks(request: Request, subset: Subset) -> Entry:
    one = Contender(name=TASKS, what="one task for each item")
    return one, partial(trial_runs.on_engine, request, subset.items, 1)


def _pool(request: Request, subset: Subset) -> Entry:
    workers, method = trial_runs.default_workers(request.max_workers), trial_runs.default_method(request.start_method)
    if "processes" not in request.backends:
        why_not: str | None = "backend= rules processes out"
    else:
        why_not = no_pool(subset.plan) or _too_large(subset.plan, workers)
    one = Contender(name="pool", what=f"multiprocessing.Pool({workers}) ({method})", why_not=why_not)
    return one, partial(trial_runs.default_pool, request.func, subset.items, workers, method)


def _too_large(plan: Plan, workers: int) -> str | None:
    """Return the reason why so many worker processes must not be started; None if they may."""
    refused = (f.refused for f in plan.alternatives if f.backend == "processes" and f.workers <= workers)
    return next((why for why in refused if why is not None), None)


def _threads(request: Request, subset: Subset) -> Entry:
    sample = subset.plan.sample
    why_not = None
    if "threads" not in request.backends:
        why_not = "backend= rules threads out"
    elif sample is None or sample.item_s < FUTURE_S:
        why_not = "the items are too short to be worth a future each"
    else:
        why_not = shown_safe(request, None, list(islice(subset.items, 1)))[1] or trial_runs.no_threads()
    one = Contender(name="threads", what=f"ThreadPoolExecutor({request.max_workers or ''})", why_not=why_not)
    return one, partial(trial_runs.default_threads, request.func, subset.items, request.max_workers)
