"""One map under way: its items and results, the ranges still to run, and the plain loop in the caller."""

from __future__ import annotations

from time import perf_counter, sleep

from amorsize.backends.concurrent_calls import CALLS
from amorsize.backends.gc_pause import RESULTS_ARE_KEPT
from amorsize.backends.loop import Loop
from amorsize.backends.results import Flow, Outcome
from amorsize.backends.source import Streamed, source_of
from amorsize.backends.ticks import Ticks
from amorsize.frozen import replace
from amorsize.loop_facts import Observation
from amorsize.system.critical import load
from amorsize.system.looks import is_interrupt, is_sliced
from amorsize.system.nested import changed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any, Final

    from amorsize.backends.arrivals import Arrivals
    from amorsize.backends.driver import Driver
    from amorsize.backends.notify import News
    from amorsize.backends.stop import Stop
    from amorsize.backends.ticks import Ticker
    from amorsize.backends.workers.item_times import Records
    from amorsize.checkpoint.checkpoint import Checkpoint
    from amorsize.model.decide import Probe
    from amorsize.options import Request
    from amorsize.schedule.messages import Event
    from amorsize.schedule.rate_limit import Pace
else:
    # It is built in; ``collections`` would take 1.5 ms.
    from _collections import deque

# If the first of some neighbours takes longer than this, the others are not run for the probe, because all of them
# together were expected to take `PROBE_EACH_S` (a guess).
DEAR_PROBE_S: Final = 0.1e-3


