"""The search for the fastest candidate over backend × workers × chunksize, under the limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from math import ceil

from amorsize.facts import MARGIN, OWN_THREADS, Backend, Costs, Forecast, Machine, Sample
from amorsize.frozen import Frozen, replace
from amorsize.model.cost import Candidates, cpu_per_item
from amorsize.model.default_costs import recorded
from amorsize.model.head import RESULT_S
from amorsize.model.memory_limit import refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# guess: the same for a function with threads of its own, since the gain from the cores that it leaves idle is
# overestimated while other programs use them
OWN_THREADS_MARGIN: Final = 0.35
# All chunk sizes are compared only for this many worker counts, those that are best with four chunks per worker (a
# guess).
COUNTS: Final = 2
# guess: the fastest machine starts workers in this share of the recorded time
FASTEST: Final = 0.5
# Chunks per worker.
SPLITS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
# Items per core up to which all may run at once: beyond that the last round, of few items, is a small part of the map.
# guess
ROUNDS_SHARED: Final = 2.5
# guess: the same only where it saves more than this
WORTH_SHARING: Final = 1.1
# guess: the same only for items that differ by less than this share of their mean
ALIKE: Final = 0.3
# guess: limit for items that wait for a service of unknown capacity
MAX_WAITING_WORKERS: Final = 64


def may_pay(
    sample: Sample,
    machine: Machine,
    *,
    n_items: int,
    backends: Sequence[Backend],
    start_method: str | None,
    max_workers: int | None = None,
    load_s: float = 0.0,
) -> bool:
    """Return True if the workers of a pool might beat the loop; if not, no other figure can change the decision.

    They take at least a start that is faster than the recorded one, the items on all cores (or all at a time where
    they wait), and the one dispatcher of processes (items and results of `RESULT_S`) or the lock of threads. The mean
    of the items is taken two standard errors higher than it was seen. ``load_s``: seconds for modules that this process
    has yet to load before a pool can start.
    """
    if "serial" not in backends:
        return True
    item_s = sample.item_s + 2 * sample.error_s
    cpu_s = cpu_per_item(sample) * item_s / max(sample.item_s, 1e-9)
    loop_s = n_items * max(item_s, cpu_s / machine.usable_cores)
    for backend in backends:
        if backend == "serial":
            continue
        if backend == "threads":
            start, serial_s = recorded("threadpool", None).start, 0.0
            if machine.gil_enabled:
                serial_s = cpu_s if sample.gil_held is None else item_s * sample.gil_held
        else:
            start, serial_s = recorded("pool", start_method).start, RESULT_S
        workers = worker_counts(sample, machine, backend, n_items, max_workers)[-1]
        work_s = n_items * max(item_s / workers, cpu_s / machine.usable_cores, serial_s)
        if load_s + FASTEST * start.total_s(min(2, workers)) + work_s < (1 - MARGIN) * loop_s:
            return True
    return False


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
    kept_items: int = 0,
    load: float = 0.0,
) -> tuple[Forecast, list[Forecast]]:
    """Return the candidate with the least forecast time, and the best of every other backend and number of workers.

    Serial is taken unless another beats it by `MARGIN`. If it is not among ``backends``, the best of the others is
    taken, even a refused one. ``loop_slowdown``: factor by which other calls slow the loop down. ``kept_items``:
    results that the memory must hold (`amorsize.model.memory_limit.refusal`). ``load``: see `Candidates`.

    Chunks are the best for a plain ``multiprocessing.Pool``, also where ``plan.pool()`` sends the function once: many
    users take ``n_jobs`` and ``chunksize`` to a Pool of their own. The forecast is that of ``plan.pool()``.

    Returns
    -------
    best : Forecast
    alternatives : list of Forecast
        Rejected candidates, fastest first; ``refused`` is the reason why one must not run.
    """
    found: list[Forecast] = []
    for backend in backends:
        cost = None if backend == "serial" else costs.threads if backend == "threads" else costs.processes
        if backend != "serial" and cost is None:
            continue
        candidates = partial(
            Candidates,
            replace(sample, item_s=sample.item_s * loop_slowdown) if backend == "serial" else sample,
            costs,
            machine,
            backend,
            n_items=n_items,
            caller_rss_bytes=caller_rss_bytes,
            shrinking=shrinking,
            load=load,
        )
        of, plain = candidates(), candidates(plain=True)
        counts = worker_counts(sample, machine, backend, n_items, max_workers, may_share=memory_limit_bytes is None)
        by_four = {p: plain.seconds(p, ceil(n_items / (4 * p))) for p in counts} if len(counts) > COUNTS else {}
        thorough = set(sorted(by_four, key=by_four.__getitem__)[:COUNTS]) if by_four else set(counts)
        for workers in counts:
            sizes = [max(1, ceil(n_items / (4 * workers)))]
            if workers in thorough:
                sizes = chunk_sizes(sample, backend, workers, n_items, shrinking)
            best = of.forecast(workers, min(sizes, key=partial(plain.seconds, workers)))
            why = refusal(best, sample, cost, machine, memory_limit_bytes, kept_items)
            # Smaller chunks may fit into memory where the fastest do not.
            if why is not None:
                row = [of.forecast(workers, c) for c in chunk_sizes(sample, backend, workers, n_items, shrinking)]
                fitting = [f for f in row if refusal(f, sample, cost, machine, memory_limit_bytes, kept_items) is None]
                best = min(fitting, key=lambda f: f.total_s) if fitting else replace(best, refused=why)
            found.append(best)
    if not found:
        raise ValueError("none of the backends asked for can be had here")
    found.sort(key=lambda f: (f.refused is not None, f.total_s))
    best = _with_margin(found, sample.own_threads)
    return best, [f for f in found if f is not best]


class Basis(Frozen):
    """All that a choice rests on, so that it can be made again with something changed.

    Attributes
    ----------
    sample, costs, machine, n_items, backends
        As `amorsize.model.search.choose` takes them.
    max_workers : int or None
        The user's cap.
    barred : str or None
        Why "auto" may not use threads; None: it may, or was not asked.
    excluded : tuple of str
        Backends that the user's ``backend=`` leaves out, although func may run there.
    is_locked : bool
        True if items wait, and two threads were no faster than one: func waits for something that calls share.
    memory_limit_bytes, caller_rss_bytes, kept_items, load
        As `choose` takes them.
    shrinking : bool
        True for a run of ``execute()``, whose chunks shrink.
    before_s : float
        Seconds that such a run spends in the loop before it may go parallel; `choose` does not count them.
    """

    sample: Sample
    costs: Costs
    machine: Machine
    n_items: int
    backends: tuple[Backend, ...]
    max_workers: int | None = None
    barred: str | None = None
    excluded: tuple[Backend, ...] = ()
    is_locked: bool = False
    memory_limit_bytes: int | None = None
    caller_rss_bytes: int = 0
    kept_items: int = 0
    load: float = 0.0
    shrinking: bool = False
    before_s: float = 0.0

    def choose(self) -> tuple[Forecast, list[Forecast]]:
        """Return the best way to run the map and the others, as `choose` does."""
        return choose(
            self.sample,
            self.costs,
            self.machine,
            n_items=self.n_items,
            backends=self.backends,
            max_workers=self.max_workers,
            memory_limit_bytes=self.memory_limit_bytes,
            caller_rss_bytes=self.caller_rss_bytes,
            kept_items=self.kept_items,
            load=self.load,
            shrinking=self.shrinking,
        )


def _with_margin(found: Sequence[Forecast], own_threads: float) -> Forecast:
    best = found[0]
    serial = next((f for f in found if f.backend == "serial"), None)
    margin = MARGIN if own_threads <= OWN_THREADS else OWN_THREADS_MARGIN
    if serial is not None and (best.refused is not None or best.total_s > serial.total_s * (1 - margin)):
        return serial
    # Among candidates that the clock could not tell apart, fewer workers leave more of the machine to others.
    level = [f for f in found if f.refused is None and f.backend == best.backend and f.total_s <= best.total_s * 1.01]
    return min(level, key=lambda f: f.workers, default=best)


def worker_counts(
    sample: Sample,
    machine: Machine,
    backend: Backend,
    n_items: int,
    max_workers: int | None,
    *,
    may_share: bool = True,
) -> list[int]:
    """Return the numbers of workers to forecast: up to the cores; more if items wait or threads share the GIL.

    ``may_share``: also where a few items more than cores could run at once. Not under a limit of memory: what items
    free again is not seen in a sample.
    """
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
        # A thread that waits for the lock leaves its core to another.
        most = 2 * cores
    in_turns = cores * ceil(n_items / cores)
    if (
        may_share
        and cores < n_items <= ROUNDS_SHARED * cores
        and in_turns > WORTH_SHARING * n_items
        and _are_alike(sample)
    ):
        # All at once share the cores: three items on two take 1.5 times as long as one, in turns twice as long.
        most = max(most, n_items)
    most = max(1, min(most, n_items))
    if backend == "processes":
        most = min(most, machine.most_processes)
    if max_workers is not None:
        most = min(most, max_workers)
    return _ladder(1, most, also=(cores,))


def _are_alike(sample: Sample) -> bool:
    """Return True if no item takes much longer than the others: it would end late, since it shared its core."""
    return max(sample.item_max_s - sample.item_s, sample.item_std_s) <= ALIKE * sample.item_s


def chunk_sizes(sample: Sample, backend: Backend, workers: int, n_items: int, shrinking: bool) -> list[int]:
    """Return the chunk sizes to forecast: a geometric sequence, and sizes that split the items evenly among workers."""
    if backend == "serial":
        return [max(1, n_items)]
    # The schedule finds the sizes; the forecast assumes chunks of some milliseconds.
    if shrinking:
        size = 1 if sample.item_s <= 0 else max(1, int(5e-3 / sample.item_s))
        return [max(1, min(size, ceil(n_items / (4 * workers))))]
    most = max(1, ceil(n_items / workers))
    also = (ceil(n_items / (workers * split)) for split in SPLITS)
    return _ladder(1, most, 2.0, also=also)


def _ladder(least: int, most: int, factor: float = 1.4, *, also: Iterable[int] = ()) -> list[int]:
    """Return whole numbers from ``least`` to ``most`` in steps of about ``factor``, and those of ``also`` in between.

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
