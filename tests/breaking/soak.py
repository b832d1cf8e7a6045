"""Thousands of calls in one process: descriptors, threads, children and memory stay what they were."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import modes
import psutil

import amorsize

from . import functions as fn
from . import harness
from .harness import demand

SETTLED = 300  # calls after which all is loaded, and what is cached has been cached
GROWTH = 1.15
GROWTH_BYTES = 16 << 20  # guess: an allocator's whims; a leak of 4 kB a call would show after 4,000 calls

_calls = 0
_settled_bytes = 0


def _one(rng: random.Random) -> None:
    n = rng.choice((0, 1, 10, 60))
    mode = rng.choice([modes.SERIAL, modes.AUTO, modes.THREADS, modes.THREADS, modes.EITHER, *modes.PROCESSES[:1] * 4])
    if rng.random() < 0.01:
        mode = modes.PROCESSES[-1]
    bad = rng.random() < 0.2 and n > 0
    func = fn.Scripted("", {}) if not bad else _refuse
    arguments: dict[str, Any] = {**mode.arguments, "on_error": "collect"}
    kind = rng.choice(("execute", "stream", "half", "async", "raise"))
    if kind == "execute":
        found = amorsize.execute(func, range(n), **arguments)
    elif kind == "async":
        found = asyncio.run(amorsize.execute_async(func, range(n), **arguments))
    elif kind == "raise":
        try:
            found = amorsize.execute(func, range(n), **mode.arguments)
        except fn.Refused:
            return
    else:
        results = amorsize.stream(func, iter(range(n)), **arguments)
        found = list(results) if kind == "stream" else [next(results) for _ in range(n // 2)]
        results.close()
    for item, one in enumerate(found):
        if bad and item % 7 == 3:
            demand(isinstance(one, amorsize.Failure), f"item {item}: {one!r}")
        else:
            demand(one == fn.plain(item), f"item {item}: {one!r}")


def _refuse(item: int) -> int:
    if item % 7 == 3:
        raise fn.Refused(item)
    return fn.plain(item)


def trial(seed: int, folder: str) -> None:
    global _calls, _settled_bytes
    _one(random.Random(seed))
    _calls += 1
    if _calls == SETTLED:
        _settled_bytes = psutil.Process().memory_info().rss
    elif _calls > SETTLED and _calls % 100 == 0:
        now = psutil.Process().memory_info().rss
        most = _settled_bytes * GROWTH + GROWTH_BYTES
        demand(now < most, f"{now >> 20} MB after {_calls} calls, {_settled_bytes >> 20} MB after {SETTLED}")


if __name__ == "__main__":
    harness.main("soak", runs=500)
