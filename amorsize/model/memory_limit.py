"""Memory caps the number of workers: a candidate that would need more than there is is refused."""

from __future__ import annotations

from math import inf

from amorsize.facts import BackendCost, Forecast, Machine, Sample

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Memory that an idle worker adds (proportional set size), measured on CPython 3.11-3.13.
WORKER_BYTES: Final[dict[str | None, int]] = {
    "fork": 6 << 20,
    "forkserver": 14 << 20,
    "spawn": 20 << 20,
    None: 1 << 18,
}

# guess: share of the available memory that may be planned for
HEADROOM: Final = 0.9


def worker_bytes(sample: Sample, start_method: str | None, chunksize: int) -> float:
    """Return the bytes that one more worker adds: itself, its growth by an item, a chunk of items and results.

    One that is not forked also has what func holds.
    """
    in_flight = 2 * chunksize * (sample.arg_bytes + sample.result_bytes)
    func = 0.0 if start_method == "fork" else sample.func_bytes
    return WORKER_BYTES.get(start_method, WORKER_BYTES["spawn"]) + sample.rss_growth_bytes + in_flight + func


def is_unknown(machine: Machine) -> bool:
    """Return True if no source knew the memory (WebAssembly): that is not a machine without any."""
    return not machine.memory_total_bytes and not machine.memory_available_bytes


def memory_budget(machine: Machine, memory_limit_bytes: int | None) -> float:
    """Return the bytes that all workers may add: the machine's available memory, or the user's limit if less."""
    budget = inf if is_unknown(machine) else HEADROOM * machine.memory_available_bytes
    return min(budget, memory_limit_bytes) if memory_limit_bytes is not None else budget


def results_warning(sample: Sample, n_items: int, machine: Machine) -> str | None:
    """Return a warning if all results together, as large as their pickles, exceed the available memory; else None."""
    together, budget = n_items * sample.result_bytes, memory_budget(machine, None)
    if together <= budget:
        return None
    return (
        f"all results together take {together / 1e6:,.0f} MB or more, and {budget / 1e6:,.0f} MB may be used: "
        "take them away as they come (amorsize.stream), or let func return less"
    )


def refusal(
    candidate: Forecast,
    sample: Sample,
    cost: BackendCost | None,
    machine: Machine,
    memory_limit_bytes: int | None,
    kept_items: int = 0,
) -> str | None:
    """Return the reason why ``candidate`` must not run; None if it may.

    ``kept_items``: number of results that the caller keeps. The machine's memory must hold them beside the workers; the
    user's limit is for the workers alone.
    """
    if candidate.backend == "processes" and sample.transfer_error is not None:
        return sample.transfer_error
    if candidate.backend == "serial" or cost is None:
        return None
    need = candidate.workers * worker_bytes(sample, cost.start_method, candidate.chunksize)
    budget = memory_budget(machine, memory_limit_bytes)
    if need > budget:
        return f"{candidate.workers} workers would take {need / 1e6:,.0f} MB, and {budget / 1e6:,.0f} MB may be used"
    kept, budget = kept_items * sample.result_bytes, memory_budget(machine, None)
    if need + kept > budget:
        return (
            f"{candidate.workers} workers and the results would take {(need + kept) / 1e6:,.0f} MB, and "
            f"{budget / 1e6:,.0f} MB may be used"
        )
    return None
