"""What would help: the same map forecast again with one thing changed in the user's code, data or machine.

Each proposal changes one measured figure (a result's size, the threads of the function's own, the start of workers, the
number of cores), and the model then chooses anew. Its gain is the forecast of the best way today divided by that of the
best way after the change. So a gain is as right as the model is: nothing is judged by rules of its own.
"""

from __future__ import annotations

from amorsize.facts import OWN_THREADS, WAITS, Backend, Forecast, Sample, Scaling
from amorsize.formatting import seconds, size
from amorsize.frozen import Frozen, replace
from amorsize.model.default_costs import recorded
from amorsize.model.search import Basis

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

# guess: a smaller gain is within what the clock varies by
WORTH: Final = 1.15
# guess: the same, where one figure after the change could not be measured
WORTH_UNSEEN: Final = 1.4
# guess: a smaller difference is not noticed
NOTICED_S: Final = 10e-3
# Proposals that are told.
TOLD: Final = 3
# Of a number, or a file's name: bytes and seconds of its pickle.
SMALL_BYTES: Final = 64.0
SMALL_S: Final = 1e-6
# guess: of the whole time; a part of less is not what bounds a map
BOUNDS: Final = 0.3
# guess: items that take so many times longer in workers than in the loop are what keeps these from gaining
SLOWED: Final = 1.2
# guess: beyond which cores a forecast is no better than this share of the best
LEVEL: Final = 1.05
# Cores of other machines that are forecast.
CORES: Final = (4, 8, 16, 64)
# The search for the cores that still pay ends here.
MOST_CORES: Final = 256


class Advice(Frozen):
    """One change that would make the map faster.

    Attributes
    ----------
    what : str
        What to change, as an order.
    gain : float
        Seconds now divided by seconds then; 2.0 is twice as fast.
    why : str
        The figure that speaks for it.
    """

    what: str
    gain: float
    why: str


class WhatIf(Frozen):
    """The best way to run the same map on a machine with other cores.

    Attributes
    ----------
    cores : int
    backend : {"serial", "threads", "processes"}
    workers : int
    predicted_s : float
    """

    cores: int
    backend: Backend
    workers: int
    predicted_s: float


class Proposal(Frozen):
    """A change, not yet weighed: what to do, why, the basis with it, and the least gain that is worth telling."""

    what: str
    why: str
    basis: Basis
    worth: float = WORTH


def advise(basis: Basis, now: Forecast) -> tuple[Advice, ...]:
    """Return the changes that would help most, the best first.

    Parameters
    ----------
    basis : Basis
    now : Forecast
        The way that was chosen.

    Notes
    -----
    Takes a search for each proposal: 0.3-3 ms in all on a few cores.

    Examples
    --------
    Forty items of 25 ms, each with a result of 8 MB:

    >>> from amorsize.facts import Costs
    >>> from amorsize.model.default_costs import recorded
    >>> from amorsize.testing import a_machine
    >>> big = Sample(n_sampled=5, item_s=25e-3, item_cpu_s=25e-3, result_bytes=8e6, result_pickle_s=8e-3,
    ...     result_unpickle_s=8e-3)
    >>> here = Basis(sample=big, costs=Costs(processes=recorded("pool", "fork")), machine=a_machine(cores=4),
    ...     n_items=40, backends=("serial", "processes"))
    >>> [(one.what, one.gain > 1.5) for one in advise(here, here.choose()[0])]
    [('return less from func: a sum, a few numbers, the name of a file', True)]
    """
    now_s = _seconds(basis.sample, now)
    if basis.is_locked:
        # The forecast that was carried out took calls to run side by side.
        now = basis.choose()[0]
        now_s = _with_loop(basis, now)
    found = []
    for proposal in _proposals(basis, now):
        then = proposal.basis.choose()[0]
        then_s = _with_loop(proposal.basis, then)
        gain = now_s / max(then_s, 1e-9)
        if then.refused is None and gain >= proposal.worth and now_s - then_s >= NOTICED_S:
            found.append(Advice(what=proposal.what, gain=gain, why=proposal.why))
    return tuple(sorted(found, key=lambda one: -one.gain)[:TOLD])


