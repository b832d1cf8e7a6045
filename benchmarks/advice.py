"""Is the advice of ``plan.explain()`` right? ``python -m benchmarks.advice [--rounds N] [--only TEXT] [--out PATH]``.

Each program is slow for one reason. ``optimize()`` says which change would help, and how much; then the change is made,
and both versions run by their plan's pool, by turns. The gain by the clock is held against the gain that was told.
Programs with nothing to improve must get no advice. Each has a fresh process in each round.
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
from pathlib import Path
from typing import Any, Final, NamedTuple

HERE: Final = Path(__file__).parents[1]
LOCK = threading.Lock()
calls = 0


class Program(NamedTuple):
    """A map, the words that its advice must hold (None: there must be no advice), and the map as changed."""

    func: Callable[[Any], Any]
    data: Any
    options: dict[str, Any]
    words: str | None = None
    after: tuple[Callable[[Any], Any], Any, dict[str, Any]] | None = None


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
    """Compute for 4 ms beside an item of 8 MB."""
    return burned(4000) + len(blob)


def of_number(n: int) -> int:
    """Make the item here."""
    return of_blob(bytes(n))


def counted(x: int) -> int:
    """Wait for 10 ms, and count the calls in a global."""
    global calls
    calls += 1
    time.sleep(0.01)
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


SPAWN: Final = {"start_method": "spawn", "backend": ("serial", "processes")}
PROCESSES: Final = {"backend": ("serial", "processes")}


def programs() -> dict[str, Program]:
    """Return the programs by name; their data are made here."""
    giant = [1000] * 150 + [400_000] + [1000] * 150
    cut = [1000] * 150 + [25_000] * 16 + [1000] * 150
    blobs = [os.urandom(8_000_000) for _ in range(40)]
    return {
        "large results": Program(
            large_result, range(60), PROCESSES, "return less", (small_result, range(60), PROCESSES)
        ),
        "large items, spawned": Program(of_blob, blobs, SPAWN, "give func less", (of_number, [8_000_000] * 40, SPAWN)),
        "a counter, waiting": Program(
            counted, range(150), {}, "backend='threads'", (counted, range(150), {"backend": "threads"})
        ),
        "a lock, spawned": Program(Locked(), range(100), SPAWN, "pickled", (plain, range(100), SPAWN)),
        "one giant item": Program(sized, giant, PROCESSES, "cut the longest", (sized, cut, PROCESSES)),
        "one worker allowed": Program(
            waits,
            range(100),
            {"backend": "threads", "max_workers": 2},
            "max_workers",
            (waits, range(100), {"backend": "threads"}),
        ),
        "computing": Program(plain, range(100), {}),
        "tiny items": Program(abs, range(20_000), {}),
        "waiting": Program(waits, range(200), {}),
        "little work": Program(plain, range(2), {}),
    }


def child(name: str) -> dict[str, Any]:
    """Run one program once, before and after its change."""
    import amorsize

    def clock(func: Any, data: Any, options: dict[str, Any]) -> tuple[Any, float]:
        plan = amorsize.optimize(func, data, history=amorsize.History("off"), **options)
        took = []
        for _ in range(3):
            began = time.perf_counter()
            with plan.pool() as pool:
                pool.map(func, plan.data)
            took.append(time.perf_counter() - began)
        return plan, statistics.median(took)

    program = programs()[name]
    plan, before_s = clock(program.func, program.data, program.options)
    found = {one.what: one.gain for one in plan.advice}
    told = next((gain for what, gain in found.items() if program.words and program.words in what), None)
    after_s = clock(*program.after)[1] if program.after is not None else None
    return {
        "advice": found, "told": told, "clock": before_s / after_s if after_s else None, "before_s": before_s,
        "bound_by": plan.bound_by,
    }  # fmt: skip


def main() -> None:
    """Run all programs in turn, and print the gains."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="programs whose name contains this text")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(child(options.child)))
        return
    names = [name for name in programs() if options.only in name]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            command = [sys.executable, "-m", "benchmarks.advice", "--child", name]
            environment = {**os.environ, "PYTHONPATH": str(HERE), "AMORSIZE_HISTORY": "off"}
            done = subprocess.run(command, cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            runs[name].append(json.loads(done.stdout))
    print(f"{'':24}{'told':>8}{'clock':>8}  within 30 %   other advice")
    for name, found in runs.items():
        words = programs()[name].words
        told = [one["told"] for one in found if one["told"] is not None]
        clocks = [one["clock"] for one in found if one["clock"] is not None]
        others = sorted({what for one in found for what in one["advice"] if not words or words not in what})
        held = [abs(one["told"] / one["clock"] - 1) <= 0.3 for one in found if one["told"] and one["clock"]]
        show = [f"{statistics.median(them):8.2f}" if them else f"{'-':>8}" for them in (told, clocks)]
        print(f"{name:24}{''.join(show)}  {sum(held)} of {len(found)}        {'; '.join(others)[:90]}")
    if options.out:
        from benchmarks.environment import machine_facts, versions

        body = {"machine": machine_facts(), "versions": versions(), "rounds": options.rounds, "programs": runs}
        options.out.write_text(json.dumps(body, indent=1) + "\n")


if __name__ == "__main__":
    main()
