"""Simulates other machines: ``python -m benchmarks.policies [--part schedule|execute|optimize] [--out PATH]``.

``schedule``: makespans of the ways to hand out items, at 4 to 192 cores and under quotas. ``execute``, ``optimize``:
the pick of `amorsize.model.search.choose` against the best of a simulated grid, and its forecast against the simulated
makespan. The costs for the forecast are calibrated in virtual time, as they would be on such a machine.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import date
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from amorsize.facts import BackendCost, ChannelCost, Costs, Forecast, Machine, Sample, StartCost
from amorsize.measure.start_cost import team_size
from amorsize.model.search import choose
from amorsize.schedule.schedule import Schedule
from amorsize.schedule.simulation.chunk_rules import SelfScheduling, equal, factoring, guided, simulate_pool, trapezoid
from amorsize.schedule.simulation.cores import Cores, Program
from amorsize.schedule.simulation.overheads import Overheads
from amorsize.schedule.simulation.simulate import Simulation, Simulator, Work, simulate
from amorsize.schedule.worker_count import WorkerCount
from amorsize.testing import a_machine
from benchmarks.environment import commit, versions
from benchmarks.results_files import FOLDER, free_path, read, write

# Overheads as measured on two cores (Linux, CPython 3.11): fork by `benchmarks.simulator`. For the others, the CPU time
# of a worker's boot follows from 38/58/148 ms (forkserver) and 94/110/350 ms (spawn) for 1/2/8 workers.
TEAM = Overheads(send_s=14e-6, receive_s=14e-6, latency_s=60e-6, chunk_s=60e-6, leave_cpu_s=1.4e-3, leave_wait_s=1e-3)
PROCESSES = {
    "fork": replace(TEAM, start_s=1.7e-3, boot_cpu_s=1.9e-3, once_s=2e-3),
    "forkserver": replace(TEAM, start_s=1.5e-3, boot_cpu_s=28e-3, boot_wait_s=5e-3, once_s=2e-3),
    "spawn": replace(TEAM, start_s=2e-3, boot_cpu_s=70e-3, boot_wait_s=20e-3, once_s=2e-3),
}
THREADS = Overheads(start_s=150e-6, immediate=True, send_s=15e-6, receive_s=15e-6, once_s=0.3e-3)

BYTE_S = 1.2e-9


class Job(NamedTuple):
    """A workload."""

    name: str
    item_s: list[float]
    item_cpu_s: list[float]
    result_bytes: float = 0.0
    lock_share: float = 1.0  # of computing, in threads: pure Python

    @property
    def total_s(self) -> float:
        return sum(self.item_s)


def most_workers(cores: float) -> int:
    """Return the number of processes to which a run may grow."""
    return 4 * ceil(cores)


MEAN_S, PER_CORE = 10e-3, 50


def jobs(cores: float) -> list[Job]:
    """Return jobs of half a second of work per core, in items of 10 ms; and some others."""
    n = max(100, round(PER_CORE * cores))
    draw = random.Random(7)
    tail = [draw.lognormvariate(0.0, 1.5) for _ in range(n)]
    heavy = [MEAN_S * t / statistics.fmean(tail) for t in tail]
    rising = [MEAN_S * (0.1 + 1.8 * k / (n - 1)) for k in range(n)]
    giant = [MEAN_S] * n
    giant[int(0.8 * n)] = 30 * MEAN_S
    even = [MEAN_S] * n
    mixed = [0.1 * MEAN_S if k % 2 else MEAN_S for k in range(n)]
    tiny = [50e-6] * (20 * n)
    return [
        Job("even", even, even),
        Job("heavy tail", heavy, heavy),
        Job("rising", rising, rising),
        Job("falling", rising[::-1], rising[::-1]),
        Job("one giant", giant, giant),
        Job("tiny, large results", tiny, tiny, result_bytes=50e3),
        Job("waits", even, [0.05 * s for s in even]),
        Job("half of the items wait", even, mixed),
    ]


class Box(NamedTuple):
    """A machine."""

    cores: int
    quota: float | None
    start_method: str

    @property
    def usable(self) -> float:
        return self.quota or float(self.cores)

    @property
    def name(self) -> str:
        return f"{self.cores} cores" + (f", quota {self.quota}" if self.quota else "") + f", {self.start_method}"

    def facts(self) -> Machine:
        return replace(
            a_machine(self.cores, memory_bytes=1 << 42),
            quota_cores=self.quota,
            usable_cores=self.usable,
        )


def boxes() -> list[Box]:
    machines = [(4, None), (16, None), (64, None), (192, None), (16, 1.5), (16, 4.5)]
    return [Box(cores, quota, method) for cores, quota in machines for method in PROCESSES]


def carried(over: Overheads, job: Job) -> Overheads:
    """Return the overheads with the cost of results added: their pickles, and their way through a socket."""
    if over.immediate or not job.result_bytes:
        return over
    move_s = job.result_bytes * BYTE_S
    return replace(over, receive_item_s=move_s, item_s=move_s)


def run(job: Job, box: Box, workers: int, over: Overheads, **options: Any) -> Simulation:
    threads = over.immediate
    return simulate(
        job.item_s,
        workers,
        item_cpu_s=job.item_cpu_s,
        cores=box.cores,
        quota=box.quota,
        lock_share=job.lock_share if threads else 0.0,
        overheads=carried(over, job),
        **options,
    )


# -- how items are handed out ----------------------------------------------------------------------------------------


def ours(job: Job, box: Box, workers: int, over: Overheads, *, known: bool = True) -> Simulation:
    """Simulate the schedule of ``execute``, which knows a mean from its first items, or nothing."""
    mean_s = statistics.fmean(job.item_s)
    options: dict[str, Any] = {"expected_s": mean_s, "evidence": max(1, int(10e-3 / mean_s))} if known else {}
    return run(job, box, workers, over, **options)


Way = Callable[[Job, Box, int, Overheads], Simulation]


def by_rule(rule: Callable[[int, int], Any], job: Job, box: Box, workers: int, over: Overheads) -> Simulation:
    return run(job, box, workers, over, policy=SelfScheduling(len(job.item_s), workers, rule))


def in_parts(parts: int, job: Job, box: Box, workers: int, over: Overheads) -> Simulation:
    """Simulate equal chunks, so many for each worker."""
    return by_rule(equal(max(1, ceil(len(job.item_s) / (parts * workers)))), job, box, workers, over)


WAYS: dict[str, Way] = {
    "amorsize": ours,
    "amorsize, nothing known": partial(ours, known=False),
    "N/p": partial(in_parts, 1),
    "N/4p": partial(in_parts, 4),
    "one by one": partial(by_rule, equal(1)),
    "guided": partial(by_rule, guided),
    "factoring": partial(by_rule, factoring),
    "trapezoid": partial(by_rule, trapezoid),
}


def schedules() -> list[dict[str, Any]]:
    """Return the makespan of each way on each machine, with workers that are started already."""
    rows = []
    for box in [b for b in boxes() if b.start_method == "fork"]:
        workers = ceil(box.usable)
        for job in jobs(box.usable):
            carrying_s = len(job.item_s) * job.result_bytes * BYTE_S
            bounds = (sum(job.item_cpu_s) / box.usable, max(job.item_s), (job.total_s + carrying_s) / workers)
            ideal_s = max(*bounds, carrying_s)
            times = {name: way(job, box, workers, TEAM).makespan_s / ideal_s for name, way in WAYS.items()}
            rows.append(
                {"cores": box.cores, "quota": box.quota, "workers": workers, "job": job.name, "ideal_s": ideal_s}
                | {"times_ideal": {name: round(value, 3) for name, value in times.items()}}
            )
    return rows


class Listening(Simulator):
    """A caller that listens between two starts, instead of after the last."""

    def _start(self, number: int) -> Program:
        if number not in self.policy.workers:  # type: ignore[attr-defined]
            return  # no items are left for it
        yield from super()._start(number)
        while self.mail and not self.is_over:
            yield from self._receive(self.mail.popleft())


def starts() -> list[dict[str, Any]]:
    """Return makespans if the caller starts all workers before it listens to any, and if it listens between starts."""
    rows = []
    for box in boxes():
        over, workers = PROCESSES[box.start_method], ceil(box.usable)
        for job in jobs(box.usable)[:2]:
            mean_s = statistics.fmean(job.item_s)
            schedule = Schedule([(0, len(job.item_s))], workers, item_s=mean_s, evidence=1)
            machine = Cores(box.cores, quota=box.quota)
            early = Listening(schedule, Work(job.item_s), machine, over).run()
            late = run(job, box, workers, over, expected_s=mean_s, evidence=1)
            rows.append(
                {
                    "box": box.name,
                    "job": job.name,
                    "after_the_last_start_s": round(late.makespan_s, 4),
                    "between_starts_s": round(early.makespan_s, 4),
                    "first_ready_s": [round(late.ready_s or 0.0, 4), round(early.ready_s or 0.0, 4)],
                    "gain": round(late.makespan_s / early.makespan_s, 3),
                }
            )
    return rows


# -- choices ---------------------------------------------------------------------------------------------------------


def start_of(workers: int, over: Overheads, box: Box) -> float:
    """Return the seconds of the start and end of so many workers, each of which gets an item."""
    nap_s = 1.0  # longer than any start, so that no worker gets two
    napping = [nap_s] * workers
    run = simulate(
        napping, workers, item_cpu_s=[0.0] * workers, cores=box.cores, quota=box.quota, overheads=over, fixed=1
    )
    return run.makespan_s - nap_s


def calibrated(over: Overheads, box: Box, engine: str) -> BackendCost:
    """Return the costs that a calibration on that machine would find, from starts of one and of some workers."""
    many = team_size(box.usable)
    one_s, many_s = (start_of(p, over, box) for p in (1, many))
    per_worker_s = max(0.0, (many_s - one_s) / (many - 1))
    threads = over.immediate
    return BackendCost(
        engine=engine,
        start_method=None if threads else box.start_method,
        start=StartCost(base_s=max(0.0, one_s - per_worker_s), per_worker_s=per_worker_s),
        channel=ChannelCost(
            per_chunk_s=over.send_s + over.receive_s,
            recv_s_per_byte=0.0 if threads else BYTE_S,
            worker_s_per_byte=0.0 if threads else BYTE_S,
            latency_s=2 * over.latency_s + over.chunk_s + over.send_s + over.receive_s,
            inherits=True,
        ),
        measured=True,
    )


def sample_of(job: Job) -> Sample:
    """Return a sample of all items, so that only the model can be wrong."""
    mean_s, cpu_s = statistics.fmean(job.item_s), statistics.fmean(job.item_cpu_s)
    return Sample(
        n_sampled=len(job.item_s),
        item_s=mean_s,
        item_std_s=statistics.pstdev(job.item_s),
        item_max_s=max(job.item_s),
        item_cpu_s=cpu_s,
        last_s=statistics.fmean(job.item_s[-max(1, len(job.item_s) // 20) :]),
        result_bytes=job.result_bytes,
        gil_held=min(1.0, job.lock_share * cpu_s / mean_s),
    )


class Setting(NamedTuple):
    backend: str
    workers: int
    chunksize: int


def carry_out(job: Job, box: Box, setting: Setting, shrinking: bool, *, crewed: bool = True) -> float:
    """Return a setting's seconds: by ``execute``'s engine, which may add workers, or by a pool with fixed chunks."""
    if setting.backend == "serial":
        return job.total_s if box.usable >= 1 else job.total_s / box.usable
    over = THREADS if setting.backend == "threads" else PROCESSES[box.start_method]
    if shrinking:
        mean_s = statistics.fmean(job.item_s)
        alike = statistics.pstdev(job.item_s) < 0.5 * mean_s
        most = most_workers(box.usable) if setting.backend == "processes" else 256
        worker_count = (
            WorkerCount(box.usable, max(most, setting.workers), mean_s if alike else 0.0, may_lose=True)
            if crewed
            else None
        )
        evidence = max(1, int(10e-3 / mean_s))
        options = {"expected_s": mean_s, "evidence": evidence, "worker_count": worker_count}
        return run(job, box, setting.workers, over, **options).makespan_s
    return simulate_pool(
        job.item_s,
        setting.workers,
        setting.chunksize,
        item_cpu_s=job.item_cpu_s,
        cores=box.cores,
        quota=box.quota,
        lock_share=job.lock_share if setting.backend == "threads" else 0.0,
        overheads=carried(over, job),
    ).makespan_s


def grid(job: Job, box: Box, shrinking: bool) -> Iterator[Setting]:
    """Yield settings that a user might choose by hand."""
    n, cores = len(job.item_s), ceil(box.usable)
    waits = sum(job.item_cpu_s) < 0.9 * job.total_s
    counts = {
        max(2, cores // 8),
        max(2, cores // 4),
        max(2, cores // 2),
        max(2, cores),
        *([2 * cores] if waits else []),
    }
    counts |= {32, 64} if waits else set()
    yield Setting("serial", 1, n)
    for workers in sorted(counts):
        sizes = {ceil(n / (parts * workers)) for parts in (1, 4, 16)} | ({1} if n <= 10_000 else set())
        for size in [0] if shrinking else sorted(sizes):
            yield Setting("processes", workers, size)
            if waits or not size or size == max(sizes):
                yield Setting("threads", workers, size)


def choices(shrinking: bool, only: Iterable[Box]) -> list[dict[str, Any]]:
    """Return, for each machine and job, the choice, its simulated time, and that of the best of the grid."""
    rows = []
    for box in only:
        costs = Costs(
            threads=calibrated(THREADS, box, "threads" if shrinking else "threadpool"),
            processes=calibrated(PROCESSES[box.start_method], box, "team" if shrinking else "pool"),
        )
        for job in jobs(box.usable):
            best, others = choose(
                sample_of(job),
                costs,
                box.facts(),
                n_items=len(job.item_s),
                backends=("serial", "threads", "processes"),
                shrinking=shrinking,
            )
            chosen = Setting(best.backend, best.workers, best.chunksize)
            times = {s: carry_out(job, box, s, shrinking) for s in {chosen, *grid(job, box, shrinking)}}
            oracle = min(times, key=lambda s: times[s])
            rows.append(
                {
                    "box": box.name,
                    "cores": box.cores,
                    "quota": box.quota,
                    "start_method": box.start_method,
                    "job": job.name,
                    "chosen": chosen,
                    "forecast_s": round(best.total_s, 4),
                    "simulated_s": round(times[chosen], 4),
                    "error": round(best.total_s / times[chosen] - 1, 3),
                    "errors_of_others": [error_of(f, job, box, shrinking) for f in some(others)],
                    "oracle": oracle,
                    "oracle_s": round(times[oracle], 4),
                    "regret": round(times[chosen] / times[oracle], 3),
                }
            )
    return rows


def some(others: list[Forecast]) -> list[Forecast]:
    """Return a few of the parallel candidates that were not chosen."""
    parallel = [f for f in others if f.backend != "serial" and f.refused is None]
    return parallel[:: max(1, len(parallel) // 3)][:3]


def error_of(forecast: Forecast, job: Job, box: Box, shrinking: bool) -> float:
    """Return the relative error of a forecast against the simulation, with a fixed number of workers."""
    setting = Setting(forecast.backend, forecast.workers, forecast.chunksize)
    simulated_s = carry_out(job, box, setting, shrinking, crewed=False)
    return round(forecast.total_s / simulated_s - 1, 3)


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return forecast errors and regrets by machine and start method."""
    found = []
    for box in dict.fromkeys(r["box"] for r in rows):
        some = [r for r in rows if r["box"] == box]
        sizes = sorted(abs(r["error"]) for r in some)
        regrets = [r["regret"] for r in some]
        found.append(
            {
                "box": box,
                "median_error": round(statistics.median(sizes), 3),
                "worst_error": sizes[-1],
                "geometric_regret": round(statistics.geometric_mean(regrets), 3),
                "worst_regret": max(regrets),
                "off": [
                    {key: r[key] for key in ("job", "chosen", "error", "oracle", "regret")}
                    for r in some
                    if abs(r["error"]) > OFF or r["regret"] > REGRETTABLE
                ],
            }
        )
    return found


