"""Time limits of items, for a test in which only some of the items may be late.

On a busy machine any process may stand still for longer than the limits of a quick test. So the clock of all other
items stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from amorsize.backends.processes import ProcessDriver
from amorsize.frozen import replace


@contextmanager
def only_late(items: Collection[int], is_time: Callable[[], object] = lambda: True) -> Iterator[None]:
    """Let time pass for these items of a map alone (of an `Executor`: counted over all its calls).

    ``is_time``: not even for these, until it is true.
    """
    read = ProcessDriver._running

    def running(self: Any, number: int, now_s: float) -> Any:
        seen = read(self, number, now_s)
        worker = self.schedule.workers.get(number)
        span = worker.flying[0] if worker is not None and worker.flying else range(0)
        at = range(span.start, span.stop) if seen.item is None else [seen.item]
        return seen if set(items) & set(at) and is_time() else replace(seen, for_s=0.0)

    ProcessDriver._running = running  # type: ignore[method-assign]
    try:
        yield
    finally:
        ProcessDriver._running = read  # type: ignore[method-assign]
