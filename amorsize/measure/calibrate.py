"""The costs of parallelism on this machine: from memory, from the store (`amorsize.measure.cost_cache`), or measured.

Nothing here raises. A cost that cannot be measured is replaced by the default one, with the reason as its warning.

Threads are measured in this process, processes from a process of its own (`amorsize.measure.helper_process` says why).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from amorsize.facts import BackendCost, Costs, Machine, Scaling
from amorsize.frozen import replace
from amorsize.measure.cost_cache import SCALING, Curve, Found, Known, Wish, keep, recalled, remembered, turn
from amorsize.model.default_costs import plausible_scaling, recorded
from amorsize.system import nested

if TYPE_CHECKING:
    from amorsize.history.sqlite_file import Store
    from amorsize.measure.helper_process import Job

# Seconds that optimize() may spend on measuring, once.
BUDGET_S: Final = 0.3
# Of diagnose_all(); laps overrun it a little, but it stays below 3 s.
ALL_BUDGET_S: Final = 2.6
# guess
THREADS_S: Final = 0.03
WEIGHTS: Final = {"fork": 1.0, "forkserver": 2.0, "spawn": 3.0, None: 0.6}
"""Shares of the helper's jobs in its budget, by the time of a lap; None is the scaling curve."""

# -- looked up, or measured ------------------------------------------------------------------------------------------


def cached_cost(
    engine: str, start_method: str | None, machine: Machine, *, store: Store | None = None, budget_s: float = BUDGET_S
) -> BackendCost:
    """Return the cost of an engine on this machine.

    Parameters
    ----------
    engine : {"pool", "team", "threadpool", "threads"}
    start_method : str or None
        None for threads.
    machine : Machine
    store : Store, optional
        Keeps the costs; by default the store of ``AMORSIZE_HISTORY``.
    budget_s : float
        Seconds to spend if it must be measured. For processes an unknown scaling curve is measured with it.
    """
    wishes = [Wish(engine, start_method)]
    if start_method is not None:
        wishes.append(Wish(SCALING))
    return _cost(wishes[0], _fulfil(wishes, machine, store, budget_s)[0])


def cached_scaling(machine: Machine, *, store: Store | None = None, budget_s: float = BUDGET_S) -> Scaling:
    """Return the scaling curve of this machine; parameters as in `cached_cost`."""
    return _scaling(_fulfil([Wish(SCALING)], machine, store, budget_s)[0], machine)


def cached_costs(
    machine: Machine,
    *,
    threads: str | None = "threadpool",
    processes: str | None = "pool",
    start_method: str | None = None,
    store: Store | None = None,
    budget_s: float = BUDGET_S,
    may_measure: bool = True,
) -> Costs:
    """Return the costs that the model needs: of these engines (None: not asked for), and the scaling curve.

    ``start_method`` is by default the machine's. ``may_measure``: False to take recorded figures for what is not known.
    Other parameters as in `cached_cost`.
    """
    of_threads, of_processes = Wish(threads or ""), Wish(processes or "", start_method or machine.default_start_method)
    wishes = [wish for wish in (of_processes, of_threads) if wish.engine] + [Wish(SCALING)]
    known = dict(zip(wishes, _fulfil(wishes, machine, store, budget_s if may_measure else None), strict=True))
    return Costs(
        threads=_cost(of_threads, known[of_threads]) if threads else None,
        processes=_cost(of_processes, known[of_processes]) if processes else None,
        scaling=_scaling(known[Wish(SCALING)], machine),
    )


def _fulfil(wishes: Sequence[Wish], machine: Machine, store: Store | None, budget_s: float | None) -> list[Known]:
    """Return each cost from memory or from the store, or measure it; None: or the recorded one."""
    with turn():
        now_s = time.time()
        known: dict[Wish, Known] = {}
        missing: list[Wish] = []
        for wish in wishes:
            found = remembered(wish.key(machine))
            if found is None or not found.believed(now_s):
                store = _default_store() if store is None else store
                found = recalled(wish, wish.key(machine), store, now_s)
            if found is None:
                missing.append(wish)
            else:
                known[wish] = found
        if budget_s is None:
            known |= {wish: Known(_default(wish), now_s) for wish in missing}
        else:
            known |= _measure(missing, machine, store, budget_s)
        return [known[wish] for wish in wishes]


def _default_store() -> Store:
    from amorsize.history.sqlite_file import default_store

    return default_store()


# -- measured --------------------------------------------------------------------------------------------------------


def diagnose_all(machine: Machine, store: Store | None = None, budget_s: float = ALL_BUDGET_S) -> dict[str, Any]:
    """Measure every engine with every start method, and the scaling curve, within about 3 s.

    Returns
    -------
    dict
        ``"costs"``: a tuple of BackendCost; ``"scaling"``: a Scaling; ``"warnings"``: doubts about it;
        ``"took_s"``: seconds.
    """
    began = time.perf_counter()
    methods = [method for method in ("fork", "forkserver", "spawn") if method in machine.start_methods]
    wishes = [Wish(engine, method) for engine in ("team", "pool") for method in methods]
    wishes += [Wish(engine) for engine in ("threads", "threadpool")]
    with turn():
        known = _measure([*wishes, Wish(SCALING)], machine, store, budget_s)
    curve = _curve(known[Wish(SCALING)])
    return {
        "costs": tuple(_cost(wish, known[wish]) for wish in wishes),
        "scaling": curve.scaling,
        "warnings": curve.warnings,
        "took_s": time.perf_counter() - began,
    }


