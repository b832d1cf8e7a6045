"""What parallelism costs here: looked up, or measured once and kept.

A figure is looked for in this process's memory, then in the store, and is measured when neither has it. It is believed
for `FRESH_S`; one that was measured on a busy machine, and says so in its warnings, for `DOUBTFUL_S`. Its key names the
machine, the interpreter and the way of starting workers, so that a container with another quota, or the next Python,
measures for itself.

Nothing here raises. Where something cannot be measured, the recorded cost of another machine stands in, with the
reason as its warning, and the matter rests for `DOUBTFUL_S`.

Threads are measured here, processes in a process of its own (`amorsize.measure.apart` says why).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from amorsize import worker
from amorsize.facts import BackendCost, Costs, Machine, Scaling
from amorsize.measure.apart import HELPER_S, Job, cost_job, in_helper, scaling_job
from amorsize.measure.rows import curve_from, found_from, to_dict
from amorsize.measure.scale import Curve, busy_counts
from amorsize.measure.start import Found, measure
from amorsize.model.recorded import recorded

if TYPE_CHECKING:
    from amorsize.store import Store

SCHEMA: Final = 1
"""To be raised when a figure changes its meaning: what was stored before is then measured again."""

DAY_S: Final = 86_400.0
FRESH_S: Final = 30 * DAY_S
DOUBTFUL_S: Final = 3_600.0

BUDGET_S: Final = 0.3  # of optimize(), once
ALL_BUDGET_S: Final = 2.6  # of diagnose_all(); with what laps overrun their budgets it stays below 3 s
THREADS_S: Final = 0.03
SCALING_SHARE: Final = 0.35  # of what is left for the helper, when it also measures an engine

SCALING: Final = "scaling"
THREADED: Final = ("threadpool", "threads")


class Wish(NamedTuple):
    """What is to be known: an engine's cost, or (engine `SCALING`) the machine's scaling curve."""

    engine: str
    start_method: str | None = None


class _Known(NamedTuple):
    value: Found | Curve
    at_s: float

    def believed(self, now_s: float) -> bool:
        warnings = self.value.warnings if isinstance(self.value, Curve) else self.value.cost.warnings
        return -DAY_S < now_s - self.at_s < (DOUBTFUL_S if warnings else FRESH_S)


_memory: dict[str, _Known] = {}
_lock = threading.RLock()  # held while measuring: of many calls at once, one measures and the others wait for it


# -- looked up, or else measured -------------------------------------------------------------------------------------


def cached_cost(
    engine: str, start_method: str | None, machine: Machine, *, store: Store | None = None, budget_s: float = BUDGET_S
) -> BackendCost:
    """The cost of an engine here.

    Parameters
    ----------
    engine : {"pool", "team", "threadpool", "threads"}
        Whose cost.
    start_method : str or None
        None for threads.
    machine : Machine
        Where this is.
    store : Store, optional
        Where costs are kept; by default the store of ``AMORSIZE_HISTORY``.
    budget_s : float
        Seconds to spend if it must be measured. For processes the scaling curve, if not known, is measured with it.
    """
    wishes = [Wish(engine, start_method)]
    if start_method is not None:
        wishes.append(Wish(SCALING))
    return _cost(wishes[0], _fulfil(wishes, machine, store, budget_s)[0])


def cached_scaling(machine: Machine, *, store: Store | None = None, budget_s: float = BUDGET_S) -> Scaling:
    """The scaling curve of this machine; parameters as in `cached_cost`."""
    return _curve(_fulfil([Wish(SCALING)], machine, store, budget_s)[0]).scaling


def cached_costs(
    machine: Machine,
    *,
    threads: str | None = "threadpool",
    processes: str | None = "pool",
    start_method: str | None = None,
    store: Store | None = None,
    budget_s: float = BUDGET_S,
) -> Costs:
    """All that the model needs: of these engines (None: not asked for), and the scaling curve.

    ``start_method`` is by default the machine's. Other parameters as in `cached_cost`.
    """
    method = start_method or machine.default_start_method
    of_threads, of_processes = Wish(threads or ""), Wish(processes or "", method)
    wishes = [wish for wish in (of_processes, of_threads) if wish.engine] + [Wish(SCALING)]
    known = dict(zip(wishes, _fulfil(wishes, machine, store, budget_s), strict=True))
    return Costs(
        threads=_cost(of_threads, known[of_threads]) if threads else None,
        processes=_cost(of_processes, known[of_processes]) if processes else None,
        scaling=_curve(known[Wish(SCALING)]).scaling,
    )


# -- measured --------------------------------------------------------------------------------------------------------


def calibrate(
    engine: str, start_method: str | None, machine: Machine, budget_s: float = BUDGET_S, store: Store | None = None
) -> BackendCost:
    """Measure an engine now, whatever is known of it, and keep what comes of it (in the store, if one is given)."""
    wish = Wish(engine, start_method)
    with _lock:
        return _cost(wish, _measure([wish], machine, store, budget_s)[wish])


def scaling(machine: Machine, budget_s: float = BUDGET_S, store: Store | None = None) -> Scaling:
    """Measure the scaling curve now, whatever is known of it; parameters as in `calibrate`."""
    wish = Wish(SCALING)
    with _lock:
        return _curve(_measure([wish], machine, store, budget_s)[wish]).scaling


def diagnose_all(machine: Machine, store: Store | None = None, budget_s: float = ALL_BUDGET_S) -> dict[str, Any]:
    """Measure every engine with every start method, and the scaling curve, within about 3 s.

    Returns
    -------
    dict
        ``"costs"``: a tuple of BackendCost; ``"scaling"``: a Scaling; ``"warnings"``: what is doubtful about it;
        ``"took_s"``.
    """
    began = time.perf_counter()
    methods = [method for method in ("fork", "forkserver", "spawn") if method in machine.start_methods]
    wishes = [Wish(engine, method) for engine in ("team", "pool") for method in methods]
    wishes += [Wish(engine) for engine in ("threads", "threadpool")]
    with _lock:
        known = _measure([*wishes, Wish(SCALING)], machine, store, budget_s)
    curve = _curve(known[Wish(SCALING)])
    return {
        "costs": tuple(_cost(wish, known[wish]) for wish in wishes),
        "scaling": curve.scaling,
        "warnings": curve.warnings,
        "took_s": time.perf_counter() - began,
    }


def _measure(wishes: Sequence[Wish], machine: Machine, store: Store | None, budget_s: float) -> dict[Wish, _Known]:
    """Measure all of these, and keep them."""
    found: dict[Wish, Found | Curve] = {}
    apart: list[Wish] = []
    for wish in wishes:
        if wish.engine == SCALING and not busy_counts(machine.usable_cores, machine.physical_cores):
            found[wish] = Curve(Scaling(points=((1, 1.0), (2, 1.0))))
        elif (why := _obstacle(wish, machine)) is not None:
            found[wish] = _instead(wish, why)
        elif wish.engine in THREADED:
            found[wish] = _threads(wish, machine, min(THREADS_S, budget_s))
            budget_s -= THREADS_S
        else:
            apart.append(wish)
    found.update(_processes(apart, machine, budget_s))
    return {wish: _keep(wish, found[wish], machine, store) for wish in wishes}


def _threads(wish: Wish, machine: Machine, budget_s: float) -> Found:
    try:
        return measure(wish.engine, None, machine.usable_cores, budget_s)
    except Exception as exc:  # noqa: BLE001  (no more threads, no memory, the interpreter is shutting down, …)
        return Found(_recorded(wish, f"{type(exc).__name__}: {exc}"))


def _processes(wishes: Sequence[Wish], machine: Machine, budget_s: float) -> dict[Wish, Found | Curve]:
    if not wishes:
        return {}
    try:
        rows = in_helper(_jobs(wishes, machine, budget_s - HELPER_S))
    except Exception as exc:  # noqa: BLE001  (no more processes, no interpreter, no pipes, …)
        rows = [{"error": f"{type(exc).__name__}: {exc}"}] * len(wishes)
    return {wish: _read(wish, row) or _instead(wish, row.get("error")) for wish, row in zip(wishes, rows, strict=True)}


def _jobs(wishes: Sequence[Wish], machine: Machine, budget_s: float) -> list[Job]:
    cores, engines = machine.usable_cores, [wish for wish in wishes if wish.engine != SCALING]
    share = SCALING_SHARE if len(engines) == 1 else 1 / len(wishes)
    each_s = budget_s if len(wishes) == 1 else budget_s * (1 - share) / len(engines)
    method = "fork" if "fork" in machine.start_methods else machine.default_start_method
    jobs: list[Job] = []
    for wish in wishes:
        if wish.start_method is not None:
            jobs.append(cost_job(wish.engine, wish.start_method, cores, each_s))
        else:
            scaling_s = budget_s * share if engines else budget_s
            jobs.append(scaling_job(method, cores, machine.physical_cores, scaling_s))
    return jobs


def _read(wish: Wish, row: object) -> Found | Curve | None:
    return curve_from(row) if wish.engine == SCALING else found_from(row, wish.engine, wish.start_method)


def _obstacle(wish: Wish, machine: Machine) -> str | None:
    """Why no processes can be measured from here; None: they can."""
    if wish.engine in THREADED:
        return None
    if wish.start_method is not None and wish.start_method not in machine.start_methods:
        return f"workers cannot be started by {wish.start_method} here"
    if worker.cores_share is not None:
        return "this is a worker process"
    from multiprocessing.process import current_process

    if getattr(current_process(), "_inheriting", False):
        return "this process is only just being started"
    if current_process().daemon:
        return "this is a daemonic process, which may start none"
    return None


def _instead(wish: Wish, why: object) -> Found | Curve:
    """What stands in for what could not be measured."""
    text = why if isinstance(why, str) else "the answer was damaged"
    if wish.engine == SCALING:
        return Curve(Scaling(), (f"not measured: {text}",))
    return Found(_recorded(wish, text))


def _recorded(wish: Wish, why: str) -> BackendCost:
    return replace(recorded(wish.engine, wish.start_method), warnings=(f"not measured: {why}",))


# -- keeping ---------------------------------------------------------------------------------------------------------


def _fulfil(wishes: Sequence[Wish], machine: Machine, store: Store | None, budget_s: float) -> list[_Known]:
    """Each from memory, from the store, or measured."""
    with _lock:
        now_s = time.time()
        keys = {wish: key_of(wish, machine) for wish in wishes}
        if missing := [wish for wish in wishes if not _remembers(keys[wish], now_s)]:
            if store is None:
                from amorsize.store import default_store

                store = default_store()
            missing = [wish for wish in missing if not _recall(wish, keys[wish], store, now_s)]
        if missing:
            _measure(missing, machine, store, budget_s)
        return [_memory[keys[wish]] for wish in wishes]


def _remembers(key: str, now_s: float) -> bool:
    known = _memory.get(key)
    return known is not None and known.believed(now_s)


def _recall(wish: Wish, key: str, store: Store, now_s: float) -> bool:
    """Take what the store has into memory, if it can be believed."""
    row = store.get_cost(key)
    value, at_s = _read(wish, row), row.get("measured_at_s") if row is not None else None
    if value is None or not isinstance(at_s, int | float) or not (known := _Known(value, at_s)).believed(now_s):
        return False
    _memory[key] = known
    return True


def _keep(wish: Wish, value: Found | Curve, machine: Machine, store: Store | None) -> _Known:
    """Remember it, and store it if it was measured."""
    at_s, key = time.time(), key_of(wish, machine)
    measured = wish.engine == SCALING and value != Curve(Scaling(), _curve_warnings(value))
    if isinstance(value, Found) and value.cost.measured:
        value = Found(replace(value.cost, measured_at_s=at_s), value.cold_s)
        measured = True
    known = _memory[key] = _Known(value, at_s)
    if measured and store is not None:
        store.put_cost(key, to_dict(value), at_s)
    return known


def _curve_warnings(value: Found | Curve) -> tuple[str, ...]:
    return value.warnings if isinstance(value, Curve) else ()


def forget() -> None:
    """Empty this process's memory of costs; the store keeps its own."""
    with _lock:
        _memory.clear()


