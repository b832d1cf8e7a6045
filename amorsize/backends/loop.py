"""Run items in the caller in a plain loop, in batches short enough to read the clock between them."""

from __future__ import annotations

from sys import modules

from amorsize.backends.results import Outcome, failure_here
from amorsize.backends.source import Indexable, Streamed
from amorsize.loop_facts import Observation
from amorsize.schedule.failures import Repeats
from amorsize.system import nested
from amorsize.system.clock import LONG_S, PAGE_BYTES, REAL, Clock, CpuTime, busy_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sized
    from typing import Any, Final

    from amorsize.backends.notify import News
    from amorsize.backends.workers.item_times import Meter, Record
    from amorsize.loop_facts import Failure

# Number of items that are read from an iterator per batch, if no decision is made between batches (a guess).
STREAM_BATCH: Final = 1024
# Items of 0.5 ms in the longest batch of a loop (`amorsize.model.decide.STAYED_BATCH_S`).
MOST_METERED: Final = 100


class Loop:
    """Run items in the caller and keep their results.

    Parameters
    ----------
    func : callable
    source : Indexable or Streamed
    outcome : Outcome
    retries : int or Repeats
        Number of times that an item that raised is repeated; or the whole rule of the map.
    saw_long : callable, optional
        Takes index, wall and CPU seconds of an item that took `LONG_S` or more and ran alone.

    Attributes
    ----------
    meter : Meter or None
        Measures items one by one, from the first long item on.
    took_long : callable
        Takes the records of the long items of a batch.
    is_paced : bool
        True if each repeat must wait for its turn: it is set aside, although it is due at once.
    """

    def __init__(
        self,
        func: Callable[[Any], Any],
        source: Indexable | Streamed,
        outcome: Outcome,
        retries: int | Repeats = 0,
        saw_long: Callable[[int, float, float], object] | None = None,
        news: News | None = None,
    ) -> None:
        self.func = func
        self.source = source
        self.outcome = outcome
        self.repeats = Repeats.of(retries)
        self.is_paced = False
        self.clock: Clock = REAL
        self.saw_long = saw_long
        self.meter: Meter | None = None
        self.took_long: Callable[[list[Record]], object] = list
        self.news = news
        # Seconds spent on reading items: an iterator may compute them.
        self.read_s = 0.0
        # Of a function of `starmap`, whose module is loaded with it.
        self._mapped = getattr(modules.get("amorsize.system.starred"), "mapped", None)
        self._cpu = CpuTime()
        self._failed = 0
        # In the latest run: items without a result, which are set aside or reported.
        self._holes: list[int] = []
        # In a run for a schedule: what items raised.
        self._raised: list[Failure] | None = None

    def report(self, start: int, stop: int) -> tuple[Observation, list[Failure]]:
        """Run items once, for a schedule, which decides on those that raise: they are returned, and have no result.

        After an item that raised, the others run only if they are wanted then, too.
        """
        raised: list[Failure] = []
        self._raised = raised
        try:
            return self.run(start, stop), raised
        finally:
            self._raised = None

    def run(self, start: int, stop: int) -> Observation:
        """Run items ``start`` to ``stop``. Return their number and the time that they took.

        Fewer items are run if the source has no more, or if a failure dooms the outcome. Those that raise are repeated
        at once, or set aside (`Observation.aside`), or they fail for good.
        """
        clock = self.clock
        began = clock.wall()
        items = self.source.view(start, stop)
        into = self.outcome.place_for(start)
        counts = clock.counts()
        wall, cpu, process = clock.wall(), clock.thread_cpu(), clock.process_cpu()
        self.read_s += wall - began
        if self._holes:
            self._holes = []
        done = self._map(items, start, into)
        wall, cpu, process = clock.wall() - wall, clock.thread_cpu() - cpu, clock.process_cpu() - process
        after = clock.counts()
        if clock.cpu_tick_s:
            cpu, process = self._cpu.of(wall, cpu, process, clock.cpu_tick_s)
        # Not part of the items' time: a result far beyond the others makes room for all between.
        self.outcome.put(start, into, but=self._holes)
        self.source.release(start, start + done, but=self._holes)
        if self.meter is not None and done:
            self.meter.measures = self.meter.measures and _is_metered(len(items))
            self.took_long(self.meter.report(start, done, wall, cpu)[1])
        elif done == len(items) == 1 and wall >= LONG_S and self.saw_long is not None:
            self.saw_long(start, wall, cpu)
        if self.news is not None:
            self.news.chunk(None, start, done, self._failed, wall, cpu)
        new_bytes = (after[2] - counts[2]) * PAGE_BYTES
        aside = 0 if self._raised is not None else len(self._holes)
        return Observation(start, done, wall, busy_s(wall, cpu, counts, after), process, new_bytes, aside=aside)

    def _map(self, items: Sized, start: int, into: list[Any]) -> int:
        """Do ``into += map(func, items)`` at full speed, and find the item that raised. Return the number of items."""
        first, self._failed = len(into), 0
        meter = self.meter
        func = self.func if meter is None or not _is_metered(len(items)) else meter.over(self.func, start)
        todo = iter(items)  # type: ignore[call-overload]
        forks = nested.forks
        while True:
            nested.walks.append(todo)
            try:
                into.extend(map(func, todo) if self._mapped is None else self._mapped(func, todo))
                nested.leave_copy(forks)
                done = len(into) - first
                if done == len(items) or (hasattr(items, "ends_at") and items.ends_at(done)):
                    return done
                # func raised StopIteration, which map() swallows and takes for the end of the items.
                raised: BaseException = StopIteration()
            except BaseException as exc:  # noqa: BLE001  (the outcome raises it)
                # When its iterator raises, list.extend keeps the results so far: their number gives the item's index.
                nested.leave_copy(forks, exc)
                raised = exc
            finally:
                nested.walks.remove(todo)
            at = len(into)
            index = start + at - first
            if self._raised is not None:
                self._raised.append(failure_here(index, raised))
                self._leave_out(index)
                into[at:] = [None]
                if self.outcome.most_failures == 0 and not self.repeats.covers(raised):
                    return at - first + 1
                if meter is not None:
                    meter.go_on(index + 1)
                continue
            result = self._again(func, items, index, start, raised)
            if self.outcome.doomed or (self.outcome.on_error == "raise" and index in self.outcome.failures):
                return at - first
            into[at:] = [result]
            if meter is not None:
                meter.go_on(index + 1)

    def _leave_out(self, index: int) -> None:
        """Note that an item has raised, and has no result yet."""
        self._failed += 1
        self._holes.append(index)

    def _again(self, func: Callable[[Any], Any], items: Any, index: int, start: int, exc: BaseException) -> Any:
        """Repeat an item that raised, if allowed. Return its result, or the `Failure` that was noted in the outcome.

        An item that must wait is set aside; None stands for its result.
        """
        repeats, forks = self.repeats, nested.forks
        while (wait_s := repeats.failed(index, is_covered=repeats.covers(exc))) is not None:
            if wait_s > 0.0 or self.is_paced:
                repeats.set_aside(index, self.clock.wall() + wait_s)
                self._leave_out(index)
                return None
            if self.meter is not None:
                self.meter.go_on(index)
            try:
                result = func(items[index - start])
            except BaseException as again:  # noqa: BLE001
                nested.leave_copy(forks, again)
                exc = again
            else:
                nested.leave_copy(forks)
                repeats.tries.pop(index, None)
                return result
        failure = failure_here(index, exc)
        self._failed += 1
        self.outcome.note(failure)
        return failure


def _is_metered(items: int) -> bool:
    """Return True if the items of a batch are measured one by one: many are short, and a single one is the batch."""
    return 1 < items <= MOST_METERED
