"""The plain loop in the caller, in batches short enough to look at the clock between them."""

from __future__ import annotations

from collections.abc import Callable, Sized

from amorsize.backends.results import Outcome, failure_here
from amorsize.backends.source import Indexable, Streamed
from amorsize.facts import Observation
from amorsize.system.clock import PAGE_BYTES, REAL, Clock, busy_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from amorsize.backends.notify import News
    from amorsize.backends.workers.item_times import Records

STREAM_BATCH: Final = 1024  # items of an iterator at a time, where nobody looks at the clock


class Loop:
    """Runs items in the caller and keeps their results.

    Parameters
    ----------
    func : callable
    source : Indexable or Streamed
    outcome : Outcome
    retries : int
        How often an item that raises is repeated.
    """

    def __init__(
        self,
        func: Callable[[Any], Any],
        source: Indexable | Streamed,
        outcome: Outcome,
        retries: int = 0,
        clock: Clock = REAL,
        records: Records | None = None,
        news: News | None = None,
    ) -> None:
        self.func = func
        self.source = source
        self.outcome = outcome
        self.retries = retries
        self.clock = clock
        self.records = records
        self.news = news
        self.read_s = 0.0  # what it took to come by the items: an iterator may compute them
        self._failed = 0

    def run(self, start: int, stop: int) -> Observation:
        """Run items ``start`` to ``stop`` and say what they took.

        Runs fewer if the source has no more, or when an item fails that dooms the outcome.
        """
        clock = self.clock
        began = clock.wall()
        items = self.source.view(start, stop)
        into = self.outcome.place_for(start)
        counts = clock.counts()
        wall, cpu, process = clock.wall(), clock.thread_cpu(), clock.process_cpu()
        self.read_s += wall - began
        done = self._map(items, start, into)
        wall, cpu, process = clock.wall() - wall, clock.thread_cpu() - cpu, clock.process_cpu() - process
        after = clock.counts()
        self.outcome.put(start, into)  # not the items' time: far ahead of the others, it makes room for all between
        self.source.release(start, start + done)
        if done == 1 and self.records is not None:
            self.records.saw(start, wall, cpu)
        if self.news is not None:
            self.news.chunk(None, start, done, self._failed, wall, cpu)
        new_bytes = (after[2] - counts[2]) * PAGE_BYTES
        return Observation(start, done, wall, busy_s(wall, cpu, counts, after), process, new_bytes)

    def _map(self, items: Sized, start: int, into: list[Any]) -> int:
        """``into += map(func, items)`` at its own speed, yet it knows where an exception came from; says how many."""
        first, self._failed = len(into), 0
        todo = iter(items)  # type: ignore[call-overload]
        while True:
            try:
                into.extend(map(self.func, todo))
                if len(into) - first == len(items):
                    return len(items)
                # func raised StopIteration, which map() swallows and takes for the end of the items.
                raised: BaseException = StopIteration()
            except BaseException as exc:  # noqa: BLE001  (it is the outcome's to raise)
                # list.extend keeps what it had taken when its iterator raised: so many items had gone well.
                raised = exc
            at = len(into)
            index = start + at - first
            result = self._again(items, index, start, raised)
            if self.outcome.doomed or (self.outcome.on_error == "raise" and index in self.outcome.failures):
                return at - first
            into[at:] = [result]

    def _again(self, items: Any, index: int, start: int, exc: BaseException) -> Any:
        """Repeat an item that raised, as often as allowed; its result, or its `Failure`, of which the outcome knows."""
        for _ in range(self.retries):
            if not isinstance(exc, Exception):
                break
            try:
                return self.func(items[index - start])
            except BaseException as again:  # noqa: BLE001
                exc = again
        failure = failure_here(index, exc)
        self._failed += 1
        self.outcome.note(failure)
        return failure