class MapState:
    """Items, results and the remaining ranges of one map.

    Parameters
    ----------
    request : Request
    outcome : Outcome, optional
        Collects the results; by default all of them are kept, in order.
    window : int, optional
        Number of items that may be ahead of the consumer of the results.
    stop : Stop, optional
        Ends the map from another thread.
    arrivals : Arrivals, optional
        The items of an async iterable.
    per_item_s : callable
        Returns the forecast of the seconds until one more item is done (None: unknown), for a bar.

    Attributes
    ----------
    todo : deque of (int, int or None)
        Ranges of items still to run; None: to the end of the source, wherever that is.
    repeats : Repeats
        The rule for items that raise, and those that are set aside; also the schedule's, once the map is parallel.
    driver : Driver or None
        Runs the items left, once the map has gone parallel.
    """

    def __init__(
        self,
        request: Request,
        outcome: Outcome | None = None,
        *,
        window: int | None = None,
        stop: Stop | None = None,
        arrivals: Arrivals | None = None,
        per_item_s: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.window = window
        self.source = (
            source_of(request.data, one_by_one=window is not None)
            if arrivals is None
            else Streamed(arrivals, gather=arrivals.gather)
        )
        self.outcome = outcome or Outcome(request.on_error, request.max_failures)
        self.todo: deque[tuple[int, int | None]] = deque([(0, self.source.length)])
        tickers: list[Ticker] = []
        self.checkpoint: Checkpoint | None = None
        if request.checkpoint is not None:
            from amorsize.checkpoint.checkpoint import Checkpoint

            self.checkpoint = Checkpoint(request.checkpoint, request.func, request.checkpoint_key)
            self.source = self.checkpoint.source(self.source)
            ordered = self.outcome.ordered if isinstance(self.outcome, Flow) else None
            self.outcome = self.checkpoint.outcome(request.on_error, request.max_failures, ordered)
            tickers.append(self.checkpoint)
        self._records: Records | None = None
        self.news: News | None = None
        if request.on_event is not None or request.progress is not None:
            from amorsize.run.progress import listeners

            self.news = listeners(request, tickers, per_item_s)
            self.outcome.on_failure = self.news.item_failed
        self.repeats = request.repeats()
        if self.news is not None:
            self.repeats.on_repeat = self.news.item_repeated
        self.loop = Loop(request.func, self.source, self.outcome, self.repeats, saw_long=self._saw_long, news=self.news)
        self.pace: Pace | None = None
        if request.rate is not None:
            from amorsize.schedule.rate_limit import Pace

            self.pace = Pace(request.rate)
            self.loop.is_paced = True
        if request.limits is not None:
            from amorsize.backends.watchers import limiter

            tickers.append(limiter(request.limits, perf_counter()))
        self.ticks = Ticks(tickers, stop=stop)
        self.driver: Driver | None = None

    @property
    def records(self) -> Records:
        """The slowest and the hungriest items so far."""
        if self._records is None:
            # Only now: a map of short items records none.
            load("amorsize.backends.workers.item_times")
            from amorsize.backends.workers.item_times import Records

            self._records = Records()
        return self._records

    def _saw_long(self, index: int, wall_s: float, cpu_s: float) -> None:
        """Record the first long item; not if the items have left no file descriptor to load the records with."""
        try:
            take = self.records.take
            from amorsize.backends.workers.item_times import Meter, Peak

            meter = Meter(Peak())
        except (ImportError, OSError):
            return
        meter.measures = False
        take(meter.report(index, 1, wall_s, cpu_s)[1])
        self.loop.meter, self.loop.took_long = meter, take

    def begin(self) -> None:
        """Leave out the items that a checkpoint has, and notify the listeners."""
        if self.checkpoint is not None:
            self.todo = self.checkpoint.resume()
        if self.news is not None:
            self.news.started(self.source.length, 0 if self.checkpoint is None else self.checkpoint.skipped)

    def announce(self, backend: str, workers: int = 1, start_method: str | None = None) -> None:
        """Notify listeners of the backend before any worker starts: one that raises would leave workers behind."""
        if self.news is not None:
            self.news.chose(backend, workers, start_method)

    def resume(self, results: list[Any]) -> None:
        """Keep these results of the first items: they do not run again."""
        self.outcome.put(0, results)
        self.todo = deque([(len(results), self.source.length)])

    def finish(self) -> None:
        """End a map that has run: raise the source's exception, or notify the listeners; not if it is doomed."""
        if not self.outcome.doomed:
            self.source.finish()
            if self.news is not None:
                self.news.finished(self.source.length or 0)

    def close(self) -> None:
        """Close the listeners and the checkpoint, also after a failed run."""
        if self.news is not None:
            self.news.close()
        if self.checkpoint is not None:
            self.checkpoint.close()

    def left(self) -> int | None:
        """Return the number of items still to run; None while the length of the source is unknown."""
        if self.todo and self.todo[-1][1] is None:
            return None
        return sum((stop or 0) - start for start, stop in self.todo) + len(self.repeats.aside)

    def is_done(self) -> bool:
        """Return True if no item is left to run, or the outcome is doomed."""
        return not (self.todo or self.repeats.aside) or self.outcome.doomed

    @property
    def is_watched(self) -> bool:
        """True if somebody is served between two batches: a listener, a limit, a stop, a consumer of the results."""
        served = self.ticks.tickers or self.ticks.stop is not None or self.news is not None
        return self.window is not None or bool(served)

    def ahead(self) -> int:
        """Return the number of items that have begun, and whose results the consumer has not taken.

        Of results in the order of completion those that are ready do not count: they are taken between two steps.
        """
        if self.window is None or not (isinstance(self.outcome, Flow) and self.outcome.ordered):
            return len(self.repeats.aside)
        if not self.todo:
            # At the end of the data there is nothing left to begin.
            return self.window
        begun, old = self.todo[0][0], self.outcome.old
        return begun - self.outcome.next - (sum(index < begun for index in old) if old else 0)

    def tell(self, event: Event) -> None:
        """Report an event to the schedule, if the map has gone parallel."""
        if self.driver is not None:
            self.driver.tell([event])

    # -- the loop ------------------------------------------------------------------------------------------------

    def advance(self, items: int) -> Observation:
        """Run the next items in the loop: one that was set aside, if it is due; else new ones."""
        items = min(items, self.window or items)
        if self.pace is not None:
            self._await_turn(self.pace)
        if self.repeats.aside:
            items = min(items, items if self.window is None else self.window - self.ahead())
            if not self.todo or items < 1 or self.repeats.wait_s(perf_counter()) == 0.0:
                return self._repeat()
        if self.pace is not None:
            items = self._paced(items)
        start, stop = self.todo[0]
        end = start + items if stop is None else min(start + items, stop)
        seen = self.run(start, end)
        done = start + seen.items
        if done < end and not self.outcome.doomed:
            if done in self.outcome.failures:
                # Its exception waits until the items before it have been repeated. None behind it is wanted.
                self.todo.clear()
                return seen
            if self.source.indexable:
                self._end_at(done)
        end = done
        over = self.source.length is not None and end >= self.source.length
        if end == stop or over:
            self.todo.popleft()
        else:
            self.todo[0] = (end, stop)
        self.ticks.look(perf_counter())
        return seen

    def _end_at(self, index: int) -> None:
        """End the map here, as ``map`` does: the data have become shorter."""
        self.source.ends_at(index)
        self.todo = deque([(index, index)])
        # Items that have run ahead of the others are there no more.
        if len(self.outcome.results) > index:
            raise changed()

    def extend(self) -> bool:
        """Go on with items that were added to the data while it was mapped, as ``map`` does; return True if any."""
        more = None if self.outcome.doomed else self.source.grown()
        if more is not None:
            self.todo.append(more)
        return more is not None

    def take(self, items: int) -> list[tuple[int, int]]:
        """Take the next items off the ranges still to run: the caller of this method runs them."""
        taken: list[tuple[int, int]] = []
        while items > 0 and self.todo:
            start, stop = self.todo.popleft()
            end = start + items if stop is None else min(start + items, stop)
            if end != stop:
                self.todo.appendleft((end, stop))
            taken.append((start, end))
            items -= end - start
        return taken

    def run(self, start: int, stop: int) -> Observation:
        """Run these items in the loop."""
        seen = CALLS.observe(self.loop.run, start, stop)
        RESULTS_ARE_KEPT.look()
        return seen

    def _paced(self, items: int) -> int:
        """Return how many of these items may begin now; wait until at least one may."""
        assert self.pace is not None
        allowed = min(items, self._await_turn(self.pace))
        self.pace.spend(allowed, perf_counter())
        return allowed

    def _await_turn(self, pace: Pace) -> int:
        """Wait until an item may begin; return how many may."""
        while not (allowed := pace.allowed(perf_counter())):
            self._sleep(pace.wait_s(perf_counter()))
        return allowed

    def _sleep(self, wait_s: float) -> None:
        """Sleep for at most so long; watchers are served, and a stop ends it."""
        wait_s = self.ticks.wait_s(perf_counter(), wait_s) or 0.0
        (sleep if self.ticks.stop is None else self.ticks.stop.sleep)(wait_s)
        self.ticks.look(perf_counter())

    def _repeat(self) -> Observation:
        """Run the item that is due first of those set aside; wait until it is due."""
        while wait_s := self.repeats.wait_s(perf_counter()):
            if self.ticks.poll:
                # The consumer has results that it could take meanwhile.
                return Observation(0, 0, 0.0, 0.0, 0.0)
            self._sleep(wait_s)
        if self.pace is not None:
            self._paced(1)
        ((index, _),) = self.repeats.take_due(perf_counter(), most=1)
        seen = self.run(index, index + 1)
        if not seen.aside:
            self.repeats.tries.pop(index, None)
        if not seen.items and index in self.outcome.failures:
            self.todo = deque(span for span in self.todo if span[0] < index)
        elif not seen.items:
            raise changed()
        self.ticks.look(perf_counter())
        return seen

    def after_trial(self, index: int, exc: BaseException) -> int:
        """Repeat an item that raised in a trial of threads; return 1 if it is set aside, else 0.

        If no repeat is allowed it is run all the same: maybe it raised because of the threads.
        """
        wait_s = self.repeats.failed(index, is_covered=self.repeats.covers(exc))
        if wait_s is not None:
            self.repeats.set_aside(index, perf_counter() + wait_s)
            return 1
        if self.pace is not None:
            self._paced(1)
        return self.run(index, index + 1).aside

    def probe(self, step: Probe) -> list[Observation]:
        """Run items at positions spread evenly over the only range that is left; the far end first.

        At each a single item runs first: if it is dear, its neighbours do not.
        """
        from amorsize.model.size_regression import spread

        start, stop = self.todo.popleft()
        assert stop is not None
        seen: list[Observation] = []
        ran: list[tuple[int, int]] = []
        spent = 0.0
        stride = (stop - start) / step.positions
        for k in spread(step.positions):
            end = round(start + (k + 1) * stride)
            one = self._probe_one(end - step.items, end)
            if one.items:
                seen.append(one)
            elif not self.outcome.doomed:
                self.source.shrinks = True
            # Fewer items ran if func takes some off the data.
            ran.append((one.start, one.start + one.items))
            spent += one.wall_s
            self.ticks.look(perf_counter())
            if spent > step.budget_s or self.outcome.doomed:
                break
        begin = start
        for first, end in [*sorted(ran), (stop, stop)]:
            if begin < first:
                self.todo.append((begin, first))
            begin = end
        return seen

    def _probe_one(self, start: int, stop: int) -> Observation:
        """Run neighbours, after the first of them alone has shown that they are as short as expected."""
        one = self.run(start, min(start + 1, stop))
        if one.items < 1 or stop - start < 2 or one.wall_s > DEAR_PROBE_S or self.outcome.doomed:
            return one
        rest = self.run(start + 1, stop)
        return replace(
            rest,
            start=start,
            items=one.items + rest.items,
            wall_s=one.wall_s + rest.wall_s,
            cpu_s=one.cpu_s + rest.cpu_s,
            process_cpu_s=one.process_cpu_s + rest.process_cpu_s,
            new_bytes=one.new_bytes + rest.new_bytes,
            aside=one.aside + rest.aside,
        )

    def are_at_hand(self, items: int) -> bool:
        """Return True if so many items can be read now; those of an async iterable may depend on results of others."""
        if self.source.indexable or self.source.gather is None:  # type: ignore[union-attr]
            return True
        start, items = self.todo[0][0], min(items, self.window or items)
        return len(self.source.items(start, start + items)) == items

    def next_items(self) -> Any:
        """Return at most four of the items that come next, not run yet; none if they cannot be had a second time."""
        start, stop = self.todo[0] if self.todo else (self.repeats.aside[0][1], self.repeats.aside[0][1] + 1)
        # An item of the user's own sequence may take long to make.
        most = 4 if not self.source.indexable or is_sliced(self.source.data) else 1  # type: ignore[union-attr]
        try:
            return self.source.items(start, start + most if stop is None else min(stop, start + most))
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            return []
