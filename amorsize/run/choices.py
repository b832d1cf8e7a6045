"""What a run may choose from: this machine, what its backends cost, and what the user allows."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Final

from amorsize.errors import AmorsizeError
from amorsize.facts import Backend, BackendCost, Costs, StartCost
from amorsize.frozen import replace
from amorsize.model.decide import Choices
from amorsize.model.default_costs import recorded
from amorsize.options import Request
from amorsize.run.run_summary import RunSummary
from amorsize.system.start_methods import resolve_start_method, share_of

if TYPE_CHECKING:
    from amorsize.facts import Machine

WARM_START: Final = StartCost(base_s=0.5e-3, per_worker_s=0.4e-3)  # to find and greet workers that wait: 1-2 ms for two
MOST_THREADS: Final = 256  # that a run may grow to by itself


class NoTeam(Exception):  # noqa: N818
    """Worker processes cannot even be tried: the function cannot be sent to any, or no descriptor is to be had."""

    def __init__(self, why: AmorsizeError) -> None:
        super().__init__(why)
        self.why = why


def terms_for(request: Request, backends: tuple[Backend, ...], story: RunSummary) -> Choices:
    """The terms of one run, from recorded figures; 0.3 ms if nobody has looked at the machine within a second."""
    from amorsize.system.machine import lately
    from amorsize.system.memory import forked_bytes

    story.machine = here = share_of(lately())
    if request.executor is not None:
        here = with_places(here, request.executor)
    processes = None
    if request.executor is not None and request.executor_as != "threads":
        processes = recorded("executor", "executor")
    elif "processes" in backends:
        method, why = resolve_start_method(request.start_method)
        processes = recorded("team", method)
        if method != "fork" and request.initializer is None:
            processes = _with_warm_workers(processes, ceil(here.usable_cores))
        story.start_note = why and f"processes start by {method}, since {why}"
    return Choices(
        backends=backends,
        machine=here,
        costs=Costs(threads=recorded("threads", None), processes=processes),
        max_workers=most_workers(request),
        memory_limit_bytes=request.memory_limit_bytes,
        caller_rss_bytes=forked_bytes(),
    )


def _with_warm_workers(cost: BackendCost, workers: int) -> BackendCost:
    """The cost of a backend whose workers wait already from an earlier map, if they do."""
    from amorsize.backends.workers import warm

    if cost.start_method is None or warm.count(cost.start_method) < workers:
        return cost
    return replace(cost, start=WARM_START)


def with_places(here: Machine, executor: Any) -> Machine:
    """This machine, as if it had the cores that an executor's tasks have."""
    from amorsize.backends.futures import places_of

    places = places_of(executor)
    return replace(here, usable_cores=float(places), physical_cores=places, logical_cores=places)


def most_workers(request: Request) -> int | None:
    """How many workers there may be: as the user says, and as the executor has places."""
    if request.executor is None:
        return request.max_workers
    from amorsize.backends.futures import places_of

    return min(places_of(request.executor), request.max_workers or MOST_THREADS)
