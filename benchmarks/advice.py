"""Is the advice of ``plan.explain()`` right? ``python -m benchmarks.advice [--rounds N] [--only TEXT] [--out PATH]``.

Each program is slow for one reason. The plan says which change would help, and how much; then the change is made, and
both versions run, by turns. The gain by the clock is held against the gain that was told. Programs with nothing to
improve must get no advice. Each has a fresh process in each round, whose main module has no file, as at a prompt.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

HERE: Final = Path(__file__).parents[1]
LOCK = threading.Lock()
calls = 0


class Program(NamedTuple):
    """A map, the words that its advice must hold (None: there must be no advice), and the map as changed.

    The map as changed may be a function that returns the seconds of one run. ``runs``: by ``execute()``, not by the
    pool of a plan. ``unseen``: the advice is told of larger gains only, since a figure cannot be measured.
    """

    func: Callable[[Any], Any]
    data: Any
    options: dict[str, Any]
    words: str | None = None
    after: tuple[Callable[[Any], Any], Any, dict[str, Any]] | Callable[[], float] | None = None
    runs: bool = False
    unseen: bool = False


def burned(n: int) -> int:
    """Compute for about ``n`` µs."""
    total = 0
    for i in range(n * 20):
        total += i
    return total


def large_result(x: int) -> Any:
    """Return 4 MB of numbers as a list of bytes, after 8 ms."""
    burned(8000)
    return [bytes(1000)] * 1 + [os.urandom(1000) for _ in range(4000)]


def small_result(x: int) -> int:
    """Do the same, and return its length."""
    return len(large_result(x))


def of_blob(blob: bytes) -> int:
    """Compute for 60 ms beside an item of 24 MB."""
    return burned(60_000) + len(blob)


def of_number(n: int) -> int:
    """Make the item here."""
    return of_blob(bytes(n))


def counted(x: int) -> int:
    """Wait for 10 ms, and count the calls in a global."""
    global calls
    calls += 1
    time.sleep(0.01)
    return x


def locked(x: int) -> int:
    """Wait for 10 ms with a lock held that all calls share."""
    with LOCK:
        time.sleep(0.01)
    return x


def briefly_locked(x: int) -> int:
    """Wait for 10 ms, and hold the lock after that."""
    time.sleep(0.01)
    with LOCK:
        return x


class Locked:
    """Holds a lock, so that it cannot be pickled."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, x: int) -> int:
        """Compute for 10 ms."""
        return burned(10_000)


def plain(x: int) -> int:
    """Compute for 10 ms."""
    return burned(10_000)


def sized(n: int) -> int:
    """Compute for ``n`` µs."""
    return burned(n)


def waits(x: int) -> int:
    """Wait for 10 ms."""
    time.sleep(0.01)
    return x


def hungry(x: int) -> bytes:
    """Compute for 150 ms, and return 5 MB."""
    return bytes(5_000_000 + burned(150_000) % 2)


def lengthened(x: int) -> list[str]:
    """Compute for 8 ms, and return 60,000 short texts."""
    burned(8000)
    return [str(i * x) for i in range(60_000)]


def length_alone(x: int) -> int:
    """Do the same, and return how many."""
    return len(lengthened(x))


def multiplied(x: int) -> float:
    """Multiply small matrices, which BLAS does on all cores."""
    import numpy as np

    matrix = np.ones((250, 250))
    for _ in range(20):
        matrix = matrix @ np.ones((250, 250)) / 250
    return float(matrix[0, 0])


