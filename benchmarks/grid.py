"""The oracle's settings: the choices that a user could make by hand, as many as time allows."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.rivals import Facts, Func, Rival

GRID = "grid: "
MAX_CHUNKS = 20_000  # A Pool needs about 40 µs for each: more than this is never the best, and takes a second
ONE_EACH = 0  # "chunks per worker" of chunks of one item
# Likely ones first, since a row's time for the grid is limited.
POOL_CHUNKS = (4, 16, 1, 64, 2, ONE_EACH)
THREAD_CHUNKS = (ONE_EACH, 4)
THREADS = (64, 8, 32, 16, 4)
MOST_SETTINGS = 24  # and the loop


@dataclass(frozen=True, slots=True)
class Setting:
    """One fixed setting; ``chunks`` is the rule that its chunk size follows (chunks per worker)."""

    backend: Literal["Pool", "ThreadPool"]
    workers: int
    chunksize: int
    chunks: int

    @property
    def name(self) -> str:
        return f"{GRID}{self.backend}({self.workers}), chunks of {self.chunksize}"

    def rival(self) -> Rival:
        def run(func: Func, data: Iterable[Any], facts: Facts) -> list[Any]:
            import multiprocessing.pool

            opened: Any = multiprocessing.Pool if self.backend == "Pool" else multiprocessing.pool.ThreadPool
            with opened(self.workers) as workers:
                return list(workers.map(func, data, chunksize=self.chunksize))

        return Rival(self.name, run)


def usable_cores() -> int:
    """Return the number of hardware threads that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chunksize(n_items: int, workers: int, chunks: int) -> int:
    return 1 if chunks == ONE_EACH else max(1, n_items // (workers * chunks))


def of_backend(
    backend: Literal["Pool", "ThreadPool"], workers: Iterable[int], chunks: Iterable[int], n_items: int
) -> list[Setting]:
    """Return one backend's settings without repeats, likely ones first: by the sum of the ranks in both rules."""
    ranked = sorted(
        itertools.product(enumerate(dict.fromkeys(workers)), enumerate(chunks)), key=lambda c: c[0][0] + c[1][0]
    )
    found: dict[tuple[int, int], Setting] = {}
    for (_, p), (_, rule) in ranked:
        size = chunksize(n_items, p, rule)
        if n_items / size <= MAX_CHUNKS:
            found.setdefault((p, size), Setting(backend, p, size, rule))
    return list(found.values())


def settings(n_items: int, cores: int | None = None) -> list[Setting]:
    """Return fixed settings for data of that length on so many cores, likely ones first.

    Examples
    --------
    >>> [setting.name for setting in settings(100, cores=2)[:3]]
    ['grid: Pool(2), chunks of 12', 'grid: ThreadPool(2), chunks of 1', 'grid: Pool(2), chunks of 3']
    """
    cores = cores or usable_cores()
    processes = of_backend("Pool", [max(2, cores), 2 * cores], POOL_CHUNKS, n_items)
    threads = of_backend("ThreadPool", [max(2, cores), *THREADS], THREAD_CHUNKS, n_items)
    both = itertools.chain.from_iterable(itertools.zip_longest(processes, threads))
    return [setting for setting in both if setting is not None][:MOST_SETTINGS]
