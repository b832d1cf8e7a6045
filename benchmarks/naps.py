"""Sleeping items on the real engine, and the overheads of the engine: for `benchmarks.simulator`.

Items that sleep allow many real workers on few cores. Each returns its real time (a sleep overshoots by 0.1 ms), its
thread, and the CPU time of its process so far; the overheads of the engine follow from these.
"""

from __future__ import annotations

import random
import resource
import statistics
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import amorsize
from amorsize.backends.results import Outcome
from amorsize.backends.source import source_of
from amorsize.backends.threads import ThreadDriver
from amorsize.schedule.schedule import Schedule
from amorsize.schedule.simulation.overheads import Overheads
from benchmarks.engine import dispatch


class Nap(NamedTuple):
    """The figures of one item."""

    index: int
    wall_s: float
    cpu_s: float
    began_s: float
    who: int
    had_cpu_s: float
    has_cpu_s: float


def nap(item: tuple[int, float]) -> Nap:
    """Sleep for the item's seconds; return its figures."""
    index, seconds = item
    had_cpu_s, cpu_s, began_s = time.process_time(), time.thread_time(), time.perf_counter()
    time.sleep(seconds)
    wall_s = time.perf_counter() - began_s
    return Nap(
        index, wall_s, time.thread_time() - cpu_s, began_s, threading.get_native_id(), had_cpu_s, time.process_time()
    )


class Timed(NamedTuple):
    """One run."""

    wall_s: float
    began_s: float
    caller_cpu_s: float
    children_cpu_s: float
    naps: list[Nap]

    def by_worker(self) -> list[list[Nap]]:
        found: dict[int, list[Nap]] = {}
        for one in self.naps:
            found.setdefault(one.who, []).append(one)
        return [sorted(naps, key=lambda n: n.began_s) for naps in found.values()]

    def gaps(self) -> list[float]:
        """Return the seconds between two chunks of the same worker."""
        pairs = (pair for naps in self.by_worker() for pair in pairwise(naps))
        return [b.began_s - a.began_s - a.wall_s for a, b in pairs if b.index != a.index + 1]

    @property
    def tail_s(self) -> float:
        """Seconds from the end of the last item to the end of the run."""
        return self.began_s + self.wall_s - max(n.began_s + n.wall_s for n in self.naps)


def run_processes(data: list[float], workers: int) -> Timed:
    """Run the items on worker processes, by ``execute``."""
    items = list(enumerate(data))
    return timed(lambda: amorsize.execute(nap, items, backend="processes", start_method="fork", max_workers=workers))


def run_threads(data: list[float], workers: int) -> Timed:
    """Run the items on threads, by the driver itself: ``execute`` would run the first items in the caller."""
    items = list(enumerate(data))

    def drive() -> list[Nap]:
        outcome = Outcome("raise")
        ThreadDriver(Schedule([(0, len(items))], workers), source_of(items), outcome, nap).run()
        return outcome.finish(items.__getitem__)

    return timed(drive)


def timed(run: Callable[[], list[Nap]]) -> Timed:
    began_s, cpu_s, children_s = time.perf_counter(), time.thread_time(), cpu_of_children()
    naps = run()
    return Timed(
        time.perf_counter() - began_s, began_s, time.thread_time() - cpu_s, cpu_of_children() - children_s, naps
    )


def cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def shapes(item_s: float, n: int, seed: int = 1) -> dict[str, list[float]]:
    """Return workloads of ``n`` items that take ``item_s`` on average, without the giant."""
    draw = random.Random(seed)
    tail = [draw.lognormvariate(0.0, 1.0) for _ in range(n)]
    mean = statistics.fmean(tail)
    giant = [item_s] * n
    giant[int(0.8 * n)] = 0.1
    return {
        "even": [item_s] * n,
        "log-normal": [item_s * t / mean for t in tail],
        "rising": [item_s * (0.2 + 1.6 * k / max(1, n - 1)) for k in range(n)],
        "one giant": giant,
    }


FEW, MANY = 2, 32


def lap_of_processes(workers: int) -> Timed:
    return run_processes([0.01] * (5 * workers), workers)


def overheads_of_processes(few: list[Timed], many: list[Timed]) -> Overheads:
    """Return the overheads, from some laps with few workers and with many."""
    receive_s = statistics.median(dispatch()[0] for _ in range(3)) / 2
    boots, leaves, chunks = [], [], []
    for lap in (*few, *many):
        workers = lap.by_worker()
        boots.append(statistics.fmean(naps[0].had_cpu_s for naps in workers))
        last_s = sum(naps[-1].has_cpu_s for naps in workers)
        leaves.append((lap.children_cpu_s - last_s) / len(workers))
        own_s = last_s - sum(n.cpu_s for n in lap.naps) - sum(naps[0].had_cpu_s for naps in workers)
        chunks.append(own_s / len(lap.gaps()))
    turn_s = statistics.median(gap for lap in few for gap in lap.gaps())
    few_s, many_s = (
        statistics.median(lap.caller_cpu_s - 2 * receive_s * (len(lap.gaps()) + workers) for lap in laps)
        for laps, workers in ((few, FEW), (many, MANY))
    )
    start_s = (many_s - few_s) / (MANY - FEW)
    chunk_s, leave_s = max(0.0, statistics.median(chunks)), statistics.median(leaves)
    return Overheads(
        start_s=start_s,
        boot_cpu_s=statistics.median(boots),
        send_s=receive_s,
        receive_s=receive_s,
        latency_s=max(0.0, turn_s - chunk_s - 2 * receive_s) / 2,
        chunk_s=chunk_s,
        leave_cpu_s=leave_s,
        leave_wait_s=max(0.0, statistics.median(lap.tail_s for lap in few) - leave_s),
        once_s=max(0.0, few_s - FEW * start_s),
    )


def lap_of_threads(workers: int) -> Timed:
    return run_threads([0.01] * (5 * workers), workers)


def overheads_of_threads(few: list[Timed], many: list[Timed]) -> Overheads:
    """Return the overheads, from some laps with few threads and with many."""
    starts = []
    for lap in many:
        begun = sorted(naps[0].began_s for naps in lap.by_worker())
        starts.append((begun[-1] - begun[0]) / (len(begun) - 1))
    firsts = [min(n.began_s for n in lap.naps) - lap.began_s for lap in few]
    turn_s = statistics.median(gap for lap in few for gap in lap.gaps())
    start_s = statistics.median(starts)
    return Overheads(
        start_s=start_s,
        immediate=True,
        send_s=turn_s / 2,
        receive_s=turn_s / 2,
        once_s=max(0.0, statistics.median(firsts) - start_s),
    )