def _measure(wishes: Sequence[Wish], machine: Machine, store: Store | None, budget_s: float) -> dict[Wish, Known]:
    """Measure all of these and keep them."""
    if not wishes:
        return {}
    from amorsize.measure.scaling import busy_counts

    found: dict[Wish, Found | Curve] = {}
    apart: list[Wish] = []
    for wish in wishes:
        if wish.engine == SCALING and not busy_counts(machine.usable_cores, machine.physical_cores):
            found[wish] = Curve(Scaling(points=((1, 1.0), (2, 1.0))))
        elif wish.engine != SCALING and wish.start_method is None:
            found[wish] = _threads(wish, machine, min(THREADS_S, budget_s))
            budget_s -= THREADS_S
        elif (why := _obstacle(wish, machine)) is not None:
            found[wish] = _instead(wish, why)
        else:
            apart.append(wish)
    if apart:
        found.update(_processes(apart, machine, budget_s))
    at_s = time.time()
    return {wish: keep(wish.key(machine), Known(_dated(found[wish], at_s), at_s), store) for wish in wishes}


def _dated(value: Found | Curve, at_s: float) -> Found | Curve:
    if isinstance(value, Curve) or not value.cost.measured:
        return value
    return value._replace(cost=replace(value.cost, measured_at_s=at_s))


def _threads(wish: Wish, machine: Machine, budget_s: float) -> Found | Curve:
    from amorsize.measure.start_cost import measure

    try:
        return measure(wish.engine, None, machine.usable_cores, budget_s)
    except Exception as exc:  # noqa: BLE001  (no more threads, no memory, the interpreter is shutting down, …)
        return _instead(wish, _said(exc))


def _processes(wishes: Sequence[Wish], machine: Machine, budget_s: float) -> dict[Wish, Found | Curve]:
    from amorsize.measure.helper_process import HELPER_S, in_helper

    try:
        rows = in_helper(_jobs(wishes, machine, budget_s - HELPER_S))
    except Exception as exc:  # noqa: BLE001  (no more processes, no interpreter, no pipes, …)
        rows = [{"error": _said(exc)}] * len(wishes)
    pairs = zip(wishes, rows, strict=True)
    damaged = "the answer was damaged"
    return _share_cold({wish: wish.read(row) or _instead(wish, row.get("error", damaged)) for wish, row in pairs})


def _said(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__


def _jobs(wishes: Sequence[Wish], machine: Machine, budget_s: float) -> list[Job]:
    """Return the helper's jobs, which share the budget."""
    from amorsize.measure.helper_process import cost_job, scaling_job

    cores, unit_s = machine.usable_cores, budget_s / sum(WEIGHTS.get(wish.start_method, 1.0) for wish in wishes)
    method = "fork" if "fork" in machine.start_methods else machine.default_start_method
    return [
        scaling_job(method, cores, machine.physical_cores, unit_s * WEIGHTS[None])
        if wish.start_method is None
        else cost_job(wish.engine, wish.start_method, cores, unit_s * WEIGHTS.get(wish.start_method, 1.0))
        for wish in wishes
    ]


def _share_cold(found: dict[Wish, Found | Curve]) -> dict[Wish, Found | Curve]:
    """Give engines of one start method the same cold start: only the first one measured had it."""
    cold_s: dict[str | None, float] = {}
    for wish, value in found.items():
        if isinstance(value, Found):
            cold_s[wish.start_method] = max(cold_s.get(wish.start_method, 0.0), value.cold_s)
    return {
        wish: value._replace(cold_s=cold_s[wish.start_method]) if isinstance(value, Found) else value
        for wish, value in found.items()
    }


def _obstacle(wish: Wish, machine: Machine) -> str | None:
    """Return the reason why processes cannot be measured here; None if they can."""
    if wish.start_method is not None and wish.start_method not in machine.start_methods:
        return f"workers cannot be started by {wish.start_method} here"
    if nested.share() is not None:
        return "this is a worker process"
    from multiprocessing.process import current_process

    if getattr(current_process(), "_inheriting", False):
        return "this process is only just being started"
    if current_process().daemon:
        return "this is a daemonic process, which may have no children"
    return None


def _instead(wish: Wish, why: object) -> Found | Curve:
    """Return the default for a cost that could not be measured, with the reason as its warning."""
    return _default(wish, (f"not measured: {why}",))


def _default(wish: Wish, warnings: tuple[str, ...] = ()) -> Found | Curve:
    if wish.engine == SCALING:
        return Curve(Scaling(), warnings)
    return Found(replace(recorded(wish.engine, wish.start_method), warnings=warnings))


# -- as the caller will meet it --------------------------------------------------------------------------------------


def _curve(known: Known) -> Curve:
    assert isinstance(known.value, Curve)
    return known.value


def _scaling(known: Known, machine: Machine) -> Scaling:
    """Return the measured scaling curve. A doubtful one is raised to the least plausible throughput."""
    curve = _curve(known)
    return plausible_scaling(curve.scaling, machine.physical_cores) if curve.is_doubtful else curve.scaling


def _cost(wish: Wish, known: Known) -> BackendCost:
    """Return the cost, with the excess of a cold start if this process has not had one."""
    assert isinstance(known.value, Found)
    cost, cold_s = known.value
    if cold_s <= 0 or _is_warm(wish.start_method):
        return cost
    return replace(cost, start=replace(cost.start, base_s=cost.start.base_s + cold_s))


def _is_warm(start_method: str | None) -> bool:
    """Return True if the processes that serve a start method (fork server, resource tracker) run already."""
    server = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    if start_method == "forkserver":
        return getattr(server, "_forkserver_pid", None) is not None
    return os.name != "posix" or getattr(tracker, "_fd", None) is not None
