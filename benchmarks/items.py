"""Times of single items, in a loop that does not compete. The figures about a row rest on them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.rivals import Func

GROUP_S = 2e-6  # the clock itself takes some 50 ns: shorter items are looked at in groups of about this length


def timed_items(func: Func, data: Iterable[Any], results: list[Any]) -> list[float]:
    """Run a loop that appends to ``results``; return the seconds of each item."""
    clock = time.perf_counter
    seconds = []
    for item in data:
        begin = clock()
        result = func(item)
        seconds.append(clock() - begin)
        results.append(result)
    return seconds


def undisturbed(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Return the lesser of two times of each item: other load only adds, and seldom to the same item twice.

    Examples
    --------
    >>> undisturbed([1.0, 9.0], [1.5, 2.0])
    [1.0, 2.0]
    """
    return np.minimum(first, second).tolist()


def variation(seconds: Sequence[float]) -> float:
    """Return the standard deviation of the items' times over their mean; very short neighbours are taken together.

    Examples
    --------
    >>> variation([1.0, 1.0, 4.0])
    0.707...
    """
    times = np.asarray(seconds, dtype=float)
    mean = float(times.mean())
    if not mean:
        return 0.0
    group = min(len(times), math.ceil(GROUP_S / mean))
    if group > 1:
        times = times[: len(times) // group * group].reshape(-1, group).mean(axis=1)
    return float(times.std() / times.mean())


def item_facts(first: Sequence[float], second: Sequence[float], *, forgets: bool = False) -> dict[str, Any]:
    """Return the facts of a row's items: their seconds and variation.

    ``first_call_s`` is the extra time of the first call in each turn: 0, unless the workload resets its state.
    """
    times = undisturbed(first, second)
    return {
        "mean_s": float(np.mean(times)),
        "longest_s": max(times),
        "first_s": times[0],
        "first_call_s": max(0.0, first[0] - times[0]) if forgets else 0.0,
        "variation": variation(times),
    }
