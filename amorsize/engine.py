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
from amorsize.facts import Costs, Forecast, Observation, Ran
from amorsize.here import resolve_start_method, share_of
from amorsize.learn.history import History
from amorsize.model.crew import Crew
from amorsize.model.events import Event
from amorsize.model.opening import Go, Opening, Probe, RunMore, Terms, TryThreads, WatchLock, Weigh
from amorsize.model.pace import Pace
from amorsize.model.recorded import recorded
from amorsize.model.schedule import Schedule
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
    from amorsize.run.stop import Stop
    from amorsize.run.threads import ThreadDriver

QUICK_ITEM_S: Final = 0.3e-3  # while forked workers start (1-3 ms) the caller goes on only with items as short as this
SLOW_ITEM_S: Final = 20e-3  # the same for workers that take 50-100 ms to start
MOST_THREADS: Final = 256  # that a run may grow to by itself
MOST_PROCESSES_PER_CORE: Final = 4
ALIKE: Final = 0.5  # a larger spread between items, relative to their mean, says that they cannot be compared

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
        self.loop = Loop(request.func, self.source, self.outcome, request.retries)
        self.todo: deque[tuple[int, int | None]] = deque([(0, self.source.length)])
        self.backends = request.backends
        self.pace = None if request.rate is None else Pace(request.rate)
        self.vigil = Vigil(tickers, stop=stop)
        self.driver: ProcessDriver | ThreadDriver | None = None  # who runs what is left, once it goes parallel
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
        try:
            with CROWD:
                yield from self._steps()
        finally:
            self.story.wall_s = perf_counter() - began
            self.story.n_items = len(self.outcome.results)

    def _steps(self) -> Steps:
        request = self.request
        if request.backends == ("processes",):
            yield from self._go_blind()
        else:
            if request.initializer is not None:
                request.initializer(*request.initargs)
            if request.backends == ("serial",):
                yield from self._finish_loop()
            else:
                yield from self._open()
        if not self.outcome.doomed:
            self.source.finish()

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
            (sleep if self.vigil.stop is None else self.vigil.stop.sleep)(self.pace.wait_s(perf_counter()))
            self.vigil.look(perf_counter())
        allowed = min(items, allowed)
        self.pace.spend(allowed, perf_counter())
        return allowed

    def _finish_loop(self) -> Steps:
        opening = self.story.opening
        whole = self.window is None and not self.vigil.tickers and self.vigil.stop is None
        while self.todo and not self.outcome.doomed:
            start, stop = self.todo[0]
            left = STREAM_BATCH if stop is None else stop - start
            items = left if whole else opening.batch().items
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
        processes = None
        if "processes" in self.backends:
            method, why = resolve_start_method(request.start_method)
            processes = known_cost("team", method)
            self.start_note = why and f"processes start by {method}, since {why}"
        return Terms(
            backends=self.backends,
            machine=here,
            costs=Costs(threads=known_cost("threads", None), processes=processes),
            max_workers=request.max_workers,
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
        if threads:
            chosen = replace(chosen, workers=CROWD.threads(chosen.workers))
        may_help = "serial" in self.backends
        quick = opening.item_s < (QUICK_ITEM_S if chosen.start_method == "fork" else SLOW_ITEM_S)
        options: Options = {
            "item_s": opening.item_s,
            "evidence": max(1, min(opening.items, int(10e-3 / max(opening.item_s, 1e-9)))),
            "caller_helps": quick and may_help and not threads,
            "crew": self._crew(chosen, opening.terms.machine, opening.sample(), may_help),
        }
        try:
            if threads:
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
            opening.withdraw(chosen.backend)

    def _go_processes(self, chosen: Forecast, loop: Loop | None, options: Options) -> Steps:
        """Run what is left on workers, when it is this call's turn to have some."""
        from amorsize.launch import a_team, a_turn
        from amorsize.run.drive import ProcessDriver

        if self.start_note:
            self.story.warnings.append(self.start_note)
        story, crew = self.story, options.get("crew")
        assert story.machine is not None
        most = max(chosen.workers, 0 if crew is None else crew.most)
        with a_turn(chosen.workers, story.machine.usable_cores, self.vigil) as turn:
            if turn.is_nested and turn.workers == 1 < chosen.workers and loop is not None:
                return  # one worker gets no more done than the caller, who would only wait for it
            if turn.workers < chosen.workers or CROWD.size > 1:  # others have the cores that a crew would try out
                chosen, options = replace(chosen, workers=turn.workers), {**options, "crew": None}
            schedule = self._schedule(chosen, **options)
            team = a_team(self.request, self.source, chosen, turn.cores, story.sample, most)
            turn.serve(schedule, team)
            driver = ProcessDriver(schedule, team, self.source, self.outcome, loop, self.vigil)
            story.ran = yield from self._drive(driver)

    def _drive(self, driver: ProcessDriver | ThreadDriver) -> Generator[None, None, Ran]:
        """Let a driver run what is left; what it hands back stays to be done."""
        self.driver = driver
        try:
            ran = yield from driver.steps()
        finally:
            self.driver = None
            self.story.warnings += driver.warnings
        self.todo = deque(driver.left_over)
        opening = self.story.opening
        if self.todo and opening.n_items is not None:
            opening.n_items -= ran.items
        return ran

    def _crew(self, chosen: Forecast, here: Machine, sample: Sample, may_lose: bool) -> Crew | None:
        """Who watches whether the workers pay."""
        most = self.request.max_workers or MOST_THREADS
        if chosen.backend == "processes":
            most = min(most, MOST_PROCESSES_PER_CORE * ceil(here.usable_cores))
        alike = sample.item_std_s < ALIKE * sample.item_s
        return Crew(here.usable_cores, max(most, chosen.workers), sample.item_s if alike else 0.0, may_lose)

    def _schedule(self, chosen: Forecast, **options: Any) -> Schedule:
        return Schedule(
            list(self.todo),
            chosen.workers,
            retries=self.request.retries,
            timeout_s=self.request.timeout_s,
            pace=self.pace,
            window=self.window,
            **options,
        )

    def _go_blind(self) -> Steps:
        """``backend="processes"``: nothing may run here, so workers start at once and the schedule learns from them."""
        from amorsize.launch import NoTeam, no_forecast

        terms = self._terms()
        assert terms.costs.processes is not None
        n = self.source.length
        cores = max(1, ceil(terms.machine.usable_cores))
        # Nobody may look whether items wait, so a number that the user names is believed; but not within a worker, or
        # nested calls would multiply.
        asked = self.request.max_workers or cores
        if worker.cores_share is not None:
            asked = min(asked, cores)
        workers = max(1, asked if n is None else min(asked, n))
        if n == 0:
            return
        chosen = no_forecast(workers, terms.costs.processes.start_method)
        crew = (
            None if self.request.max_workers else self._crew(chosen, terms.machine, self.story.opening.sample(), False)
        )
        self.story.go, self.story.blind = chosen, True
        try:
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
        return ThreadDriver(schedule, self.source, outcome, request.func, initializer, self.vigil, by_mail=by_mail)


def known_cost(engine: str, start_method: str | None) -> Any:
    """What this process knows of an engine's cost without measuring or reading anything."""
    return recorded(engine, start_method)
