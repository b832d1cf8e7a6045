"""Threads of the caller, driven by the same Schedule as worker processes.

Whichever thread has ended a span takes the lock, tells the schedule, and carries out what it says, so that no thread
has to wake another one between two spans of its own. Only the calling thread reads an iterator on, though (a cursor
of sqlite3, say, raises in any other): then the threads report to it by mail, and it alone does all this.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from amorsize.backends.results import Outcome, failure_here
from amorsize.backends.source import Indexable, Streamed
from amorsize.backends.ticks import Ticks, drain
from amorsize.backends.workers.item_times import Meter, Record, Records
from amorsize.backends.workers.recorded import items_of
from amorsize.facts import Failure, Ran
from amorsize.schedule.messages import (
    Done,
    Event,
    Fail,
    Finish,
    GiveUp,
    Lost,
    Ready,
    Retire,
    Send,
    ShortSend,
    SourceEnded,
    Span,
    Start,
    Tick,
)
from amorsize.schedule.schedule import Schedule

if TYPE_CHECKING:
    from amorsize.backends.notify import News


class _Report(NamedTuple):
    """A span that a thread has run: its results, None in the place of those that failed, and what it took."""

    worker: int
    start: int
    results: list[Any]
    failed: list[Failure]
    wall_s: float
    cpu_s: float
    records: list[Record]


class ThreadDriver:
    """Runs what a schedule says on threads of this process.

    Parameters
    ----------
    schedule : Schedule
    source : Indexable or Streamed
    outcome : Outcome
    func : callable
    initializer : callable or None
        Called without arguments in each thread before its first item.
    vigil : Ticks, optional
        What to look after meanwhile.
    by_mail : bool
        Whether results must come together in the calling thread alone.
    """

    def __init__(
        self,
        schedule: Schedule,
        source: Indexable | Streamed,
        outcome: Outcome,
        func: Callable[[Any], Any],
        initializer: Callable[[], object] | None = None,
        vigil: Ticks | None = None,
        *,
        by_mail: bool = False,
        records: Records | None = None,
        news: News | None = None,
    ) -> None:
        self.records = Records() if records is None else records
        self.news = news  # then by mail: it is told in the calling thread
        by_mail = by_mail or news is not None
        self.vigil = vigil or Ticks()
        self.schedule = schedule
        self.source = source
        self.outcome = outcome
        self.func = func
        self.initializer = initializer
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._stop = False
        self._context = copy_context()  # in which the caller's context variables can be seen
        self._broken: BaseException | None = None
        self._mail: SimpleQueue[_Report | None] | None = SimpleQueue() if by_mail or not source.indexable else None
        self._inboxes: dict[int, SimpleQueue[tuple[Span, Any] | None]] = {}
        self._threads: list[threading.Thread] = []
        self._ready_s: float | None = None
        self._work_s = self._work_cpu_s = 0.0
        self._items = self._chunks = 0
        self.warnings: list[str] = []
        self.left_over: list[tuple[int, int | None]] = []  # what the caller is to run itself

    def run(self) -> Ran:
        """Run to the end. Failures stand in the outcome; an exception of the items' source is raised."""
        return drain(self.steps())

    def steps(self) -> Generator[None, None, Ran]:
        """The same, step by step: whoever goes through them may look at the results between two of them."""
        began = time.perf_counter()
        if self.vigil.stop is not None:
            self.vigil.stop.wake(self._end)
        try:
            for instruction in self.schedule.begin(began):
                with self._lock:
                    self._carry_out([instruction])
            self._ready_s = time.perf_counter() - began
            while not self._ended.is_set():
                self._turn()
                yield
            if self.vigil.stop is not None:
                self.vigil.stop.check()
        except (Exception, GeneratorExit):
            self._dismiss()
            self._join()
            raise
        except BaseException:
            self._dismiss()  # Ctrl-C: items that run now cannot be stopped, and nobody waits for them
            raise
        self._dismiss()
        self._join()
        if self._broken is not None:
            raise self._broken
        return Ran(
            wall_s=time.perf_counter() - began,
            ready_s=self._ready_s,
            work_s=self._work_s,
            work_cpu_s=self._work_cpu_s,
            items=self._items,
            chunks=self._chunks,
            slowest=items_of(self.records.slowest),
            hungriest=items_of(self.records.hungriest),
        )

    def _turn(self) -> None:
        now = time.perf_counter()
        with self._lock:
            wait_s = self.vigil.wait_s(now, self.schedule.wait_s(now))
        if self._mail is None:
            self._ended.wait(wait_s)
        else:
            try:
                report = self._mail.get(timeout=wait_s) if wait_s != 0.0 else self._mail.get_nowait()
                while report is not None:
                    self._take(report)
                    report = self._mail.get_nowait()
            except Empty:
                pass
        now = time.perf_counter()
        events = self.vigil.look(now)
        if self.schedule.wait_s(now) is not None:
            events.append(Tick())
        self.tell(events)

    def tell(self, events: Iterable[Event]) -> None:
        """Have the schedule hear of something that happened outside."""
        for event in events:
            with self._lock:
                if not self._ended.is_set():
                    self._carry_out(self._handle(event))

    def _handle(self, event: Event) -> list[Any]:
        return self.schedule.handle(event, time.perf_counter())

    def _end(self) -> None:
        self._ended.set()
        if self._mail is not None:
            self._mail.put(None)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _dismiss(self) -> None:
        self._stop = True
        for inbox in self._inboxes.values():
            inbox.put(None)

    # -- in whichever thread, under the lock; or in the calling thread --------------------------------------------

    def _take(self, report: _Report) -> None:
        """Keep the results of a span, and carry out what comes of them."""
        self._work_s += report.wall_s
        self._work_cpu_s += report.cpu_s
        self._items += len(report.results)
        self._chunks += 1
        self.records.take(report.records)
        start = report.start
        failed_at = self.outcome.take_errors(report.failed)
        self.outcome.put(start, report.results, but=failed_at)
        self.source.release(start, start + len(report.results), but=failed_at)
        if self.news is not None:
            self.news.chunk(report.worker, start, len(report.results), len(failed_at), report.wall_s, report.cpu_s)
        if self.outcome.doomed:
            self._end()
            return
        self._carry_out(
            self._handle(Done(report.worker, report.wall_s, failed_at, len(report.results), cpu_s=report.cpu_s))
        )

    def _carry_out(self, instructions: list[Any]) -> None:
        todo = list(instructions)[::-1]
        while todo:
            events: list[Event] = []
            match todo.pop():
                case Start(number):
                    if number in self.schedule.workers:  # else there was nothing left for it before it could start
                        events = self._start(number)
                case Send(number, span):
                    events = self._send(number, span)
                case Retire(number):
                    if number in self._inboxes:
                        self._inboxes[number].put(None)
                        if self.news is not None:
                            self.news.worker_retired(number)
                case Fail(index):
                    self.outcome.fail(self.outcome.last_error[index])
                    if self.outcome.doomed:
                        self._end()
                        return
                case GiveUp():  # not one thread could be started, or they only lose time: the engine goes on
                    self.left_over = self.schedule.left_over()
                    self._end()
                case Finish():
                    self._end()
            for event in events:
                todo.extend(self._handle(event)[::-1])

    def _start(self, number: int) -> list[Event]:
        self._inboxes[number] = SimpleQueue()
        work = partial(self._context.copy().run, self._work, number)
        thread = threading.Thread(target=work, daemon=True, name=f"amorsize-{number}")
        try:
            thread.start()
        except RuntimeError:  # no more threads to be had: ulimit -u, pids.max, memory
            return [Lost(number)]
        self._threads.append(thread)
        if self.news is not None:
            self.news.worker_started(number)
        return [Ready(number)]

    def _send(self, number: int, span: Span) -> list[Event]:
        items = () if self.schedule.dry else self.source.items(span.start, span.stop)
        events: list[Event] = []
        if len(items) < len(span):
            length = self.source.length
            events = [ShortSend(number, span.start, span.start + len(items)) if length is None else SourceEnded(length)]
        if len(items):
            self._inboxes[number].put((span, items))
        return events

    # -- in each thread ------------------------------------------------------------------------------------------

    def _work(self, number: int) -> None:
        inbox = self._inboxes[number]
        meter = Meter(alone=False)
        try:
            if self.initializer is not None:
                self.initializer()
            while (work := inbox.get()) is not None and not self._stop:
                span, items = work
                wall_s, cpu_s = time.perf_counter(), time.thread_time()
                results, failed = self._run(meter.over(self.func, span.start), items, span.start)
                wall_s, cpu_s = time.perf_counter() - wall_s, time.thread_time() - cpu_s
                _, records = meter.report(span.start, len(results), wall_s, cpu_s)
                report = _Report(number, span.start, results, failed, wall_s, cpu_s, records)
                if self._mail is not None:
                    self._mail.put(report)
                    continue
                with self._lock:
                    if self._ended.is_set():
                        return
                    self._take(report)
        except BaseException as exc:  # noqa: BLE001  (the source's, or the initializer's: the caller raises it)
            self._broken = exc
            self._end()

    def _run(self, func: Callable[[Any], Any], items: Any, start: int) -> tuple[list[Any], list[Failure]]:
        results: list[Any] = []
        failed: list[Failure] = []
        for index, item in enumerate(items, start):
            if self._stop:
                break
            try:
                results.append(func(item))
            except BaseException as exc:  # noqa: BLE001
                results.append(None)
                failed.append(failure_here(index, exc))
                if not isinstance(exc, Exception) or (self.outcome.most_failures == 0 and not self.schedule.retries):
                    break
        return results, failed