def multiplied_alone(x: int) -> float:
    """Do the same on one core."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return multiplied(x)


def typed() -> Any:
    """Return a function of the main module, as one that was typed at a prompt."""
    import __main__

    def func(x: int) -> int:
        return work(10_000)  # type: ignore[name-defined]  # noqa: F821

    made = type(func)(func.__code__, vars(__main__))
    made.__module__, made.__qualname__ = "__main__", "func"
    vars(__main__).update(func=made, work=burned)
    return made


def warm(func: Callable[[Any], Any], data: Any) -> float:
    """Return the seconds of a map by an executor whose workers have been used before."""
    import multiprocessing

    import amorsize

    with amorsize.Executor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        list(executor.map(func, data))
        began = time.perf_counter()
        list(executor.map(func, data))
        return time.perf_counter() - began


def blobs() -> list[bytes]:
    """Return items of 24 MB."""
    return [os.urandom(24_000_000) for _ in range(30)]


def heavy() -> Any:
    """Return the function of a module that takes long to import.

    Only where it runs: a process that has imported it expects that workers will.
    """
    from benchmarks.slow_import import heavy

    return heavy


SPAWN: Final = {"start_method": "spawn", "backend": ("serial", "processes")}
FORK: Final = {"backend": ("serial", "processes")}
THREADS: Final = {"backend": "threads"}
LOOP_OR_THREADS: Final = {"backend": ("serial", "threads")}
SMALL: Final = [100 + 97 * i % 2900 for i in range(300)]
GIANT: Final = [*SMALL[:150], 2_000_000, *SMALL[150:]]
CUT: Final = [*SMALL[:150], *[20_000] * 100, *SMALL[150:]]

PROGRAMS: Final[dict[str, Callable[[], Program]]] = {
    "large results": lambda: Program(large_result, range(60), FORK, "return less", (small_result, range(60), FORK)),
    "large items, spawned": lambda: Program(
        of_blob, blobs(), SPAWN, "give func less", (of_number, [24_000_000] * 30, SPAWN)
    ),
    "typed at a prompt, spawned": lambda: Program(
        typed(), range(300), SPAWN, "in a module of its own", (plain, range(300), SPAWN)
    ),
    "func holds a lock, spawned": lambda: Program(Locked(), range(300), SPAWN, "pickled", (plain, range(300), SPAWN)),
    "BLAS inside": lambda: Program(
        multiplied, range(100), FORK, "one thread", (multiplied_alone, range(100), FORK), unseen=True
    ),
    "one giant item": lambda: Program(sized, GIANT, FORK, "cut the longest", (sized, CUT, FORK)),
    "little memory": lambda: Program(
        hungry, range(30), {**FORK, "memory_limit": 20 << 20}, "memory_limit", (hungry, range(30), FORK)
    ),
    "a counter, waiting": lambda: Program(
        counted, range(150), {}, "backend='threads'", (counted, range(150), THREADS)
    ),
    "tiny items, by processes": lambda: Program(
        abs, range(500_000), {"backend": "processes"}, "a plain loop", (abs, range(500_000), {})
    ),
    "computing, by threads": lambda: Program(plain, range(200), THREADS, "allow processes", (plain, range(200), {})),
    "one lock for all": lambda: Program(
        locked, range(300), LOOP_OR_THREADS, "hold the lock", (briefly_locked, range(300), LOOP_OR_THREADS), runs=True
    ),
    "a heavy import, spawned": lambda: Program(
        heavy, range(200), SPAWN, "import less", (plain, range(200), SPAWN)
    ),
    "short calls, spawned": lambda: Program(plain, range(80), SPAWN, "keep workers", partial(warm, plain, range(80))),
    "few workers allowed": lambda: Program(
        waits, range(300), {**THREADS, "max_workers": 2}, "max_workers", (waits, range(300), THREADS)
    ),
    "a long text each": lambda: Program(
        lengthened, range(80), FORK, "return less", (length_alone, range(80), FORK)
    ),
    "waiting, by one worker": lambda: Program(
        waits, range(200), {**THREADS, "max_workers": 1}, "max_workers", (waits, range(200), THREADS)
    ),
    "computing, by one worker": lambda: Program(
        plain, range(300), {**FORK, "max_workers": 1}, "max_workers", (plain, range(300), FORK)
    ),
    "computing": lambda: Program(plain, range(400), {}),
    "tiny items": lambda: Program(abs, range(20_000), {}),
    "waiting": lambda: Program(waits, range(200), {}),
    "little work": lambda: Program(plain, range(2), {}),
}  # fmt: skip


def before(name: str) -> dict[str, Any]:
    """Run one program twice, and return its advice, and the seconds of one run."""
    # Not above: each spawned worker imports this module.
    from amorsize.plan.advice import WORTH, WORTH_UNSEEN

    program = PROGRAMS[name]()
    func = program.func() if program.func is heavy else program.func
    plan, before_s = clock(func, program.data, program.options, runs=program.runs)
    found = {one.what: one.gain for one in plan.advice}
    told = next((gain for what, gain in found.items() if program.words and program.words in what), None)
    return {
        "advice": found, "told": told, "before_s": before_s, "forecast_s": plan.predicted_s,
        "way": f"{plan.backend} {plan.n_jobs}", "bound_by": plan.bound_by, "words": program.words,
        "worth": WORTH_UNSEEN if program.unseen else WORTH,
    }  # fmt: skip


def after(name: str) -> dict[str, Any]:
    """Run a program as changed twice, and return the seconds of one run; nothing if there is nothing to change."""
    program = PROGRAMS[name]()
    if program.after is None:
        return {"after_s": None}
    if callable(program.after):
        return {"after_s": statistics.median(program.after() for _ in range(2))}
    plan, after_s = clock(*program.after, runs=program.runs)
    return {"after_s": after_s, "after_forecast_s": plan.predicted_s, "after_way": f"{plan.backend} {plan.n_jobs}"}


def clock(func: Any, data: Any, options: dict[str, Any], *, runs: bool) -> tuple[Any, float]:
    """Return the plan of a map, and the seconds of a run: by ``execute()`` if it ``runs``, else by the plan's pool."""
    import amorsize

    none = amorsize.History("off")
    took = []
    plan: Any = None if runs else amorsize.optimize(func, data, history=none, **options)
    for _ in range(2):
        began = time.perf_counter()
        if runs:
            _, plan = amorsize.execute(func, data, return_plan=True, history=none, **options)
        else:
            with plan.pool() as pool:
                pool.map(func, plan.data)
        took.append(time.perf_counter() - began)
    return plan, statistics.median(took)


