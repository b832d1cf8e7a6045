"""Estimate the start of workers: at first from the CPU time of the caller, later from the starts that were measured.

A start by spawn or forkserver costs mostly what the program's main module imports. Before the first start, two figures
bound that: a worker imports no more than this process has done so far, and no more than the loaded modules can account
for (a program that has computed for an hour has not imported for an hour). After it, the moment at which a worker was
ready tells.
"""

from __future__ import annotations

from math import isfinite

from amorsize.frozen import replace
from amorsize.model.default_costs import PLAUSIBLE, recorded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from amorsize.facts import BackendCost, StartCost

# Quiet machines repeat starts within 5 %.
LEAST_SPREAD: Final = 0.05
# CPU time of an interpreter and of amorsize until the first call: part of ``boot_s``.
OWN_CPU_S: Final = 30e-3
# Modules of the interpreter and of amorsize at that time.
OWN_MODULES: Final = 120
# CPU seconds per module: numpy 0.8 ms, pandas 0.7, scikit-learn 1.0, torch 1.5.
MODULE_S: Final = 1.5e-3
# guess: weight of the newest of several starts
NEWEST: Final = 0.5
# guess: spread of a start whose imports are only bounded, and of one that was seen once
BOUNDED_SPREAD: Final = 0.5
SEEN_SPREAD: Final = 0.2


def import_bound_s(cpu_s: float | None, modules: int) -> float:
    """Return the most CPU seconds for which a worker can import what the caller has imported.

    Parameters
    ----------
    cpu_s : float or None
        CPU seconds of the caller when amorsize was first called; None: unknown, as in a forked process.
    modules : int
        Loaded modules.

    Examples
    --------
    Pandas and scikit-learn; a program that has computed for a minute; one that has loaded nothing.

    >>> import_bound_s(1.53, 1800), round(import_bound_s(60.0, 220), 3), import_bound_s(0.02, 100)
    (1.5, 0.15, 0.0)
    """
    by_modules_s = MODULE_S * max(0, modules - OWN_MODULES)
    return by_modules_s if cpu_s is None else min(max(0.0, cpu_s - OWN_CPU_S), by_modules_s)


def ready_s(start: StartCost, workers: int, cores: float) -> float:
    """Return the seconds until the first of ``workers`` workers is ready, if all boot at the same time."""
    return start.total_s(workers, 0, cores) - start.load_s


def imports_seen(start: StartCost, workers: int, cores: float, seen_s: float, *, again: bool = False) -> StartCost:
    """Return the start with the imports that explain why the first worker was ready after ``seen_s`` seconds.

    Workers that are ready sooner than without any import make the rest of the start cheaper, too. ``again``: earlier
    starts have been seen.
    """
    if not isfinite(seen_s) or seen_s <= 0 or workers < 1:
        return start
    bare = replace(start, import_s=0.0)
    bare_s = ready_s(bare, workers, cores)
    weight = NEWEST if again else 1.0
    import_s = max(0.0, seen_s - bare_s) / max(1.0, workers / cores)
    import_s = start.import_s + weight * (import_s - start.import_s)
    factor = max(1 / PLAUSIBLE, min(1.0, 1.0 + weight * (seen_s / bare_s - 1.0))) if bare_s > 0 else 1.0
    return replace(
        start,
        base_s=start.base_s * factor,
        per_worker_s=start.per_worker_s * factor,
        boot_s=start.boot_s * factor,
        import_s=import_s,
        spread=SEEN_SPREAD,
    )


def imports_unseen(start: StartCost, workers: int, cores: float, waited_s: float) -> StartCost:
    """Return the start after no worker was ready within ``waited_s`` seconds: it takes at least as long."""
    if not isfinite(waited_s) or waited_s <= ready_s(start, workers, cores):
        return start
    # All that is known is the lower bound. A wait of unknown length that has lasted so long lasts twice as long.
    return replace(imports_seen(start, workers, cores, 2 * waited_s), spread=BOUNDED_SPREAD)


def corrected(
    cost: BackendCost, workers: int, seen_start_s: float, weight: float = 0.3, *, caller_rss_bytes: int = 0
) -> BackendCost:
    """Move a start cost towards that of a real run, within the plausible range.

    Parameters
    ----------
    cost : BackendCost
        The cost so far.
    workers : int
        Number of workers of the run.
    seen_start_s : float
        Seconds for starting and leaving them.
    weight : float
        Weight of the run: 0 changes nothing, 1 replaces the cost.
    caller_rss_bytes : int
        The caller's size; its part of the start is left unchanged.
    """
    start = cost.start
    memory_s = start.total_s(workers, caller_rss_bytes) - start.total_s(workers)
    expected = start.total_s(workers)
    usual = recorded(cost.engine, cost.start_method).start.total_s(workers)
    if not isfinite(seen_start_s) or seen_start_s <= 0 or workers < 1:
        return cost
    seen = min(max(seen_start_s - memory_s, usual / PLAUSIBLE), usual * PLAUSIBLE)
    wanted = expected + weight * (seen - expected)
    if expected <= 0:
        moved = replace(start, base_s=wanted)
    else:
        factor = wanted / expected
        off = min(1.0, abs(seen - expected) / expected)
        moved = replace(
            start,
            base_s=start.base_s * factor,
            per_worker_s=start.per_worker_s * factor,
            boot_s=start.boot_s * factor,
            spread=max(LEAST_SPREAD, (1 - weight) * start.spread + weight * off),
        )
    return replace(cost, start=moved)
