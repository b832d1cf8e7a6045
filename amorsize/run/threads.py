"""Threads of the caller, driven by the same Schedule as worker processes.

Whichever thread has ended a span takes the lock, tells the schedule, and carries out what it says, so that no thread
has to wake another one between two spans of its own. Only the calling thread reads an iterator on, though (a cursor
of sqlite3, say, raises in any other): then the threads report to it by mail, and it alone does all this.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple

from amorsize.facts import Failure, Ran
from amorsize.model.schedule import (
    Abandon,
    Done,
    Ended,
    Event,
    Fail,
    Finish,
    Lost,
    Ready,
    Retire,
    Schedule,
    Send,
    Span,
    Start,
)
from amorsize.run.loop import Loop
from amorsize.run.outcome import Outcome, failure_here
from amorsize.run.source import Indexable, Streamed


class _Report(NamedTuple):
    """A span that a thread has run: its results, None in the place of those that failed, and what it took."""

    worker: int
    start: int
    results: list[Any]
    failed: list[Failure]
    wall_s: float
    cpu_s: float


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
    """

    def __init__(
        self,
        schedule: Schedule,
        source: Indexable | Streamed,
        outcome: Outcome,
        func: Callable[[Any], Any],
        initializer: Callable[[], object] | None = None,
    ) -> None:
        self.schedule = schedule
        self.source = source
        self.outcome = outcome
        self.func = func
        self.initializer = initializer
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._stop = False
        self._broken: BaseException | None = None
        self._mail: SimpleQueue[_Report | None] | None = None if source.indexable else SimpleQueue()
        self._inboxes: dict[int, SimpleQueue[tuple[Span, Any] | None]] = {}
        self._threads: list[threading.Thread] = []
        self._ready_s: float | None = None
        self._work_s = self._work_cpu_s = 0.0
        self._items = self._chunks = 0

    def run(self) -> Ran:
        """Run to the end. Failures stand in the outcome; an exception of the items' source is raised."""
        began = time.perf_counter()
        try:
            for instruction in self.schedule.begin():
                # One at a time: starting a thread takes 50-200 µs, and those that have begun want the lock meanwhile.
                with self._lock:
                    self._carry_out([instruction])
            self._ready_s = time.perf_counter() - began
            self._wait()
        except Exception:
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
        )

    def _wait(self) -> None:
        if self._mail is None:
            self._ended.wait()
            return
        while not self._ended.is_set():
            report = self._mail.get()
            if report is not None:
                self._take(report)

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
        start = report.start
        self.outcome.put(start, report.results)
        failed_at = self.outcome.take_errors(report.failed)
        self.source.release(start, start + len(report.results), but=failed_at)
        if self.outcome.doomed:
            self._end()
            return
        self._carry_out(self.schedule.handle(Done(report.worker, report.wall_s, failed_at, len(report.results))))

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
                case Fail(index):
                    self.outcome.fail(self.outcome.last_error[index])
                    if self.outcome.doomed:
                        self._end()
                        return
                case Abandon():  # not one thread could be started, so this is the caller's own
                    Loop(self.func, self.source, self.outcome, self.schedule.retries).run_all(self.schedule.left_over())
                    self._end()
                case Finish():
                    self._end()
            for event in events:
                todo.extend(self.schedule.handle(event)[::-1])

    def _start(self, number: int) -> list[Event]:
        self._inboxes[number] = SimpleQueue()
        thread = threading.Thread(target=self._work, args=(number,), daemon=True, name=f"amorsize-{number}")
        try:
            thread.start()
        except RuntimeError:  # no more threads to be had: ulimit -u, pids.max, memory
            return [Lost(number)]
        self._threads.append(thread)
        return [Ready(number)]

    def _send(self, number: int, span: Span) -> list[Event]:
        items = self.source.items(span.start, span.stop)
        events: list[Event] = [Ended(self.source.length or 0)] if len(items) < len(span) else []
        if len(items):
            self._inboxes[number].put((span, items))
        return events

    # -- in each thread ------------------------------------------------------------------------------------------

    def _work(self, number: int) -> None:
        inbox = self._inboxes[number]
        try:
            if self.initializer is not None:
                self.initializer()
            while (work := inbox.get()) is not None and not self._stop:
                span, items = work
                wall_s, cpu_s = time.perf_counter(), time.thread_time()
                results, failed = self._run(items, span.start)
                wall_s, cpu_s = time.perf_counter() - wall_s, time.thread_time() - cpu_s
                report = _Report(number, span.start, results, failed, wall_s, cpu_s)
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

    def _run(self, items: Any, start: int) -> tuple[list[Any], list[Failure]]:
        results: list[Any] = []
        failed: list[Failure] = []
        for index, item in enumerate(items, start):
            if self._stop:
                break
            try:
                results.append(self.func(item))
            except BaseException as exc:  # noqa: BLE001
                results.append(None)
                failed.append(failure_here(index, exc))
                if not isinstance(exc, Exception) or (self.outcome.on_error == "raise" and not self.schedule.retries):
                    break
        return results, failed
