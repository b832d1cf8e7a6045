"""Going parallel: the schedule of the items left, the driver that carries it out, and the items it hands back."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from functools import partial
from math import ceil

from amorsize.backends.driver import Work
from amorsize.backends.table import row_named, row_serving
from amorsize.facts import WAITS, Breakdown, Forecast, Machine, Ran, Sample
from amorsize.frozen import replace
from amorsize.run.choices import GROWS_TO, most_workers
from amorsize.schedule.schedule import Schedule
from amorsize.schedule.worker_count import MAX_CHANGES, WorkerCount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from amorsize.backends.table import Row
    from amorsize.facts import Backend
    from amorsize.options import Request
    from amorsize.run.deciding import Deciding
    from amorsize.run.map_state import MapState
    from amorsize.schedule.task_count import Concurrency

# guess: more processes than this per core are never tried, since each holds memory
MOST_PROCESSES_PER_CORE: Final = 4
# guess: a larger spread between items, relative to their mean, says that they cannot be compared
COMPARABLE_SPREAD: Final = 0.5

Options = dict[str, "Any"]


def row_of(chosen: Forecast, request: Request) -> Row:
    """Return the row of the backend that runs ``chosen``."""
    if chosen.backend == request.executor_as:
        row = row_serving(request.executor)
        assert row is not None
        return row
    return row_named(chosen.backend)


def work_of(deciding: Deciding, *, may_loop: bool) -> Work:
    """Return a call's data for a driver. ``may_loop``: func may run in the caller, too."""
    request, state, summary = deciding.request, deciding.state, deciding.summary
    assert summary.machine is not None
    return Work(
        func=request.func,
        source=state.source,
        outcome=state.outcome,
        ticks=state.ticks,
        records=state.records,
        news=state.news,
        loop=state.loop if may_loop else None,
        executor=request.executor,
        initializer=request.initializer,
        initargs=request.initargs,
        keeps_going=request.on_error == "collect" or request.retries > 0,
        has_timeout=request.timeout_s is not None,
        is_streamed=state.window is not None,
        cores=summary.machine.usable_cores,
        runs_threads=summary.sample is None or deciding.decider.has_run_threads(),
        warn=summary.warnings.append,
    )


def drive(
    deciding: Deciding, chosen: Forecast, options: Options, *, may_loop: bool
) -> Generator[None, None, Ran | None]:
    """Run the items left as ``chosen``; those that the driver hands back are left again. None: the loop does as much.

    Raises
    ------
    CannotStart
        If no worker can even be tried.
    """
    request, state, summary = deciding.request, deciding.state, deciding.summary
    row, work = row_of(chosen, request), work_of(deciding, may_loop=may_loop)
    with row.open_driver(work, chosen, partial(schedule_for, state, request, options=options)) as driver:
        if driver is None:
            return None
        state.driver = driver
        try:
            ran = yield from driver.steps()
        finally:
            state.driver = None
            summary.foresaw(driver.evidence, driver.sample)
            summary.seen = driver.seen()
            summary.warnings += driver.warnings
    state.todo = deque(driver.left_over)
    if deciding.decider.n_items is not None:
        deciding.decider.n_items = deciding.decider.items + (state.left() or 0)
    return ran


def schedule_for(state: MapState, request: Request, chosen: Forecast, options: Options) -> Schedule:
    """Return the schedule of the items left. ``options``: further arguments of `Schedule`."""
    workers = chosen.workers
    if request.executor_as in (chosen.backend, "executor"):
        options = {**options, "worker_count": None, "prefetch": False}
        # One task waits in the executor's queue for each that runs; but the user's number, and a time limit, hold for
        # all of them.
        workers *= 1 if request.max_workers or request.timeout_s is not None else 2
        if request.timeout_s is not None:
            # A task that is ended takes all its items along.
            options["fixed"] = 1
    if chosen.backend == "threads" and state.source.indexable and state.window is None and state.news is None:
        # The thread that ends a span cuts its next one itself and never waits for it; but see `ThreadDriver`.
        options = {**options, "prefetch": bool(request.backoff_s)}
    return Schedule(
        list(state.todo),
        workers,
        retries=state.repeats,
        timeout_s=request.timeout_s,
        pace=state.pace,
        window=state.window,
        ahead=state.ahead(),
        **options,
    )


def worker_count_for(
    request: Request, chosen: Forecast, machine: Machine, sample: Sample, read_item_s: float, *, may_lose: bool
) -> WorkerCount:
    """Return the rule that changes the number of workers by their throughput. ``may_lose``: the loop may take over."""
    most = most_workers(request) or GROWS_TO
    if chosen.backend == "processes":
        most = min(most, MOST_PROCESSES_PER_CORE * ceil(machine.usable_cores), machine.most_processes)
    comparable = sample.item_std_s < COMPARABLE_SPREAD * sample.item_s
    alone_s = sample.item_s + sample.kept_s if comparable else 0.0
    rule = WorkerCount(machine.usable_cores, max(most, chosen.workers), alone_s, may_lose, read_item_s)
    if _climbs(chosen, sample):
        # It only judges whether threads pay at all.
        rule.changes = MAX_CHANGES
    return rule


def climb_for(request: Request, chosen: Forecast, sample: Sample) -> Concurrency | None:
    """Return the rule by which threads that wait become more, as coroutines do, since they may wait for a server."""
    if not _climbs(chosen, sample):
        return None
    from amorsize.schedule.task_count import Concurrency

    most = most_workers(request) or GROWS_TO
    return Concurrency(max(most, chosen.workers), alone_s=sample.item_s + sample.kept_s, sure=chosen.workers)


def _climbs(chosen: Forecast, sample: Sample) -> bool:
    return chosen.backend == "threads" and sample.waits > WAITS


def no_forecast(backend: Backend, workers: int, start_method: str | None) -> Forecast:
    """Return the forecast of a map whose function may not run here, so that nothing is known of it."""
    return Forecast(
        backend=backend,
        workers=workers,
        chunksize=1,
        start_method=start_method,
        total_s=0.0,
        low_s=0.0,
        high_s=0.0,
        breakdown=Breakdown(),
    )


def as_executor(chosen: Forecast) -> Forecast:
    """Return a forecast for threads or processes as one for the user's executor."""
    return replace(chosen, backend="executor", start_method=None)
