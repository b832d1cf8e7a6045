"""The plan of a run of ``execute()``: the choice, its forecast, and the items that took most time and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amorsize.backends.driver import items_of
from amorsize.facts import Breakdown, Forecast
from amorsize.frozen import replace
from amorsize.plan.plan import Plan
from amorsize.plan.plan_text import reason
from amorsize.system.machine import lately
from amorsize.system.start_methods import share_of

if TYPE_CHECKING:
    from amorsize.run.execute import Execution


def plan_of(execution: Execution) -> Plan:
    """Return the plan that a run of ``execute`` carried out."""
    request, summary = execution.request, execution.summary
    here = summary.machine or share_of(lately())
    sample = summary.sample or execution.decider.sample()
    n = summary.n_items
    serial_s = summary.serial_s
    serial = _as_forecast(serial_s, n)
    before = summary.loop_s if summary.go is not None else 0.0
    best = _later(summary.go, before) if summary.go is not None else serial
    others = [_later(f, before) for f in summary.alternatives if f.backend != "serial"]
    if summary.go is not None and not summary.unsampled and "serial" in request.backends:
        others = sorted([*others, serial], key=lambda f: f.total_s)
    asked = "an executor was" if request.executor is not None else "processes were"
    why = f"{asked} asked for, and func may not run here: nothing was sampled"
    return Plan(
        backend=best.backend,
        n_jobs=best.workers,
        chunksize=best.chunksize,
        start_method=best.start_method,
        estimated_speedup=None if summary.unsampled else serial_s / best.total_s if best.total_s > 0 else 1.0,
        serial_s=None if summary.unsampled else serial_s,
        predicted_s=None if summary.unsampled else best.total_s,
        predicted_interval_s=None if summary.unsampled else (best.low_s, best.high_s),
        reason=why if summary.unsampled else reason(best, serial, others, sample, True),
        warnings=tuple(summary.warnings),
        alternatives=tuple(others),
        breakdown=best.breakdown,
        data=request.data,
        sample=None if summary.unsampled else sample,
        machine=here,
        slowest=items_of(execution.state.records.slowest),
        hungriest=items_of(execution.state.records.hungriest),
    )


def _later(f: Forecast, before_s: float) -> Forecast:
    """Return a forecast of the whole run from one of the items left: add the seconds that the loop had spent."""
    return replace(
        f,
        total_s=f.total_s + before_s,
        low_s=f.low_s + before_s,
        high_s=f.high_s + before_s,
        breakdown=replace(f.breakdown, compute_s=f.breakdown.compute_s + before_s),
    )


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
