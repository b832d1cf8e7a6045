"""Forecasts of costs that rise with the item: ``python -m benchmarks.rising [--rounds N] [--only REGEX] [TREE …]``.

Each task of `benchmarks.workloads.rising`, and with ``--workloads`` each row of the comparison that keeps its items in
a list, has a fresh process in each round, for each tree (a folder that holds a package ``amorsize``; by default this
one), by turns. There ``optimize()`` is called for the first time in that process, and once more. Then a loop, a
``Pool(2)`` and the pool of the first plan take turns, three times. The forecast of the loop is held against the loop's
median, and the pool's median against the better of loop and ``Pool(2)``. The result file holds all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from math import exp, log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

HERE: Final = Path(__file__).parents[1]
TURNS: Final = 3
# Calibrated once, so that each process has the same work.
STEPS: Final = "AMORSIZE_BENCHMARK_STEPS"


def tasks(workloads: bool) -> dict[str, Callable[[], Any]]:
    """Return the makers of all tasks, by name."""
    if not workloads:
        from benchmarks.workloads.rising import TASKS

        return dict(TASKS)
    from benchmarks.workloads.registry import REGISTRY

    return {name: row.make for name, row in REGISTRY.items()}


def one(name: str, workloads: bool) -> dict[str, Any]:
    """Measure one task in this process, where ``optimize`` has not been called before."""
    import multiprocessing

    import amorsize
    from benchmarks.calibration import adopt
    from benchmarks.workloads.registry import AT_END

    if STEPS in os.environ:
        adopt(float(os.environ[STEPS]))
    func, data = tasks(workloads)[name]()
    if callable(data):
        return {}
    found: dict[str, Any] = {"items": len(data), "forecasts": []}
    plans = []
    for _ in range(2):
        began = time.perf_counter()
        plan = amorsize.optimize(func, data)
        took_s = time.perf_counter() - began
        plans.append(plan)
        assert plan.sample is not None
        found["forecasts"].append(
            {
                "serial_s": plan.serial_s,
                "backend": plan.backend,
                "n_jobs": plan.n_jobs,
                "chunksize": plan.chunksize,
                "predicted_s": plan.predicted_s,
                "predicted_interval_s": plan.predicted_interval_s,
                "n_sampled": plan.sample.n_sampled,
                "longest_s": plan.sample.longest_s,
                "optimize_s": took_s,
            }
        )
    seconds: dict[str, list[float]] = {"loop": [], "loop_cpu": [], "pool": [], "plan": []}
    with AT_END:
        for _ in range(TURNS):
            cpu, began = time.process_time(), time.perf_counter()
            right = list(map(func, data))
            seconds["loop"].append(time.perf_counter() - began)
            seconds["loop_cpu"].append(time.process_time() - cpu)
            began = time.perf_counter()
            with multiprocessing.get_context("fork").Pool(2) as pool:
                pool.map(func, data)
            seconds["pool"].append(time.perf_counter() - began)
            began = time.perf_counter()
            with plans[0].pool() as pool:
                got = pool.map(func, data)
            seconds["plan"].append(time.perf_counter() - began)
        assert len(got) == len(right)
    return {**found, "seconds": seconds}


def figures(found: dict[str, Any]) -> dict[str, Any]:
    """Return forecast over clock, regret, and whether the interval held the plan's own time."""
    middle = {name: statistics.median(times) for name, times in found["seconds"].items()}
    first, second = found["forecasts"]
    low_s, high_s = first["predicted_interval_s"]
    return {
        **{f"{name}_s": seconds for name, seconds in middle.items()},
        "first": first["serial_s"] / middle["loop"],
        "second": second["serial_s"] / middle["loop"],
        # Where other programs take the cores, the loop's CPU time tells more than the clock.
        "cpu": first["serial_s"] / middle["loop_cpu"],
        "cpu_2": second["serial_s"] / middle["loop_cpu"],
        "map": first["predicted_s"] / middle["plan"],
        "held": low_s <= middle["plan"] <= high_s,
        "regret": middle["plan"] / min(middle["loop"], middle["pool"]),
        "n_sampled": first["n_sampled"],
        "backend": first["backend"],
        "beyond_s": second["optimize_s"] - second["longest_s"],
    }


