"""``execute()`` from its first item to its last: a plain loop, then whatever the model says is faster.

The opening decides (`amorsize.model.opening`), the loop, threads or a team carry out (`amorsize.run`); this module
connects them, measures what the opening asks for, and tells the story afterwards. It goes step by step, so that
somebody may take results away between two steps (`amorsize.streams`) or end it there.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import replace
from functools import partial
from math import ceil
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, Final

from amorsize import worker
from amorsize.facts import BackendCost, Costs, Forecast, Observation, Ran, StartCost
from amorsize.here import resolve_start_method, share_of
from amorsize.learn.fingerprint import fingerprint, name_of
from amorsize.learn.history import History
from amorsize.model.crew import Crew
from amorsize.model.events import Event
from amorsize.model.opening import Go, Opening, Probe, RunMore, Terms, TryThreads, WatchLock, Weigh
from amorsize.model.pace import Pace
from amorsize.model.recorded import recorded
from amorsize.model.schedule import Schedule
from amorsize.records import MEASURE_S, Records
from amorsize.requests import Request
from amorsize.run.crowd import CROWD
from amorsize.run.loop import STREAM_BATCH, Loop
from amorsize.run.outcome import Outcome
from amorsize.run.source import source_of
from amorsize.run.vigil import Ticker, Vigil, drain
from amorsize.story import Story

if TYPE_CHECKING:
    from amorsize.facts import Machine, Sample
    from amorsize.run.drive import ProcessDriver
    from amorsize.run.executors import ExecutorDriver
    from amorsize.run.news import News
    from amorsize.run.resume import Checkpoint
    from amorsize.run.stop import Stop
    from amorsize.run.threads import ThreadDriver

    Driver = ProcessDriver | ThreadDriver | ExecutorDriver

QUICK_ITEM_S: Final = 0.3e-3  # while forked workers start (1-3 ms) the caller goes on only with items as short as this
SLOW_ITEM_S: Final = 20e-3  # the same for workers that take 50-100 ms to start
MOST_THREADS: Final = 256  # that a run may grow to by itself
MOST_PROCESSES_PER_CORE: Final = 4
ALIKE: Final = 0.5  # a larger spread between items, relative to their mean, says that they cannot be compared

WARM_START: Final = StartCost(base_s=0.5e-3, per_worker_s=0.4e-3)  # to find and greet workers that wait: 1-2 ms for two

Steps = Generator[None, None, None]
Options = dict[str, Any]


class Execution:
    """One call of ``execute`` or ``stream``.

    Parameters
    ----------
    request : Request
    outcome : Outcome, optional
        Where results go; by default they are all kept, in order.
    window : int, optional
        How many items may be ahead of whoever takes the results away.
    tickers : iterable of Ticker
        Who wants to look every now and then.
    stop : Stop, optional
        Who may end it from another thread.
    """

    def __init__(
        self,
        request: Request,
        outcome: Outcome | None = None,
        *,
        window: int | None = None,
        tickers: Iterable[Ticker] = (),
        stop: Stop | None = None,
    ) -> None:
        self.request = request
        self.window = window
        self.source = source_of(request.data, one_by_one=window is not None)
        self.outcome = outcome or Outcome(request.on_error, request.max_failures)
        self.todo: deque[tuple[int, int | None]] = deque([(0, self.source.length)])
        self.checkpoint: Checkpoint | None = None
        if request.checkpoint is not None:
            from amorsize.run.resume import Checkpoint

            key = request.checkpoint_key or fingerprint(request.func)
            self.checkpoint = Checkpoint(request.checkpoint, key, name_of(request.func), fingerprint)
            self.source = self.checkpoint.source(self.source)
            self.outcome = self.checkpoint.outcome(request.on_error, request.max_failures)
            tickers = [*tickers, self.checkpoint]
        self.records = Records()
        self.news: News | None = None
        if request.on_event is not None or request.progress:
            from amorsize.lookout import news_for

            self.news = news_for(request)
            self.outcome.on_failure = self.news.item_failed
        self.loop = Loop(request.func, self.source, self.outcome, request.retries, records=self.records, news=self.news)
        self.backends = request.backends
        self.pace = None if request.rate is None else Pace(request.rate)
        self.tickers = tuple(tickers)
        if request.limits is not None:
            from amorsize.lookout import limiter_for

            self.tickers += (limiter_for(request.limits, perf_counter()),)
        self.vigil = Vigil(self.tickers, stop=stop)
        self.driver: Driver | None = None  # who runs what is left, once it goes parallel
        self.start_note: str | None = None  # why workers do not start by fork
        self.story = Story(
            Opening(
                self.source.length,
                indexable=self.source.indexable,
                most_cores=os.cpu_count() or 1,
                spread=request.spread and window is None and request.rate is None,
                rate=request.rate,
            ),
        )

    def run_and_record(self) -> list[Any]:
        """Run the map, and leave a row in the history whatever comes of it."""
        outcome = "raised"
        try:
            for _ in self.steps():
                pass
            results = self.outcome.finish(self.source.item)
            outcome = "ok"
            return results
        finally:
            # Buffered; it is written when the program ends, or somebody asks.
            history = History() if self.request.history is None else self.request.history
            history.record(self.story.row(self.request, outcome))

    def steps(self) -> Steps:
        """Run the map, step by step. What failed stands in the outcome; what the items' source raised is raised."""
        began = perf_counter()
        if self.news is not None:
            self.news.started(self.source.length)
        try:
            with CROWD:
                yield from self._steps()
        finally:
            if self.news is not None:
                self.news.close()
            self.story.wall_s = perf_counter() - began
            self.story.n_items = len(self.outcome.results)
            if self.checkpoint is not None:
                self.story.skipped = self.checkpoint.skipped
                self.story.n_items -= self.story.skipped
                self.checkpoint.close()
                self.story.warnings += self.checkpoint.warnings.values()

    def _resume(self, checkpoint: Checkpoint) -> None:
        """Begin with what is missing in the checkpoint."""
        self.todo = checkpoint.resume()
        opening = self.story.opening
        opening.n_items = self._left()
        opening.may_probe = opening.may_probe and len(self.todo) == 1

    def _left(self) -> int | None:
        """Items still to run; None when nobody knows."""
        if self.todo and self.todo[-1][1] is None:
            return None
        return sum((stop or 0) - start for start, stop in self.todo)

    def _steps(self) -> Steps:
        request = self.request
        if self.checkpoint is not None:
            self._resume(self.checkpoint)
        if request.backends == ("executor",) or (request.backends == ("processes",) and not request.executor):
            yield from self._go_blind()
        else:
            if request.initializer is not None:
                request.initializer(*request.initargs)
            if self.news is not None:
                self.news.chose("serial")
            if request.backends == ("serial",):
                yield from self._finish_loop()
            else:
                yield from self._open()
        if not self.outcome.doomed:
            self.source.finish()
            if self.news is not None:
                self.news.finished(self.source.length or 0)

    def tell(self, event: Event) -> None:
        """Have the schedule hear of something, if there is one."""
        if self.driver is not None:
            self.driver.tell([event])

    # -- the loop ------------------------------------------------------------------------------------------------

    def _open(self) -> Steps:
        """The opening's loop; ends when everything is done."""
        opening = self.story.opening
        while self.todo and not self.outcome.doomed:
            if opening.terms is None and opening.wants_terms(self.backends):
                opening.terms = self._terms()
            step = opening.next()
            if isinstance(step, RunMore):
                opening.saw(self._advance(step.items))
            elif isinstance(step, Probe):
                opening.probed(self._probe(step))
            elif isinstance(step, Weigh):
                opening.weighed(self._weigh())
            elif isinstance(step, WatchLock):
                self._watch(step.items)
            elif isinstance(step, TryThreads):
                self._try_threads(step.items)
            elif isinstance(step, Go):
                yield from self._go(step.forecast)
            yield

    def _advance(self, items: int) -> Observation:
        """Run the next items in the loop."""
        items = min(items, self.window or items)
        if self.pace is not None:
            items = self._paced(items)
        start, stop = self.todo[0]
        end = start + items if stop is None else min(start + items, stop)
        seen = self._run(start, end)
        end = start + seen.items
        over = self.source.length is not None and end >= self.source.length
        if end == stop or over:
            self.todo.popleft()
        else:
            self.todo[0] = (end, stop)
        self.vigil.look(perf_counter())
        return seen

    def _run(self, start: int, stop: int) -> Observation:
        seen, slowdown = CROWD.observe(self.loop.run, start, stop)
        self.story.opening.crowded(slowdown)
        return seen

    def _paced(self, items: int) -> int:
        """How many of these items may begin now; waits until one may."""
        assert self.pace is not None
        while not (allowed := self.pace.allowed(perf_counter())):
            now = perf_counter()
            wait_s = self.vigil.wait_s(now, self.pace.wait_s(now)) or 0.0
            (sleep if self.vigil.stop is None else self.vigil.stop.sleep)(wait_s)
            self.vigil.look(perf_counter())
        allowed = min(items, allowed)
        self.pace.spend(allowed, perf_counter())
        return allowed

    def _finish_loop(self) -> Steps:
        opening = self.story.opening
        watched = self.vigil.tickers or self.vigil.stop is not None or self.news is not None
        whole = self.window is None and not watched
        while self.todo and not self.outcome.doomed:
            start, stop = self.todo[0]
            left = STREAM_BATCH if stop is None else stop - start
            short = whole and opening.items > 0 and opening.item_s < MEASURE_S
            items = left if short else opening.batch().items
            opening.saw(self._advance(items))
            yield

    def _probe(self, step: Probe) -> list[Observation]:
        """Run items at positions spread evenly over what is left of the only segment."""
        start, stop = self.todo.popleft()
        assert stop is not None
        seen: list[Observation] = []
        begin, spent = start, 0.0
        stride = (stop - start) / step.positions
        rest: list[tuple[int, int]] = []
        for k in range(1, step.positions + 1):
            end = round(start + k * stride)
            seen.append(one := self._run(end - step.items, end))
            rest.append((begin, end - step.items))
            begin, spent = end, spent + one.wall_s
            self.vigil.look(perf_counter())
            if spent > step.budget_s or self.outcome.doomed:
                break
        rest.append((begin, stop))
        self.todo.extend(r for r in rest if r[0] < r[1])
        return seen

    # -- what the opening asks -----------------------------------------------------------------------------------

    def _terms(self) -> Terms:
        from amorsize.measure.machine import machine
        from amorsize.measure.memory import forked_bytes

        request, story = self.request, self.story
        story.machine = here = share_of(machine())
        if request.executor is not None:
            here = with_places(here, request.executor)
        processes = None
        if request.executor is not None and request.executor_as != "threads":
            processes = known_cost("executor", "executor")
        elif "processes" in self.backends:
            method, why = resolve_start_method(request.start_method)
            processes = known_cost("team", method)
            if method != "fork" and request.initializer is None:
                processes = _with_warm_workers(processes, ceil(here.usable_cores))
            self.start_note = why and f"processes start by {method}, since {why}"
        return Terms(
            backends=self.backends,
            machine=here,
            costs=Costs(threads=known_cost("threads", None), processes=processes),
            max_workers=most_workers(request),
            memory_limit_bytes=request.memory_limit_bytes,
            caller_rss_bytes=forked_bytes(),
        )

    def _weigh(self) -> Sample:
        from amorsize.measure.transfer import weigh

        terms = self.story.opening.terms
        assert terms is not None
        assert terms.costs.processes is not None
        inherits = terms.costs.processes.start_method == "fork"
        results = [r for r in self.outcome.some(4 * 16) if r is not None][:16]
        items: Any = [] if inherits and self.source.indexable else self._next_items()
        return weigh(items, results, func=None if inherits else self.request.func)

    def _next_items(self) -> Any:
        start, stop = self.todo[0]
        return self.source.items(start, start + 4 if stop is None else min(stop, start + 4))

    def _watch(self, items: int) -> None:
        from amorsize.measure.lock import Canary

        with Canary() as canary:
            seen = self._advance(items)
        self.story.opening.watched(canary.gil_held, seen)

    def _try_threads(self, items: int) -> None:
        """Run the next items on two threads; what fails there is run again by the loop."""
        items = min(items, self.window or items)
        start, stop = self.todo.popleft()
        end = start + items if stop is None else min(start + items, stop)
        opening = self.story.opening
        schedule = Schedule(
            [(start, end)], 2, item_s=opening.item_s, evidence=max(1, (end - start) // 4), pace=self.pace
        )
        trial = Outcome("collect")
        ran = drain(self._thread_driver(schedule, trial).steps())
        if trial.fatal is not None:
            trial.finish(self.source.item)
        length = self.source.length
        if length is None or length > end:
            if end != stop:
                self.todo.appendleft((end, stop))
        else:  # the source ended
            self.todo.clear()
        self.outcome.put(start, trial.results[start:], but=trial.failures)
        if self.news is not None:
            self.news.chunk(None, start, ran.items, len(trial.failures), ran.wall_s, ran.work_cpu_s)
        for index in sorted(trial.failures):
            self.loop.run(index, index + 1)
        opening.tried(max(1, ran.items), ran.wall_s - (ran.ready_s or 0.0), ran.work_cpu_s)

    # -- going parallel ------------------------------------------------------------------------------------------

    def _go(self, chosen: Forecast) -> Steps:
        """Run everything left as ``chosen``; when that cannot start or does not pay, the loop goes on without it."""
        from amorsize.launch import NoTeam

        story, opening = self.story, self.story.opening
        assert opening.terms is not None
        if story.go is None:
            story.go, story.sample = chosen, opening.sample()
            _, story.alternatives = opening.candidates(opening.terms, story.sample)
            story.loop_s = opening.wall_s
        threads = chosen.backend == "threads"
        theirs = chosen.backend == self.request.executor_as
        if theirs:
            story.go = as_executor(chosen)
        if threads:
            chosen = replace(chosen, workers=CROWD.threads(chosen.workers))
        may_help = "serial" in self.backends
        quick = opening.item_s < (QUICK_ITEM_S if chosen.start_method == "fork" else SLOW_ITEM_S)
        options: Options = {
            "item_s": opening.item_s,
            "evidence": max(1, min(opening.items, int(10e-3 / max(opening.item_s, 1e-9)))),
            "caller_helps": quick and may_help and not threads and not theirs,
            "crew": self._crew(chosen, opening.terms.machine, opening.sample(), may_help),
        }
        self._say_chosen(chosen)
        try:
            if theirs:
                story.ran = yield from self._drive(self._executor_driver(self._schedule(chosen, **options)))
            elif threads:
                driver = self._thread_driver(self._schedule(chosen, **options), self.outcome)
                story.ran = yield from self._drive(driver)
            else:
                yield from self._go_processes(chosen, self.loop if may_help else None, options)
        except NoTeam as exc:
            if not may_help:
                raise exc.why from exc.why.__cause__
            story.warnings.append(str(exc.why))
        if self.todo:
            # The caller's own thread is always to be had.
            self.backends = tuple(b for b in self.backends if b != chosen.backend) or ("serial",)
            if self.news is not None:
                self.news.chose("serial")
            opening.withdraw(chosen.backend)

    def _go_processes(self, chosen: Forecast, loop: Loop | None, options: Options) -> Steps:
        """Run what is left on workers, when it is this call's turn to have some."""
        from amorsize.launch import a_team, a_turn
        from amorsize.lookout import guard_for, oom_count
        from amorsize.run.drive import ProcessDriver

        if self.start_note:
            self.story.warnings.append(self.start_note)
        story = self.story
        assert story.machine is not None
        with a_turn(chosen.workers, story.machine.usable_cores, self.vigil) as turn:
            if turn.is_nested and turn.workers == 1 < chosen.workers and loop is not None:
                return  # one worker gets no more done than the caller, who would only wait for it
            if turn.workers < chosen.workers or CROWD.size > 1:  # others have the cores that a crew would try out
                chosen, options = replace(chosen, workers=turn.workers), {**options, "crew": None}
            schedule = self._schedule(chosen, **options)
            team = a_team(self.request, self.source, chosen, turn.cores, story.sample)
            turn.serve(schedule, team)
            self.vigil.tickers.append(guard_for(team, schedule, story.warnings.append))
            driver = ProcessDriver(
                schedule,
                team,
                self.source,
                self.outcome,
                loop,
                self.vigil,
                records=self.records,
                news=self.news,
                oom=oom_count(),
            )
            story.ran = yield from self._drive(driver)

    def _drive(self, driver: Driver) -> Generator[None, None, Ran]:
        """Let a driver run what is left; what it hands back stays to be done."""
        self.driver = driver
        try:
            ran = yield from driver.steps()
        finally:
            self.driver = None
            self.vigil.tickers = [*self.tickers]  # the guard was the team's
            self.story.warnings += driver.warnings
        self.todo = deque(driver.left_over)
        opening = self.story.opening
        if self.todo and opening.n_items is not None:
            opening.n_items -= ran.items
        return ran

    def _say_chosen(self, chosen: Forecast) -> None:
        if self.news is not None:  # before there is a team, which would be left behind by a listener that raises
            self.news.chose(chosen.backend, chosen.workers, chosen.start_method)

    def _crew(self, chosen: Forecast, here: Machine, sample: Sample, may_lose: bool) -> Crew | None:
        """Who watches whether the workers pay."""
        most = most_workers(self.request) or MOST_THREADS
        if chosen.backend == "processes":
            most = min(most, MOST_PROCESSES_PER_CORE * ceil(here.usable_cores))
        alike = sample.item_std_s < ALIKE * sample.item_s
        return Crew(here.usable_cores, max(most, chosen.workers), sample.item_s if alike else 0.0, may_lose)

    def _schedule(self, chosen: Forecast, **options: Any) -> Schedule:
        workers = chosen.workers
        if self.request.executor_as in (chosen.backend, "executor"):
            options |= {"crew": None, "in_order": False}
            workers *= 1 if self.request.max_workers else 2  # one waits in the executor's queue for each that runs
        return Schedule(
            list(self.todo),
            workers,
            retries=self.request.retries,
            timeout_s=self.request.timeout_s,
            pace=self.pace,
            window=self.window,
            **options,
        )

    def _go_blind(self) -> Steps:
        """Nothing may run here: workers start at once, and the schedule learns from them."""
        from amorsize.launch import NoTeam, no_forecast

        theirs = self.request.executor is not None

        terms = self._terms()
        assert terms.costs.processes is not None
        n = self._left()
        cores = max(1, ceil(terms.machine.usable_cores))
        # Nobody may look whether items wait, so a number that the user names is believed; but not within a worker, or
        # nested calls would multiply.
        asked = most_workers(self.request) or cores
        if worker.cores_share is not None:
            asked = min(asked, cores)
        workers = max(1, asked if n is None else min(asked, n))
        if n == 0:
            return
        chosen = no_forecast(workers, terms.costs.processes.start_method)
        chosen = as_executor(chosen) if theirs else chosen
        crew = (
            None if self.request.max_workers else self._crew(chosen, terms.machine, self.story.opening.sample(), False)
        )
        self.story.go, self.story.blind = chosen, True
        self._say_chosen(chosen)
        try:
            if theirs:
                schedule = self._schedule(chosen, crew=crew)
                self.story.ran = yield from self._drive(self._executor_driver(schedule))
            else:
                yield from self._go_processes(chosen, None, {"crew": crew})
        except NoTeam as exc:
            raise exc.why from exc.why.__cause__

    def _thread_driver(self, schedule: Schedule, outcome: Outcome) -> ThreadDriver:
        from amorsize.run.threads import ThreadDriver

        request = self.request
        initializer = None
        if request.initializer is not None:
            initializer = partial(request.initializer, *request.initargs)
        by_mail = self.window is not None
        return ThreadDriver(
            schedule,
            self.source,
            outcome,
            request.func,
            initializer,
            self.vigil,
            by_mail=by_mail,
            records=self.records,
            news=self.news if outcome is self.outcome else None,
        )

    def _executor_driver(self, schedule: Schedule) -> ExecutorDriver:
        from amorsize.run.executors import ExecutorDriver

        request = self.request
        return ExecutorDriver(schedule, request.executor, self.source, self.outcome, request.func, self.vigil)


def known_cost(engine: str, start_method: str | None) -> Any:
    """What this process knows of an engine's cost without measuring or reading anything."""
    return recorded(engine, start_method)


def _with_warm_workers(cost: BackendCost, workers: int) -> BackendCost:
    """The cost of a backend whose workers wait already from an earlier map, if they do."""
    from amorsize.run import warm

    if cost.start_method is None or warm.count(cost.start_method) < workers:
        return cost
    return replace(cost, start=WARM_START)


def with_places(here: Machine, executor: Any) -> Machine:
    """This machine, as if it had the cores that an executor's tasks have."""
    from amorsize.run.executors import places_of

    places = places_of(executor)
    return replace(here, usable_cores=float(places), physical_cores=places, logical_cores=places)


def most_workers(request: Request) -> int | None:
    """How many workers there may be: as the user says, and as the executor has places."""
    if request.executor is None:
        return request.max_workers
    from amorsize.run.executors import places_of

    return min(places_of(request.executor), request.max_workers or MOST_THREADS)


def as_executor(chosen: Forecast) -> Forecast:
    """A forecast for workers of a kind, as one of the user's executor."""
    return replace(chosen, backend="executor", start_method=None)
