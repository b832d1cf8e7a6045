"""Memory caps the number of workers: a candidate that would need more than there is is refused."""

from __future__ import annotations

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
    """Return the bytes that one more worker adds: itself, its growth by an item, and a chunk of items and results."""
    in_flight = 2 * chunksize * (sample.arg_bytes + sample.result_bytes)
    return WORKER_BYTES.get(start_method, WORKER_BYTES["spawn"]) + sample.rss_growth_bytes + in_flight


def memory_budget(machine: Machine, memory_limit_bytes: int | None) -> float:
    """Return the bytes that all workers may add: the machine's available memory, or the user's limit if less."""
    budget = HEADROOM * machine.memory_available_bytes
    return min(budget, memory_limit_bytes) if memory_limit_bytes is not None else budget


def refusal(
    candidate: Forecast, sample: Sample, cost: BackendCost | None, machine: Machine, memory_limit_bytes: int | None
) -> str | None:
    """Return the reason why ``candidate`` must not run; None if it may."""
    if candidate.backend == "processes" and sample.transfer_error is not None:
        return sample.transfer_error
    if candidate.backend == "serial" or cost is None:
        return None
    need = candidate.workers * worker_bytes(sample, cost.start_method, candidate.chunksize)
    budget = memory_budget(machine, memory_limit_bytes)
    if need > budget:
        return f"{candidate.workers} workers would take {need / 1e6:,.0f} MB, and {budget / 1e6:,.0f} MB may be used"
    return None