OFF, REGRETTABLE = 0.15, 1.1


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["schedule", "execute", "optimize"])
    parser.add_argument("--cores", type=int, help="only machines with so many")
    parser.add_argument("--out", type=Path, help="where to write; parts that are there already are kept")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    began_s = time.perf_counter()
    only = [b for b in boxes() if arguments.cores in (None, b.cores)]
    if arguments.part in (None, "schedule"):
        found["schedules"], found["starts"] = schedules(), starts()
    if arguments.part in (None, "execute"):
        found["execute"] = choices(True, only)
    if arguments.part in (None, "optimize"):
        found["optimize"] = choices(False, only)
    print(f"{time.perf_counter() - began_s:.0f} s")
    for r in found.get("schedules", []):
        print(r["cores"], r["quota"], r["job"], r["times_ideal"])
    for r in found.get("starts", []):
        print(r)
    for part in ("execute", "optimize"):
        for one in summary(found.get(part, [])):
            print(part, {key: value for key, value in one.items() if key != "off"})
            for off in one["off"]:
                print("    ", json.dumps(off))
    path = arguments.out or free_path(FOLDER, f"{date.today().isoformat()}-simulated-policies")
    before = read(path) if path.exists() else {}
    result = before | {"what": "simulated machines", "versions": versions(), "commit": commit(), **found}
    result["summary"] = {part: summary(result[part]) for part in ("execute", "optimize") if part in result}
    write(path, result)


if __name__ == "__main__":
    main()
