"""Records a corpus here: each workload in a process of its own, each setting by turns (A B C, then C B A)."""

from __future__ import annotations

import gc
import itertools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import amorsize
from amorsize.facts import OWN_THREADS, BackendCost
from amorsize.measure.calibrate import cached_costs
from amorsize.model.default_costs import recorded as recorded_cost
from amorsize.model.search import chunk_sizes
from amorsize.options import check
from amorsize.plan.plan import Plan
from amorsize.plan.trials import ways
from amorsize.plan.trials.subset import spread_items
from amorsize.system.memory import forked_bytes
from benchmarks import calibration
from benchmarks.cells import Cell, Place, Slice, read, write
from benchmarks.environment import commit, cpu_model, versions
from benchmarks.workloads import AT_END, REGISTRY, fresh

ROOT = Path(__file__).parent.parent
LENGTHS_S = (0.05, 0.2)  # serial seconds of the two slices: where starting workers weighs much, and where little
LEAST_RATIO = 1.5  # of their lengths: data that is too short gives one slice only
MOST_READ = 100_000  # items of a generator
MOST_CHUNKS = 2_000
WORKERS, CROWD, MANY = 2, 4, 32
WAITS = 0.3  # share of waiting from which many threads are tried


def recorded(only: Sequence[str] | None, part: str, rounds: int) -> Iterator[Slice]:
    """Yield the slices of each workload that matches."""
    number, parts = (int(text) for text in part.split("/"))
    chosen = [
        w
        for w in REGISTRY.values()
        if only is None or any(re.search(pattern, text) for pattern in only for text in (w.name, *w.tags))
    ]
    rate = calibration.measure()
    with tempfile.TemporaryDirectory(prefix="amorsize-corpus-") as folder:
        environment = {**os.environ, "AMORSIZE_HISTORY": os.path.join(folder, "history.sqlite")}
        for workload in chosen[number - 1 :: parts]:
            out = Path(folder) / "slices.jsonl.gz"
            out.unlink(missing_ok=True)
            job = json.dumps({"workload": workload.name, "rounds": rounds, "rate": rate, "out": str(out)})
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.recording", job], cwd=ROOT, env=environment, check=False
            )
            if done.returncode or not out.exists():
                print(f"{workload.name}: nothing, exit code {done.returncode}", file=sys.stderr, flush=True)
                continue
            slices = read(out)
            print(f"{workload.name}: {[len(s.cells) for s in slices]} in {time.monotonic() - began:.1f} s", flush=True)
            yield from slices


def one_workload(job: dict[str, Any]) -> None:
    """Record all slices of one workload, in this process."""
    calibration.adopt(job["rate"])
    workload = REGISTRY[job["workload"]]
    with AT_END:
        func, data = workload.make()
        warm_up()
        items = list(itertools.islice(fresh(data), MOST_READ))
        ready = workload.before_turn or gc.collect
        place = place_here()
        slices = [
            measured(workload.name, place, func, some, ready, job["rounds"]) for some in lengths(func, items, ready)
        ]
    write(Path(job["out"]), slices)


def warm_up() -> None:
    """Let a first call import its modules and measure the machine."""
    amorsize.optimize(calibrating, list(range(400)))
    for backend in ("processes", "threads"):
        amorsize.execute(calibrating, list(range(100)), backend=backend, max_workers=WORKERS)


def calibrating(x: int) -> int:
    """Compute for long enough that `optimize` measures the costs of workers."""
    return sum(range(10_000 + x))


def lengths(func: Any, items: list[Any], ready: Any) -> list[list[Any]]:
    """Return the items of each slice, spread evenly over the data."""
    count, took = min(2, len(items)), 0.0
    while True:
        ready()
        some = spread_items(items, count)
        began = time.perf_counter()
        for item in some:
            func(item)
        took = time.perf_counter() - began
        if took > LENGTHS_S[0] / 2 or count == len(items):
            break
        count = min(len(items), 4 * count)
    mean = took / count
    wanted = [min(len(items), max(4, round(seconds / mean))) for seconds in LENGTHS_S]
    if wanted[1] < LEAST_RATIO * wanted[0]:
        wanted = wanted[1:]
    return [spread_items(items, n) for n in wanted]