def is_right(one: dict[str, Any]) -> bool:
    """Return True if the told gain is within 30 % of the clock's, or none was told and none was to be had."""
    if one["clock"] is None:
        return not one["advice"]
    return abs(one["told"] / one["clock"] - 1) <= 0.3 if one["told"] else bool(one["clock"] < one["worth"])


CHILD: Final = "import json, sys; from benchmarks.advice import {0}; print(json.dumps({0}(sys.argv[1])))"


def main() -> None:
    """Run all programs in turn, and print the gains."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="programs whose name contains this text")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    names = [name for name in PROGRAMS if options.only in name]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            one: dict[str, Any] = {}
            for version in ("before", "after"):
                # Apart, so that the one's modules are not the other's.
                command = [sys.executable, "-c", CHILD.format(version), name]
                environment = {**os.environ, "PYTHONPATH": str(HERE), "AMORSIZE_HISTORY": "off"}
                done = subprocess.run(command, cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                one |= json.loads(done.stdout)
            one["clock"] = one["before_s"] / one["after_s"] if one["after_s"] else None
            runs[name].append(one)
            keys = ("told", "clock", "way", "before_s", "forecast_s", "after_way", "after_s", "after_forecast_s")
            facts = ", ".join(
                f"{key} {one[key]:.3g}" if type(one.get(key)) is float else f"{key} {one.get(key)}" for key in keys
            )
            print(f"{name}: {facts}", file=sys.stderr, flush=True)
    print(f"{'':28}{'told':>8}{'clock':>8}  within 30 %   other advice")
    for name, found in runs.items():
        words = found[0]["words"]
        told = [one["told"] for one in found if one["told"] is not None]
        clocks = [one["clock"] for one in found if one["clock"] is not None]
        others = sorted({what for one in found for what in one["advice"] if not words or words not in what})
        held = [is_right(one) for one in found]
        show = [f"{statistics.median(them):8.2f}" if them else f"{'-':>8}" for them in (told, clocks)]
        print(f"{name:28}{''.join(show)}  {sum(held)} of {len(found)}        {'; '.join(others)[:90]}")
    if options.out:
        from benchmarks.environment import machine_facts, versions

        body = {"machine": machine_facts(), "versions": versions(), "rounds": options.rounds, "programs": runs}
        options.out.write_text(json.dumps(body, indent=1) + "\n")


if __name__ == "__main__":
    main()