def key_of(wish: Wish, machine: Machine) -> str:
    """Under which name the store keeps a cost: what was measured, by which rules, where."""
    what = f"{wish.engine} {wish.start_method or '-'}"
    where = f"{machine.system}; {_processor()}; {machine.logical_cores} cores, {machine.usable_cores:g} usable"
    return f"{what}; {SCHEMA}; {where}; {machine.python}{'' if machine.gil_enabled else ' without GIL'}"


_names: dict[str, str] = {}


def _processor() -> str:
    """The processor's model, read once."""
    if "processor" not in _names:
        _names["processor"] = _processor_in("/proc/cpuinfo")
    return _names["processor"]


def _processor_in(path: str) -> str:
    import platform

    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file.read(4096).splitlines():
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


# -- as the caller will see it ---------------------------------------------------------------------------------------


def _curve(known: _Known) -> Curve:
    return known.value if isinstance(known.value, Curve) else Curve(Scaling())


def _cost(wish: Wish, known: _Known) -> BackendCost:
    """The cost; with what the first start takes on top, where this process has not had it."""
    if not isinstance(known.value, Found):
        return recorded(wish.engine, wish.start_method)
    cost, cold_s = known.value
    if cold_s <= 0 or _is_warm(cost.start_method):
        return cost
    return replace(cost, start=replace(cost.start, base_s=cost.start.base_s + cold_s))


def _is_warm(start_method: str | None) -> bool:
    """Whether the processes that serve a start method (fork server, resource tracker) run already."""
    server = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    if start_method == "forkserver":
        return getattr(server, "_forkserver_pid", None) is not None
    return os.name != "posix" or getattr(tracker, "_fd", None) is not None


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
