"""The plan of a run of ``execute()``: the choice, its forecast, and the items that took most time and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amorsize.backends.driver import items_of
from amorsize.facts import WAITS, Breakdown, Forecast
from amorsize.formatting import count, seconds
from amorsize.frozen import replace
from amorsize.model.engine_forecast import most_that_pay
from amorsize.model.search import Basis
from amorsize.plan.plan import Plan
from amorsize.plan.plan_text import reason
from amorsize.run.run_summary import later
from amorsize.system.machine import lately
from amorsize.system.start_methods import share_of

if TYPE_CHECKING:
    from amorsize.backends.engines import Facts
    from amorsize.run.async_map import TaskRun
    from amorsize.run.execute import Execution


def plan_of(ran: Execution | TaskRun) -> Plan:
    """Return the plan that a run of ``execute`` carried out."""
    return _plan_of_tasks(ran) if ran.request.is_coroutine else _plan_of(ran)  # type: ignore[arg-type]


def _plan_of_tasks(run: TaskRun) -> Plan:
    """Return the plan of a coroutine function, for whose tasks nothing was forecast."""
    request, state, n_jobs = run.request, run.state, max(1, run.tasks.most)
    at_a_time = "one task at a time was" if n_jobs == 1 else f"{n_jobs} tasks at a time were"
    return Plan(
        backend="async",
        n_jobs=n_jobs,
        chunksize=1,
        reason=f"func is a coroutine function, so its items ran as tasks on the event loop: {at_a_time} the most",
        warnings=() if state.checkpoint is None else tuple(state.checkpoint.warnings.values()),
        data=request.data,
        machine=share_of(lately()),
        slowest=items_of(state.records.slowest),
        took_s=run.wall_s,
    )


def _plan_of(execution: Execution) -> Plan:
    request, summary, decider = execution.request, execution.deciding.summary, execution.deciding.decider
    here = summary.machine or share_of(lately())
    sample = summary.sample or decider.sample()
    n = summary.n_items
    serial_s = summary.serial_s
    serial = _as_forecast(serial_s, n)
    before = (summary.loop_s, summary.asked_s) if summary.go is not None else (0.0, 0.0)
    best, is_forecast = serial, False
    if summary.go is not None:
        best, is_forecast = later(summary.go, *before), not summary.unsampled or summary.is_foreseen
    elif decider.stayed is not None:
        # Of a loop that nothing was weighed against there is no forecast, only the clock.
        at_s, stayed = decider.stayed
        best = serial = replace(later(stayed, at_s, 0.0), chunksize=max(1, n))
        is_forecast = True
    others = [later(f, *before) for f in summary.alternatives if f.backend != "serial"]
    if summary.go is not None and not summary.unsampled and "serial" in request.backends:
        others = sorted([*others, serial], key=lambda f: f.total_s)
    choices, basis = decider.choices, None
    if choices is not None and is_forecast and n and not summary.is_foreseen:
        is_locked = sample.waits > WAITS and (decider.tried_in_vain() or summary.took_turns)
        allowed = summary.weighed(choices.backends)
        limits = {name: getattr(choices, name) for name in ("max_workers", "memory_limit_bytes", "caller_rss_bytes")}
        basis = Basis(
            sample=sample, costs=choices.costs, machine=here, n_items=n, shrinking=True, before_s=sum(before), **limits,
            backends=tuple(b for b in allowed if b != "threads") or allowed if is_locked else allowed,
            is_locked=is_locked,
        )  # fmt: skip
    asked = "an executor was" if request.executor is not None else "processes were"
    why = f"{asked} asked for, and func may not run here: nothing was sampled"
    told: list[str] = []
    if summary.is_foreseen and summary.engine is not None:
        told = engine_warnings(best, serial_s, sample.item_s, summary.engine)
    is_unknown = summary.unsampled and not summary.is_foreseen
    return Plan(
        backend=best.backend,
        n_jobs=best.workers,
        chunksize=best.chunksize,
        start_method=best.start_method,
        estimated_speedup=None if is_unknown else serial_s / best.total_s if best.total_s > 0 else 1.0,
        serial_s=None if is_unknown else serial_s,
        predicted_s=best.total_s if is_forecast else None,
        predicted_interval_s=(best.low_s, best.high_s) if is_forecast else None,
        reason=why if is_unknown else reason(best, serial, others, sample, True),
        warnings=(*summary.warnings, *told),
        alternatives=tuple(others),
        breakdown=best.breakdown,
        data=request.data,
        sample=None if is_unknown else sample,
        machine=here,
        slowest=items_of(execution.state.records.slowest),
        hungriest=items_of(execution.state.records.hungriest),
        took_s=summary.wall_s,
        workers_ready_s=summary.ran.ready_s if summary.ran is not None else None,
        withdrawn=summary.withdrawn(),
        basis=basis,
    )


def engine_warnings(best: Forecast, serial_s: float, item_s: float, engine: Facts) -> list[str]:
    """Return what a plan says of an engine that gains nothing, or has more places than one caller can keep busy."""
    told = []
    if best.total_s >= serial_s:
        told.append(
            f"a plain loop on one of the engine's cores would take {seconds(serial_s)}, no longer than the engine: "
            f"a task costs {seconds(engine.per_task_s)}, and its answer takes {seconds(engine.round_trip_s)}"
        )
    most = most_that_pay(item_s, best.chunksize, engine.per_task_s)
    if most < best.workers:
        told.append(f"more than {count(most, 'worker')} would not pay: the caller cannot hand out tasks faster")
    return told


def _as_forecast(total_s: float, n: int) -> Forecast:
    return Forecast(
        backend="serial",
        workers=1,
        chunksize=max(1, n),
        start_method=None,
        total_s=total_s,
        low_s=total_s,
        high_s=total_s,
        breakdown=Breakdown(compute_s=total_s),
    )
