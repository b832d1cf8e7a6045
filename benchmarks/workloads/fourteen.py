"""The fourteen rows of the first comparison. Their names and their work stay, so that result files can be compared."""

from __future__ import annotations

import random

from benchmarks import functions
from benchmarks.workloads.files import longest_sources
from benchmarks.workloads.registry import Task, burn_for, register, scaled_to

N_ARRAYS = 120


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
    return functions.tokenise, longest_sources(150)
