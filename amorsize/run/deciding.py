"""What measures and decides in a call of ``execute()``: it runs what its first items have left.

The decider decides (`amorsize.model.decide`), the loop or a driver carries out (`amorsize.backends`). This module
connects them: `Deciding.loop` goes on in the loop, measures what the decider asks for (``_answer``), goes parallel when
it says so (``_go_parallel``), and runs the items that workers hand back (``_back_to_loop``).

It is loaded when the first items have shown that going parallel could pay (`amorsize.run.execute`).
"""

from __future__ import annotations

from math import ceil
from time import perf_counter

from amorsize.backends.concurrent_calls import CALLS
from amorsize.backends.table import row_named
from amorsize.frozen import replace
from amorsize.history.this_process import THIS_PROCESS
from amorsize.model.decide import CROWDED, WEIGHED, Decider, Go, Probe, RunMore, TryThreads, WatchLock, Weigh
from amorsize.run.run_summary import TRIAL, RunSummary
from amorsize.system import log, nested
from amorsize.system.critical import load
from amorsize.system.looks import held_bytes, is_sliced, mean_held_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Final

    from amorsize.facts import Forecast, Sample
    from amorsize.model.decide import Step
    from amorsize.model.head import Head
    from amorsize.options import Request
    from amorsize.run.go_parallel import Options
    from amorsize.run.map_state import MapState

    Steps = Generator[None, None, None]

# While forked workers start (1-3 ms), the caller goes on only with items as short as this.
QUICK_ITEM_S: Final = 0.3e-3
# The same for workers that take long to start (50-100 ms and more), as a share of the time that they are expected to
# take. 40 x 30 ms by forkserver, 80 ms: 0.87 s instead of 0.83, but 1.33 instead of 1.53 where a start takes a second
# longer than anything shows before.
SLOW_START_SHARE: Final = 0.5
# If no worker is ready after this many times the expected start, the caller goes on alone until one is (a guess).
OVERDUE: Final = 1.5
# Items of a first task on an engine, and their bytes (a guess).
FIRST_ITEMS: Final = 16
FIRST_BYTES: Final = 1e6
# Such tasks for each place, at least.
FAIR: Final = 4
# A shorter map about which nothing was asked is not worth the 50 µs of remembering it.
REMEMBER_S: Final = 3e-3
# Where the loop was best, it is assumed to be best for up to this many times as many items (a guess).
NO_MORE: Final = 1.2