def what_if(basis: Basis, cores: tuple[int, ...] = CORES) -> tuple[WhatIf, ...]:
    """Return the best way on machines with so many cores, each as fast as one here alone, and otherwise like this."""
    return tuple(_on(basis, count) for count in cores)


def most_useful_cores(basis: Basis) -> int:
    """Return the number of cores beyond which more do not pay: with them, the map is within 5 % of its fastest."""
    counts, count = [1], 1
    while count < MOST_CORES:
        count = max(count + 1, count * 5 // 4)
        counts.append(count)
    took = [_on(basis, count).predicted_s for count in counts]
    return next(count for count, seconds_ in zip(counts, took, strict=True) if seconds_ <= LEVEL * min(took))


def bound(basis: Basis, now: Forecast) -> str:
    """Return what keeps the chosen way from being faster, as the end of the sentence "it is bounded by …"."""
    sample, parts, total = basis.sample, now.breakdown, now.total_s
    if _longest_s(sample) > 0.5 * total and basis.n_items > 1:
        return f"one item that takes {seconds(_longest_s(sample))} by itself"
    if basis.is_locked:
        return "a lock, or something else that calls of func wait for one after the other"
    if now.backend == "serial":
        return _bound_of_loop(basis)
    wanted = max(now.workers, basis.machine.usable_cores)
    if now.backend == "threads" and sample.waits <= WAITS and sample.gil_held and sample.gil_held * wanted > 1:
        return f"the interpreter's lock, which an item holds {sample.gil_held:.0%} of its time"
    longest = max(
        (parts.start_s, "the start of workers"),
        (parts.transfer_s, "pickling: items and results on the way"),
        (parts.dispatch_s, "the caller, which hands out chunks"),
        (parts.tail_s, "the wait for the last worker"),
    )
    if longest[0] > BOUNDS * total:
        return f"{longest[1]} ({seconds(longest[0])} of {seconds(total)})"
    if sample.waits > WAITS:
        return f"what the items wait for, {now.workers} at a time"
    return f"the cores: {basis.machine.usable_cores:g} of them compute all the time"


def _bound_of_loop(basis: Basis) -> str:
    sample, loop_s = basis.sample, basis.sample.item_s * basis.n_items
    if basis.machine.usable_cores <= 1:
        return "the one core that this program may use"
    if sample.own_threads > OWN_THREADS:
        return f"the cores: func uses {sample.own_threads:.1f} of them by itself"
    if basis.backends == ("serial",):
        return "the loop, since no other backend may be used"
    cost = basis.costs.processes or basis.costs.threads
    if cost is not None and loop_s < 2 * cost.start.total_s(2, basis.caller_rss_bytes, basis.machine.usable_cores):
        return f"too little work: {seconds(loop_s)} in all, and workers must start first"
    if sample.transfer_error is not None:
        return "what cannot be pickled, so that no other process can get it"
    if basis.max_workers == 1:
        return "max_workers: one worker is no faster than the loop"
    others = [f for f in basis.choose()[1] if f.workers > 1]
    if others and all(f.refused is not None for f in others):
        return f"the memory: {others[0].refused}"
    sent = [f for f in others if f.refused is None and f.backend == "processes"]
    best = min(sent, key=lambda f: f.total_s, default=None)
    if best is not None and best.breakdown.transfer_s > BOUNDS * best.total_s:
        return "pickling: items and results would take too long on the way"
    if sample.worker_s is not None and sample.worker_s > SLOWED * sample.item_s:
        return (
            f"what slows items down beside each other (other programs, memory): {seconds(sample.worker_s)} each in the "
            f"workers of earlier runs, {seconds(sample.item_s)} in the loop"
        )
    return "the cores: workers would gain too little to be worth their start"


def _seconds(sample: Sample, forecast: Forecast) -> float:
    """Return the forecast, and at least the longest item, which no number of workers makes shorter."""
    return max(forecast.total_s, _longest_s(sample))


def _with_loop(basis: Basis, forecast: Forecast) -> float:
    """Return the seconds with those that ``execute()`` spends in the loop before it goes parallel."""
    return _seconds(basis.sample, forecast) + (basis.before_s if forecast.backend != "serial" else 0.0)


def _longest_s(sample: Sample) -> float:
    """Return the seconds of the longest item: of those that ran, or of all by their sizes."""
    return max(sample.longest_s, sample.item_max_s)


def _on(basis: Basis, cores: int) -> WhatIf:
    there = replace(
        basis.machine, logical_cores=cores, physical_cores=cores, affinity_cores=cores, quota_cores=None,
        usable_cores=float(cores),
    )  # fmt: skip
    # The curve of this machine's cores says nothing of cores that it does not have.
    costs = replace(basis.costs, scaling=Scaling())
    best = replace(basis, machine=there, costs=costs).choose()[0]
    return WhatIf(cores=cores, backend=best.backend, workers=best.workers, predicted_s=_with_loop(basis, best))


# -- proposals ---------------------------------------------------------------------------------------------------------


def _proposals(basis: Basis, now: Forecast) -> Iterator[Proposal]:
    yield from _smaller(basis)
    yield from _wider(basis, now)
    yield from _other_items(basis)
    yield from _cheaper_start(basis, now)


def _smaller(basis: Basis) -> Iterator[Proposal]:
    """Propose smaller results and items."""
    sample, n = basis.sample, basis.n_items
    if sample.result_bytes > SMALL_BYTES:
        less = replace(
            sample, result_bytes=SMALL_BYTES, kept_s=0.0, result_pickle_s=min(SMALL_S, sample.result_pickle_s),
            result_unpickle_s=min(SMALL_S, sample.result_unpickle_s),
        )  # fmt: skip
        all_s = n * (sample.result_pickle_s + sample.result_unpickle_s)
        yield Proposal(
            what="return less from func: a sum, a few numbers, the name of a file",
            why=f"a result takes {size(sample.result_bytes)} on its way, and pickling all of them {seconds(all_s)}",
            basis=replace(basis, sample=less),
        )
    if sample.arg_bytes > SMALL_BYTES:
        less = replace(
            sample, arg_bytes=SMALL_BYTES, arg_pickle_s=min(SMALL_S, sample.arg_pickle_s),
            arg_unpickle_s=min(SMALL_S, sample.arg_unpickle_s),
        )  # fmt: skip
        all_s = n * (sample.arg_pickle_s + sample.arg_unpickle_s)
        yield Proposal(
            what="give func less: an index, or the name of a file that it reads itself",
            why=f"an item takes {size(sample.arg_bytes)} on its way, and pickling all of them {seconds(all_s)}",
            basis=replace(basis, sample=less),
        )


def _wider(basis: Basis, now: Forecast) -> Iterator[Proposal]:
    """Propose backends and workers that may not be used now."""
    sample = basis.sample
    if sample.transfer_error is not None:
        where = "__main__" in sample.transfer_error
        yield Proposal(
            what="define func in a module of its own"
            if where
            else "let func, items and results be such as can be pickled",
            why=sample.transfer_error,
            basis=replace(basis, sample=replace(sample, transfer_error=None)),
        )
    if basis.barred is not None and "threads" not in basis.backends:
        yield Proposal(
            what="if calls of func may run side by side, say so: backend='threads'",
            why=basis.barred,
            basis=replace(basis, backends=(*basis.backends, "threads")),
        )
    if basis.is_locked:
        yield Proposal(
            what="let calls of func wait for each other less: hold the lock only while it must be held",
            why=f"an item waits {sample.waits:.0%} of its time, and two threads were no faster than one",
            basis=replace(basis, backends=tuple(dict.fromkeys((*basis.backends, "threads")))),
        )
    yield from _left_out(basis)
    if basis.max_workers is not None and now.workers >= basis.max_workers:
        yield Proposal(
            what="allow more workers: leave max_workers out",
            why=f"max_workers is {basis.max_workers}, and {basis.machine.usable_cores:g} cores may be used",
            basis=replace(basis, max_workers=None),
        )
    if basis.kept_items and basis.kept_items * sample.result_bytes > basis.machine.memory_available_bytes / 2:
        yield Proposal(
            what="take results as they come: for result in amorsize.stream(func, data)",
            why=f"all results together take {size(basis.kept_items * sample.result_bytes)}",
            basis=replace(basis, kept_items=0),
        )


def _left_out(basis: Basis) -> Iterator[Proposal]:
    """Propose what the user's arguments leave out."""
    sample, here = basis.sample, basis.machine
    if "serial" in basis.excluded:
        yield Proposal(
            what="allow a plain loop: leave backend out",
            why=f"the loop should take {seconds(basis.n_items * sample.item_s)}, and starts and sends nothing",
            basis=replace(basis, backends=("serial", *basis.backends)),
        )
    if "processes" in basis.excluded and here.start_methods:
        held = sample.gil_held
        cost = basis.costs.processes or recorded("pool", here.default_start_method)
        yield Proposal(
            what="allow processes: leave backend out",
            why="they do not share the interpreter's lock"
            + (f", which an item holds {held:.0%} of its time" if held is not None else ""),
            basis=replace(
                basis,
                backends=(*basis.backends, "processes"),
                costs=replace(basis.costs, processes=cost),
            ),
        )
    if basis.memory_limit_bytes is not None:
        yield Proposal(
            what="allow workers more memory: a higher memory_limit",
            why=f"a worker grows by {size(sample.rss_growth_bytes)}, and all may add {size(basis.memory_limit_bytes)}",
            basis=replace(basis, memory_limit_bytes=None),
        )
    if sample.rss_growth_bytes > 0:
        yield Proposal(
            what="let func need less memory at a time: let it work on its item part by part",
            why=f"a worker grows by {size(sample.rss_growth_bytes)}, and {size(here.memory_available_bytes)} are free",
            basis=replace(basis, sample=replace(sample, rss_growth_bytes=0.0)),
        )


def _other_items(basis: Basis) -> Iterator[Proposal]:
    """Propose items that the workers could share better."""
    sample = basis.sample
    if sample.own_threads > OWN_THREADS:
        # One thread may need the same CPU time, all by itself. It needs less where the threads wait for each other in a
        # loop, and more where several such items fight for the caches: a gain of 1.17 that was told was none.
        alone_s = sample.item_s * sample.own_threads
        single = replace(sample, item_s=alone_s, item_cpu_s=alone_s, own_threads=1.0, longest_s=0.0)
        yield Proposal(
            what="let func use one thread, and run several at once: threadpoolctl.threadpool_limits(1) around its work",
            why=f"func keeps {sample.own_threads:.1f} cores busy by itself, not {basis.machine.usable_cores:g}",
            basis=replace(basis, sample=single),
            worth=WORTH_UNSEEN,
        )
    mean_s = sample.item_s
    if _longest_s(sample) > 4 * mean_s > 0 and basis.n_items > 1:
        even = replace(
            sample, longest_s=0.0, item_max_s=mean_s, last_s=mean_s, item_std_s=min(sample.item_std_s, mean_s)
        )
        yield Proposal(
            what="cut the longest item into parts that can run side by side",
            why=f"one item takes {seconds(_longest_s(sample))}, and the mean is {seconds(mean_s)}",
            basis=replace(basis, sample=even),
        )


def _cheaper_start(basis: Basis, now: Forecast) -> Iterator[Proposal]:
    """Propose workers that start faster, or have started already."""
    cost = basis.costs.processes
    if cost is None or "processes" not in basis.backends:
        return
    if cost.start.import_s > 0:
        light = replace(cost, start=replace(cost.start, import_s=0.0))
        yield Proposal(
            what="let workers import less: put func into a module that imports only what it needs",
            why=f"each worker imports for {seconds(cost.start.import_s)} before its first item",
            basis=replace(basis, costs=replace(basis.costs, processes=light)),
        )
    if basis.sample.waits > WAITS:
        # An executor has a worker for each core, and items that wait want more.
        return
    start_s = cost.start.total_s(2, basis.caller_rss_bytes, basis.machine.usable_cores)
    warm = replace(
        cost,
        start=replace(
            cost.start,
            base_s=0.0,
            per_worker_s=0.0,
            per_caller_byte_s=0.0,
            load_s=0.0,
            boot_s=0.0,
            import_s=0.0,
            settle_s=0.0,
        ),
    )
    yield Proposal(
        what="where the program makes several such calls, keep workers: amorsize.Executor() and its map()",
        why=f"two workers take {seconds(start_s)} to start",
        basis=replace(basis, costs=replace(basis.costs, processes=warm)),
    )
