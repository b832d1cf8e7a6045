"""Arrays: many tiny calls, small and middling ones, and large ones both ways."""

from __future__ import annotations

from benchmarks import functions
from benchmarks.workloads.registry import Task, register


@register(
    "tiny numpy calls", "350 items of 2,100 calls each: the lock is let go of too briefly for another thread", "arrays"
)
def tiny_calls() -> Task:
    return functions.tiny_calls, list(range(350))


@register("BLAS on 8×8 matrices", "400 items of small systems of equations: too small for BLAS's own threads", "arrays")
def tiny_solves() -> Task:
    return functions.tiny_solves, list(range(400))


@register(
    "array to array, 4 MB each",
    "80 items, large arguments and large results: the way costs more than the work",
    "arrays",
)
def both_ways() -> Task:
    import numpy as np

    return functions.roots, [np.arange(functions.ARRAY_LENGTH, dtype=float) + i for i in range(80)]


@register("sines of 100 kB arrays", "1,500 items: cheap to compute, not free to send, and without the lock", "arrays")
def middling() -> Task:
    import numpy as np

    return functions.sines, [np.arange(12_500, dtype=float) + i for i in range(1_500)]
