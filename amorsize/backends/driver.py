"""The one loop that drives workers: it carries out the schedule's instructions and reports events back.

A backend derives from `Driver` and defines how to start its workers (`Driver.start`), give them items
(`Driver.submit`), receive from them (`Driver.receive`), let them go (`Driver.retire`) and end them (`Driver.kill`). It
decides nothing: the schedule does (`amorsize.schedule.schedule`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps

from amorsize.backends.results import Outcome
from amorsize.backends.source import PATIENCE_S, Indexable, Streamed
from amorsize.backends.ticks import Ticks, drain
from amorsize.backends.workers.item_times import Record, Records
from amorsize.errors import AmorsizeError
from amorsize.facts import Failure, ItemRecord, Ran
from amorsize.frozen import NamedTuple
from amorsize.schedule.messages import (
    Done,
    Event,
    Fail,
    Finish,
    GiveUp,
    Instruction,
    Kill,
    Retire,
    Running,
    Send,
    ShortSend,
    SourceEnded,
    Span,
    Start,
    Tick,
    Why,
)
from amorsize.schedule.schedule import Schedule
from amorsize.system.critical import at_most
from amorsize.system.nested import changed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from amorsize.backends.loop import Loop
    from amorsize.backends.notify import News
    from amorsize.facts import Sample


# Share of the time of a slow read that may be spent on waiting for results before the next read (a guess).
READ_SHARE: Final = 0.1


class Work(NamedTuple):
    """The data of a map that a driver needs: items, function, results, and the periodic checks."""

    func: Callable[[Any], Any]
    source: Indexable | Streamed
    outcome: Outcome
    ticks: Ticks
    records: Records
    news: News | None
    loop: Loop | None
    """Runs items in the caller; None: func never runs in the caller."""
    executor: Any
    """The object passed as ``backend=``, for the rows of the table that serve one."""
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    keeps_going: bool
    """True if a chunk goes on after an item that raised."""
    has_timeout: bool
    is_streamed: bool
    """True if a consumer takes the results away while the map goes on."""
    cores: float
    """Usable cores of this machine."""
    runs_threads: bool
    """True if func may run threads of its own (BLAS), so that workers must share the cores among these."""
    warn: Callable[[str], object]


class Opened:
    """A context manager from a generator that yields a driver once, and cleans up whether or not the run raises.

    The generator does not see an exception of the block. `contextlib.contextmanager` would throw it into the generator
    and then set its ``__traceback__``. An exception class of the user's may refuse that (a frozen dataclass), and then
    another exception would be raised instead.
    """

    def __init__(self, steps: Generator[Any, None, None]) -> None:
        self._steps = steps

    def __enter__(self) -> Any:
        return next(self._steps)

    def __exit__(self, *exc: object) -> None:
        self._steps.close()


def opening(function: Callable[..., Generator[Any, None, None]]) -> Callable[..., Opened]:
    """Decorate a generator function, for use in a with statement."""

    @wraps(function)
    def opened(*args: Any) -> Opened:
        return Opened(function(*args))

    return opened


class CannotStart(Exception):  # noqa: N818
    """No worker can be started: func cannot be sent to one, or the system refuses to start one."""

    def __init__(self, why: AmorsizeError) -> None:
        super().__init__(why)
        self.why = why


class Driver:
    """Carries out a schedule.

    Parameters
    ----------
    schedule : Schedule
    source : Indexable or Streamed
        Where items come from.
    outcome : Outcome
        Where results and failures go.
    ticks : Ticks, optional
        Periodic checks: memory, limits, a stop.
    records : Records, optional
        The items that took longest.
    news : News, optional
        Is notified of chunks and workers.

    Attributes
    ----------
    left_over : list of (int, int or None)
        Items that the caller is to run itself, after the schedule gave up.
    evidence, sample : dict or None, Sample or None
        Of a map whose function may not run in the caller, so that no forecast could be made before: what its first
        items have shown, for `amorsize.model.engine_forecast.forecast`.
    warnings : list of str
        For the plan.
    """

    inherits = False
    """True if workers hold the items already, so that none is read from the source."""

    eager = False
    """Start all workers at once, also those of an open schedule."""

    def __init__(
        self,
        schedule: Schedule,
        source: Indexable | Streamed,
        outcome: Outcome,
        ticks: Ticks | None = None,
        *,
        records: Records | None = None,
        news: News | None = None,
    ) -> None:
        self.schedule = schedule
        self.source = source
        self.outcome = outcome
        self.ticks = ticks or Ticks()
        self.records = Records() if records is None else records
        self.news = news
        # The number of workers that the listeners know of.
        self._told = schedule.wanted
        self.warnings: list[str] = []
        self.left_over: list[tuple[int, int | None]] = []
        self.evidence: dict[str, Any] | None = None
        self.sample: Sample | None = None
        self._lock: AbstractContextManager[Any] = nullcontext()
        self._finished = False
        self._began = 0.0
        self._ready_s: float | None = None
        self._work_s = self._work_cpu_s = 0.0
        self._items = self._chunks = self._lost = 0
        # Seconds spent on reading in this turn of the loop.
        self._read_s = 0.0
        # True if the last read of the iterator was slow.
        self._is_slow = False
        self._spare_s = self._until_s = 0.0
        self._may_read = True

    # -- defined by a backend ------------------------------------------------------------------------------------

    def start(self, number: int) -> list[Instruction]:
        """Start a worker; return the instructions that follow at once."""
        raise NotImplementedError

    def submit(self, number: int, start: int, items: Any) -> None:
        """Give a worker these items, the first of which has the index ``start``."""
        raise NotImplementedError

    def receive(self, wait_s: float | None) -> None:
        """Wait at most ``wait_s`` seconds for reports of workers (None: until one comes), and act on them."""
        raise NotImplementedError

    def retire(self, number: int) -> None:
        """Let a worker go once it has run its items."""

    def kill(self, number: int) -> None:
        """End a worker now. Only a backend whose items can have a time limit is asked to."""

    def open(self) -> None:
        """Called before the first instruction is carried out."""

    def started(self) -> None:
        """Called after each of the first instructions that started a worker."""

    def begun(self) -> None:
        """Called after all first instructions."""

    def over(self) -> None:
        """Called after the last turn. May raise the error that ended the run."""

    def abort(self, exc: BaseException) -> None:
        """End all workers, because ``exc`` is about to be raised. A second call does nothing."""

    def close(self) -> None:
        """Let all workers go after the run."""

    def running(self, now_s: float) -> tuple[Running, ...]:
        """Return the item that each worker runs, if a check of the items' time limit is due."""
        return ()

    def pids(self) -> list[int]:
        """Process ids of the workers, for the memory guard."""
        return []

    def wait_s(self, now_s: float) -> float | None:
        """Return how long the next turn may wait for reports; None: until one comes."""
        return self.ticks.wait_s(now_s, self.schedule.wait_s(now_s))

    def announce(self, event: Event) -> None:
        """Notify the listeners of an event that did not come from a worker."""

    def fail(self, index: int, why: Why, lot: int) -> None:
        """Record that this item of this group has failed for good."""
        # A fatal outcome has recorded this failure already.
        if self.outcome.fatal is None:
            self.outcome.fail(self.failure(index, why))
            # Else an endless stream would keep every item that failed. With a limit, the first is needed for a message.
            if self.outcome.most_failures is None and not self.inherits:
                self.source.release(index, index + 1)

    def failure(self, index: int, why: Why) -> Failure:
        """Return the failure of an item that has failed for good."""
        return self.outcome.last_error[index]

    def give_up(self, slow: bool) -> None:
        """Leave the remaining items to the caller: the backend is unprofitable (``slow``), or no worker survives."""
        self.left_over = self.schedule.left_over()
        self.finish()

    def finish(self) -> None:
        """End the loop: everything has been done, or the outcome is doomed."""
        self._finished = True

    def per_item_s(self) -> float | None:
        """Return the forecast of the seconds until one more item is done; None: unknown."""
        return self.schedule.per_item_s()

    def is_over(self) -> bool:
        """Return True if nothing more is to be done."""
        return self._finished or self.outcome.doomed

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> Ran:
        """Run to the end. Failures of items stand in the outcome; an exception of the source or backend is raised."""
        return drain(self.steps())

    def steps(self) -> Generator[None, None, Ran]:
        """Run to the end in steps. Between two steps the results so far may be taken away.

        The first step starts the workers and waits for none of them.
        """
        self._began = time.perf_counter()
        try:
            try:
                self.open()
                for instruction in self.schedule.begin(self._began, eager=self.eager):
                    with self._lock:
                        self._carry_out([instruction])
                    if isinstance(instruction, Start):
                        self.started()
                self.begun()
                yield
                while not self.is_over():
                    self._turn()
                    yield
                self.over()
                if self.source.indexable and len(self.outcome.results) > (self.source.length or 0):
                    # Later items have run than the first that a sequence lacks.
                    raise changed()
                self.close()
            except BaseException as exc:
                self.abort(exc)
                raise
        except BaseException as exc:
            # Once more, because an interrupt may have cut the first call short.
            self.abort(exc)
            raise
        return Ran(
            wall_s=time.perf_counter() - self._began,
            ready_s=self._ready_s,
            work_s=self._work_s,
            work_cpu_s=self._work_cpu_s,
            items=self._items,
            chunks=self._chunks,
            lost=self._lost,
            slowest=items_of(self.records.slowest),
            hungriest=items_of(self.records.hungriest),
        )

    def _turn(self) -> None:
        """Wait for reports and act on them; then make the periodic checks that are due."""
        with self._lock:
            wait_s = self.wait_s(time.perf_counter())
            if self.schedule.dry:
                wait_s = self._patience_s()
            self._read_s = 0.0
        before, self._may_read = self._items, False
        self.receive(at_most(wait_s))
        # Results that have arrived, or soon will, are passed on before the next read of a slow iterator, which delays
        # them.
        if self.is_over() or (self._is_slow and (self._items > before or self._patience_s() > 0.0)):
            return
        self._may_read = True
        now = time.perf_counter()
        events = self.ticks.look(now, self.pids)
        running = self.running(now)
        if running or self.schedule.wait_s(now) is not None:
            events.append(Tick(running))
        self.tell(events)
        self._may_read = False

    def tell(self, events: Iterable[Event]) -> None:
        """Report events from outside to the schedule."""
        for event in events:
            with self._lock:
                if not self.is_over():
                    self.announce(event)
                    self._carry_out(self._handle(event))

    def _handle(self, event: Event) -> list[Instruction]:
        out = self.schedule.handle(event, time.perf_counter())
        if self.news is not None and self.schedule.wanted != self._told > 0 < self.schedule.wanted:
            self.news.resized(self.schedule.wanted)
        self._told = self.schedule.wanted
        return out

    def _carry_out(self, instructions: list[Instruction]) -> None:
        todo = instructions[::-1]
        while todo:
            match todo.pop():
                case Start(number):
                    # The other workers may have done everything before this one could be started.
                    if number in self.schedule.workers:
                        todo.extend(self.start(number)[::-1])
                case Send(number, span):
                    todo.extend(self.send(number, span)[::-1])
                case Retire(number):
                    self.retire(number)
                case Kill(number):
                    self.kill(number)
                case Fail(index, why, lot):
                    self.fail(index, why, lot)
                    if self.outcome.doomed:
                        self.finish()
                        return
                case Finish():
                    self.finish()
                case GiveUp(slow):
                    self.give_up(slow)
                    return

    def send(self, number: int, span: Span) -> list[Instruction]:
        """Give a worker a span, or as much of it as the source has. Return the instructions that follow at once."""
        items = self.source.items(span.start, span.stop) if self.source.indexable else self._read(span)
        out = [] if len(items) == len(span) else self._handle(self._short(number, span, len(items)))
        if len(items):
            self.submit(number, span.start, items)
        return out

    def _read(self, span: Span) -> Any:
        """Read items of an iterator; none if reads have taken too long in this turn, because results wait meanwhile."""
        if self.schedule.dry or self._read_s > PATIENCE_S or (self._is_slow and not self._may_read):
            return ()
        began = time.perf_counter()
        items = self.source.items(span.start, span.stop)
        now = time.perf_counter()
        self._read_s += now - began
        self._is_slow = self._read_s > PATIENCE_S
        self._spare_s = READ_SHARE * self._read_s
        self._until_s = now + self._spare_s
        return items

    def _patience_s(self) -> float:
        """Return the seconds to wait for results that are due soon, before the next read of a slow iterator."""
        is_soon = self.schedule.workers.in_flight and self._work_s <= self._spare_s * self._items
        return max(0.0, self._until_s - time.perf_counter()) if self._is_slow and (is_soon or not self._items) else 0.0

    def _short(self, number: int, span: Span, items: int) -> Event:
        """Return the event of a source that had only ``items`` items of a span."""
        length = self.source.length
        if self.source.indexable:
            return SourceEnded(self._ends_at(span.start + items))
        if length is None or span.start + items < min(span.stop, length):
            # The source may have the other items, but they were not read in this turn.
            return ShortSend(number, span.start, span.start + items)
        return SourceEnded(length)

    def _ends_at(self, index: int) -> int:
        """End the map at the first item that a sequence of the user's lacks, as ``map`` does. Return the items in all.

        Raises
        ------
        RuntimeError
            If its length has changed: then an index may mean another item.
        """
        source = self.source
        assert isinstance(source, Indexable)
        if not source.is_short():
            raise changed()
        source.ends_at(index)
        assert source.length is not None
        return source.length

    def seen(self) -> Sample | None:
        """Return what the items have shown; None: nothing that is not known elsewhere."""
        return None

    def _keep(
        self,
        number: int,
        first: int,
        results: list[Any],
        failures: list[Failure],
        wall_s: float,
        cpu_s: float,
        rss_bytes: int = 0,
        mended: Collection[int] = (),
    ) -> Done:
        """Keep the results of a chunk. Return the event to report.

        ``mended``: items that failed in the worker and were repeated in the caller, so that their results are kept
        already.
        """
        self._chunks += 1
        self._items += len(results)
        self._work_s += wall_s
        self._work_cpu_s += cpu_s
        ran = range(first, first + len(results))
        failed = self.outcome.take_errors(failures, ran)
        self.outcome.put(first, results, but=[*failed, *mended])
        if not self.inherits:
            self.source.release(ran.start, ran.stop, but=failed)
        if self.news is not None:
            self.news.chunk(number, first, len(results), len(failed) + len(mended), wall_s, cpu_s, rss_bytes)
        return Done(number, wall_s, failed, len(results), cpu_s=cpu_s, final=self._final(failures))

    def _final(self, failures: Iterable[Failure]) -> list[int]:
        """Return the items that are not to be repeated after what they raised."""
        covers = self.schedule.repeats.covers
        return [failure.index for failure in failures if not covers(failure.exception)]


def items_of(records: Iterable[Record]) -> tuple[ItemRecord, ...]:
    """Return the records as instances of the public `ItemRecord`."""
    return tuple(ItemRecord(*record) for record in records)
