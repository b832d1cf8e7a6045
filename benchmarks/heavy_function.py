"""Functions that hold tables of 1 to 60 MB: ``python -m benchmarks.heavy_function [--rounds N] [--out PATH] …``.

Each row maps 200 items of 5 ms with a function that holds a table (a dict, a list, a numpy array), by one start method.
Per round, in turns: the plain loop before and after, ``plan.pool()``, and a plain ``multiprocessing.Pool`` with the
plan's settings (``--pool``: it may take half a minute). Prints medians: map over loop, forecast over clock, and the
same for the warning about a plain Pool.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import amorsize
from amorsize.facts import Costs
from amorsize.model.cost import Candidates
from benchmarks.environment import machine_facts, versions

ITEMS: Final = 200
ITEM_S: Final = 5e-3
METHODS: Final = ("fork", "forkserver", "spawn")
KINDS: Final = ("dict", "list", "array")
SIZES: Final = (1, 10, 60)


def table(kind: str, megabytes: float) -> Any:
    """Return a table whose pickle has about that size."""
    size = megabytes * 1e6
    if kind == "dict":
        return {i: float(i) for i in range(int(size / 14))}
    if kind == "list":
        return [float(i) for i in range(int(size / 9))]
    import numpy as np

    return np.arange(int(size / 8), dtype=float)


def work(held: Any, x: int) -> float:
    """Look something up, then compute for 5 ms of CPU time."""
    value = float(held[x])
    total = 0
    for k in range(STEPS):
        total += k & x
    return value + (total < 0)


def steps() -> int:
    """Return how many steps of `work` take 5 ms here."""
    counts = []
    for _ in range(5):
        began = perf_counter()
        total = 0
        for k in range(100_000):
            total += k & 3
        counts.append(100_000 * ITEM_S / (perf_counter() - began))
    return int(median(counts))


STEPS: int = int(os.environ.get("AMORSIZE_BENCHMARK_STEPS", "0")) or steps()
# Workers import this module, too, and do as many.
os.environ["AMORSIZE_BENCHMARK_STEPS"] = str(STEPS)


def loop(func: Any) -> float:
    """Return the seconds of the plain loop."""
    began = perf_counter()
    for x in range(ITEMS):
        func(x)
    return perf_counter() - began


def row(kind: str, megabytes: float, method: str, rounds: int, with_pool: bool) -> dict[str, Any]:
    """Measure one row."""
    func = partial(work, table(kind, megabytes))
    found: dict[str, list[float]] = {"loop": [], "map": [], "optimize": [], "forecast": [], "pool": [], "warned": []}
    choices = []
    for _ in range(rounds):
        before = loop(func)
        began = perf_counter()
        plan = amorsize.optimize(
            func, range(ITEMS), backend=("serial", "processes"), start_method=method, history=amorsize.History("off")
        )
        found["optimize"].append(perf_counter() - began)
        began = perf_counter()
        with plan.pool() as pool:
            pool.map(func, plan.data)
        found["map"].append(perf_counter() - began)
        found["forecast"].append(plan.predicted_s or 0.0)
        found["loop"].append((before + loop(func)) / 2)
        choices.append(plan.backend)
        if with_pool and plan.backend == "processes":
            import multiprocessing

            began = perf_counter()
            with multiprocessing.get_context(method).Pool(plan.n_jobs) as theirs:
                theirs.map(func, plan.data, plan.chunksize)
            found["pool"].append(perf_counter() - began)
            found["warned"].append(plain_s(plan))
    return {
        "kind": kind,
        "megabytes": megabytes,
        "method": method,
        "choices": choices,
        "chunksize": plan.chunksize,
        "map / loop": median(a / b for a, b in zip(found["map"], found["loop"], strict=True)),
        "forecast / clock": median(a / b for a, b in zip(found["forecast"], found["map"], strict=True)),
        "warned / pool": median(a / b for a, b in zip(found["warned"], found["pool"], strict=True))
        if found["pool"]
        else None,
        "warnings": plan.warnings,
        "seconds": found,
    }


def plain_s(plan: amorsize.Plan) -> float:
    """Return the forecast of a plain Pool with the plan's settings."""
    from amorsize.measure.calibrate import cached_costs
    from amorsize.system.memory import forked_bytes

    assert plan.sample is not None
    assert plan.machine is not None
    costs: Costs = cached_costs(plan.machine, processes="pool", start_method=plan.start_method)
    of = Candidates(
        plan.sample,
        costs,
        plan.machine,
        "processes",
        n_items=ITEMS,
        caller_rss_bytes=forked_bytes(),
        plain=True,
    )
    return of.seconds(plan.n_jobs, plan.chunksize)


def main() -> None:
    """Measure, print, and write a file if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pool", action="store_true")
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--sizes", nargs="*", type=float, default=SIZES)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    print(f"{'':28} map / loop  forecast / clock  warned / Pool  optimize  choice")
    for kind, megabytes, method in product(options.kinds, options.sizes, options.methods):
        one = row(kind, megabytes, method, options.rounds, options.pool)
        rows.append(one)
        warned = f"{one['warned / pool']:.2f}" if one["warned / pool"] is not None else "-"
        took_ms = 1e3 * median(one["seconds"]["optimize"])
        print(
            f"{kind:6} {megabytes:5.0f} MB {method:12} {one['map / loop']:10.2f} {one['forecast / clock']:17.2f} "
            f"{warned:>14} {took_ms:6.0f} ms  {', '.join(sorted(set(one['choices'])))} (chunks of {one['chunksize']})",
            flush=True,
        )
    if options.out is not None:
        facts = {"machine": machine_facts(), "versions": versions(), "rows": rows}
        options.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