class Deciding:
    """Runs the items that are left of one call, by the plain loop or by the fastest backend.

    Parameters
    ----------
    request : Request
    state : MapState
    head : Head
        The measurements of the items that have run.

    Attributes
    ----------
    decider : Decider
        Chooses the next step, from the measurements.
    summary : RunSummary
    backends : tuple of str
        Candidates that have not failed yet.
    """

    def __init__(self, request: Request, state: MapState, head: Head) -> None:
        self.request = request
        self.state = state
        self.load_s = {name: row_named(name).left_to_load_s() for name in ("threads", "processes")}
        self.decider = Decider(
            head.n_items,
            indexable=state.source.indexable,
            spread=request.spread and state.window is None and request.rate is None,
            is_watched=state.is_watched,
        )
        self.decider.take_over(head)
        self.decider.begin(head.n_items, pieces=len(state.todo))
        self.summary = RunSummary(self.decider)
        self.backends = request.backends
        # The loop was best for earlier maps.
        self.is_settled = False
        # The file of costs has been read.
        self.is_looked_up = False
        # Only "auto" asks if threads may run func; the names of backends are the user's word.
        self.may_use_threads: bool | None = None if request.auto else True

    def log_end(self) -> None:
        """Log how the run went, for a program that has loaded `logging`."""
        summary = self.summary
        for one in summary.attempts:
            log.warning("run", "%s left after %.3g s: %s", one.backend, one.wall_s, one.why, backend=one.backend)
        for text in summary.warnings:
            log.warning("run", "%s", text)
        backend = "serial" if summary.go is None else summary.go.backend
        ended = {"backend": backend, "items": summary.n_items, "wall_s": summary.wall_s}
        log.info("run", "%d items in %.3g s, last on %s", summary.n_items, summary.wall_s, backend, **ended)

    # -- the loop ------------------------------------------------------------------------------------------------

    def loop(self) -> Steps:
        """Run items in the loop, and go parallel when the decider says so.

        Ends when everything is done, or when func has changed the data: no worker would see that, so the rest is for a
        plain loop.
        """
        state, decider = self.state, self.decider
        self._recall()
        while not state.is_done():
            if state.source.has_changed():
                return
            if decider.choices is None and decider.wants_choices(self.backends):
                began = perf_counter()
                load("amorsize.run.choices")
                load("amorsize.model.search")
                from amorsize.run.choices import choices_for

                decider.choices = choices_for(self.request, self.backends, self.summary)
                self.summary.asked_s += perf_counter() - began
            if decider.choices is not None and not self.is_looked_up:
                self._look_up()
            step = decider.next()
            if not state.todo and not isinstance(step, Go | Weigh):
                # All that is left is set aside: there is nothing to measure.
                decider.may_probe, step = False, RunMore(1)
            if isinstance(step, WatchLock | TryThreads) and not state.are_at_hand(step.items):
                # No result is handed on before all of them have run.
                step = RunMore(1)
            if isinstance(step, Go | TryThreads) and state.source.has_changed(asks=True):
                return
            if self._refuses(step):
                continue
            if isinstance(step, Go):
                yield from self._go_parallel(step.forecast)
            else:
                self._answer(step)
            yield

    def _refuses(self, step: Step) -> bool:
        """Return True if threads are about to run func, and it is not shown to be safe in them: then they are out."""
        if self.may_use_threads or not (
            isinstance(step, TryThreads) or (isinstance(step, Go) and step.forecast.backend == "threads")
        ):
            return False
        load("amorsize.measure.thread_safety")
        from amorsize.measure.thread_safety import examples, left_of, look, warning

        state, decider, data = self.state, self.decider, self.request.data
        found = look(self.request.func, examples(data) or state.next_items(), data)
        self.may_use_threads = found.is_safe
        if found.is_safe:
            return False
        assert decider.choices is not None
        best, _ = decider.candidates(decider.choices, decider.sample())
        self.summary.warnings.append(warning(found, best))
        for backend in set(self.backends) - set(left_of(self.backends, found)):
            decider.withdraw(backend)
        self.backends = left_of(self.backends, found)
        return True

    def _look_up(self) -> None:
        """Read what is known of the costs here, if so much work is left that reading does not delay it."""
        from amorsize.measure.own_start import WORTH_READING_S, looked_up

        decider = self.decider
        if decider.choices is not None and decider.left * decider.item_s > WORTH_READING_S:
            self.is_looked_up = True
            if self.request.executor is None:
                costs = looked_up(decider.choices.costs, decider.choices.machine)
                decider.choices = replace(decider.choices, costs=costs)

    def _recall(self) -> None:
        """Begin with the evidence of earlier maps of this function, if there were any."""
        known = THIS_PROCESS.recall(self.request.func, self.request.data)
        if known is None:
            return
        decider = self.decider
        self.summary.recalled = known.sample
        decider.recall(known.sample, known.threads_gain, known.lost, known.n_items)
        n, before = self.state.source.length, known.n_items
        if known.settled and n is not None and before is not None and n <= NO_MORE * before:
            decider.settle(known.sample.item_s)
            self.is_settled = True

    def remember(self) -> None:
        """Keep the evidence of this map for the next one."""
        summary, request, decider = self.summary, self.request, self.decider
        short = decider.choices is None and decider.wall_s < REMEMBER_S
        if summary.unsampled or decider.slowdown > CROWDED or short:
            return
        found = summary.found()
        if found is None:
            return
        ran = None if summary.go is None else summary.go.backend
        lost, won = (ran, None) if summary.unprofitable else (None, ran)
        if lost == "threads":
            # Then the measured share of the lock was wrong.
            found = replace(found, gil_held=None)
        n = summary.n_items
        free = request.is_free and self.may_use_threads is not False
        # A loop that only what there is to load has kept from asking is not settled.
        was_asked = decider.choices is not None or not any(self.load_s.values())
        settled = ran is None and free and (None if self.is_settled else was_asked and decider.would_loop(n))
        THIS_PROCESS.keep(request.func, request.data, found, decider.lasting_gain, lost, n, settled, won)

    # -- steps of the decider ------------------------------------------------------------------------------------

    def _answer(self, step: Step) -> None:
        """Run or measure what a step of the decider asks for, and report the result."""
        decider = self.decider
        if isinstance(step, RunMore):
            decider.saw(self.state.advance(step.items))
        elif isinstance(step, Probe):
            self._probe(step)
        elif isinstance(step, Weigh):
            began = perf_counter()
            decider.weighed(self._weigh())
            self.summary.asked_s += perf_counter() - began
        elif isinstance(step, WatchLock):
            self._watch(step.items)
        elif isinstance(step, TryThreads):
            self._try_threads(step.items)

    def _probe(self, step: Probe) -> None:
        if not step.watch:
            self.decider.probed(self.state.probe(step))
            return
        load("amorsize.measure.gil")
        from amorsize.measure.gil import Canary

        with Canary() as canary:
            seen = self.state.probe(step)
        self.decider.probed(seen, canary.gil_held)
        self.decider.were_late(canary.late_s)

    def _weigh(self) -> Sample:
        load("amorsize.measure.transfer")
        from amorsize.measure.transfer import touched_bytes, weigh
        from amorsize.system.memory import keeping_s

        state, decider = self.state, self.decider
        assert decider.choices is not None
        assert decider.choices.costs.processes is not None
        forks = decider.choices.costs.processes.start_method == "fork"
        results = [r for r in state.outcome.some(4 * WEIGHED) if r is not None][:WEIGHED]
        items = state.next_items()
        if forks and state.source.indexable:
            found = replace(weigh([], results), touched_bytes=touched_bytes(items[0]) if len(items) else 0.0)
        else:
            found = weigh(items, results, func=None if forks else self.request.func)
        # A consumer takes the results away, so that they cost no memory to keep.
        if state.window is not None:
            return found
        kept_bytes = mean_held_bytes(state.outcome.some(4 * WEIGHED)) - decider.new_bytes / max(1, decider.items)
        return replace(found, kept_s=keeping_s(decider.left, kept_bytes))

    def _watch(self, items: int) -> None:
        load("amorsize.measure.gil")
        from amorsize.measure.gil import Canary

        state, seen = self.state, []
        with Canary() as canary:
            while items > 0 and not state.is_done():
                seen.append(state.advance(items))
                items -= max(1, seen[-1].items)
        self.decider.watched(canary.gil_held, seen)
        self.decider.were_late(canary.late_s)

    def _try_threads(self, items: int) -> None:
        """Run the next items on two threads; the loop repeats those that fail there."""
        load("amorsize.run.go_parallel")
        from amorsize.backends.results import Outcome
        from amorsize.backends.ticks import drain
        from amorsize.run.go_parallel import no_forecast, work_of
        from amorsize.schedule.schedule import Schedule

        state, item_s = self.state, self.decider.item_s
        spans = state.take(min(items, state.window or items))
        evidence = max(1, sum(stop - start for start, stop in spans) // 4)
        schedule = Schedule(
            spans, 2, item_s=item_s, evidence=evidence, pace=state.pace, prefetch=state.window is not None
        )
        # With a limit, though none is reached: an item that fails stays with its source, for the loop to repeat it.
        trial = Outcome("collect", max_failures=sum(stop - start for start, stop in spans))
        work = work_of(self, may_loop=True)._replace(outcome=trial, news=None)
        with row_named("threads").open_driver(work, no_forecast("threads", 2, None), lambda _: schedule) as driver:
            assert driver is not None
            ran = drain(driver.steps())
        # If no thread can be started, the plain loop runs the items that are left.
        state.todo.extendleft(reversed([(start, stop) for start, stop in driver.left_over if stop is not None]))
        left = {index for start, stop in driver.left_over if stop is not None for index in range(start, stop)}
        if trial.fatal is not None:
            trial.finish(state.source.item)
        length = state.source.length
        if state.todo and length is not None and state.todo[0][0] >= length:
            # The source has ended meanwhile.
            state.todo.clear()
        for start, stop in spans:
            results = trial.results[start:stop]
            state.outcome.put(start, results, but=trial.failures.keys() | left)
            if state.news is not None and results:
                share = len(results) / ran.items
                failed = sum(start <= index < stop for index in trial.failures)
                state.news.chunk(None, start, len(results), failed, ran.wall_s * share, ran.work_cpu_s * share)
        for index, failure in sorted(trial.failures.items()):
            aside = state.after_trial(index, failure.exception)
            if self.decider.n_items is not None:
                self.decider.n_items += aside
        if not ran.items:
            self.decider.withdraw("threads")
            return
        self.summary.trials.append(self.summary.attempt(no_forecast("threads", 2, None), ran.wall_s, ran, TRIAL))
        self.decider.tried(max(1, ran.items), ran.wall_s - (ran.ready_s or 0.0), ran.work_cpu_s)

    # -- going parallel ------------------------------------------------------------------------------------------

    def in_parallel_at_once(self) -> Steps:
        """Run a map whose func may not run in the caller: workers start at once, and the schedule learns from them."""
        load("amorsize.run.go_parallel")
        from amorsize.run.choices import choices_for, most_workers
        from amorsize.run.go_parallel import no_forecast

        request, n = self.request, self.state.left()
        if n != 0 and request.executor is not None:
            self._ask_engine()
        self.decider.choices = choices = choices_for(request, self.backends, self.summary)
        if n == 0:
            return
        assert choices.costs.processes is not None
        cores = max(1, ceil(choices.machine.usable_cores))
        # func may not run here, so waiting cannot be measured: trust max_workers. But not within a worker, where
        # nested calls would multiply.
        asked = most_workers(request) or cores
        if nested.share() is not None or (request.max_workers is None and request.executor is None):
            asked = min(asked, cores)
        if request.executor is None:
            asked = min(asked, choices.machine.most_processes)
        workers = max(1, asked if n is None else min(asked, n))
        self.summary.unsampled = True
        method = choices.costs.processes.start_method
        yield from self._go_parallel(
            no_forecast("processes", workers, method)
            if request.executor is None
            else no_forecast("executor", workers, None)
        )

    def _ask_engine(self) -> None:
        """Learn what the user's engine costs: at its first use it runs some tasks that do nothing."""
        load("amorsize.backends.engines")
        from amorsize.backends.engines import facts_of

        began, ticks = perf_counter(), self.state.ticks
        self.summary.engine = facts_of(self.request.executor, lambda: ticks.look(perf_counter()))
        self.summary.asked_s += perf_counter() - began

    def _go_parallel(self, chosen: Forecast) -> Steps:
        """Run everything left as ``chosen``; if it cannot start or is unprofitable, the loop goes on without it."""
        load("amorsize.run.go_parallel")
        from amorsize.backends.driver import CannotStart
        from amorsize.run import go_parallel

        request, summary = self.request, self.summary
        self._note(chosen)
        theirs = chosen.backend == request.executor_as
        if theirs:
            summary.go = go_parallel.as_executor(chosen)
        elif chosen.backend == "threads":
            chosen = replace(chosen, workers=CALLS.threads(chosen.workers))
        elif summary.start_note:
            summary.warnings.append(summary.start_note)
        may_loop = "serial" in self.backends
        self.state.announce(chosen.backend, chosen.workers, chosen.start_method)
        if summary.unsampled:
            why = "as asked for: nothing was measured"
        else:
            others = {one.backend: f"{one.backend} {one.total_s:.3g} s" for one in reversed(summary.alternatives)}
            why = f"forecast {chosen.total_s:.3g} s ({', '.join(others.values()) or 'nothing else was weighed'})"
        chose = {"backend": chosen.backend, "workers": chosen.workers}
        log.info("run", "%s, %d at a time, %s", chosen.backend, chosen.workers, why, **chose)
        options = self._options(chosen, theirs, may_loop)
        began, ran = perf_counter(), None
        try:
            summary.ran = ran = yield from go_parallel.drive(self, chosen, options, may_loop=may_loop)
            self._learn_start(chosen, options, theirs)
        except CannotStart as exc:
            if not may_loop:
                raise exc.why from exc.why.__cause__
            summary.warnings.append(str(exc.why))
        if not self.state.is_done():
            summary.attempts.append(summary.attempt(chosen, perf_counter() - began, ran))
            self._back_to_loop(chosen)

    def _learn_start(self, chosen: Forecast, options: Options, theirs: bool) -> None:
        """Note when the workers were ready, for the next map and the next run of this program."""
        choices, ran = self.decider.choices, self.summary.ran
        if ran is None or choices is None or choices.costs.processes is None or chosen.backend != "processes" or theirs:
            return
        if ran.ready_s is None and ran.lost:
            # They died before they were ready: of an unguarded main module, say, which will be mended.
            return
        from amorsize.measure.own_start import learn

        # A caller that computes meanwhile needs a core, too.
        busy = (options.get("first") or chosen.workers) + bool(options.get("caller_helps"))
        learn(choices.costs.processes, busy, choices.machine.usable_cores, ran.ready_s, ran.wall_s)

    def _note(self, chosen: Forecast) -> None:
        """Note the choice in the summary, and the time of the loop until then."""
        from amorsize.model.memory_limit import results_warning

        summary, decider = self.summary, self.decider
        summary.is_first = self.load_s["threads" if chosen.backend == "threads" else "processes"] > 0
        if summary.go is not None:
            return
        summary.go = chosen
        if summary.unsampled:
            return
        assert decider.choices is not None
        summary.sample = decider.sample()
        _, summary.alternatives = decider.candidates(decider.choices, summary.sample)
        summary.loop_s, summary.loop_items = decider.wall_s, decider.items
        # Results that are taken away as they come need no room.
        if self.state.window is None and decider.n_items is not None:
            sample = summary.sample
            if decider.transfer is None:
                sample = replace(sample, result_bytes=mean_held_bytes(self.state.outcome.some(4 * WEIGHED)))
            too_much = results_warning(sample, decider.n_items, decider.choices.machine)
            summary.warnings += [too_much] if too_much else []
        if not self.state.source.indexable and decider.items:
            summary.read_item_s = self.state.loop.read_s / decider.items

    def _options(self, chosen: Forecast, theirs: bool, may_loop: bool) -> Options:
        """Return the arguments of the schedule that depend on measurements."""
        from amorsize.run.go_parallel import climb_for, worker_count_for

        request, decider, summary = self.request, self.decider, self.summary
        assert decider.choices is not None
        sample = decider.sample()
        worker_count = None
        if not (summary.unsampled and request.max_workers):
            worker_count = worker_count_for(
                request, chosen, decider.choices.machine, sample, summary.read_item_s, may_lose=may_loop
            )
        engine = summary.engine
        if engine is not None:
            return {
                "per_chunk_s": engine.per_task_s,
                "round_trip_s": engine.round_trip_s,
                "fixed": request.chunksize,
                "evidence": self._first_span(chosen),
            }
        if summary.unsampled:
            return {"worker_count": worker_count}
        helps = may_loop and chosen.backend != "threads" and not theirs
        is_slow = helps and chosen.start_method != "fork"
        start_s = chosen.breakdown.start_s
        quick = decider.item_s < (SLOW_START_SHARE * start_s if is_slow else QUICK_ITEM_S)
        cores = decider.choices.machine.usable_cores
        return {
            "item_s": decider.item_s,
            "evidence": max(1, min(sample.n_sampled, int(10e-3 / max(decider.item_s, 1e-9)))),
            "caller_helps": quick and helps,
            "patience_s": OVERDUE * start_s + decider.item_s if is_slow and not quick else None,
            # One core is left to the caller until it has seen how long a worker takes.
            "first": max(1, min(chosen.workers, ceil(cores) - 1)) if is_slow else None,
            "worker_count": worker_count,
            "climb": climb_for(request, chosen, sample) if not theirs else None,
        }

    def _first_span(self, chosen: Forecast) -> int:
        """Return the items of an engine's first tasks, of which nothing is known: they end early if they take long.

        So the schedule learns from more than one item within a round trip, and what is small costs no more to send.
        """
        state = self.state
        left = state.left()
        # Other items come as they are made, one after the other, and making them may take long.
        if left is None or not is_sliced(self.request.data) or state.window is not None:
            return 1
        fair = left // (FAIR * chosen.workers)
        if fair < 2:
            return 1
        item_bytes = max(map(held_bytes, state.next_items()), default=0.0)
        return max(1, min(FIRST_ITEMS, fair, int(FIRST_BYTES / max(1.0, item_bytes))))

    def _back_to_loop(self, chosen: Forecast) -> None:
        """Go on without a backend that could not start or was unprofitable."""
        # The caller's own thread is always available.
        self.backends = tuple(b for b in self.backends if b != chosen.backend) or ("serial",)
        self.state.announce("serial")
        self.decider.withdraw(chosen.backend)
