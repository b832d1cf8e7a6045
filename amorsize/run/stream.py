"""``stream()``: yields results one by one while the map runs, at most a window of items ahead of the reader."""

from __future__ import annotations

from time import perf_counter

from amorsize.backends.results import Flow
from amorsize.hints import fold
from amorsize.run.execute import Execution
from amorsize.system.looks import held_bytes, is_interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any, Final

    from amorsize.options import Request

# guess: about 0.1 s of tiny items, so that short pauses of the reader do not stop the workers
AHEAD_ITEMS: Final = 16_384
# guess
AHEAD_BYTES: Final = 64 << 20
# guess: if the reader spends more time than this on results, the driver takes a step between two of them
LOOK_S: Final = 1e-3


class Streaming:
    """A map whose results are taken while it runs.

    Parameters
    ----------
    request : Request
    ordered : bool
        True: results in the order of the data; False: in the order of completion.
    max_ahead, max_ahead_bytes : int, optional
        Items, and bytes of results, that may be ahead of the reader.
    arrivals : optional
        The data, if they are read only as they arrive: an iterator with ``gather(into, wanted)``, which appends what
        has come within a few milliseconds, at most so many items, and returns True if there are no more.

    Attributes
    ----------
    flow : Flow
        Holds the results that are ready.
    goes_on : bool
        False when no step may follow.
    """

    def __init__(
        self,
        request: Request,
        *,
        ordered: bool = True,
        max_ahead: int | None = None,
        max_ahead_bytes: int | None = None,
        arrivals: Any = None,
    ) -> None:
        self.window = Window(max_ahead or AHEAD_ITEMS, max_ahead_bytes or AHEAD_BYTES)
        flow = Flow(request.on_error, request.max_failures, ordered=ordered)
        self.execution = Execution(request, flow, window=self.window.items, arrivals=arrivals)
        self.state = self.execution.state
        # With a checkpoint it is another one.
        self.flow: Flow = self.state.outcome  # type: ignore[assignment]
        self.goes_on = True
        self._steps = self.execution.steps()
        self._error: BaseException | None = None

    def step(self, *, poll: bool = False) -> None:
        """Run one step of the driver; ``poll``: without waiting, since the reader has results to take."""
        self.state.ticks.poll = poll
        self.goes_on, self._error = run_step(self._steps, self.flow)

    def weigh(self, values: list[Any]) -> None:
        """Take the size of some results into account."""
        self.state.window = self.window.weigh(values)

    def taken(self, items: int) -> None:
        """Note that the reader has taken so many results: more items may begin."""
        items, self.flow.restored = items - self.flow.restored, 0
        if self.state.driver is not None and self.goes_on:
            # A driver has loaded them.
            from amorsize.schedule.messages import ResultsTaken

            self.state.tell(ResultsTaken(items, self.window.items))

    def end(self) -> None:
        """Raise what the last step, or an item, has raised."""
        if self._error is not None:
            raise self._error
        self.flow.finish(self.state.source.item)

    def close(self, exc: KeyboardInterrupt | None = None) -> None:
        """End the workers; after an interrupt, which is ``exc``, without waiting for items that run in threads."""
        if exc is None:
            self._steps.close()
            return
        try:
            self._steps.throw(exc)
        except BaseException as raised:
            if raised is not exc:
                raise

    def pieces(self) -> Generator[list[tuple[int, list[Any]]], None, None]:
        """Yield all that is ready, each time that something is: see `Flow.take_pieces`."""
        try:
            while self.goes_on:
                self.step()
                while pieces := self.flow.take_pieces():
                    self.weigh(pieces[-1][1])
                    yield pieces
                    self.taken(sum(len(values) for _, values in pieces))
            self.end()
        except KeyboardInterrupt as exc:
            self.close(exc)
            raise
        finally:
            self.close()


def stream_results(
    request: Request,
    *,
    ordered: bool,
    max_ahead: int | None,
    max_ahead_bytes: int | None,
) -> Generator[Any, None, None]:
    """Yield the results of ``request``. Closing the generator ends the workers."""
    run = Streaming(request, ordered=ordered, max_ahead=max_ahead, max_ahead_bytes=max_ahead_bytes)
    try:
        while run.goes_on:
            run.step()
            while ready := run.flow.take():
                run.weigh(ready)
                if run.state.driver is None:
                    yield from ready
                    run.taken(len(ready))
                    continue
                taken, since = 0, perf_counter()
                for value in ready:
                    yield value
                    taken += 1
                    # A driver that has ended leaves the rest to a loop, which counts on all these being taken first.
                    if run.goes_on and run.state.driver is not None and perf_counter() - since > LOOK_S:
                        run.taken(taken)
                        run.step(poll=True)
                        taken, since = 0, perf_counter()
                run.taken(taken)
        run.end()
    except BaseException as exc:
        fold(exc)
        raise
    finally:
        run.close()


def run_step(steps: Generator[None, None, None], flow: Flow) -> tuple[bool, BaseException | None]:
    """Run one step of the driver; return True if more steps may follow, and the exception that the step raised.

    The exception is raised after the reader has taken the results that are ready. Ctrl-C, and what the handler of a
    signal raised, are raised at once: the reader may take no more results.
    """
    try:
        return _run_step(steps, flow)
    except KeyboardInterrupt as exc:
        flow.interrupted(exc)
        raise


def _run_step(steps: Generator[None, None, None], flow: Flow) -> tuple[bool, BaseException | None]:
    error: Exception | None = None
    try:
        next(steps)
        goes_on = True
    except StopIteration:
        goes_on = False
    except Exception as exc:
        if is_interrupt(exc):
            raise
        goes_on, error = False, exc
    if flow.fatal is not None and is_interrupt(flow.fatal.exception):
        flow.finish()
    return goes_on, error


class Window:
    """The number of items that may be ahead of the reader: at most ``most``, and at most ``most_bytes`` of results."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self.item_bytes = 0.0

    def weigh(self, values: list[Any]) -> int:
        """Update the mean size of a result from a sample of these; return the number of items that may be ahead."""
        some = values[:: max(1, len(values) // 4)][:4]
        size = sum(map(held_bytes, some)) / len(some)
        self.item_bytes += (size - self.item_bytes) * (0.3 if self.item_bytes else 1.0)
        return self.items

    @property
    def items(self) -> int:
        """The number of items that may be ahead now."""
        if not self.item_bytes:
            return self.most
        return max(1, min(self.most, int(self.most_bytes / self.item_bytes)))
