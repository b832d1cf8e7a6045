"""The search for the fastest candidate over backend × workers × chunksize, under the limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from math import ceil

from amorsize.facts import Backend, BackendCost, Costs, Forecast, Machine, Sample
from amorsize.frozen import replace
from amorsize.model.cost import OWN_THREADS, Candidates, cpu_per_item

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MARGIN: Final = 0.1  # a parallel plan must promise at least this much less time than the loop
OWN_THREADS_MARGIN: Final = 0.35  # the same for a function with threads of its own: what the cores it leaves idle are
# worth is overestimated while other programs keep them from it
COUNTS: Final = 2  # numbers of workers of which all chunk sizes are looked at: those best with four chunks each
SPLITS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)  # chunks for each worker
MAX_WAITING_WORKERS: Final = 64  # where nobody says how many callers the other end can bear


def choose(
    sample: Sample,
    costs: Costs,
    machine: Machine,
    *,
    n_items: int,
    backends: Sequence[Backend],
    max_workers: int | None = None,
    memory_limit_bytes: int | None = None,
    caller_rss_bytes: int = 0,
    shrinking: bool = False,
    loop_slowdown: float = 1.0,
) -> tuple[Forecast, list[Forecast]]:
    """The candidate with the least forecast time, and the best of every other backend and number of workers.

    Serial is taken whenever nothing beats it by `MARGIN`. When it is not among ``backends``, the best of the others
    is taken, refused or not. ``loop_slowdown``: how much longer an item takes in the loop than it would alone.

    Returns
    -------
    best : Forecast
    alternatives : list of Forecast
        Rejected candidates, fastest first; ``refused`` says why one must not run.
    """
    found: list[Forecast] = []
    for backend in backends:
        cost = None if backend == "serial" else costs.threads if backend == "threads" else costs.processes
        if backend != "serial" and cost is None:
            continue
        of = Candidates(
            replace(sample, item_s=sample.item_s * loop_slowdown) if backend == "serial" else sample,
            costs,
            machine,
            backend,
            n_items=n_items,
            caller_rss_bytes=caller_rss_bytes,
            shrinking=shrinking,
        )
        counts = worker_counts(sample, machine, backend, n_items, max_workers)
        by_four = {p: of.seconds(p, ceil(n_items / (4 * p))) for p in counts} if len(counts) > COUNTS else {}
        thorough = set(sorted(by_four, key=by_four.__getitem__)[:COUNTS]) if by_four else set(counts)
        for workers in counts:
            sizes = [max(1, ceil(n_items / (4 * workers)))]
            if workers in thorough:
                sizes = chunk_sizes(sample, backend, workers, n_items, shrinking)
            best = of.forecast(workers, min(sizes, key=partial(of.seconds, workers)))
            why = refusal(best, sample, cost, machine, memory_limit_bytes)
            if why is not None:  # smaller chunks may fit where the fastest do not
                row = [of.forecast(workers, c) for c in chunk_sizes(sample, backend, workers, n_items, shrinking)]
                fitting = [f for f in row if refusal(f, sample, cost, machine, memory_limit_bytes) is None]
                best = min(fitting, key=lambda f: f.total_s) if fitting else replace(best, refused=why)
            found.append(best)
    if not found:
        raise ValueError("none of the backends asked for can be had here")
    found.sort(key=lambda f: (f.refused is not None, f.total_s))
    best = _with_margin(found, sample.own_threads)
    return best, [f for f in found if f is not best]


def _with_margin(found: Sequence[Forecast], own_threads: float) -> Forecast:
    best = found[0]
    serial = next((f for f in found if f.backend == "serial"), None)
    margin = MARGIN if own_threads <= OWN_THREADS else OWN_THREADS_MARGIN
    if serial is not None and (best.refused is not None or best.total_s > serial.total_s * (1 - margin)):
        return serial
    # Among those that the clock could not tell apart, fewer workers are kinder to the machine.
    level = [f for f in found if f.refused is None and f.backend == best.backend and f.total_s <= best.total_s * 1.01]
    return min(level, key=lambda f: f.workers, default=best)


def worker_counts(
    sample: Sample, machine: Machine, backend: Backend, n_items: int, max_workers: int | None
) -> list[int]:
    """Numbers of workers worth a forecast: up to the cores, and beyond them as far as items wait."""
    if backend == "serial":
        return [1]
    cores = ceil(machine.usable_cores)
    most = cores
    cpu = cpu_per_item(sample)
    if sample.waits > 0.1:
        cpu = max(cpu, 1e-6 * sample.item_s)
        useful = ceil(1.5 * machine.usable_cores * sample.item_s / cpu)
        most = max(cores, min(useful, max(MAX_WAITING_WORKERS, 4 * cores) if max_workers is None else max_workers))
    elif backend == "threads" and sample.gil_held is not None and cores > 1:
        most = 2 * cores  # one that waits for the lock leaves its core to another
    most = max(1, min(most, n_items))
    if max_workers is not None:
        most = min(most, max_workers)
    return _ladder(1, most, also=(cores,))


def chunk_sizes(sample: Sample, backend: Backend, workers: int, n_items: int, shrinking: bool) -> list[int]:
    """Chunk sizes worth a forecast: a ladder, and those that divide the items evenly among the workers."""
    if backend == "serial":
        return [max(1, n_items)]
    if shrinking:  # the schedule will find them; for the forecast, chunks of some milliseconds
        size = 1 if sample.item_s <= 0 else max(1, int(5e-3 / sample.item_s))
        return [max(1, min(size, ceil(n_items / (4 * workers))))]
    most = max(1, ceil(n_items / workers))
    also = (ceil(n_items / (workers * split)) for split in SPLITS)
    return _ladder(1, most, 2.0, also=also)


def _ladder(least: int, most: int, factor: float = 1.4, *, also: Iterable[int] = ()) -> list[int]:
    """Whole numbers from ``least`` to ``most`` in steps of about ``factor``, with ``also`` where it lies between.

    Examples
    --------
    >>> _ladder(1, 40, also=[7, 100])
    [1, 2, 3, 4, 5, 7, 8, 11, 16, 22, 31, 40]
    """
    steps = {least, most, *(a for a in also if least <= a <= most)}
    at = float(least)
    while at < most:
        at = max(at + 1, at * factor)
        steps.add(min(int(at), most))
    return sorted(steps)


WORKER_BYTES: Final[dict[str | None, int]] = {
    # what an idle worker adds to the machine's used memory (proportional set size), measured on CPython 3.11-3.13
    "fork": 6 << 20,
    "forkserver": 14 << 20,
    "spawn": 20 << 20,
    None: 1 << 18,
}

HEADROOM: Final = 0.9  # of the available memory may be planned for


def worker_bytes(sample: Sample, start_method: str | None, chunksize: int) -> float:
    """Bytes that one more worker adds: itself, what an item makes it grow by, and a chunk of items and results."""
    in_flight = 2 * chunksize * (sample.arg_bytes + sample.result_bytes)
    return WORKER_BYTES.get(start_method, WORKER_BYTES["spawn"]) + sample.rss_growth_bytes + in_flight


def memory_budget(machine: Machine, memory_limit_bytes: int | None) -> float:
    """Bytes that workers may add in all: what the machine has left, or the user's own limit if that is less."""
    budget = HEADROOM * machine.memory_available_bytes
    return min(budget, memory_limit_bytes) if memory_limit_bytes is not None else budget


def refusal(
    candidate: Forecast, sample: Sample, cost: BackendCost | None, machine: Machine, memory_limit_bytes: int | None
) -> str | None:
    """Why ``candidate`` must not run, in words; None if it may."""
    if candidate.backend == "processes" and sample.transfer_error is not None:
        return sample.transfer_error
    if candidate.backend == "serial" or cost is None:
        return None
    need = candidate.workers * worker_bytes(sample, cost.start_method, candidate.chunksize)
    budget = memory_budget(machine, memory_limit_bytes)
    if need > budget:
        return f"{candidate.workers} workers would take {need / 1e6:,.0f} MB, and {budget / 1e6:,.0f} MB may be used"
    return None
