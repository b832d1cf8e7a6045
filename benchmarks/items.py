"""How long each item takes, in a loop that does not compete: what the figures about a row rest on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.rivals import Func

GROUP_S = 2e-6  # the clock itself takes some 50 ns: shorter items are looked at in groups of about this length


def timed_items(func: Func, data: Iterable[Any], results: list[Any]) -> list[float]:
    """Run a loop that appends to ``results``; seconds of each item."""
    clock = time.perf_counter
    seconds = []
    for item in data:
        begin = clock()
        result = func(item)
        seconds.append(clock() - begin)
        results.append(result)
    return seconds


def undisturbed(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Each item's lesser time of two: what else ran on the machine only ever adds, and seldom to the same item twice.

    Examples
    --------
    >>> undisturbed([1.0, 9.0], [1.5, 2.0])
    [1.0, 2.0]
    """
    return np.minimum(first, second).tolist()


def variation(seconds: Sequence[float]) -> float:
    """Standard deviation of the items' times / their mean; of very short items: of neighbours taken together.

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
    """What a row's record says of its items: seconds, and how much they vary.

    ``first_call_s`` is what the first call takes beyond that in each turn: nothing, unless the workload forgets.
    """
    times = undisturbed(first, second)
    return {
        "mean_s": float(np.mean(times)),
        "longest_s": max(times),
        "first_s": times[0],
        "first_call_s": max(0.0, first[0] - times[0]) if forgets else 0.0,
        "variation": variation(times),
    }
