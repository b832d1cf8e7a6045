"""What history tells of one call: earlier runs of the same map, and corrections of the model's forecasts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from os.path import exists
from time import time

from amorsize.facts import Costs, Forecast, Machine, Sample
from amorsize.frozen import replace
from amorsize.history.history import History
from amorsize.history.machine_id import digest_of, features
from amorsize.history.run_row import Run
from amorsize.history.shape import shape_of
from amorsize.learn.fit_file import fit_path
from amorsize.model.cost import forecast
from amorsize.model.default_costs import recorded
from amorsize.options import Request
from amorsize.plan.pool_watch import sequence
from amorsize.system.memory import forked_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from amorsize.learn.pruner import Pruner

# Seconds of work that no pool on any machine shortens: opening one takes longer.
# guess
HOPELESS_S: Final = 1e-3
# Newest rows of a function that are read: 0.5 ms, with opening the file.
LOOKED_AT: Final = 16
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
    if (newest := next(found, None)) is None:
        return
    from amorsize.history.agreement import like

    yield from like(chain((newest,), found), shape_of(request.data), n, time())


def pruner_for(
    request: Request,
    runs: Iterable[Run],
    sample: Sample,
    costs: Costs,
    here: Machine,
    n: int | None,
    is_known: bool = False,
) -> Pruner | None:
    """Return what corrects forecasts: the fit to past runs, and rows of the map itself; None where there is neither.

    None, too, where the work is too short. ``runs``: as from `past_runs`. ``is_known``: the sample comes from them.
    Then they tell nothing more of the loop, nor of engines that they did not run on.
    """
    if n is None or not sample.n_sampled or sample.item_s * n < HOPELESS_S:
        return None
    newest, file = list(islice(runs, OWN_RUNS)), fit_path(request.history)
    if not newest and (file is None or not exists(file)):
        return None
    from amorsize.learn import pruner
    from amorsize.learn.parts import engine_in

    fit = pruner.known(request.history)
    own = [(engine_in(run)[1], run) for run in newest]
    if is_known:
        own = [(engine, run) for engine, run in own if engine != "loop"]
    if not own:
        return fit
    rss_bytes = forked_bytes()
    ran = [
        (engine, one, run.clock_s)
        for engine, run in own
        if (one := _forecast_of(run, engine, sample, costs, here, rss_bytes)) is not None
    ]
    return (fit or pruner.Pruner()).knowing(ran, *([0.0] if is_known else []))


def _forecast_of(run: Run, engine: str, sample: Sample, costs: Costs, here: Machine, rss_bytes: int) -> Forecast | None:
    """Return today's forecast of a past run; None if it cannot be forecast."""
    if engine == "executor" or not run.n_items or run.backend in ("async", "tasks"):
        return None
    if engine in ("team", "threads"):
        # What `execute` starts from.
        cost = recorded(engine, run.start_method)
        costs = replace(costs, **{"processes" if engine == "team" else "threads": cost})
    elif engine != "loop" and (costs.processes if engine == "pool" else costs.threads) is None:
        return None
    return forecast(
        sample,
        costs,
        here,
        run.backend,  # type: ignore[arg-type]
        run.n_jobs,
        run.chunksize,
        n_items=run.n_items,
        caller_rss_bytes=rss_bytes,
        shrinking=engine in ("team", "threads"),
    )
