"""The choices of a run: this machine, the costs of its backends, and the user's limits."""

from __future__ import annotations

from math import ceil
from sys import modules

from amorsize.backends.table import due_s, row_named, row_serving
from amorsize.facts import Backend, BackendCost, Costs, StartCost
from amorsize.frozen import replace
from amorsize.measure.own_start import as_here
from amorsize.model.decide import Choices
from amorsize.model.default_costs import recorded
from amorsize.options import Request
from amorsize.run.run_summary import RunSummary
from amorsize.system.start_methods import resolve_start_method, share_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from amorsize.facts import Machine

# Time to find the workers that wait and to send them the function: 1-2 ms for two workers.
WARM_START: Final = StartCost(base_s=0.5e-3, per_worker_s=0.4e-3)
# guess: a run grows to no more workers by itself
GROWS_TO: Final = 256


def choices_for(request: Request, backends: tuple[Backend, ...], summary: RunSummary) -> Choices:
    """Return the choices of one run, from recorded and learnt costs.

    It takes 0.3 ms if the machine was not read within a second.
    """
    from amorsize.system.machine import lately
    from amorsize.system.memory import forked_bytes

    summary.machine = here = share_of(lately())
    if request.executor is not None:
        here = with_places(here, request.executor)
    processes = None
    if request.executor is not None and request.executor_as != "threads":
        row = row_serving(request.executor)
        assert row is not None
        processes = recorded(row.engine, "executor")
    elif "processes" in backends:
        method, why = resolve_start_method(request.start_method)
        row = row_named("processes")
        processes = as_here(recorded(row.engine, method), request.func, request.data, due_s(row.left_to_load_s()))
        if method != "fork" and request.initializer is None:
            processes = _with_warm_workers(processes, ceil(here.usable_cores))
        summary.start_note = why and f"processes start by {method}, since {why}"
    row = row_named("threads")
    threads = as_here(recorded(row.engine, None), request.func, request.data, due_s(row.left_to_load_s()))
    return Choices(
        backends=backends,
        machine=here,
        costs=Costs(threads=threads, processes=processes),
        max_workers=most_workers(request),
        memory_limit_bytes=request.memory_limit_bytes,
        caller_rss_bytes=forked_bytes(),
    )


def _with_warm_workers(cost: BackendCost, workers: int) -> BackendCost:
    """Return the cost of a backend, less the start if its workers wait already from an earlier map."""
    if "amorsize.backends.workers.warm" not in modules:
        # Nobody has kept a worker yet.
        return cost
    from amorsize.backends.workers import warm

    if cost.start_method is None or warm.count(cost.start_method) < workers:
        return cost
    return replace(cost, start=WARM_START)


def with_places(here: Machine, executor: Any) -> Machine:
    """Return this machine as if it had one core for each place of an executor."""
    from amorsize.backends.engines import places_of

    places = places_of(executor)
    return replace(here, usable_cores=float(places), physical_cores=places, logical_cores=places)


def most_workers(request: Request) -> int | None:
    """Return the largest number of workers: as the user says, and as the executor has places. None: no limit."""
    if request.executor is None:
        return request.most_workers
    from amorsize.backends.engines import places_of

    return min(places_of(request.executor), request.most_workers or GROWS_TO)
