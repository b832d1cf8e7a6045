"""The rows of the comparison: functions and data as people map them.

A workload's data is made in the process that measures it, by ``make()``. CPU work of t seconds is a number of loop
steps, carried by the item itself (`benchmarks.calibration`). Items differ a little from one to the next even where
their cost does not, so that results in a wrong order cannot pass for right ones.
"""

from __future__ import annotations

import random
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import functions
from benchmarks.calibration import iterations

Task = tuple[Callable[[Any], Any], list[Any]]

N_ARRAYS = 120
NOT_PLAIN_SOURCE = {"test", "tests", "site-packages", "lib2to3", "idlelib", "__pycache__"}


@dataclass(frozen=True, slots=True)
class Workload:
    """One row: what is mapped over what.

    Attributes
    ----------
    name : str
        Unique; the row's name in tables and result files.
    make : callable
        Returns ``(func, data)``; data is a list.
    note : str
        What the row stands for, and why it is hard.
    tags : tuple of str
        ``"table"``: the rows every result file has.
    """

    name: str
    make: Callable[[], Task]
    note: str
    tags: tuple[str, ...] = ("table",)


REGISTRY: dict[str, Workload] = {}


def register(name: str, note: str, *tags: str) -> Callable[[Callable[[], Task]], Callable[[], Task]]:
    """Add a row to the registry; the decorated function makes its task."""

    def add(make: Callable[[], Task]) -> Callable[[], Task]:
        if name in REGISTRY:
            raise ValueError(f"two workloads are named {name!r}")
        REGISTRY[name] = Workload(name, make, note, tags or ("table",))
        return make

    return add


def tagged(tag: str) -> list[Workload]:
    """All rows with that tag, in the order in which they were registered."""
    return [workload for workload in REGISTRY.values() if tag in workload.tags]


def burn_for(seconds: Iterable[float]) -> Task:
    """CPU work of these durations; up to two steps more tell neighbours apart."""
    return functions.burn, [iterations(s) + i % 3 for i, s in enumerate(seconds)]


def scaled_to(total_s: float, weights: list[float]) -> list[float]:
    """Durations in proportion to the weights that add up to ``total_s``."""
    factor = total_s / sum(weights)
    return [weight * factor for weight in weights]


@register("200,000 × x*x", "nothing to gain: any worker costs more than the whole loop")
def tiny() -> Task:
    return functions.square, list(range(200_000))


@register("150,000 × 10 µs", "pays only in large chunks: one item costs less than handing it over")
def small() -> Task:
    return burn_for([10e-6] * 150_000)


@register("2,000 × 1 ms", "the comfortable middle")
def middling() -> Task:
    return burn_for([1e-3] * 2_000)


@register("50 × 50 ms", "few items, long enough that one in the wrong chunk shows")
def long() -> Task:
    return burn_for([50e-3] * 50)


@register("7 × 300 ms", "fewer items than a sample would like; an odd one is left over")
def few() -> Task:
    return burn_for([300e-3] * 7)


@register("log-normal, heavy tail", "400 items, sigma 1.5: the longest, near the end, is 7 % of all work")
def heavy_tail() -> Task:
    source = random.Random(7)
    return burn_for(scaled_to(2.0, [source.lognormvariate(0.0, 1.5) for _ in range(400)]))


@register("cost rises along the data", "400 items, the first costs nothing: a sample of the head misleads")
def rising() -> Task:
    return burn_for(scaled_to(2.0, [i + 1.0 for i in range(400)]))


@register("100 × 0.1 ms", "over before a pool has started")
def brief() -> Task:
    return burn_for([0.1e-3] * 100)


@register("sum of 120 arrays of 4 MB", "large items, little work: sending them costs far more than summing them")
def sum_arrays() -> Task:
    import numpy as np

    return functions.total, [np.arange(functions.ARRAY_LENGTH, dtype=float) + i for i in range(N_ARRAYS)]


@register("make 120 arrays of 4 MB", "small items, large results: the way back is the cost")
def make_arrays() -> Task:
    return functions.make_array, list(range(N_ARRAYS))


@register("500 × wait 5 ms", "waiting, not computing: many threads win, and cores do not matter")
def waiting() -> Task:
    return functions.wait, [5e-3 + i * 1e-9 for i in range(500)]


@register("zlib, 120 × 400 kB", "releases the interpreter's lock: threads win without sending anything")
def zlib_blocks() -> Task:
    source = random.Random(1)
    lines = [
        f"2024-05-{source.randrange(28):02d}T12:00:00 INFO path=/items/{source.randrange(50)} id={source.random()}\n"
        for _ in range(8_000)
    ]
    blocks = []
    for _ in range(N_ARRAYS):
        source.shuffle(lines)
        blocks.append("".join(lines).encode()[:400_000])
    return functions.compress, blocks


@register("400×400 matmul", "BLAS runs its own threads inside each item: workers on top fight over the cores")
def matmuls() -> Task:
    return functions.matmul, list(range(160))


@register("tokenise 150 files", "the longest files of the standard library: real work, real spread")
def tokenise_files() -> Task:
    library = Path(sysconfig.get_path("stdlib"))
    files = [
        path for path in library.rglob("*.py") if not NOT_PLAIN_SOURCE.intersection(path.relative_to(library).parts)
    ]
    longest = sorted(files, key=lambda path: (-path.stat().st_size, str(path)))[:150]
    return functions.tokenise, sorted(str(path) for path in longest)
