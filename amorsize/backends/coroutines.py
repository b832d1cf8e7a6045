"""Run the items of a coroutine function as tasks on the running event loop, at a concurrency found by measurement."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from time import perf_counter
from typing import Any, Final

from amorsize.backends.results import Outcome, blame_initializer, failure_here
from amorsize.backends.shared_windows import join
from amorsize.backends.source import blame_iterator
from amorsize.backends.ticks import LATE_LOOKS, look_every_s
from amorsize.errors import ItemTimeoutError
from amorsize.schedule.failures import Repeats
from amorsize.schedule.rate_limit import Pace
from amorsize.system import nested

# Marks the end of the data; None may be an item.
END: Final = object()


class Tasks:
    """Run one map on the running event loop.

    Parameters
    ----------
    func : coroutine function
    data : iterable or async iterable
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
    """

    def __init__(
        self,
        func: Callable[[Any], Any],
        data: Iterable[Any] | AsyncIterable[Any],
        outcome: Outcome,
        most_in_flight: int,
        *,
        retries: int | Repeats = 0,
        timeout_s: float | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.func = func
        self.outcome = outcome
        self.most_in_flight = most_in_flight
        self.repeats = Repeats.of(retries)
        self.timeout_s = timeout_s
        self.pace = pace
        # Items read so far.
        self.length = 0
        # Most items in flight at a time.
        self.most = 0
        self._items: Iterator[Any] | None = None if isinstance(data, AsyncIterable) else iter(data)
        self._later: AsyncIterator[Any] | None = aiter(data) if isinstance(data, AsyncIterable) else None
        self._reading: asyncio.Task[None] | None = None
        self._is_over = False
        # The exception that the data raised; raised again when all items read before have been run.
        self._broken: Exception | None = None
        self._fresh: deque[tuple[int, Any]] = deque()
        self._again: deque[tuple[int, Any]] = deque()
        # Items that are set aside, by index.
        self._aside: dict[int, Any] = {}
        # Indexes of items that have run too long.
        self._late: set[int] = set()
        # Items that failed for good, for the notes on their exceptions.
        self._failed: dict[int, Any] = {}
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
        if self.timeout_s is not None:
            self._looked_s = loop.time()
            self._look(look_every_s(self.timeout_s))
        try:
            while not self.outcome.doomed:
                self._news.clear()
                wait_s = self._fill()
                if not (self._tasks or self._reading or self._again or self._aside or self._fresh) and self._is_over:
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
                await self._end()
            finally:
                self.share.leave()
        if self._broken is not None and not self.outcome.doomed:
            raise self._broken
        return self.outcome.finish(self._failed.__getitem__)

    async def _end(self) -> None:
        """Cancel all running tasks and wait for their end, even if this task is cancelled meanwhile."""
        self._is_ending = True
        running = {*self._tasks, *([self._reading] if self._reading is not None else [])}
        for task in running:
            task.cancel()
        cancelled: BaseException | None = None
        while any(not task.done() for task in running):
            try:
                await asyncio.wait(running)
            except asyncio.CancelledError as exc:
                cancelled = exc
        for task in running:
            if not task.cancelled():
                # Mark the exception as retrieved; else asyncio logs it.
                task.exception()
        if cancelled is not None:
            raise cancelled

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
        if not self._fresh and self._items is not None and not self._is_over:
            try:
                self._take(next(self._items, END))
            except Exception as exc:  # noqa: BLE001
                self._break(exc)
        if not self._fresh and self._later is not None and not self._is_over and self._reading is None:
            self._reading = asyncio.ensure_future(self._read(self._later))
        return self._fresh.popleft() if self._fresh else None

    async def _read(self, later: AsyncIterator[Any]) -> None:
        try:
            self._take(await anext(later, END))
        except Exception as exc:  # noqa: BLE001
            self._break(exc)
        finally:
            self._reading = None
            self._news.set()

    def _take(self, item: Any) -> None:
        if item is END:
            self._is_over = True
        else:
            self._fresh.append((self.length, item))
            self.length += 1

    def _break(self, exc: Exception) -> None:
        blame_iterator(exc, self.length)
        self._broken, self._is_over = exc, True

    def _begin(self, index: int, item: Any) -> None:
        ticket = self.share.began(perf_counter())
        self.most = max(self.most, self.share.in_flight)
        task = asyncio.ensure_future(self._call(index, item))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(done, ticket, index, item))

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

    def _done(self, task: asyncio.Task[Any], ticket: int, index: int, item: Any) -> None:
        self._tasks.discard(task)
        self._news.set()
        if self._is_ending:
            self.share.dropped(ticket)
            return
        exc = asyncio.CancelledError() if task.cancelled() else task.exception()
        self.share.ended(ticket, perf_counter(), well=exc is None)
        if exc is None:
            self.repeats.tries.pop(index, None)
            self.outcome.put(index, [task.result()])
            return
        is_late = index in self._late
        self._late.discard(index)
        wait_s = self.repeats.failed(index, is_covered=is_late or self.repeats.covers(exc))
        if wait_s is not None:
            if wait_s > 0.0:
                self._aside[index] = item
                self.repeats.set_aside(index, perf_counter() + wait_s)
            else:
                self._again.append((index, item))
            return
        self._failed[index] = item
        self.outcome.fail(failure_here(index, exc))


async def call(func: Callable[..., object], args: tuple[Any, ...]) -> None:
    """Call an initializer; await it if it is a coroutine function."""
    try:
        made = func(*args)
        if inspect.isawaitable(made):
            await made
    except BaseException as exc:
        blame_initializer(exc, "in the caller")
        raise
