"""The oracle: fixed settings that somebody could have picked by hand, as many as one has patience for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from benchmarks.rivals import Facts, Func, Rival

MAX_CHUNKS = 20_000  # A Pool needs about 40 µs for each: more than this is never the best, and takes a second
CHUNKS_PER_WORKER = (1, 2, 4, 16, 64)
MAX_THREADS = 64


def usable_cores() -> int:
    """Hardware threads that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def powers_of_two(limit: int) -> list[int]:
    """2, 4, 8, … and the limit itself.

    Examples
    --------
    >>> powers_of_two(12)
    [2, 4, 8, 12]
    """
    below = [2**k for k in range(1, limit.bit_length()) if 2**k < limit]
    return [*below, limit] if limit > 1 else below


def chunksizes(n_items: int, workers: int) -> list[int]:
    """A few chunk sizes from one item each to one chunk per worker.

    Examples
    --------
    >>> chunksizes(100, 2)
    [1, 3, 12, 25, 50]
    """
    sizes = {max(1, n_items // (workers * chunks)) for chunks in CHUNKS_PER_WORKER} | {1}
    return sorted(size for size in sizes if n_items / size <= MAX_CHUNKS)


def pool_setting(workers: int, chunksize: int) -> Rival:
    def run(func: Func, data: Iterable[Any], facts: Facts) -> list[Any]:
        import multiprocessing

        with multiprocessing.Pool(workers) as pool:
            return pool.map(func, data, chunksize=chunksize)

    return Rival(f"grid: Pool({workers}), chunks of {chunksize}", run)


def thread_setting(workers: int, chunksize: int) -> Rival:
    def run(func: Func, data: Iterable[Any], facts: Facts) -> list[Any]:
        from multiprocessing.pool import ThreadPool

        with ThreadPool(workers) as pool:
            return pool.map(func, data, chunksize=chunksize)

    return Rival(f"grid: ThreadPool({workers}), chunks of {chunksize}", run)


def grid(n_items: int) -> list[Rival]:
    """All fixed settings for data of that length on this machine."""
    cores = usable_cores()
    processes = [
        pool_setting(p, c) for p in sorted({1, *powers_of_two(cores), 2 * cores}) for c in chunksizes(n_items, p)
    ]
    thread_counts = sorted({*powers_of_two(MAX_THREADS), cores} - {1})
    return processes + [thread_setting(p, c) for p in thread_counts for c in chunksizes(n_items, p)[:2]]
