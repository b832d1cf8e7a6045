"""Pure Python whose cost is spread in some awkward way over the data, or over the calls.

No item is a tuple: mpire would unpack it into several arguments.
"""

from __future__ import annotations

import functools
import random

from benchmarks import functions
from benchmarks.calibration import iterations
from benchmarks.workloads.registry import Task, burn_for, register, scaled_to, steps_for


@register("4 × 250 ms", "fewer items than a sample needs; the first alone is a quarter of all work", "costs")
def four() -> Task:
    return burn_for([250e-3] * 4)


@register("uniform, 0.5 to 1.5 ms", "600 items, light tails", "costs")
def uniform() -> Task:
    source = random.Random(3)
    return burn_for(scaled_to(0.6, [source.uniform(0.5, 1.5) for _ in range(600)]))


@register("5 % cost 60 times as much", "800 items, the dear ones anywhere: a small sample may miss them all", "costs")
def some_dear() -> Task:
    source = random.Random(5)
    return burn_for(scaled_to(0.7, [60.0 if source.random() < 0.05 else 1.0 for _ in range(800)]))


@register(
    "cost falls along the data", "300 items, the last costs nothing: a sample of the head is too pessimistic", "costs"
)
def falling() -> Task:
    return burn_for(scaled_to(0.8, [300.0 - i for i in range(300)]))


@register("cost jumps in the middle", "400 items, from the 200th on 20 times as dear", "costs")
def jumping() -> Task:
    return burn_for(scaled_to(0.8, [1.0] * 200 + [20.0] * 200))


@register("one giant at 70 %", "300 items, one of which is 15 % of all work", "costs")
def giant() -> Task:
    weights = [1.0] * 300
    weights[210] = 299 * 0.15 / 0.85
    return burn_for(scaled_to(0.9, weights))


@register(
    "dear first call",
    "150 ms to build a table in each process, then 250 × 2 ms",
    "costs",
    before_turn=functions.table.cache_clear,
)
def first_call() -> Task:
    return functools.partial(functions.look_up, iterations(0.15)), steps_for([2e-3] * 250)


@register("20,000 × 20 µs, no result", "a function called for what it does: it returns None", "costs")
def silent() -> Task:
    return functions.burn_silently, steps_for([20e-6] * 20_000)
