"""The contenders of first calls: those of `benchmarks.rivals`, two more settings of ``Pool``, a run with its plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks import rivals

Contender = Callable[[rivals.Func, Iterable[Any], rivals.Facts], list[Any]]

LOOP, EXECUTE, OPTIMIZE_POOL = rivals.LOOP, rivals.EXECUTE, rivals.OPTIMIZE_POOL
RIVALS = ("Pool", "joblib loky", "mpire", "threads", "64 threads")
# Somebody who uses Pool could have picked these by hand: they compete with `optimize + Pool` only.
SETTINGS = ("Pool, chunks of 1", "Pool, a chunk each")
WITH_PLAN = "execute and its plan"


def pool_by_ones(func: rivals.Func, data: Iterable[Any], facts: rivals.Facts) -> list[Any]:
    import multiprocessing

    with multiprocessing.Pool() as workers:
        return workers.map(func, data, chunksize=1)


def pool_by_shares(func: rivals.Func, data: Iterable[Any], facts: rivals.Facts) -> list[Any]:
    import multiprocessing
    import os

    items, workers_n = list(data), os.cpu_count() or 1
    with multiprocessing.Pool() as workers:
        return workers.map(func, items, chunksize=-(-len(items) // workers_n))


def execute_with_plan(func: rivals.Func, data: Iterable[Any], facts: rivals.Facts) -> list[Any]:
    import amorsize

    results, plan = amorsize.execute(func, data, return_plan=True)
    facts["plan"] = plan
    return results


def by_name() -> dict[str, Contender]:
    """Return the contenders: the loop, the rivals, amorsize."""
    theirs = {name: rivals.by_name()[name].run for name in (LOOP, *RIVALS, EXECUTE, OPTIMIZE_POOL)}
    return theirs | dict(zip(SETTINGS, (pool_by_ones, pool_by_shares), strict=True)) | {WITH_PLAN: execute_with_plan}
