"""One map under way: its items and results, what is still to be done, and the plain loop in the caller."""

from __future__ import annotations

import os
from collections import deque
from time import perf_counter, sleep

from amorsize.backends.concurrent_calls import CROWD
from amorsize.backends.gc_pause import RESULTS_ARE_KEPT
from amorsize.backends.loop import Loop
from amorsize.backends.results import Outcome
from amorsize.backends.source import source_of
from amorsize.backends.ticks import Ticks
from amorsize.backends.workers.item_times import Records
from amorsize.history.fingerprint import fingerprint, name_of
from amorsize.run.run_summary import RunSummary
from amorsize.schedule.rate_limit import Pace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from amorsize.backends.driver import Driver
    from amorsize.backends.notify import News
    from amorsize.backends.stop import Stop
    from amorsize.backends.ticks import Ticker
    from amorsize.checkpoint.checkpoint import Checkpoint
    from amorsize.facts import Observation
    from amorsize.model.decide import Decider, Probe
    from amorsize.options import Request
    from amorsize.schedule.messages import Event


class Job:
    """What all parts of a run share.

    Parameters
    ----------
    request : Request
    opening_for : type
        Makes the one who decides over the first items.
    outcome : Outcome, optional
        Where results go; by default they are all kept, in order.
    window : int, optional
        How many items may be ahead of whoever takes the results away.
    tickers : iterable of Ticker
        Who wants to look every now and then.
    stop : Stop, optional
        Who may end it from another thread.

    Attributes
    ----------
    todo : deque of (int, int or None)
        Ranges of items still to be run; None: to the end of the source, wherever that is.
    driver : object or None
        Who runs what is left, once it has gone parallel.
    """

    def __init__(
        self,
        request: Request,
        opening_for: type[Decider],
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
            from amorsize.checkpoint.checkpoint import Checkpoint

            key = request.checkpoint_key or fingerprint(request.func)
            self.checkpoint = Checkpoint(request.checkpoint, key, name_of(request.func), fingerprint)
            self.source = self.checkpoint.source(self.source)
            self.outcome = self.checkpoint.outcome(request.on_error, request.max_failures)
            tickers = [*tickers, self.checkpoint]
        self.records = Records()
        self.news: News | None = None
        if request.on_event is not None or request.progress:
            from amorsize.run.watch import news_for

            self.news = news_for(request)
            self.outcome.on_failure = self.news.item_failed
        self.loop = Loop(request.func, self.source, self.outcome, request.retries, records=self.records, news=self.news)
        self.pace = None if request.rate is None else Pace(request.rate)
        self.tickers = tuple(tickers)
        if request.limits is not None:
            from amorsize.run.watch import limiter_for

            self.tickers += (limiter_for(request.limits, perf_counter()),)
        self.vigil = Ticks(self.tickers, stop=stop)
        self.driver: Driver | None = None  # who runs what is left, once it goes parallel
        self.story = RunSummary(
            opening_for(
                self.source.length,
                indexable=self.source.indexable,
                most_cores=os.cpu_count() or 1,
                spread=request.spread and window is None and request.rate is None,
                rate=request.rate,
            )
        )

    def begin(self) -> None:
        """Tell those that listen, and leave out what a checkpoint has."""
        if self.news is not None:
            self.news.started(self.source.length)
        if self.checkpoint is not None:
            self._resume(self.checkpoint)

    def finish(self) -> None:
        """Everything has been run, unless the outcome is doomed: raise what the items' source raised."""
        if not self.outcome.doomed:
            self.source.finish()
            if self.news is not None:
                self.news.finished(self.source.length or 0)

    def close(self, wall_s: float) -> None:
        """The run has ended, whatever came of it."""
        story = self.story
        if self.news is not None:
            self.news.close()
        story.wall_s = wall_s
        story.n_items = len(self.outcome.results)
        if self.checkpoint is not None:
            story.skipped = self.checkpoint.skipped
            story.n_items -= story.skipped
            self.checkpoint.close()
            story.warnings += self.checkpoint.warnings.values()

    def _resume(self, checkpoint: Checkpoint) -> None:
        """Begin with what is missing in the checkpoint."""
        self.todo = checkpoint.resume()
        opening = self.story.opening
        opening.n_items = self.left()
        opening.may_probe = opening.may_probe and len(self.todo) == 1

    def left(self) -> int | None:
        """Items still to run; None when nobody knows."""
        if self.todo and self.todo[-1][1] is None:
            return None
        return sum((stop or 0) - start for start, stop in self.todo)

    def tell(self, event: Event) -> None:
        """Have the schedule hear of something, if there is one."""
        if self.driver is not None:
            self.driver.tell([event])

    # -- the loop ------------------------------------------------------------------------------------------------

    def advance(self, items: int) -> Observation:
        """Run the next items in the loop."""
        items = min(items, self.window or items)
        if self.pace is not None:
            items = self._paced(items)
        start, stop = self.todo[0]
        end = start + items if stop is None else min(start + items, stop)
        seen = self.run(start, end)
        end = start + seen.items
        over = self.source.length is not None and end >= self.source.length
        if end == stop or over:
            self.todo.popleft()
        else:
            self.todo[0] = (end, stop)
        self.vigil.look(perf_counter())
        return seen

    def take(self, items: int) -> list[tuple[int, int]]:
        """Take so many of the next items off what is to be done: somebody else runs them."""
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
        seen, slowdown = CROWD.observe(self.loop.run, start, stop)
        RESULTS_ARE_KEPT.look()
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

    def probe(self, step: Probe) -> list[Observation]:
        """Run items at positions spread evenly over what is left of the only segment."""
        start, stop = self.todo.popleft()
        assert stop is not None
        seen: list[Observation] = []
        begin, spent = start, 0.0
        stride = (stop - start) / step.positions
        rest: list[tuple[int, int]] = []
        for k in range(1, step.positions + 1):
            end = round(start + k * stride)
            seen.append(one := self.run(end - step.items, end))
            rest.append((begin, end - step.items))
            begin, spent = end, spent + one.wall_s
            self.vigil.look(perf_counter())
            if spent > step.budget_s or self.outcome.doomed:
                break
        rest.append((begin, stop))
        self.todo.extend(r for r in rest if r[0] < r[1])
        return seen

    def next_items(self) -> Any:
        """A few of those that come next, not run yet."""
        start, stop = self.todo[0]
        return self.source.items(start, start + 4 if stop is None else min(stop, start + 4))
