"""Iterators as data: they can be read once only, and sampled at their head only."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import functions
from benchmarks.calibration import iterations
from benchmarks.workloads.registry import Task, register, steps_for


@register("generator, 20,000 × 20 µs", "nobody knows how many items will come", "generators")
def quick() -> Task:
    steps = steps_for([20e-6] * 20_000)
    return functions.burn, lambda: iter(steps)


@register(
    "generator that costs a third",
    "400 items of 1 ms, 0.5 ms to produce each: what is made in the caller stays there",
    "generators",
)
def slow() -> Task:
    making, working = iterations(0.5e-3), iterations(1e-3)

    def items() -> Iterator[int]:
        for i in range(400):
            yield working + functions.burn(making + i % 3) % 3

    return functions.burn, items
