"""``execute()`` from its first item to its last: a plain loop, then whatever the model says is faster.

The opening decides (`amorsize.model.decide`), the loop, threads or a team carry out (`amorsize.run`); this module
connects them, measures what the opening asks for, and tells the story afterwards. It goes step by step, so that
somebody may take results away between two steps (`amorsize.run.stream`) or end it there.
"""

from __future__ import annotations

from math import ceil
from sys import modules
from time import perf_counter

from amorsize.backends.concurrent_calls import CROWD
from amorsize.backends.gc_pause import RESULTS_ARE_KEPT
from amorsize.backends.loop import STREAM_BATCH
from amorsize.backends.workers.item_times import MEASURE_S
from amorsize.frozen import replace
from amorsize.history.history import History
from amorsize.history.this_process import MEMORY
from amorsize.model.decide import CROWDED, Decider, Go, Probe, RunMore, TryThreads, WatchLock, Weigh
from amorsize.run.map_state import Job
from amorsize.system import nested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from typing import Any, Final

    from amorsize.backends.results import Outcome
    from amorsize.backends.stop import Stop
    from amorsize.backends.ticks import Ticker
    from amorsize.facts import Forecast, Sample
    from amorsize.options import Request
    from amorsize.run.go_parallel import Options

    Steps = Generator[None, None, None]

