"""Random maps under ``backend="auto"`` whose items wait or compute and sometimes fail: the clock alone decides.

The functions are safe in threads, so that all of the decider's steps happen: probes, trials of threads, the climb.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Collection
from typing import Any

import modes

import amorsize

from . import faults, harness, model
from . import functions as fn
from .harness import demand

ENTRIES = ("execute", "execute", "execute", "stream", "unordered", "async", "coroutines")
SHAPES = ("list", "range", "range", "array", "generator")
PAUSES_S = (0.0, 50e-6, 0.2e-3, 0.5e-3, 1e-3, 3e-3, 10e-3)
# All items one after the other.
MOST_S = 0.6


class Work:
    """Wait or compute, longer for some items; some always raise, at once or not, and some at their first attempt."""

    def __init__(self, folder: str, bad: Collection[int], flaky: Collection[int], rng: random.Random) -> None:
        self.folder, self.bad, self.flaky = folder, frozenset(bad), frozenset(flaky)
        self.pause_s = rng.choice(PAUSES_S)
        self.slow, self.every = rng.choice((1.0, 1.0, 0.0, 4.0, 11.0)), rng.randrange(2, 9)
        self.computes, self.fails_at_once = rng.random() < 0.3, rng.random() < 0.5

    def seconds(self, item: int) -> float:
        if self.fails_at_once and item in self.bad:
            return 0.0
        # Not each so many: a trial would meet the same share everywhere.
        return self.pause_s * (self.slow if item * item % 101 % self.every == 0 else 1.0)

    def __call__(self, item: Any) -> int:
        index = fn.number(item)
        if self.computes:
            until = time.perf_counter() + self.seconds(index)
            while time.perf_counter() < until:
                pass
        elif self.pause_s:
            time.sleep(self.seconds(index))
        return self.end(index)

    def end(self, index: int) -> int:
        if index in self.bad:
            raise LookupError(index)
        if index in self.flaky and fn.attempt(self.folder, index) == 1:
            raise OSError(index)
        return fn.plain(index)


def make(rng: random.Random, folder: str) -> tuple[faults.Case, Work]:
    n = rng.choice((1, 3, 10, 20, 40, 40, 100, 100, 300, 1000))
    n_odd = rng.choice((0, 1, 3, 12, 12, n // 3, n))
    odd = range(min(n, n_odd)) if rng.random() < 0.5 else sorted(rng.sample(range(n), min(n, n_odd)))
    bad = [index for index in odd if rng.random() < 0.7] if rng.random() < 0.5 else odd
    work = Work(folder, bad, set(odd) - set(bad), rng)
    while sum(map(work.seconds, range(n))) > MOST_S:
        work.pause_s /= 4
    entry = rng.choice(ENTRIES)
    case = faults.Case(entry, modes.AUTO, n, rng.choice(SHAPES), {})
    options = case.options
    options["max_workers"] = rng.choice((None, None, 1, 3, 16))
    options["retries"] = rng.choice((0, 0, 1, 3))
    if options["retries"] and rng.random() < 0.3:
        options["backoff"] = 1e-3
    if rng.random() < 0.8:
        options["on_error"] = "collect"
        if rng.random() < 0.2:
            options["max_failures"] = rng.randrange(6)
    if rng.random() < 0.1:
        options["rate"] = rng.choice((1000.0, 1e6))
    if entry == "execute" and rng.random() < 0.4:
        options.update(checkpoint=os.path.join(folder, "checkpoint"), checkpoint_key="work")
    if entry in ("stream", "unordered") and rng.random() < 0.3:
        options["max_ahead"] = rng.randrange(1, 40)
    return case, work


def expected(case: faults.Case, work: Work) -> model.Expected:
    items: dict[int, list[model.Fate]] = {index: [model.Good(fn.plain(index))] for index in range(case.n)}
    for index in work.flaky:
        if not case.options["retries"]:
            # What raised in a trial of threads is repeated by the loop.
            items[index].append(model.Bad((OSError,)))
    items.update((index, [model.Bad((LookupError,))]) for index in work.bad)
    return model.Expected(items, case.options.get("on_error") == "collect", case.options.get("max_failures"))


def trial(seed: int, folder: str) -> None:
    case, work = make(random.Random(seed), folder)
    expect = expected(case, work)
    try:
        if case.entry in ("stream", "unordered"):
            faults.stream(case, work, expect)
            return
        func: Any = work
        if case.entry == "coroutines":
            # Only an async def is known for a coroutine function.
            async def func(item: Any) -> int:
                await asyncio.sleep(work.seconds(fn.number(item)))
                return work.end(fn.number(item))

            case.entry = "async"
        faults.call(case, func, expect)
        if "checkpoint" in case.options:
            _resume(case, work)
    except BaseException as exc:
        exc.add_note(f"in {case}, {vars(work)}")
        raise


def _resume(case: faults.Case, work: Work) -> None:
    """All results that the checkpoint holds are right, and what failed now goes well."""
    work.bad = work.flaky = frozenset()
    arguments = {**case.mode.arguments, **case.options, "on_error": "raise", "max_failures": None}
    found = amorsize.execute(work, faults.data_of(case), **arguments)
    demand(found == [fn.plain(index) for index in range(case.n)], f"resumed: {found}")


if __name__ == "__main__":
    harness.main("decisions")
