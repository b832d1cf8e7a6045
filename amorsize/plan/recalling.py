"""``optimize()`` of a known function: earlier runs that agree replace the sample (`amorsize.plan.optimize`)."""

from __future__ import annotations

import dataclasses
from functools import partial
from time import time
from typing import Any

from amorsize.frozen import replace
from amorsize.history.agreement import LOOKED_AT, Known, known
from amorsize.history.history import History
from amorsize.history.machine_id import digest_of, features
from amorsize.history.this_process import shape_of
from amorsize.options import Request
from amorsize.plan.optimize import known_costs, plan_for, plan_from, pool_can_find, start_method_for
from amorsize.plan.plan import Plan
from amorsize.plan.pool_watch import PoolWatch, sequence
from amorsize.system.machine import lately
from amorsize.system.start_methods import share_of


def recall_or_plan(request: Request) -> Plan:
    """The plan for one call of ``optimize``, which notes in the history what its pool then takes."""
    plan = recalled(request) or plan_for(request)
    witness = PoolWatch.of(request.func, plan.data, request.history, partial(finish, request))
    return plan if witness is None else dataclasses.replace(plan, witness=witness)


def finish(request: Request, results: list[Any]) -> list[Any]:
    """Run the other items of the data as ``execute()`` would that has run the first ones already: all results."""
    from amorsize.run.execute import Execution

    execution = Execution(replace(request, history=History("off")))  # the plan's own row tells of all items
    execution.state.resume(results)
    return execution.run()


def recalled(request: Request) -> Plan | None:
    """A plan from history, without a call of func; None where rows do not tell enough.

    Nothing is known of data that nobody may look into (iterators, sets, a class of the user's own), and whoever asks
    for a sample of the first items (``sample="head"``) gets one.
    """
    if request.executor is not None or not request.spread or not sequence(request.data):
        return None
    history = History() if request.history is None else request.history
    n = len(request.data)  # type: ignore[arg-type]
    if not n or not history.is_on:
        return None
    here = share_of(lately())
    digest = digest_of(features(here)) or ""
    found = known(history.recall(request.func, digest, LOOKED_AT), shape_of(request.data), n, time())
    return None if found is None else _plan(request, found, here, n)


def _plan(request: Request, found: Known, here: Any, n: int) -> Plan | None:
    warnings: list[str] = []
    method = start_method_for(request, warnings)
    sample = found.sample
    if method is not None:
        if not found.sent:
            sample = _with_items(request, found)
        sample = pool_can_find(request.func, method, sample)
    costs = known_costs(request, sample, here, method, n, warnings)
    plan = plan_from(request, here, sample, costs, n, request.data, warnings, known_runs=found.runs)
    # What results weigh would only speak against processes: without it every other answer stands.
    return None if plan.backend == "processes" and not found.weighed else plan


def _with_items(request: Request, found: Known) -> Any:
    """The sample, with what it costs to send some items: they are there, and need not be run for that."""
    from amorsize.measure.transfer import weigh

    data: Any = request.data
    stride = max(1, len(data) // 4)
    weighed = weigh(data[stride // 2 :: stride][:4], [], in_band=True, func=request.func)
    return replace(
        found.sample,
        arg_bytes=weighed.arg_bytes,
        arg_pickle_s=weighed.arg_pickle_s,
        arg_unpickle_s=weighed.arg_unpickle_s,
        transfer_error=weighed.transfer_error or found.sample.transfer_error,
    )
