"""What a candidate must not do, however fast it would be: fill the memory, or send what cannot be pickled."""

from __future__ import annotations

from amorsize.facts import BackendCost, Forecast, Machine, Sample

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

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


def results_bytes(sample: Sample, n_items: int) -> float:
    """Bytes that all results take in the caller, which every backend has to find room for."""
    return sample.result_bytes * n_items


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
