"""Going parallel: a schedule for what is left, the driver that carries it out, and what that hands back."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from amorsize.backends.concurrent_calls import CROWD
from amorsize.backends.core_lease import Lease
from amorsize.backends.loop import Loop
from amorsize.backends.results import Outcome
from amorsize.backends.source import Indexable, Streamed
from amorsize.backends.ticks import Ticks
from amorsize.backends.workers import child, protocol
from amorsize.backends.workers.team import Team
from amorsize.errors import TransferError, WorkerLostError
from amorsize.facts import Breakdown, Forecast, Machine, Ran, Sample
from amorsize.frozen import replace
from amorsize.model.cost import OWN_THREADS
from amorsize.options import Request
from amorsize.run.choices import MOST_THREADS, NoTeam, most_workers
from amorsize.run.map_state import Job
from amorsize.schedule.schedule import Schedule
from amorsize.schedule.worker_count import WorkerCount
from amorsize.system.start_methods import UNGUARDED, is_being_imported_by_a_child, main_is_interactive

if TYPE_CHECKING:
    from amorsize.backends.driver import Driver
    from amorsize.backends.futures import ExecutorDriver
    from amorsize.backends.threads import ThreadDriver

MOST_PROCESSES_PER_CORE: Final = 4
ALIKE: Final = 0.5  # a larger spread between items, relative to their mean, says that they cannot be compared

Steps = Generator[None, None, None]
Options = dict[str, Any]


def on_processes(job: Job, chosen: Forecast, loop: Loop | None, options: Options) -> Steps:
    """Run what is left on workers, when it is this call's turn to have some."""
    from amorsize.backends.processes import ProcessDriver
    from amorsize.run.watch import guard_for, oom_count

    if job.story.start_note:
        job.story.warnings.append(job.story.start_note)
    story = job.story
    assert story.machine is not None
    with a_turn(chosen.workers, story.machine.usable_cores, job.vigil) as turn:
        if turn.is_nested and turn.workers == 1 < chosen.workers and loop is not None:
            return  # one worker gets no more done than the caller, who would only wait for it
        if turn.workers < chosen.workers or CROWD.size > 1:  # others have the cores that a crew would try out
            chosen, options = replace(chosen, workers=turn.workers), {**options, "crew": None}
        schedule = schedule_for(job, chosen, **options)
        team = a_team(job.request, job.source, chosen, turn.cores, story.sample)
        turn.serve(schedule, team)
        job.vigil.tickers.append(guard_for(team, schedule, story.warnings.append))
        driver = ProcessDriver(
            schedule,
            team,
            job.source,
            job.outcome,
            loop,
            job.vigil,
            records=job.records,
            news=job.news,
            count_oom=oom_count,
        )
        story.ran = yield from drive(job, driver)


def drive(job: Job, driver: Driver) -> Generator[None, None, Ran]:
    """Let a driver run what is left; what it hands back stays to be done."""
    job.driver = driver
    try:
        ran = yield from driver.steps()
    finally:
        job.driver = None
        job.vigil.tickers = [*job.tickers]  # the guard was the team's
        job.story.warnings += driver.warnings
    job.todo = deque(driver.left_over)
    opening = job.story.opening
    if job.todo and opening.n_items is not None:
        opening.n_items -= ran.items
    return ran


def crew_for(job: Job, chosen: Forecast, here: Machine, sample: Sample, may_lose: bool) -> WorkerCount | None:
    """Who watches whether the workers pay."""
    most = most_workers(job.request) or MOST_THREADS
    if chosen.backend == "processes":
        most = min(most, MOST_PROCESSES_PER_CORE * ceil(here.usable_cores))
    alike = sample.item_std_s < ALIKE * sample.item_s
    alone_s = sample.item_s + sample.kept_s if alike else 0.0
    return WorkerCount(here.usable_cores, max(most, chosen.workers), alone_s, may_lose, job.story.read_item_s)