def summary(rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the figures over all rows of one tree: errors as |log|, given as a share."""
    every = [figure for figures in rows.values() for figure in figures]
    errors = sorted(abs(log(figure["first"])) for figure in every)
    cpu = sorted(abs(log(figure["cpu"])) for figure in every)
    maps = sorted(abs(log(figure["map"])) for figure in every)
    at_90 = round(0.9 * (len(errors) - 1))
    return {
        "processes": len(every),
        "loop: median error": exp(statistics.median(errors)) - 1,
        "loop: 90th percentile": exp(errors[at_90]) - 1,
        "loop: worst": exp(errors[-1]) - 1,
        "loop, by its CPU time: median error": exp(statistics.median(cpu)) - 1,
        "loop, by its CPU time: 90th percentile": exp(cpu[at_90]) - 1,
        "loop, by its CPU time: worst": exp(cpu[-1]) - 1,
        "plan: median error": exp(statistics.median(maps)) - 1,
        "plan: 90th percentile": exp(maps[at_90]) - 1,
        "plan: worst": exp(maps[-1]) - 1,
        "interval held": sum(figure["held"] for figure in every) / len(every),
        "regret: worst row": max(statistics.median(f["regret"] for f in figures) for figures in rows.values()),
    }


def probe(tree: Path, cache: str, name: str, workloads: bool, steps: float | None) -> dict[str, Any]:
    """Measure one task in a fresh process, on one tree."""
    settings = {
        "PYTHONPATH": str(tree),
        "XDG_CACHE_HOME": f"{cache}/{abs(hash(tree))}",
        "AMORSIZE_HISTORY": "off",
        **({STEPS: str(steps)} if steps is not None else {}),
    }
    # The tree may hold a package ``benchmarks``, too.
    code = (
        f"import amorsize, json, sys; sys.path.insert(0, {str(HERE)!r}); from benchmarks.rising import one; "
        f"print(json.dumps(one({name!r}, {workloads})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **settings}, cwd=cache, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trees", nargs="*", type=Path, default=[HERE], metavar="TREE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--workloads", action="store_true", help="the rows of the comparison instead")
    parser.add_argument("--out", type=Path, metavar="PATH", help="default: a new file in the temporary folder")
    options = parser.parse_args()
    from benchmarks import calibration, environment, results_files

    trees = [tree.resolve() for tree in options.trees]
    names = [name for name in tasks(options.workloads) if re.search(options.only, name)]
    steps = calibration.measure() if options.workloads else None
    started = time.strftime("%Y-%m-%dT%H:%M:%S")
    raw: dict[str, dict[str, list[Any]]] = {str(tree): {name: [] for name in names} for tree in trees}
    with TemporaryDirectory() as cache:
        for tree in trees:
            # Bytecode and measured costs are there from now on.
            probe(tree, cache, names[0], options.workloads, steps)
        for turn in range(options.rounds):
            for name in names:
                for tree in trees if turn % 2 == 0 else trees[::-1]:
                    if found := probe(tree, cache, name, options.workloads, steps):
                        raw[str(tree)][name].append(found)
    for number, tree in enumerate(trees):
        rows = {name: [figures(found) for found in every] for name, every in raw[str(tree)].items() if every}
        print(f"\n{tree}")
        print(f"{'':46} loop, ms (CPU)  forecast / clock, / CPU time of 1st (2nd)   regret  items  beyond, ms")
        for name, every in rows.items():
            ratios = " ".join(f"{f['first']:.2f} {f['cpu']:.2f} ({f['cpu_2']:.2f})" for f in every)
            cpu_ms = statistics.median(f["loop_cpu_s"] for f in every) * 1e3
            regret = " ".join(f"{f['regret']:.2f}" for f in every)
            print(
                f"{name:46} {statistics.median(f['loop_s'] for f in every) * 1e3:7.1f} ({cpu_ms:.1f})  {ratios}   "
                f"{regret}  "
                f"{[f['n_sampled'] for f in every]}  {statistics.median(f['beyond_s'] for f in every) * 1e3:.1f}  "
                f"{[f['backend'][:4] for f in every]}"
            )
        for name, value in summary(rows).items():
            print(f"  {name:40} {value:.2f}")
        raw[f"tree {number + 1}"] = raw.pop(str(tree))
    result = {
        "instrument": "rising",
        "started": started,
        "machine": environment.machine_facts(),
        "versions": environment.versions(),
        "commit": environment.commit(),
        "processes": raw,
    }
    path = options.out
    if path is None:
        import tempfile

        path = results_files.free_path(Path(tempfile.gettempdir()), f"rising-{started[:10]}")
    results_files.write(path, result)
    print(path)


if __name__ == "__main__":
    main()