def place_here() -> Place:
    """Return this machine with the costs of its backends; for the engines of `execute`, the recorded figures."""
    here = amorsize.machine()
    costs = cached_costs(here, start_method="fork")
    assert costs.threads is not None
    assert costs.processes is not None
    known: dict[str, BackendCost] = {
        "threadpool": costs.threads,
        "pool": costs.processes,
        "team": recorded_cost("team", "fork"),
        "threads": recorded_cost("threads", None),
    }
    return Place(
        name=f"{here.usable_cores:g} cores",
        machine=here,
        costs=known,
        scaling=costs.scaling,
        facts={"cpu": cpu_model(), "commit": commit(), "versions": versions()},
    )


def measured(name: str, place: Place, func: Any, items: list[Any], ready: Any, rounds: int) -> Slice:
    """Return one slice: its sample, and its times in each setting, by turns."""
    for item in items:  # fill the caches
        func(item)
    ready()
    rss = forked_bytes()
    plan = amorsize.optimize(func, items)
    assert plan.sample is not None
    settings = list(dict.fromkeys(settings_of(plan, len(items))))
    clocks: dict[Cell, list[float]] = {setting: [] for setting in settings}
    for _ in range(rounds):
        for setting in settings:
            ready()
            gc.collect()
            clocks[setting].append(clock(setting, func, items, plan))
        settings.reverse()
    return Slice(
        place=place,
        function=name,
        n_items=len(items),
        sample=plan.sample,
        caller_rss_bytes=rss,
        plan=(plan.backend, plan.n_jobs, plan.chunksize),
        cells=tuple(setting._replace(clocks_s=tuple(seconds)) for setting, seconds in clocks.items()),
    )


def settings_of(plan: Plan, n: int) -> Iterator[Cell]:
    """Yield the setting of the plan, and others that a user might choose."""
    sample, waits = plan.sample, plan.sample is not None and plan.sample.waits > WAITS
    assert sample is not None
    yield Cell("loop", "serial", 1, n, None, ())
    if plan.backend == "processes":
        yield Cell("pool", "processes", plan.n_jobs, plan.chunksize, plan.start_method, ())
    elif plan.backend == "threads":
        yield Cell("threadpool", "threads", plan.n_jobs, plan.chunksize, None, ())
    if sample.transfer_error is None:
        for workers, parts in ((WORKERS, 1), (WORKERS, 4), (WORKERS, 16), (CROWD, 4)):
            yield Cell("pool", "processes", min(workers, n), chunk(n, workers, parts), "fork", ())
        if n <= MOST_CHUNKS:
            yield Cell("pool", "processes", WORKERS, 1, "fork", ())
        for workers in (WORKERS, CROWD):
            size = chunk_sizes(sample, "processes", workers, n, shrinking=True)[0]
            yield Cell("team", "processes", min(workers, n), size, "fork", ())
    crowds = [WORKERS, 8, *([MANY] if waits else [])]
    for workers in crowds:
        yield Cell("threadpool", "threads", min(workers, n), chunk(n, workers, 4), None, ())
    if n <= MOST_CHUNKS:
        yield Cell("threadpool", "threads", WORKERS, 1, None, ())
    for workers in crowds:
        size = chunk_sizes(sample, "threads", workers, n, shrinking=True)[0]
        yield Cell("threads", "threads", min(workers, n), size, None, ())


def chunk(n: int, workers: int, parts: int) -> int:
    """Return the chunk size for so many chunks per worker."""
    return max(1, math.ceil(n / (workers * parts)))


def clock(setting: Cell, func: Any, items: list[Any], plan: Plan) -> float:
    """Return the seconds of one run, the start of workers included."""
    engine, backend, workers, chunksize, method, _ = setting
    if engine in ("team", "threads"):
        request = check(func, items, backend=backend, max_workers=workers, start_method=method)
        way = ways.Way(name="", what="", run=partial(ways.executed, request, items))
    elif engine == "loop":
        way = ways.Way(name="", what="", run=lambda: list(map(func, items)))
    else:
        native = None
        if backend == "processes" and plan.sample is not None and plan.sample.own_threads > OWN_THREADS:
            native = max(1, int(amorsize.machine().usable_cores // workers))
        run = ways.PlanRun(func, items, backend, workers, chunksize, method, native)  # type: ignore[arg-type]
        way = ways.Way(name="", what="", run=run, settle=run.settle)
    return ways.timed(way)[1]


if __name__ == "__main__":
    one_workload(json.loads(sys.argv[1]))
