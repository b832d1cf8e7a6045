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


def stream_results(
    request: Request,
    *,
    ordered: bool,
    max_ahead: int | None,
    max_ahead_bytes: int | None,
) -> Generator[Any, None, None]:
    """Yield the results of ``request``. Closing the generator ends the workers."""
    flow = Flow(request.on_error, request.max_failures, ordered=ordered)
    window = Window(max_ahead or AHEAD_ITEMS, max_ahead_bytes or AHEAD_BYTES)
    execution = Execution(request, flow, window=window.items)
    state = execution.state
    steps = execution.steps()
    error: BaseException | None = None
    goes_on = True
    try:
        while goes_on:
            state.ticks.poll = False
            goes_on, error = run_step(steps, flow)
            while ready := flow.take():
                state.window = window.weigh(ready)
                if state.driver is None:
                    yield from ready
                    continue
                # A driver has loaded them.
                from amorsize.schedule.messages import ResultsTaken

                taken, since = 0, perf_counter()
                for value in ready:
                    yield value
                    taken += 1
                    if goes_on and perf_counter() - since > LOOK_S:
                        state.tell(ResultsTaken(taken, window.items))
                        state.ticks.poll = True
                        goes_on, error = run_step(steps, flow)
                        taken, since = 0, perf_counter()
                if goes_on:
                    state.tell(ResultsTaken(taken, window.items))
        if error is not None:
            raise error
        flow.finish(state.source.item)
    except BaseException as exc:
        fold(exc)
        raise
    finally:
        steps.close()


def run_step(steps: Generator[None, None, None], flow: Flow) -> tuple[bool, BaseException | None]:
    """Run one step of the driver; return True if more steps may follow, and the exception that the step raised.

    The exception is raised after the reader has taken the results that are ready. Ctrl-C, and what the handler of a
    signal raised, are raised at once: the reader may take no more results.
    """
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
