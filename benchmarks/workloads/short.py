"""Maps of some milliseconds, less than the start of a pool: here a parallel run can only lose."""

from __future__ import annotations

from benchmarks.workloads.registry import Task, burn_for, register


@register("1 ms in all", "100 × 10 µs", "short")
def one() -> Task:
    return burn_for([10e-6] * 100)


@register("5 ms in all", "50 × 0.1 ms", "short")
def five() -> Task:
    return burn_for([0.1e-3] * 50)


@register("20 ms in all", "200 × 0.1 ms", "short")
def twenty() -> Task:
    return burn_for([0.1e-3] * 200)


@register("50 ms in all", "500 × 0.1 ms: here a bare fork may begin to pay", "short")
def fifty() -> Task:
    return burn_for([0.1e-3] * 500)