QUICK_ITEM_S: Final = 0.3e-3  # while forked workers start (1-3 ms) the caller goes on only with items as short as this
REMEMBER_S: Final = 3e-3  # a shorter map that nobody asked anything about is not worth the 50 µs of remembering it
PARALLEL: Final = {"threads": "amorsize.backends.threads", "processes": "amorsize.backends.workers.team"}
NO_MORE: Final = 1.2  # times as many items as the loop was best for: it still is
SLOW_ITEM_S: Final = 20e-3  # the same for workers that take 50-100 ms to start


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
        self.job = Job(request, Decider, outcome, window=window, tickers=tickers, stop=stop)
        self.backends = request.backends  # that have not failed yet
        self.is_settled = False  # earlier maps have asked, and the loop was the answer
        self.loaded = [name for name, module in PARALLEL.items() if module in modules]  # somebody has used these before

    def run_and_record(self) -> list[Any]:
        """Run the map, and leave a row in the history whatever comes of it."""
        job, outcome = self.job, "raised"
        try:
            for _ in self.steps():
                pass
            results = job.outcome.finish(job.source.item)
            outcome = "ok"
            self._remember()
            return results
        finally:
            history = History() if job.request.history is None else job.request.history
            if history.is_on:  # buffered; it is written when the program ends, or somebody asks
                history.record(job.story.row(job.request, outcome))

    def steps(self) -> Steps:
        """Run the map, step by step. What failed stands in the outcome; what the items' source raised is raised."""
        began = perf_counter()
        try:
            with CROWD:
                if self.job.window is not None:  # somebody takes the results away as they come
                    yield from self._all()
                    return
                with RESULTS_ARE_KEPT:
                    yield from self._all()
        finally:
            self.job.close(perf_counter() - began)

    def _all(self) -> Steps:
        self.job.begin()
        yield from self._run()
        self.job.finish()

    def _run(self) -> Steps:
        job = self.job
        request = job.request
        if request.backends == ("executor",) or (request.backends == ("processes",) and not request.executor):
            yield from self._go_blind()
            return
        if request.initializer is not None:
            request.initializer(*request.initargs)
        if job.news is not None:
            job.news.chose("serial")
        yield from self._finish_loop() if request.backends == ("serial",) else self._open()

    # -- the loop ------------------------------------------------------------------------------------------------

    def _open(self) -> Steps:
        """The opening's loop; ends when everything is done."""
        job = self.job
        opening = job.story.opening
        self._recall()
        while job.todo and not job.outcome.doomed:
            if opening.terms is None and opening.wants_terms(self.backends):
                from amorsize.run.choices import terms_for

                opening.terms = terms_for(job.request, self.backends, job.story)
            step = opening.next()
            if isinstance(step, RunMore):
                opening.saw(job.advance(step.items))
            elif isinstance(step, Probe):
                self._probe(step)
            elif isinstance(step, Weigh):
                opening.weighed(self._weigh())
            elif isinstance(step, WatchLock):
                self._watch(step.items)
            elif isinstance(step, TryThreads):
                self._try_threads(step.items)
            elif isinstance(step, Go):
                yield from self._go(step.forecast)
            yield

    def _recall(self) -> None:
        """Begin with what earlier maps of this function have shown, if there were any."""
        job = self.job
        known = MEMORY.recall(job.request.func, job.request.data)
        if known is not None:
            job.story.recalled = known.sample
            job.story.opening.recall(known.sample, known.threads_gain, known.lost, known.n_items)
            n, before = job.source.length, known.n_items
            if known.settled and n is not None and before is not None and n <= NO_MORE * before:
                job.story.opening.settle(known.sample.item_s)
                self.is_settled = True

    def _remember(self) -> None:
        """Keep what this map has shown for the next one."""
        story, request = self.job.story, self.job.request
        opening = story.opening
        if story.blind or opening.slowdown > CROWDED or (opening.terms is None and opening.wall_s < REMEMBER_S):
            return
        found = story.found()
        if found is not None:
            ran = None if story.go is None else story.go.backend
            lost, won = (ran, None) if story.lost else (None, ran)
            if lost == "threads":  # what was seen of the lock was wrong
                found = replace(found, gil_held=None)
            settled = (
                ran is None and request.is_free and (None if self.is_settled else opening.would_loop(story.n_items))
            )
            MEMORY.keep(request.func, request.data, found, opening.lasting_gain, lost, story.n_items, settled, won)

    def _finish_loop(self) -> Steps:
        job = self.job
        opening = job.story.opening
        watched = job.vigil.tickers or job.vigil.stop is not None or job.news is not None
        whole = job.window is None and not watched
        while job.todo and not job.outcome.doomed:
            start, stop = job.todo[0]
            left = STREAM_BATCH if stop is None else stop - start
            short = whole and opening.items > 0 and opening.item_s < MEASURE_S
            items = left if short else opening.batch().items
            opening.saw(job.advance(items))
            yield

    # -- what the opening asks -----------------------------------------------------------------------------------

    def _weigh(self) -> Sample:
        from amorsize.measure.transfer import held_bytes, touched_bytes, weigh
        from amorsize.system.memory import keeping_s

        job = self.job
        terms = job.story.opening.terms
        assert terms is not None
        assert terms.costs.processes is not None
        forks = terms.costs.processes.start_method == "fork"
        results = [r for r in job.outcome.some(4 * 16) if r is not None][:16]
        items = job.next_items()
        if forks and job.source.indexable:
            found = replace(weigh([], results), touched_bytes=touched_bytes(items[0]) if len(items) else 0.0)
        else:
            found = weigh(items, results, func=None if forks else job.request.func)
        opening = job.story.opening
        if job.window is not None:  # somebody takes the results away
            return found
        held = sum(map(held_bytes, results[:2])) / max(1, len(results[:2]))
        return replace(found, kept_s=keeping_s(opening.left, held - opening.new_bytes / max(1, opening.items)))

    def _probe(self, step: Probe) -> None:
        job = self.job
        if not step.watch:
            job.story.opening.probed(job.probe(step))
            return
        from amorsize.measure.gil import Canary

        with Canary() as canary:
            seen = job.probe(step)
        job.story.opening.probed(seen, canary.gil_held)

    def _watch(self, items: int) -> None:
        from amorsize.measure.gil import Canary

        job, seen = self.job, []
        with Canary() as canary:
            while items > 0 and job.todo and not job.outcome.doomed:
                seen.append(job.advance(items))
                items -= max(1, seen[-1].items)
        job.story.opening.watched(canary.gil_held, seen)

    def _try_threads(self, items: int) -> None:
        """Run the next items on two threads; what fails there is run again by the loop."""
        from amorsize.backends.results import Outcome
        from amorsize.backends.ticks import drain
        from amorsize.run.go_parallel import thread_driver
        from amorsize.schedule.schedule import Schedule

        job, opening = self.job, self.job.story.opening
        spans = job.take(min(items, job.window or items))
        evidence = max(1, sum(stop - start for start, stop in spans) // 4)
        schedule = Schedule(
            spans, 2, item_s=opening.item_s, evidence=evidence, pace=job.pace, prefetch=job.window is not None
        )
        trial = Outcome("collect")
        ran = drain(thread_driver(job, schedule, trial).steps())
        if trial.fatal is not None:
            trial.finish(job.source.item)
        length = job.source.length
        if job.todo and length is not None and job.todo[0][0] >= length:  # the source has ended meanwhile
            job.todo.clear()
        for start, stop in spans:
            results = trial.results[start:stop]
            job.outcome.put(start, results, but=trial.failures)
            if job.news is not None and results:
                share = len(results) / ran.items
                failed = sum(start <= index < stop for index in trial.failures)
                job.news.chunk(None, start, len(results), failed, ran.wall_s * share, ran.work_cpu_s * share)
        for index in sorted(trial.failures):
            job.loop.run(index, index + 1)
        opening.tried(max(1, ran.items), ran.wall_s - (ran.ready_s or 0.0), ran.work_cpu_s)

    # -- going parallel ------------------------------------------------------------------------------------------

    def _go(self, chosen: Forecast) -> Steps:
        """Run everything left as ``chosen``; when that cannot start or does not pay, the loop goes on without it."""
        from amorsize.run import go_parallel
        from amorsize.run.choices import NoTeam

        job = self.job
        story, opening = job.story, job.story.opening
        assert opening.terms is not None
        if story.go is None:
            story.go, story.sample = chosen, opening.sample()
            _, story.alternatives = opening.candidates(opening.terms, story.sample)
            story.loop_s, story.loop_items = opening.wall_s, opening.items
            if not job.source.indexable and opening.items:
                story.read_item_s = job.loop.read_s / opening.items
        threads = chosen.backend == "threads"
        story.is_first = ("threads" if threads else "processes") not in self.loaded
        theirs = chosen.backend == job.request.executor_as
        if theirs:
            story.go = as_executor(chosen)
        if threads:
            chosen = replace(chosen, workers=CROWD.threads(chosen.workers))
        may_help = "serial" in self.backends
        quick = opening.item_s < (QUICK_ITEM_S if chosen.start_method == "fork" else SLOW_ITEM_S)
        options: Options = {
            "item_s": opening.item_s,
            "evidence": max(1, min(opening.sample().n_sampled, int(10e-3 / max(opening.item_s, 1e-9)))),
            "caller_helps": quick and may_help and not threads and not theirs,
            "crew": go_parallel.crew_for(job, chosen, opening.terms.machine, opening.sample(), may_help),
        }
        self._say_chosen(chosen)
        try:
            if theirs:
                schedule = go_parallel.schedule_for(job, chosen, **options)
                story.ran = yield from go_parallel.drive(job, go_parallel.executor_driver(job, schedule))
            elif threads:
                schedule = go_parallel.schedule_for(job, chosen, **options)
                story.ran = yield from go_parallel.drive(job, go_parallel.thread_driver(job, schedule, job.outcome))
            else:
                yield from go_parallel.on_processes(job, chosen, job.loop if may_help else None, options)
        except NoTeam as exc:
            if not may_help:
                raise exc.why from exc.why.__cause__
            story.warnings.append(str(exc.why))
        if job.todo:
            story.withdrew = True
            # The caller's own thread is always to be had.
            self.backends = tuple(b for b in self.backends if b != chosen.backend) or ("serial",)
            if job.news is not None:
                job.news.chose("serial")
            opening.withdraw(chosen.backend)

    def _say_chosen(self, chosen: Forecast) -> None:
        job = self.job
        if job.news is not None:  # before there is a team, which would be left behind by a listener that raises
            job.news.chose(chosen.backend, chosen.workers, chosen.start_method)

    def _go_blind(self) -> Steps:
        """Nothing may run here: workers start at once, and the schedule learns from them."""
        from amorsize.run import go_parallel
        from amorsize.run.choices import NoTeam, most_workers, terms_for

        job = self.job
        theirs = job.request.executor is not None

        terms = terms_for(job.request, self.backends, job.story)
        assert terms.costs.processes is not None
        n = job.left()
        cores = max(1, ceil(terms.machine.usable_cores))
        # Nobody may look whether items wait, so a number that the user names is believed; but not within a worker, or
        # nested calls would multiply.
        asked = most_workers(job.request) or cores
        if nested.cores_share is not None:
            asked = min(asked, cores)
        workers = max(1, asked if n is None else min(asked, n))
        if n == 0:
            return
        chosen = go_parallel.no_forecast(workers, terms.costs.processes.start_method)
        chosen = as_executor(chosen) if theirs else chosen
        sample = job.story.opening.sample()
        crew = None if job.request.max_workers else go_parallel.crew_for(job, chosen, terms.machine, sample, False)
        job.story.go, job.story.blind = chosen, True
        self._say_chosen(chosen)
        try:
            if theirs:
                schedule = go_parallel.schedule_for(job, chosen, crew=crew)
                job.story.ran = yield from go_parallel.drive(job, go_parallel.executor_driver(job, schedule))
            else:
                yield from go_parallel.on_processes(job, chosen, None, {"crew": crew})
        except NoTeam as exc:
            raise exc.why from exc.why.__cause__


def as_executor(chosen: Forecast) -> Forecast:
    """A forecast for workers of a kind, as one of the user's executor."""
    return replace(chosen, backend="executor", start_method=None)
