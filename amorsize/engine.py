"""``execute()`` from its first item to its last: a plain loop, then whatever the model says is faster.

The opening decides (`amorsize.model.opening`), the loop, threads or a team carry out (`amorsize.run`); this module
connects them, measures what the opening asks for, and tells the story afterwards.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, Final

from amorsize import worker
from amorsize.errors import AmorsizeError, TransferError, WorkerLostError
from amorsize.facts import Costs, Forecast, Observation, Ran
from amorsize.here import (
    UNGUARDED,
    is_being_imported_by_a_child,
    main_is_interactive,
    resolve_start_method,
    share_of,
)
from amorsize.learn.history import History
from amorsize.model.cost import OWN_THREADS
from amorsize.model.opening import Go, Opening, Probe, RunMore, Terms, TryThreads, WatchLock, Weigh, loop_forecast
from amorsize.model.recorded import recorded
from amorsize.model.schedule import MAX_RESTARTS, Schedule
from amorsize.requests import Request
from amorsize.run.loop import STREAM_BATCH, Loop
from amorsize.run.outcome import Outcome
from amorsize.run.source import Indexable, source_of

if TYPE_CHECKING:
    from amorsize.facts import Machine, Sample

QUICK_ITEM_S: Final = 0.3e-3  # while forked workers start (1-3 ms) the caller goes on only with items as short as this
SLOW_ITEM_S: Final = 20e-3  # the same for workers that take 50-100 ms to start


RECORD_SAMPLE_S: Final = 1e-3  # of a shorter run nobody will want to know what its items took


@dataclass(slots=True)
class Story:
    """What happened in one run; the plan and the row of history are made from it."""

    opening: Opening
    go: Forecast | None = None
    alternatives: list[Forecast] = field(default_factory=list)
    loop_s: float = 0.0  # spent in the caller before going parallel
    spent_items: int = 0
    n_items: int = 0
    wall_s: float = 0.0
    ran: Ran | None = None
    blind: bool = False  # func was not to run here, so nothing was looked at
    sample: Sample | None = None
    machine: Machine | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def loop_only_s(self) -> float:
        """What the plain loop was expected to take in all when it was last asked; what it took, if nobody asked."""
        opening = self.opening
        if opening.terms is None or not opening.items:
            return opening.wall_s
        return opening.wall_s + loop_forecast(opening.sample(), opening.terms.machine, opening.left).total_s


class Execution:
    """One call of ``execute``."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.source = source_of(request.data)
        self.outcome = Outcome(request.on_error)
        self.loop = Loop(request.func, self.source, self.outcome, request.retries)
        self.todo: deque[tuple[int, int | None]] = deque([(0, self.source.length)])
        self.backends = request.backends
        self.start_note: str | None = None  # why workers do not start by fork
        self.story = Story(
            Opening(
                self.source.length,
                indexable=self.source.indexable,
                most_cores=os.cpu_count() or 1,
                spread=request.spread,
            ),
        )

    def run_and_record(self) -> list[Any]:
        """Run the map, and leave a row in the history whatever comes of it."""
        outcome = "raised"
        try:
            results = self.run()
            outcome = "ok"
            return results
        finally:
            self._record(outcome)

    def _record(self, outcome: str) -> None:
        """Buffer a row; it is written when the program ends, or somebody asks."""
        story = self.story
        go = story.go
        if story.sample is None and story.wall_s > RECORD_SAMPLE_S and not story.blind:
            story.sample = story.opening.sample()
        history = History() if self.request.history is None else self.request.history
        history.record(
            {
                "at_s": time(),
                "function": self.request.func,
                "n_items": story.n_items,
                "backend": "serial" if go is None else go.backend,
                "n_jobs": 1 if go is None else go.workers,
                "chunksize": max(1, story.n_items) if go is None else go.chunksize,
                "start_method": None if go is None else go.start_method,
                "predicted_s": None if go is None or go.total_s <= 0 else story.loop_s + go.total_s,
                "clock_s": story.wall_s,
                "sample": story.sample,
                "machine": story.machine,
                "outcome": outcome,
            }
        )

    def run(self) -> list[Any]:
        """Run the map; its results in the order of the items."""
        began = perf_counter()
        request = self.request
        try:
            if request.backends == ("processes",):
                self._go_blind()
            else:
                if request.initializer is not None:
                    request.initializer(*request.initargs)
                if request.backends == ("serial",):
                    self._finish_loop()
                else:
                    self._open()
            return self.outcome.finish(self.source.item)
        finally:
            self.story.wall_s = perf_counter() - began
            self.story.n_items = len(self.outcome.results)

    # -- the loop ------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """The opening's loop; ends when everything is done."""
        opening = self.story.opening
        while self.todo:
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
                self._go(step.forecast)

    def _advance(self, items: int) -> Observation:
        """Run the next items in the loop."""
        start, stop = self.todo[0]
        end = start + items if stop is None else min(start + items, stop)
        seen = self.loop.run(start, end)
        if seen.items < end - start or end == stop:
            self.todo.popleft()
        else:
            self.todo[0] = (end, stop)
        return seen

    def _finish_loop(self) -> None:
        opening = self.story.opening
        while self.todo:
            start, stop = self.todo[0]
            opening.saw(self._advance(STREAM_BATCH if stop is None else stop - start))

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
            seen.append(one := self.loop.run(end - step.items, end))
            rest.append((begin, end - step.items))
            begin, spent = end, spent + one.wall_s
            if spent > step.budget_s:
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
        results = [r for r in self.outcome.results[: 4 * 16] if r is not None][:16]
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
        if end != stop:
            self.todo.appendleft((end, stop))
        opening = self.story.opening
        schedule = Schedule([(start, end)], 2, item_s=opening.item_s, evidence=max(1, (end - start) // 4))
        trial = Outcome("collect")
        ran = self._drive_threads(schedule, trial)
        if trial.doomed:
            trial.finish(self.source.item)
        for index in sorted(trial.failures):
            self.loop.run(index, index + 1)
            trial.results[index] = self.outcome.results[index]
        self.outcome.put(start, trial.results[start:])
        if ran.items < end - start:  # the source ended
            self.todo.clear()
        opening.tried(max(1, ran.items), ran.wall_s - (ran.ready_s or 0.0), ran.work_cpu_s)

    # -- going parallel ------------------------------------------------------------------------------------------

    def _go(self, chosen: Forecast) -> None:
        """Run everything left as ``chosen``; when that cannot start, the loop goes on without it."""
        story = self.story
        opening = story.opening
        assert opening.terms is not None
        story.go, story.sample = chosen, opening.sample()
        _, story.alternatives = opening.candidates(opening.terms, story.sample)
        story.loop_s, story.spent_items = opening.wall_s, len(self.outcome.results)
        evidence = max(1, min(opening.items, int(10e-3 / max(opening.item_s, 1e-9))))
        make = partial(
            Schedule,
            list(self.todo),
            chosen.workers,
            item_s=opening.item_s,
            evidence=evidence,
            retries=self.request.retries,
        )
        if chosen.backend == "threads":
            story.ran = self._drive_threads(make(), self.outcome)
            self.todo.clear()
            return
        if self.start_note:
            story.warnings.append(self.start_note)
        quick = opening.item_s < (QUICK_ITEM_S if chosen.start_method == "fork" else SLOW_ITEM_S)
        may_help = "serial" in self.backends
        try:
            story.ran = self._drive_processes(chosen, make(caller_helps=quick and may_help), self._kept_loop())
            self.todo.clear()
        except _NoTeam as exc:
            if not may_help:
                raise exc.why from exc.why.__cause__
            story.warnings.append(str(exc.why))
            self.backends = tuple(b for b in self.backends if b != "processes")
            opening.withdraw("processes")

    def _kept_loop(self) -> Loop | None:
        return self.loop if "serial" in self.backends else None

    def _go_blind(self) -> None:
        """``backend="processes"``: nothing may run here, so workers start at once and the schedule learns from them."""
        terms = self._terms()
        assert terms.costs.processes is not None
        n = self.source.length
        cores = max(1, -int(-terms.machine.usable_cores // 1))
        # Nobody may look whether items wait, so a number that the user names is believed; but not within a worker, or
        # nested calls would multiply.
        asked = self.request.max_workers or cores
        if worker.cores_share is not None:
            asked = min(asked, cores)
        workers = max(1, asked if n is None else min(asked, n))
        if n == 0:
            return
        if self.start_note:
            self.story.warnings.append(self.start_note)
        schedule = Schedule(list(self.todo), workers, retries=self.request.retries)
        chosen = Forecast(
            backend="processes",
            workers=workers,
            chunksize=1,
            start_method=terms.costs.processes.start_method,
            total_s=0.0,
            low_s=0.0,
            high_s=0.0,
            breakdown=_no_breakdown(),
        )
        self.story.go, self.story.blind = chosen, True
        try:
            self.story.ran = self._drive_processes(chosen, schedule, None)
        except _NoTeam as exc:
            raise exc.why from exc.why.__cause__

    def _drive_threads(self, schedule: Schedule, outcome: Outcome) -> Ran:
        from amorsize.run.threads import ThreadDriver

        request = self.request
        initializer = None
        if request.initializer is not None:
            initializer = partial(request.initializer, *request.initargs)
        return ThreadDriver(schedule, self.source, outcome, request.func, initializer).run()

    def _drive_processes(self, chosen: Forecast, schedule: Schedule, loop: Loop | None) -> Ran:
        from amorsize.run.drive import ProcessDriver
        from amorsize.run.team import Team

        if is_being_imported_by_a_child():
            raise RuntimeError(UNGUARDED)
        request, sample = self.request, self.story.sample
        cores = self.story.machine.usable_cores if self.story.machine is not None else 1.0
        share = max(1.0, cores / chosen.workers)
        runs_threads = sample is None or sample.own_threads > OWN_THREADS
        native = max(1, int(share)) if runs_threads and "numpy" in sys.modules else None
        forks = chosen.start_method == "fork"
        setup = worker.Setup(
            request.func,
            keep_going=request.on_error == "collect" or request.retries > 0,
            initializer=request.initializer,
            initargs=request.initargs,
            cores=share,
            native_threads=native,
            by_value=not forks and main_is_interactive(),
        )
        assert chosen.start_method is not None
        inherited = self.source.data if forks and isinstance(self.source, Indexable) else None
        try:
            team = Team(setup, inherited, chosen.start_method, chosen.workers + MAX_RESTARTS + 1)
        except Exception as exc:
            why = WorkerLostError(None) if isinstance(exc, OSError) else TransferError(*_culprit(setup))
            why.__cause__ = exc
            raise _NoTeam(why) from exc
        driver = ProcessDriver(schedule, team, self.source, self.outcome, loop)
        try:
            return driver.run()
        finally:
            self.story.warnings += driver.warnings


class _NoTeam(Exception):  # noqa: N818
    """Worker processes cannot even be tried: the function cannot be sent to any, or no descriptor is to be had."""

    def __init__(self, why: AmorsizeError) -> None:
        super().__init__(why)
        self.why = why


def _no_breakdown() -> Any:
    from amorsize.facts import Breakdown

    return Breakdown()


def _culprit(setup: worker.Setup) -> tuple[str, None, str]:
    """Which part of a setup cannot be pickled, and why."""
    parts: list[tuple[str, object]] = [("func", setup.func), ("initializer", (setup.initializer, setup.initargs))]
    for what, part in parts:
        try:
            worker.dumps(part, setup.by_value)
        except Exception as exc:  # noqa: BLE001
            return what, None, worker.describe(part, exc)
    return "func", None, "nobody knows why"


def known_cost(engine: str, start_method: str | None) -> Any:
    """What this process knows of an engine's cost without measuring or reading anything."""
    return _learned.get((engine, start_method)) or recorded(engine, start_method)


_learned: dict[tuple[str, str | None], Any] = {}
