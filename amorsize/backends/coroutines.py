"""Run the items of a coroutine function as tasks on the running event loop, at a concurrency found by measurement."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable
from time import perf_counter

from amorsize.backends.arrivals import Arrivals, ended
from amorsize.backends.results import Outcome, blame_initializer, failure_here
from amorsize.backends.shared_windows import join
from amorsize.backends.source import Indexable, Streamed
from amorsize.backends.ticks import LATE_LOOKS, Ticks, look_every_s
from amorsize.backends.workers.item_times import Records
from amorsize.errors import ItemTimeoutError
from amorsize.schedule.failures import Repeats
from amorsize.schedule.rate_limit import Pace
from amorsize.system import nested
from amorsize.system.clock import LONG_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from amorsize.backends.notify import News


class Tasks:
    """Run one map on the running event loop.

    Parameters
    ----------
    func : coroutine function
    source : Indexable or Streamed
        Read as items are needed.
    outcome : Outcome
    most_in_flight : int
        Largest number of items in flight. How many there are is found by measurement.
    retries : int or Repeats
        Number of times that an item that raised, or ran too long, is repeated; or the whole rule.
    timeout_s : float, optional
        Seconds that an item may run.
    pace : Pace, optional
        Limit on the rate at which items begin.
    ticks : Ticks, optional
        Periodic checks: limits, a checkpoint.
    records : Records, optional
        The items that took longest.
    news : News, optional
        Is notified of items that have run.
    arrivals : Arrivals, optional
        What the source reads, if the items come from an async iterable.
    window : int, optional
        Number of items that may be ahead of the reader of the results (`taken`).

    Attributes
    ----------
    todo : deque of (int, int or None)
        Ranges of items still to begin; None: to the end of the source.
    begun : int
        Number of items that have begun, repeats not counted.
    most : int
        Most items in flight at a time.
    on_result : callable or None
        Called when an item has ended.
    """

    def __init__(
        self,
        func: Callable[[Any], Any],
        source: Indexable | Streamed,
        outcome: Outcome,
        most_in_flight: int,
        *,
        retries: int | Repeats = 0,
        timeout_s: float | None = None,
        pace: Pace | None = None,
        ticks: Ticks | None = None,
        records: Records | None = None,
        news: News | None = None,
        arrivals: Arrivals | None = None,
        window: int | None = None,
    ) -> None:
        self.func = func
        self.source = source
        self.outcome = outcome
        self.most_in_flight = most_in_flight
        self.repeats = Repeats.of(retries)
        self.timeout_s = timeout_s
        self.pace = pace
        self.ticks = ticks or Ticks()
        self.records = Records() if records is None else records
        self.news = news
        self.arrivals = arrivals
        self.window = window
        self.todo: deque[tuple[int, int | None]] = deque([(0, source.length)])
        self.begun = self.most = 0
        self.on_result: Callable[[], object] | None = None
        self._taken = 0
        # The number of tasks at a time that the listeners know of.
        self._told = 0
        # What a listener raised: it ends the map.
        self._error: Exception | None = None
        # What a sequence of the user's raised; raised again when all items before have been run.
        self._broken: Exception | None = None
        self._again: deque[tuple[int, Any]] = deque()
        # Items that are set aside, by index.
        self._aside: dict[int, Any] = {}
        # Indexes of items that have run too long.
        self._late: set[int] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._news = asyncio.Event()
        # From now on results of tasks are ignored.
        self._is_ending = False
        # The time limits of the items that run, when they were last looked at, and the timer of the next look.
        self._limits: set[asyncio.Timeout] = set()
        self._looked_s = 0.0
        self._next_look: asyncio.TimerHandle | None = None

    async def run(self) -> list[Any]:
        """Run all items. Return their results in order, or raise as `Outcome.finish` does."""
        loop = asyncio.get_running_loop()
        self.share = join(self.func, self.most_in_flight, self._news.set)
        self._told = min(self.share.window.climb.limit, self.most_in_flight)
        if self.timeout_s is not None:
            self._looked_s = loop.time()
            self._look(look_every_s(self.timeout_s))
        if self.arrivals is not None:
            self.arrivals.on_news = self._news.set
        try:
            while not self.outcome.doomed and self._error is None:
                self._news.clear()
                self.ticks.look(perf_counter())
                wait_s = self.ticks.wait_s(perf_counter(), self._fill())
                if self._is_over():
                    break
                timer = None if wait_s is None else loop.call_later(wait_s, self._news.set)
                try:
                    await self._news.wait()
                finally:
                    if timer is not None:
                        timer.cancel()
        finally:
            if self._next_look is not None:
                self._next_look.cancel()
            try:
                self._is_ending = True
                await ended(self._tasks)
            finally:
                self.share.leave()
        if self._error is not None:
            raise self._error
        if not self.outcome.doomed:
            if self._broken is not None:
                raise self._broken
            self.source.finish()
        return self.outcome.finish(self.source.item)

    def _is_over(self) -> bool:
        """Return True if all items have ended."""
        if self._tasks or self._again or self._aside or self.todo:
            return False
        more = self.source.grown()
        if more is not None:
            self.todo.append(more)
            self._news.set()
        return more is None

    def taken(self, items: int, window: int) -> None:
        """Note that the reader has taken so many results; ``window``: the items that may be ahead of it from now on."""
        self._taken += items
        self.window = window
        self._news.set()

    # -- beginning -----------------------------------------------------------------------------------------------

    def _fill(self) -> float | None:
        """Begin as many items as allowed. Return the seconds until more may; None: when something happens.

        More may begin by the window, by the pace, or as items that were set aside are due.
        """
        for index, _ in self.repeats.take_due(perf_counter()):
            self._again.append((index, self._aside.pop(index)))
        while (wait_s := self.share.wait_s(perf_counter())) == 0.0:
            if self.pace is not None and not self.pace.allowed(perf_counter()):
                self.share.passes()
                return self.pace.wait_s(perf_counter())
            work = self._again.popleft() if self._again else self._next()
            if work is None:
                self.share.passes()
                return self.repeats.wait_s(perf_counter())
            if self.pace is not None:
                self.pace.spend(1, perf_counter())
            self._begin(*work)
        return wait_s

    def _next(self) -> tuple[int, Any] | None:
        """Return the next new item with its index; None: there is none now."""
        if not self.todo or (self.window is not None and self.begun - self._taken >= self.window):
            return None
        start, stop = self.todo[0]
        source, arrivals = self.source, self.arrivals
        if arrivals is not None and not arrivals.at_hand and start == source.read:  # type: ignore[union-attr]
            arrivals.want(1)
            return None
        try:
            items = source.items(start, start + 1)
        except Exception as exc:  # noqa: BLE001
            self._broken, items = exc, ()
        if not len(items):
            self.todo.clear()
            return None
        self.todo.popleft()
        if start + 1 != stop:
            self.todo.appendleft((start + 1, stop))
        self.begun += 1
        return start, items[0]

    def _begin(self, index: int, item: Any) -> None:
        ticket = self.share.began(perf_counter())
        self.most = max(self.most, self.share.in_flight)
        task = asyncio.ensure_future(self._call(index, item))
        self._tasks.add(task)
        began_s = perf_counter()
        task.add_done_callback(lambda done: self._done(done, ticket, index, item, began_s))

    async def _call(self, index: int, item: Any) -> Any:
        forks = nested.forks
        self.share.holds()
        try:
            result = await self._limited(index, item)
        except BaseException as exc:
            nested.leave_copy(forks, exc)
            raise
        nested.leave_copy(forks)
        return result

    async def _limited(self, index: int, item: Any) -> Any:
        if self.timeout_s is None:
            return await self.func(item)
        try:
            async with asyncio.timeout(self.timeout_s) as scope:
                self._limits.add(scope)
                try:
                    return await self.func(item)
                finally:
                    self._limits.discard(scope)
        except TimeoutError:
            if not scope.expired():
                raise
            self._late.add(index)
            raise ItemTimeoutError(index, self.timeout_s) from None

    def _look(self, look_s: float) -> None:
        """Put off the time limits by the time for which this loop did not run: its process was stopped (Ctrl-Z), say.

        A timer's callback, not a task: a loop that has been away runs those in the order in which they were due.
        """
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        away_s = now_s - self._looked_s - LATE_LOOKS * look_s
        if away_s > 0.0:
            for limit in self._limits:
                if not limit.expired() and (when_s := limit.when()) is not None:
                    limit.reschedule(when_s + away_s)
        self._looked_s = now_s
        self._next_look = loop.call_later(look_s, self._look, look_s)

    # -- ending --------------------------------------------------------------------------------------------------

    def _done(self, task: asyncio.Task[Any], ticket: int, index: int, item: Any, began_s: float) -> None:
        self._tasks.discard(task)
        self._news.set()
        if self._is_ending:
            self.share.dropped(ticket)
            return
        exc = asyncio.CancelledError() if task.cancelled() else task.exception()
        now_s = perf_counter()
        self.share.ended(ticket, now_s, well=exc is None)
        try:
            self._note(index, item, now_s - began_s, task, exc)
        except Exception as raised:  # noqa: BLE001  (a listener's; asyncio would only log it)
            self._error = self._error or raised
        if self.on_result is not None:
            self.on_result()

    def _note(self, index: int, item: Any, wall_s: float, task: asyncio.Task[Any], exc: BaseException | None) -> None:
        """Note how an item has ended."""
        if wall_s >= LONG_S:
            self.records.add((index, wall_s, 0.0, 0, 0))
        if self.news is not None:
            self.news.chunk(None, index, 1, int(exc is not None), wall_s, 0.0)
            at_a_time = min(self.share.window.climb.limit, self.most_in_flight)
            if at_a_time != self._told:
                self._told = at_a_time
                self.news.resized(at_a_time)
        if exc is None:
            self.repeats.tries.pop(index, None)
            self.outcome.put(index, [task.result()])
            self.source.release(index, index + 1)
            return
        is_late = index in self._late
        self._late.discard(index)
        wait_s = self.repeats.failed(index, is_covered=is_late or self.repeats.covers(exc))
        if wait_s is None:
            self.outcome.fail(failure_here(index, exc))
            if self.outcome.most_failures is None:
                # An endless stream must not keep them all. With a limit, the first is needed for a message.
                self.source.release(index, index + 1)
        elif wait_s > 0.0:
            self._aside[index] = item
            self.repeats.set_aside(index, perf_counter() + wait_s)
        else:
            self._again.append((index, item))


async def call(func: Callable[..., object], args: tuple[Any, ...]) -> None:
    """Call an initializer; await it if it is a coroutine function."""
    try:
        made = func(*args)
        if inspect.isawaitable(made):
            await made
    except BaseException as exc:
        blame_initializer(exc, "in the caller")
        raise
