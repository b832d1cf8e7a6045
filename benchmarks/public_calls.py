"""Calls of public functions, timed in this process, as JSON on standard output (`benchmarks.before_after`)."""

from __future__ import annotations

import json
import time

began = time.perf_counter()
import amorsize  # noqa: E402  (its import is timed)

took = {"import": time.perf_counter() - began}


def square(x):
    return x * x


def spin(x):
    return sum(range(x))


def timed(name, call, times=1):
    """Store the median of so many calls."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    took[name] = sorted(seconds)[len(seconds) // 2]


def main():
    timed("first execute, 10 tiny items", lambda: amorsize.execute(square, range(10)))
    timed("execute, 200,000 x*x", lambda: amorsize.execute(square, range(200_000)), 5)
    timed("execute, 3,000 x 0.1 ms", lambda: amorsize.execute(spin, [7_000] * 3_000), 3)
    timed("execute, 64 x 10 ms", lambda: amorsize.execute(spin, [700_000] * 64), 3)
    timed("execute, 200 x 5 ms asleep", lambda: amorsize.execute(time.sleep, [5e-3] * 200), 3)
    timed(
        "two forked workers, two items",
        lambda: amorsize.execute(square, range(2), backend="processes", start_method="fork", max_workers=2),
        21,
    )
    timed(
        "processes, 20,000 x*x",
        lambda: amorsize.execute(square, range(20_000), backend="processes", start_method="fork", max_workers=2),
        5,
    )
    warm = {"backend": "processes", "start_method": "spawn", "max_workers": 2}
    amorsize.execute(square, range(2), **warm)
    timed("spawn, workers warm", lambda: amorsize.execute(square, range(2), **warm), 11)
    timed("stream, 100,000 x*x", lambda: sum(amorsize.stream(square, range(100_000))), 3)
    timed("threads, 20,000 x*x", lambda: amorsize.execute(square, range(20_000), backend="threads", max_workers=2), 5)
    with amorsize.Executor(2) as executor:
        executor.submit(square, 1).result()
        timed("Executor, a call and its result", lambda: executor.submit(square, 1).result(), 200)
        timed("Executor.map, 20,000 x*x", lambda: list(executor.map(square, range(20_000))), 5)
    print(json.dumps(took))


if __name__ == "__main__":
    main()
