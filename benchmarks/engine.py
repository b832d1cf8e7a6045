"""Overheads of the engine: ``python -m benchmarks.engine [--out PATH]``.

Dispatching, starting, warm workers, streams, large arrays, many calls at once; each in interleaved
rounds with its counterpart. Prints medians, and interquartile ranges where they matter.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil

os.environ.setdefault("AMORSIZE_HISTORY", "off")

import amorsize
from amorsize.backends.processes import ProcessDriver
from amorsize.backends.results import Outcome
from amorsize.backends.source import source_of
from amorsize.backends.workers.child import Setup
from amorsize.backends.workers.team import Team
from amorsize.schedule.schedule import Schedule
from benchmarks.environment import machine_facts, versions
from benchmarks.functions import burn, make_array, square, total

CHUNKS = 3000


def dispatch() -> tuple[float, float]:
    """Return the caller's CPU seconds and the wall seconds per chunk of one tiny item, on two forked workers."""
    items = list(range(CHUNKS))
    schedule, source, outcome = Schedule([(0, CHUNKS)], 2, fixed=1, item_s=1e-6), source_of(items), Outcome("raise")
    driver = ProcessDriver(schedule, Team(Setup(square), items, "fork"), source, outcome, None)
    steps = driver.steps()
    # The workers start, and the first is ready.
    next(steps)
    next(steps)
    wall, cpu = time.perf_counter(), time.thread_time()
    for _ in steps:
        pass
    return (time.thread_time() - cpu) / CHUNKS, (time.perf_counter() - wall) / CHUNKS


def pool_dispatch() -> tuple[float, float]:
    """Return the same for ``Pool.map``: CPU seconds of the whole process, since a Pool works in threads."""
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(square, range(100), 1)
        wall, cpu = time.perf_counter(), time.process_time()
        pool.map(square, range(CHUNKS), 1)
        return (time.process_time() - cpu) / CHUNKS, (time.perf_counter() - wall) / CHUNKS


def executor_dispatch() -> tuple[float, float]:
    """Return the same for ``ProcessPoolExecutor.map``."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        list(pool.map(square, range(100)))
        wall, cpu = time.perf_counter(), time.process_time()
        list(pool.map(square, range(CHUNKS)))
        return (time.process_time() - cpu) / CHUNKS, (time.perf_counter() - wall) / CHUNKS


def timed(call: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def two_workers(start_method: str = "fork") -> None:
    """Start two workers, run two items, and end the workers."""
    amorsize.execute(square, [1, 2], backend="processes", start_method=start_method, max_workers=2)


def two_in_a_pool() -> None:
    """Do the same with a Pool."""
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(square, [1, 2], 1)


def stream_growth_mb() -> float:
    """Return the megabytes by which the caller grows in a stream of 10 million items, with a trivial function."""
    stream = amorsize.stream(square, itertools.repeat(3, 10_000_000))
    next(stream)
    process = psutil.Process()
    before, most = process.memory_info().rss, 0
    for count, _ in enumerate(stream):
        if count % 500_000 == 0:
            most = max(most, process.memory_info().rss)
    return (max(most, process.memory_info().rss) - before) / 1e6


def at_once(calls: int, data: list[int]) -> None:
    """Run so many calls in `asyncio.gather`, each over its share of the data."""
    share = len(data) // calls

    async def all_of_them() -> None:
        await asyncio.gather(*(amorsize.execute_async(burn, data[k * share : (k + 1) * share]) for k in range(calls)))

    asyncio.run(all_of_them())


def compare(rounds: int, **calls: Callable[[], Any]) -> dict[str, list[Any]]:
    """Return the results of each call, from interleaved rounds."""
    found: dict[str, list[Any]] = {name: [] for name in calls}
    for k in range(rounds):
        for name in list(calls)[:: 1 if k % 2 else -1]:
            found[name].append(calls[name]())
    return found


def spread(values: list[float], unit: float) -> str:
    """Return median and quartiles as text; ``unit`` is 1e3 for milliseconds."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle * unit:.3g} ({low * unit:.3g}-{high * unit:.3g})"


def main() -> None:
    """Measure, print, and write a file if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found: dict[str, Any] = {}

    chunks = compare(9, amorsize=dispatch, Pool=pool_dispatch, ProcessPoolExecutor=executor_dispatch)
    for name, pairs in chunks.items():
        found[f"chunk, {name}: caller's CPU, µs"] = spread([cpu for cpu, _ in pairs], 1e6)
        found[f"chunk, {name}: clock, µs"] = spread([wall for _, wall in pairs], 1e6)

    numbers = list(range(200_000))
    tiny = compare(
        15,
        loop=lambda: timed(lambda: list(map(square, numbers))),
        execute=lambda: timed(lambda: amorsize.execute(square, numbers)),
    )
    found["200,000 x*x, execute / loop"] = spread(
        [a / b for a, b in zip(tiny["execute"], tiny["loop"], strict=True)], 1.0
    )

    starts = compare(21, amorsize=lambda: timed(two_workers), Pool=lambda: timed(two_in_a_pool))
    for name, values in starts.items():
        found[f"two forked workers, two items, {name}: ms"] = spread(values, 1e3)

    for method in ("spawn", "forkserver"):
        begin = partial(two_workers, method)
        first = timed(begin)
        found[f"{method}, first call: ms"] = f"{first * 1e3:.3g}"
        found[f"{method}, later calls: ms"] = spread([timed(begin) for _ in range(20)], 1e3)
    with amorsize.Executor(2) as executor:
        executor.submit(square, 1).result()
        found["Executor, a call and its result: ms"] = spread(
            [timed(lambda: executor.submit(square, 1).result()) for _ in range(200)], 1e3
        )
        found["Executor.map over 100,000 x*x: s"] = spread(
            [timed(lambda: list(executor.map(square, range(100_000)))) for _ in range(5)], 1.0
        )

    found["stream of 10 million: caller grows by, MB"] = f"{stream_growth_mb():.1f}"

    import numpy as np

    arrays = [np.arange(500_000, dtype=float) + i for i in range(120)]
    for what, func, data in (("in", total, arrays), ("out", make_array, list(range(120)))):
        pairs = compare(
            9,
            loop=lambda func=func, data=data: timed(lambda: list(map(func, data))),
            execute=lambda func=func, data=data: timed(lambda: amorsize.execute(func, data)),
        )
        for name, values in pairs.items():
            found[f"120 arrays of 4 MB {what}, {name}: ms"] = spread(values, 1e3)

    data = [100_000] * 800  # about 5 ms each
    at_once(20, data[:40])
    many = compare(7, twenty=lambda: timed(lambda: at_once(20, data)), one=lambda: timed(lambda: at_once(1, data)))
    ratios = [a / b for a, b in zip(many["twenty"], many["one"], strict=True)]
    found["twenty calls at once: s"] = spread(many["twenty"], 1.0)
    found["one call over all their data: s"] = spread(many["one"], 1.0)
    found["twenty / one"] = spread(ratios, 1.0)

    for name, value in found.items():
        print(f"{name:55} {value}")
    if arguments.out:
        arguments.out.write_text(
            json.dumps({"machine": machine_facts(), "versions": versions(), "found": found}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
