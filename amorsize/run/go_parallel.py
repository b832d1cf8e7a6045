"""Going parallel: a schedule for what is left, the driver that carries it out, and what that hands back."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from amorsize.backends.concurrent_calls import CROWD
from amorsize.backends.loop import Loop
from amorsize.backends.results import Outcome
from amorsize.facts import Forecast, Machine, Ran, Sample
from amorsize.frozen import replace
from amorsize.run.choices import MOST_THREADS, most_workers
from amorsize.run.map_state import Job
from amorsize.schedule.schedule import Schedule
from amorsize.schedule.worker_count import Crew

if TYPE_CHECKING:
    from amorsize.backends.futures import ExecutorDriver
    from amorsize.backends.threads import ThreadDriver
    from amorsize.run.map_state import Driver

MOST_PROCESSES_PER_CORE: Final = 4
ALIKE: Final = 0.5  # a larger spread between items, relative to their mean, says that they cannot be compared

Steps = Generator[None, None, None]
Options = dict[str, Any]


def on_processes(job: Job, chosen: Forecast, loop: Loop | None, options: Options) -> Steps:
    """Run what is left on workers, when it is this call's turn to have some."""
    from amorsize.backends.processes import ProcessDriver
    from amorsize.run.launch import a_team, a_turn
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


def crew_for(job: Job, chosen: Forecast, here: Machine, sample: Sample, may_lose: bool) -> Crew | None:
    """Who watches whether the workers pay."""
    most = most_workers(job.request) or MOST_THREADS
    if chosen.backend == "processes":
        most = min(most, MOST_PROCESSES_PER_CORE * ceil(here.usable_cores))
    alike = sample.item_std_s < ALIKE * sample.item_s
    alone_s = sample.item_s + sample.kept_s if alike else 0.0
    return Crew(here.usable_cores, max(most, chosen.workers), alone_s, may_lose, job.story.read_item_s)


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
