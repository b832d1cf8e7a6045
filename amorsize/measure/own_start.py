"""The cost of starting workers from this process: modules that it must load, and imports that its workers must make.

A start by fork costs the same in every program, one by spawn or forkserver what the program's main module imports. That
is bounded at first (`amorsize.model.starts.import_bound_s`), and then learnt from the moment at which workers were
ready: in this process, and in the file of costs by machine, start method and main module, for the next run of the
program. The file is read and written only where much work is left, or at exit: `recorded` figures serve until then.
"""

from __future__ import annotations

import sys

from amorsize.backends.table import pace
from amorsize.facts import Costs
from amorsize.frozen import replace
from amorsize.history.this_process import THIS_PROCESS
from amorsize.model.default_costs import plausible_scaling
from amorsize.model.starts import (
    BOUNDED_SPREAD,
    corrected,
    import_bound_s,
    imports_seen,
    imports_unseen,
    ready_s,
)
from amorsize.system.environment import OFF, history_setting
from amorsize.system.start_methods import cpu_before_first_use_s, main_is_interactive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from amorsize.facts import BackendCost, Machine, StartCost

# The engine of execute().
OURS: Final = "team"
# The start methods whose workers import the main module.
IMPORTING: Final = ("spawn", "forkserver")
# To read the file takes 10-20 ms: 4 % of so many seconds of work left.
WORTH_READING_S: Final = 0.5
# To load ``multiprocessing.pool``, for processes as for threads.
POOL_LOAD_S: Final = 12e-3
# guess: an execute() waits no longer for the file of costs
PATIENCE_S: Final = 0.05


def as_here(cost: BackendCost, func: Callable[..., Any], data: object, load_s: float = 0.0) -> BackendCost:
    """Return the cost as this process meets it: what it has learnt, what it must load, and what workers import.

    ``load_s``: seconds for modules that this process has yet to load for this backend.
    """
    learnt = THIS_PROCESS.starts
    start = learnt.get((cost.engine, cost.start_method))
    if start is None and (ours := learnt.get((OURS, cost.start_method))) is not None:
        # The imports are the program's, whatever pool runs it.
        start = replace(cost.start, import_s=ours.import_s)
    if start is None:
        start = _bounded(cost.start, cost.start_method, func, data)
    return replace(cost, start=replace(start, load_s=load_s))


def pool_load_s() -> float:
    """Return the seconds for what this process has yet to load before it can open a pool."""
    return 0.0 if "multiprocessing.pool" in sys.modules else POOL_LOAD_S * pace()


def _bounded(start: StartCost, method: str | None, func: Callable[..., Any], data: object) -> StartCost:
    """Return the start with the bound of the imports that workers must make."""
    if method not in IMPORTING or (main_is_interactive() and not _needs_packages(func, data)):
        return start
    bound_s, once_s = import_bound_s(cpu_before_first_use_s(), len(sys.modules)), 0.0
    if method == "forkserver":
        from amorsize.backends.workers.fork_server import is_running, packages

        # The server imports them once for all workers; a server that runs has done so, as far as it does.
        once_s = bound_s * _share_of(packages(func))
        bound_s -= once_s
        once_s *= not is_running()
    return replace(
        start,
        base_s=start.base_s + once_s,
        import_s=bound_s,
        spread=max(start.spread, BOUNDED_SPREAD if bound_s > start.total_s(1) else 0.0),
    )


def _share_of(packages: list[str]) -> float:
    """Return the share of the loaded modules, other than Python's own, that belong to these packages."""
    roots = [name.partition(".")[0] for name in list(sys.modules)]
    own, wanted = sys.stdlib_module_names, {name.partition(".")[0] for name in packages}
    others = [root for root in roots if root not in own and root not in ("amorsize", "__main__", "__mp_main__")]
    return sum(root in wanted for root in others) / len(others) if others else 0.0


def _needs_packages(func: Callable[..., Any], data: object) -> bool:
    """Return True if workers that cannot import the main module still import more than Python's own modules.

    Their function goes by value, and brings only the modules that it names, or that the items come from.
    """
    from amorsize.backends.workers.fork_server import named_by

    own = {*sys.stdlib_module_names, "__main__", "amorsize", ""}
    return any(home.partition(".")[0] not in own for home in named_by(func, data))


