"""Coroutine functions: their items as tasks on the running event loop, as many at a time as prove to be good."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from time import perf_counter
from typing import Any, Final

from amorsize.backends.results import Outcome, failure_here
from amorsize.errors import ItemTimeoutError
from amorsize.schedule.rate_limit import Pace
from amorsize.schedule.task_count import Concurrency

END: Final = object()


class Tasks:
    """Runs one map on the running loop.

    Parameters
    ----------
    func : coroutine function
    data : iterable or async iterable
        Read as items are needed.
    outcome : Outcome
    concurrency : Concurrency
        How many items may be in flight.
    retries : int
        How often an item that raises is repeated.
    timeout_s : float, optional
        How long an item may run.
    pace : Pace, optional
        How many may begin in what time.
    """

    def __init__(
        self,
        func: Callable[[Any], Any],
        data: Iterable[Any] | AsyncIterable[Any],
        outcome: Outcome,
        concurrency: Concurrency,
        *,
        retries: int = 0,
        timeout_s: float | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.func = func
        self.outcome = outcome
        self.concurrency = concurrency
        self.retries = retries
        self.timeout_s = timeout_s
        self.pace = pace
        self.length = 0  # items read so far
        self.most = 0  # that were in flight at a time
        self._items: Iterator[Any] | None = None if isinstance(data, AsyncIterable) else iter(data)
        self._later: AsyncIterator[Any] | None = aiter(data) if isinstance(data, AsyncIterable) else None
        self._reading: asyncio.Task[None] | None = None
        self._is_over = False
        self._broken: Exception | None = None  # what the data raised: raised again when all before it has been run
        self._fresh: deque[tuple[int, Any]] = deque()
        self._again: deque[tuple[int, Any]] = deque()
        self._tries: dict[int, int] = {}
        self._failed: dict[int, Any] = {}  # the items, for the notes on their exceptions
        self._tasks: set[asyncio.Task[Any]] = set()
        self._news = asyncio.Event()
        self._is_ending = False  # what comes now is no longer anybody's result

    async def run(self) -> list[Any]:
        """Run all items; the results in their order, or what `Outcome.finish` raises."""
        loop = asyncio.get_running_loop()
        try:
            while not self.outcome.doomed:
                self._news.clear()
                wait_s = self._fill()
                if not (self._tasks or self._reading or self._again or self._fresh) and self._is_over:
                    break
                timer = None if wait_s is None else loop.call_later(wait_s, self._news.set)
                try:
                    await self._news.wait()
                finally:
                    if timer is not None:
                        timer.cancel()
        finally:
            await self._end()
        if self._broken is not None and not self.outcome.doomed:
            raise self._broken
        return self.outcome.finish(self._failed.__getitem__)

    async def _end(self) -> None:
        """Cancel what is still running, and wait until it has ended, however often this task is cancelled."""
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
                task.exception()  # seen: nobody need be told
        if cancelled is not None:
            raise cancelled

    # -- beginning -----------------------------------------------------------------------------------------------

    def _fill(self) -> float | None:
        """Begin as many items as may; if it is the pace that forbids more, seconds until it allows one."""
        while self.concurrency.in_flight < self.concurrency.limit:
            if self.pace is not None and not self.pace.allowed(perf_counter()):
                return self.pace.wait_s(perf_counter())
            work = self._again.popleft() if self._again else self._next()
            if work is None:
                return None
            if self.pace is not None:
                self.pace.spend(1, perf_counter())
            self._begin(*work)
        return None

    def _next(self) -> tuple[int, Any] | None:
        """The next new item, if there is one now."""
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
        self._broken, self._is_over = exc, True

    def _begin(self, index: int, item: Any) -> None:
        ticket = self.concurrency.began(perf_counter())
        self.most = max(self.most, self.concurrency.in_flight)
        task = asyncio.ensure_future(self._call(index, item))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(done, ticket, index, item))

    async def _call(self, index: int, item: Any) -> Any:
        if self.timeout_s is None:
            return await self.func(item)
        try:
            async with asyncio.timeout(self.timeout_s) as scope:
                return await self.func(item)
        except TimeoutError:
            if not scope.expired():
                raise
            raise ItemTimeoutError(index, self.timeout_s) from None

    # -- ending --------------------------------------------------------------------------------------------------

    def _done(self, task: asyncio.Task[Any], ticket: int, index: int, item: Any) -> None:
        self._tasks.discard(task)
        self._news.set()
        if self._is_ending:
            return
        exc = asyncio.CancelledError() if task.cancelled() else task.exception()
        self.concurrency.ended(ticket, perf_counter(), well=exc is None)
        if exc is None:
            self.outcome.put(index, [task.result()])
            return
        tries = self._tries[index] = self._tries.get(index, 0) + 1
        if isinstance(exc, Exception) and tries <= self.retries:
            self._again.append((index, item))
            return
        self._failed[index] = item
        self.outcome.fail(failure_here(index, exc))


async def call(func: Callable[..., object], args: tuple[Any, ...]) -> None:
    """Call an initializer, which may be a coroutine function, too."""
    made = func(*args)
    if inspect.isawaitable(made):
        await made
