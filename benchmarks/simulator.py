"""Compares the simulator with the real engine: ``python -m benchmarks.simulator [--out PATH] [--rounds N]``.

Runs sleeping items on 2 to 64 real workers, simulates each run from the real times of its items and from the
engine's overheads, which other runs give, and compares the makespans. Takes some 100 s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("AMORSIZE_HISTORY", "off")

from amorsize.schedule.simulation.overheads import Overheads
from amorsize.schedule.simulation.simulate import simulate
from benchmarks import naps
from benchmarks.environment import commit, file_stem, machine_facts, versions
from benchmarks.grid import usable_cores
from benchmarks.results_files import FOLDER, free_path, write

WORKERS = (2, 4, 8, 16, 32, 64)
ITEM_S = (2e-3, 10e-3, 50e-3)
WORK_S = 0.12  # per worker


class Side(NamedTuple):
    """A backend, with the functions that run it and find its overheads."""

    name: str
    run: Callable[[list[float], int], naps.Timed]
    lap: Callable[[int], naps.Timed]
    overheads: Callable[[list[naps.Timed], list[naps.Timed]], Overheads]


SIDES = (
    Side("processes", naps.run_processes, naps.lap_of_processes, naps.overheads_of_processes),
    Side("threads", naps.run_threads, naps.lap_of_threads, naps.overheads_of_threads),
)


class Cell(NamedTuple):
    """One setting."""

    backend: str
    workers: int
    item_s: float
    shape: str


class Seen(NamedTuple):
    """A run, and the same items in virtual time with the overheads of its round."""

    clock_s: float
    simulated_s: float
    items: int


def measure(rounds: int) -> tuple[dict[Cell, list[Seen]], dict[str, list[Overheads]]]:
    """Run each setting in interleaved rounds, and between them the laps that give each round's overheads."""
    seen: dict[Cell, list[Seen]] = {}
    overheads: dict[str, list[Overheads]] = {side.name: [] for side in SIDES}
    for side in SIDES:
        side.run([1e-3] * 8, 2)  # imports
    for number in range(rounds):
        backwards = -1 if number % 2 else 1
        for side in SIDES[::backwards]:
            few, many, runs = [], [], []
            for item_s in ITEM_S:
                few.append(side.lap(naps.FEW))
                many.append(side.lap(naps.MANY))
                for workers in WORKERS[::backwards]:
                    n = max(2 * workers, round(workers * WORK_S / item_s))
                    for shape, data in naps.shapes(item_s, n).items():
                        runs.append((Cell(side.name, workers, item_s, shape), side.run(data, workers)))
            found = side.overheads(few, many)
            overheads[side.name].append(found)
            for cell, run in runs:
                simulated_s = replay(run, cell.workers, found)
                seen.setdefault(cell, []).append(Seen(run.wall_s, simulated_s, len(run.naps)))
    return seen, overheads


def replay(run: naps.Timed, workers: int, overheads: Overheads) -> float:
    """Return the makespan of the same items in virtual time."""
    return simulate(
        [n.wall_s for n in run.naps],
        workers,
        item_cpu_s=[n.cpu_s for n in run.naps],
        cores=usable_cores(),
        overheads=overheads,
    ).makespan_s


def row(cell: Cell, runs: list[Seen]) -> dict[str, Any]:
    """Return the medians over the rounds."""
    clock_s, simulated_s = (statistics.median(values) for values in zip(*((r[0], r[1]) for r in runs), strict=True))
    return {
        **cell._asdict(),
        "items": runs[0].items,
        "clock_s": round(clock_s, 5),
        "simulated_s": round(simulated_s, 5),
        "error": round(simulated_s / clock_s - 1, 4),
        "errors_by_round": [round(r.simulated_s / r.clock_s - 1, 4) for r in runs],
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median and 90th percentile of the size of the errors."""
    sizes = sorted(abs(r["error"]) for r in rows)
    signed = sorted(r["error"] for r in rows)
    return {
        "rows": len(rows),
        "median_error": round(statistics.median(sizes), 4),
        "p90_error": round(sizes[min(len(sizes) - 1, int(0.9 * len(sizes)))], 4),
        "worst_error": round(sizes[-1], 4),
        "median_signed_error": round(statistics.median(signed), 4),
    }


def groups(rows: list[dict[str, Any]], *keys: str) -> list[dict[str, Any]]:
    """Return a summary for each combination of values of some keys."""

    def of(r: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(r[key] for key in keys)

    return [
        dict(zip(keys, values, strict=True)) | summary(list(some))
        for values, some in groupby(sorted(rows, key=of), key=of)
    ]


def print_table(found: list[dict[str, Any]]) -> None:
    for one in found:
        print(" | ".join(f"{key} {value:.1%}" if "error" in key else f"{key} {value}" for key, value in one.items()))


def main() -> None:
    """Measure, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    began_s = time.perf_counter()
    seen, overheads = measure(arguments.rounds)
    rows = [row(cell, runs) for cell, runs in seen.items()]
    for name, found in overheads.items():
        for one in found:
            print(name, {key: f"{value * 1e6:.0f} µs" for key, value in asdict(one).items() if value})
    print_table(groups(rows, "backend", "workers"))
    print_table(groups(rows, "backend", "shape"))
    print_table(groups(rows, "backend", "item_s"))
    print(f"{time.perf_counter() - began_s:.0f} s")
    print_table([{"all": ""} | summary(rows)])
    for one in sorted(rows, key=lambda r: -abs(r["error"]))[:8]:
        print(one)
    result = {
        "what": "makespan of the simulator against the real engine, sleeping items",
        "machine": machine_facts(),
        "versions": versions(),
        "commit": commit(),
        "overheads_by_round": {name: [asdict(one) for one in found] for name, found in overheads.items()},
        "summary": summary(rows),
        "by_backend_and_workers": groups(rows, "backend", "workers"),
        "by_backend_and_shape": groups(rows, "backend", "shape"),
        "settings": rows,
    }
    stem = f"{file_stem(date.today().isoformat())}-simulator"
    write(arguments.out or free_path(FOLDER, stem), result)


if __name__ == "__main__":
    main()