def learn(cost: BackendCost, workers: int, cores: float, seen_s: float | None, waited_s: float) -> None:
    """Learn from a start of ``workers`` workers at a time.

    Parameters
    ----------
    cost : BackendCost
        What the start was expected to cost.
    cores : float
        Usable cores.
    seen_s : float or None
        Seconds until the first worker was ready; None: none was.
    waited_s : float
        Seconds for which the run waited at most.
    """
    key = cost.engine, cost.start_method
    again = key in THIS_PROCESS.starts
    if cost.start_method not in IMPORTING:
        expected_s = ready_s(cost.start, workers, cores)
        if seen_s is not None and seen_s > expected_s:
            # A first start is part of the whole, so that one that is faster says little.
            THIS_PROCESS.starts[key] = corrected(cost, workers, seen_s, 0.5).start
        return
    if seen_s is None:
        start = imports_unseen(cost.start, workers, cores, waited_s)
    else:
        start = imports_seen(cost.start, workers, cores, seen_s, again=again)
    if start is cost.start:
        return
    THIS_PROCESS.starts[key] = replace(start, load_s=0.0)
    if not THIS_PROCESS.unsaved:
        import atexit

        atexit.register(save)
    # The next run of the program begins as this process did: without a fork server, with cold files.
    THIS_PROCESS.unsaved.setdefault((*key, program()), THIS_PROCESS.starts[key])


# -- the file of costs ------------------------------------------------------------------------------------------------


def looked_up(costs: Costs, machine: Machine) -> Costs:
    """Return the costs with what the file knows of this program's starts, and of the machine's scaling curve."""
    if history_setting() == OFF:
        return costs
    try:
        from time import time

        from amorsize.measure.cost_cache import SCALING, Wish, recalled, remembered

        store, now_s = _store(), time()
        curve = Wish(SCALING)
        known = remembered(curve.key(machine)) or recalled(curve, curve.key(machine), store, now_s)
        if known is not None and known.measured:
            doubtful, curve_of = known.value.is_doubtful, known.value.scaling  # type: ignore[union-attr]
            scaling = plausible_scaling(curve_of, machine.physical_cores) if doubtful else curve_of
            costs = replace(costs, scaling=scaling)
        cost = costs.processes
        if cost is None or cost.start_method not in IMPORTING:
            return costs
        if (cost.engine, cost.start_method) in THIS_PROCESS.starts:
            return costs
        wish = Wish(cost.engine, cost.start_method, program())
        known = recalled(wish, wish.key(machine), store, now_s)
        if known is None:
            return costs
        start = known.value.cost.start  # type: ignore[union-attr]
        THIS_PROCESS.starts[cost.engine, cost.start_method] = start
        return replace(costs, processes=replace(cost, start=replace(start, load_s=cost.start.load_s)))
    except Exception:  # noqa: BLE001  (no descriptor, no memory, a broken installation: recorded figures serve)
        return costs


def save() -> None:
    """Write what was learnt into the file; at exit."""
    learnt, THIS_PROCESS.unsaved = THIS_PROCESS.unsaved, {}
    if not learnt or history_setting() == OFF:
        return
    try:
        from time import time

        from amorsize.measure.cost_cache import Found, Known, Wish, keep
        from amorsize.model.default_costs import recorded
        from amorsize.system.machine import lately
        from amorsize.system.start_methods import share_of

        here, now_s, store = share_of(lately()), time(), _store(1.0)
        for (engine, method, of), start in learnt.items():
            cost = replace(recorded(engine, method), start=start, measured=True, measured_at_s=now_s)
            wish = Wish(engine, method, of)
            keep(wish.key(here), Known(Found(cost), now_s), store)
    except Exception:  # noqa: BLE001  (a failure to learn must not lose a result)
        return


def program() -> str:
    """Return which main module workers import."""
    main = sys.modules.get("__main__")
    return "<none>" if main_is_interactive() else str(getattr(main, "__file__", None))


def _store(patience_s: float = PATIENCE_S) -> Any:
    from amorsize.history.location import default_path
    from amorsize.history.sqlite_file import Store

    return Store(default_path(), patience_s=patience_s)