def schedule_for(job: Job, chosen: Forecast, **options: Any) -> Schedule:
    workers = chosen.workers
    if job.request.executor_as in (chosen.backend, "executor"):
        options |= {"crew": None, "prefetch": False}
        workers *= 1 if job.request.max_workers else 2  # one waits in the executor's queue for each that runs
    if chosen.backend == "threads" and job.source.indexable and job.window is None and job.news is None:
        options["prefetch"] = False  # the thread that ends a span cuts its next one itself: nothing to wait for
    return Schedule(
        list(job.todo),
        workers,
        retries=job.request.retries,
        timeout_s=job.request.timeout_s,
        pace=job.pace,
        window=job.window,
        **options,
    )


def thread_driver(job: Job, schedule: Schedule, outcome: Outcome) -> ThreadDriver:
    from amorsize.backends.threads import ThreadDriver

    request = job.request
    initializer = None
    if request.initializer is not None:
        initializer = partial(request.initializer, *request.initargs)
    by_mail = job.window is not None
    return ThreadDriver(
        schedule,
        job.source,
        outcome,
        request.func,
        initializer,
        job.vigil,
        by_mail=by_mail,
        records=job.records,
        news=job.news if outcome is job.outcome else None,
    )


def executor_driver(job: Job, schedule: Schedule) -> ExecutorDriver:
    from amorsize.backends.futures import ExecutorDriver

    request = job.request
    return ExecutorDriver(schedule, request.executor, job.source, job.outcome, request.func, job.vigil)


@contextmanager
def a_turn(workers: int, cores: float, vigil: Ticks) -> Iterator[Lease]:
    """Wait until this call may have workers, since others of this process may have all cores now."""
    lease = Lease(workers, cores, vigil.stop)
    vigil.tickers.append(lease)
    try:
        yield lease
    finally:
        if lease in vigil.tickers:
            vigil.tickers.remove(lease)
        lease.close()


def a_team(
    request: Request, source: Indexable | Streamed, chosen: Forecast, cores: float, sample: Sample | None
) -> Team:
    """The team for ``chosen``, none of its workers started yet.

    Raises
    ------
    NoTeam
        When there cannot be one.
    RuntimeError
        In a child that is importing the program's main module: it would start children without end.
    """
    if is_being_imported_by_a_child():
        raise RuntimeError(UNGUARDED)
    assert chosen.start_method is not None
    share = max(1.0, cores / chosen.workers)
    runs_threads = sample is None or sample.own_threads > OWN_THREADS
    native = max(1, int(share)) if runs_threads and "numpy" in sys.modules else None
    forks = chosen.start_method == "fork"
    setup = child.Setup(
        request.func,
        keep_going=request.on_error == "collect" or request.retries > 0,
        initializer=request.initializer,
        initargs=request.initargs,
        cores=share,
        native_threads=native,
        by_value=not forks and main_is_interactive(),
        timed=request.timeout_s is not None,
    )
    inherited = source.data if forks and isinstance(source, Indexable) else None
    try:
        return Team(setup, inherited, chosen.start_method)
    except Exception as exc:
        why = WorkerLostError(None) if isinstance(exc, OSError) else TransferError(*_culprit(setup))
        why.__cause__ = exc
        raise NoTeam(why) from exc


def no_forecast(workers: int, start_method: str | None) -> Forecast:
    """What stands for a forecast where func may not run here, so that nothing is known of it."""
    return Forecast(
        backend="processes",
        workers=workers,
        chunksize=1,
        start_method=start_method,
        total_s=0.0,
        low_s=0.0,
        high_s=0.0,
        breakdown=Breakdown(),
    )


def _culprit(setup: child.Setup) -> tuple[str, None, str]:
    """Which part of a setup cannot be pickled, and why."""
    parts: list[tuple[str, object]] = [("func", setup.func), ("initializer", (setup.initializer, setup.initargs))]
    for what, part in parts:
        try:
            protocol.dumps(part, setup.by_value)
        except Exception as exc:  # noqa: BLE001
            return what, None, child.describe(part, exc)
    return "func", None, "nobody knows why"
