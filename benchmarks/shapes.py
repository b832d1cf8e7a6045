"""Makes a corpus of simulated machines: the simulator is the clock, and the sample has eight items.

The jobs are drawn at random, the same ones for each machine: short and long items, even, spread, rising or of two
kinds, which wait or hold the lock more or less, with small and large results.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator
from math import ceil, sqrt

from amorsize.facts import Costs, Sample
from amorsize.model.search import choose, chunk_sizes
from benchmarks.cells import Cell, Place, Slice
from benchmarks.policies import PROCESSES, THREADS, Box, Job, Setting, calibrated, carry_out, grid, sample_of

SHAPES = (Box(4, 1.5, "fork"), Box(4, None, "fork"), Box(16, None, "fork"), Box(64, None, "fork"))
JOBS = 40
WORK_S = (0.1, 0.5)  # seconds for each core
ITEMS = (8, 20_000)
SAMPLED = 8
ENGINES = {("serial", False): "loop", ("processes", False): "pool", ("threads", False): "threadpool"}


def simulated() -> Iterator[Slice]:
    """Yield each job on each shape, in each setting of the grid."""
    for box in SHAPES:
        place = place_of(box)
        for number in range(JOBS):
            yield slice_of(place, box, drawn(number, box.usable))


def drawn(number: int, cores: float) -> Job:
    """Return a job by its number: of the same kind on each machine, and longer with more cores."""
    draw = random.Random(number)
    mean_s = 10 ** draw.uniform(-4, -1.3)
    work_s = draw.uniform(*WORK_S) * cores
    kind = draw.choice(("even", "spread", "tail", "rising", "two kinds"))
    waits = draw.choice((0.0, 0.0, 0.0, draw.uniform(0.1, 0.95)))
    lock = draw.choice((1.0, 1.0, draw.uniform(0.0, 0.9)))
    result_bytes = draw.choice((0.0, 0.0, 10 ** draw.uniform(3, 6)))
    n = min(ITEMS[1], max(ITEMS[0], round(work_s / mean_s)))
    weights = {
        "even": lambda k: draw.uniform(0.95, 1.05),
        "spread": lambda k: draw.uniform(0.3, 1.7),
        "tail": lambda k: draw.lognormvariate(0.0, 1.0),
        "rising": lambda k: 0.2 + 1.6 * k / n,
        "two kinds": lambda k: 5.0 if draw.random() < 0.1 else 0.5,
    }[kind]
    raw = [weights(k) for k in range(n)]
    scale = mean_s / statistics.fmean(raw)
    walls = [scale * weight for weight in raw]
    return Job(f"{number}: {kind}", walls, [(1 - waits) * wall for wall in walls], result_bytes, lock)


def place_of(box: Box) -> Place:
    """Return the machine, with the costs that it would measure itself."""
    processes = PROCESSES[box.start_method]
    costs = {"pool": processes, "team": processes, "threadpool": THREADS, "threads": THREADS}
    return Place(
        name=box.name,
        machine=box.facts(),
        costs={name: calibrated(over, box, name) for name, over in costs.items()},
        scaling=Costs().scaling,
        simulated=True,
    )


def slice_of(place: Place, box: Box, job: Job) -> Slice:
    """Return one job in each setting of the grid, and in the one that the model chooses."""
    n = len(job.item_s)
    sample = sampled(job)
    best, _ = choose(
        sample, place.costs_for("pool"), place.machine, n_items=n, backends=("serial", "threads", "processes")
    )
    plan = Setting(best.backend, best.workers, best.chunksize)
    settings = [(one, False) for one in dict.fromkeys([plan, *grid(job, box, False)])]
    settings += [(one, True) for one in grid(job, box, True) if one.backend != "serial"]
    return Slice(
        place=place,
        function=job.name,
        n_items=n,
        sample=sample,
        caller_rss_bytes=0,
        plan=plan,
        cells=tuple(cell_of(job, box, sample, one, shrinking) for one, shrinking in settings),
    )


def cell_of(job: Job, box: Box, sample: Sample, one: Setting, shrinking: bool) -> Cell:
    """Return one setting with its simulated time."""
    clock_s = carry_out(job, box, one, shrinking, crewed=False)
    engine = ENGINES.get((one.backend, shrinking)) or {"processes": "team", "threads": "threads"}[one.backend]
    size = one.chunksize
    if shrinking:
        size = chunk_sizes(sample, one.backend, one.workers, len(job.item_s), shrinking=True)[0]  # type: ignore[arg-type]
    method = box.start_method if one.backend == "processes" else None
    return Cell(engine, one.backend, one.workers, size, method, (clock_s,))


def sampled(job: Job) -> Sample:
    """Return the sample of `SAMPLED` items at spread positions; the GIL's share and the bytes are known exactly."""
    n = len(job.item_s)
    where = sorted({k * (n - 1) // (SAMPLED - 1) for k in range(SAMPLED)})
    walls, cpus = [job.item_s[i] for i in where], [job.item_cpu_s[i] for i in where]
    full, std_s = sample_of(job), statistics.pstdev(walls)
    return Sample(
        n_sampled=len(where),
        item_s=statistics.fmean(walls),
        item_std_s=std_s,
        item_max_s=max(walls),
        item_cpu_s=statistics.fmean(cpus),
        last_s=statistics.fmean(walls[-ceil(len(where) / 8) :]),
        error_s=std_s / sqrt(len(where)),
        result_bytes=full.result_bytes,
        gil_held=full.gil_held,
    )
