"""``stream_async()``: yields results one by one to an event loop, while the map runs as tasks on it or in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from threading import Condition
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol

from amorsize.backends.arrivals import ended
from amorsize.backends.results import Flow
from amorsize.backends.stop import Stop
from amorsize.hints import fold
from amorsize.run.async_map import TaskRun, arrivals_of, in_a_thread, refuse_coroutines
from amorsize.run.execute import Execution
from amorsize.run.stream import AHEAD_BYTES, AHEAD_ITEMS, LOOK_S, Window, run_step
from amorsize.schedule.messages import ResultsTaken

if TYPE_CHECKING:
    from amorsize.options import Request
    from amorsize.run.map_state import MapState

# While results wait for the reader, the driver does not block, and looks for reports of workers after pauses: of this
# share of the time since the last ones came, between these bounds.
# guess
PAUSE_SHARE: Final = 0.1
LEAST_PAUSE_S: Final = 0.5e-3
MOST_PAUSE_S: Final = 50e-3


class Map(Protocol):
    """A map that runs while its results are taken."""

    async def run(self) -> object:
        """Run the map to its end; cancelling it ends the work."""

    def take(self) -> list[Any]:
        """Return the results that are ready, and forget them."""

    def taken(self, items: int) -> None:
        """Note that the reader has taken so many results."""

    def stop(self) -> None:
        """End what goes on without the event loop."""


async def stream_results(
    request: Request,
    *,
    ordered: bool,
    max_ahead: int | None,
    max_ahead_bytes: int | None,
) -> AsyncGenerator[Any, None]:
    """Yield the results of ``request``. Closing the generator ends the work, and waits for its end."""
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    flow = Flow(request.on_error, request.max_failures, ordered=ordered)
    window = Window(max_ahead or AHEAD_ITEMS, max_ahead_bytes or AHEAD_BYTES)
    kind = TaskMap if request.is_coroutine else ThreadMap
    work: Map = kind(request, flow, window, came.set)
    running = asyncio.ensure_future(work.run())
    # The task holds nothing of this generator, or it could not be deleted as long as the work goes on.
    running.add_done_callback(lambda _, tell=came.set: tell())  # type: ignore[misc]
    try:
        is_over, since = False, perf_counter()
        while not is_over:
            await came.wait()
            came.clear()
            is_over = running.done()
            for value in work.take():
                yield value
                work.taken(1)
                if perf_counter() - since > LOOK_S:
                    # Where results are always ready, nothing else lets the other tasks of the loop run.
                    await asyncio.sleep(0)
                    since = perf_counter()
        await running
    except BaseException as exc:
        fold(exc)
        raise
    finally:
        if loop.is_closed():
            # Nothing can be awaited any more.
            work.stop()
        else:
            await ended([running])


class TaskMap:
    """A map of a coroutine function."""

    def __init__(self, request: Request, flow: Flow, window: Window, tell: Callable[[], object]) -> None:
        self.window = window
        self._run = TaskRun(request, flow, window=window.items)
        # With a checkpoint it is another one.
        self.flow: Flow = self._run.state.outcome  # type: ignore[assignment]
        self._run.tasks.on_result = tell

    async def run(self) -> None:
        """Run the map to its end."""
        await self._run.run()

    def take(self) -> list[Any]:
        """Return the results that are ready."""
        ready = self.flow.take()
        if ready:
            self.window.weigh(ready)
        return ready

    def taken(self, items: int) -> None:
        """Let more items begin."""
        items, self.flow.restored = items - self.flow.restored, 0
        self._run.tasks.taken(items, self.window.items)

    def stop(self) -> None:
        """Do nothing: without its loop no task goes on."""


class ThreadMap:
    """A map of a plain function, driven in a thread."""

    def __init__(self, request: Request, flow: Flow, window: Window, tell: Callable[[], object]) -> None:
        self.request, self.flow, self.window = request, flow, window
        self._loop = asyncio.get_running_loop()
        self._tell = tell
        self._stop = Stop()
        self._arrivals = arrivals_of(request, self._stop)
        # Notified when the reader has taken results, or the work must end.
        self._changed = Condition()
        self._ready: list[Any] = []
        # Results that the reader has not taken yet, and those that it has since the driver was told.
        self._waiting = self._taken = 0
        self._is_known = False
        self._last_s = 0.0

    # -- on the event loop -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the map to its end."""
        try:
            await in_a_thread(self._drive, self._stop)
        finally:
            if self._arrivals is not None:
                await self._arrivals.close()

    def take(self) -> list[Any]:
        """Return the results that are ready."""
        with self._changed:
            ready, self._ready = self._ready, []
        return ready

    def taken(self, items: int) -> None:
        """Let more items begin."""
        with self._changed:
            self._waiting -= items
            self._taken += items
            self._changed.notify()

    def stop(self) -> None:
        """End the thread."""
        self._stop.ask()

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _drive(self) -> None:
        execution = Execution(
            self.request, self.flow, window=self.window.items, stop=self._stop, arrivals=self._arrivals
        )
        self._stop.wake(self._wake)
        steps, state = execution.steps(), execution.state
        # With a checkpoint it is another one.
        flow: Flow = state.outcome  # type: ignore[assignment]
        error: BaseException | None = None
        goes_on = True
        self._last_s = perf_counter()
        try:
            while goes_on:
                self._make_room(state)
                goes_on, error = run_step(steps, flow)
                ready, old = flow.take(), flow.restored
                flow.restored = 0
                self._hand_on(ready, old if self._is_known else 0)
            if error is not None:
                raise error
            flow.finish(state.source.item)
        finally:
            steps.close()

    def _hand_on(self, ready: list[Any], old: int) -> None:
        """Hand results to the reader; ``old`` of them come from a checkpoint, and are not the driver's."""
        if not ready:
            return
        refuse_coroutines(ready)
        self._last_s = perf_counter()
        self.window.weigh(ready)
        with self._changed:
            self._ready += ready
            self._waiting += len(ready)
            self._taken -= old
        # The loop may be closed: no task waits any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._tell)

    def _make_room(self, state: MapState) -> None:
        """Wait until the map may go on, and tell it how far ahead of the reader it may run."""
        if state.driver is None:
            self._is_known = False
            with self._changed:
                while self._waiting >= self.window.items and not self._stop.asked:
                    self._changed.wait()
                state.window = max(1, self.window.items - self._waiting)
            return
        with self._changed:
            # The driver must take reports of its workers meanwhile.
            if self._waiting:
                pause_s = PAUSE_SHARE * (perf_counter() - self._last_s)
                self._changed.wait_for(
                    lambda: self._taken or self._stop.asked, min(max(pause_s, LEAST_PAUSE_S), MOST_PAUSE_S)
                )
            state.ticks.poll = self._waiting > 0
            # At first the schedule does not know of results from before.
            taken = self._taken if self._is_known else -self._waiting
            self._is_known, self._taken = True, 0
        state.tell(ResultsTaken(taken, self.window.items))

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()
