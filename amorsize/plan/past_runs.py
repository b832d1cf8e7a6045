"""What history tells of one call: earlier runs of the same map, and corrections of the model's forecasts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from time import time
from typing import TYPE_CHECKING, Final

from amorsize.facts import Costs, Forecast, Machine, Sample
from amorsize.frozen import replace
from amorsize.history.agreement import LOOKED_AT, like
from amorsize.history.history import History
from amorsize.history.machine_id import digest_of, features
from amorsize.history.run_row import Run
from amorsize.history.this_process import shape_of
from amorsize.model.cost import forecast
from amorsize.model.default_costs import recorded
from amorsize.options import Request
from amorsize.plan.pool_watch import sequence
from amorsize.system.memory import forked_bytes

if TYPE_CHECKING:
    from amorsize.learn.pruner import Pruner

# Seconds of work that no pool on any machine shortens: opening one takes longer.
# guess
HOPELESS_S: Final = 1e-3
# The newest rows of the same map that correct its forecast: 0.1 ms (a guess).
OWN_RUNS: Final = 6


def past_runs(request: Request, here: Machine) -> Iterator[Run]:
    """Yield earlier runs of the same function over such data on such a machine, newest first, to the last surprise.

    Iterators, sets and user classes cannot be inspected, so history says nothing of them. ``sample="head"`` asks for a
    sample, so history is not used.
    """
    if request.executor is not None or not request.spread or not sequence(request.data):
        return
    history = History() if request.history is None else request.history
    n = len(request.data)  # type: ignore[arg-type]
    if not n or not history.is_on:
        return
    found = history.recall(request.func, digest_of(features(here)) or "", LOOKED_AT)
    yield from like(found, shape_of(request.data), n, time())


def pruner_for(
    request: Request, sample: Sample, costs: Costs, here: Machine, n: int | None, is_known: bool = False
) -> Pruner | None:
    """Return what corrects forecasts: the fit to past runs, and rows of the map itself; None where there is neither.

    None, too, where the work is too short. ``is_known``: the sample comes from these rows. Then they tell nothing more
    of the loop, nor of engines that they did not run on.
    """
    if n is None or not sample.n_sampled or sample.item_s * n < HOPELESS_S:
        return None
    runs = list(islice(past_runs(request, here), OWN_RUNS))
    from amorsize.learn import pruner

    fit = pruner.known(request.history)
    if not runs:
        return fit
    ran = [found for run in runs if (found := _forecast_of(run, sample, costs, here)) is not None]
    if is_known:
        return (fit or pruner.Pruner()).knowing([one for one in ran if one[0] != "loop"], other=0.0)
    return (fit or pruner.Pruner()).knowing(ran)


def _forecast_of(run: Run, sample: Sample, costs: Costs, here: Machine) -> tuple[str, Forecast, float] | None:
    """Return the engine of a past run, today's forecast of it, and its clock; None if it cannot be forecast."""
    from amorsize.learn.parts import engine_in

    _, engine = engine_in(run)
    if engine == "executor" or not run.n_items or run.backend == "tasks":
        return None
    if engine in ("team", "threads"):
        # What `execute` starts from.
        cost = recorded(engine, run.start_method)
        costs = replace(costs, **{"processes" if engine == "team" else "threads": cost})
    elif engine != "loop" and (costs.processes if engine == "pool" else costs.threads) is None:
        return None
    one = forecast(
        sample,
        costs,
        here,
        run.backend,  # type: ignore[arg-type]
        run.n_jobs,
        run.chunksize,
        n_items=run.n_items,
        caller_rss_bytes=forked_bytes(),
        shrinking=engine in ("team", "threads"),
    )
    return engine, one, run.clock_s
