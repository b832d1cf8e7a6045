"""Threads of the calling process, driven by the same Schedule as worker processes.

A thread that has finished a chunk takes the lock, reports to the schedule, and carries out its instructions. So no
thread has to wake another one between two of its chunks. An iterator is read in the calling thread only (a cursor of
sqlite3, for example, raises in any other thread): the threads then put their reports into a queue, and the calling
thread handles them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextvars import copy_context
from functools import partial
from math import inf
from queue import Empty, SimpleQueue

from amorsize.backends.driver import Driver, opening
from amorsize.backends.results import Outcome, failure_here, initialize
from amorsize.backends.source import Indexable, Streamed
from amorsize.backends.ticks import Ticks
from amorsize.backends.workers.item_times import Meter, Record, Records
from amorsize.facts import Failure
from amorsize.frozen import NamedTuple
from amorsize.schedule.messages import Instruction, Lost, Ready
from amorsize.schedule.schedule import Schedule
from amorsize.system import nested
from amorsize.system.clock import busy_s, thread_counts, thread_cpu
from amorsize.system.critical import Latch, held_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from amorsize.backends.driver import Work
    from amorsize.backends.notify import News
    from amorsize.facts import Forecast


@opening
def open_driver(
    work: Work, chosen: Forecast, schedule_for: Callable[[Forecast], Schedule]
) -> Generator[ThreadDriver, None, None]:
    """Return the driver of a map on threads; see `amorsize.backends.table`."""
    yield ThreadDriver(
        schedule_for(chosen),
        work.source,
        work.outcome,
        work.func,
        None if work.initializer is None else partial(initialize, work.initializer, work.initargs, "in a thread"),
        work.ticks,
        by_mail=work.is_streamed,
        records=work.records,
        news=work.news,
    )


class _Report(NamedTuple):
    """A chunk that a thread has run: its results, with None for items that failed, and its wall and CPU seconds."""

    worker: int
    start: int
    results: list[Any]
    failed: list[Failure]
    wall_s: float
    cpu_s: float
    records: list[Record]


class ThreadDriver(Driver):
    """Carries out a schedule on threads of this process.

    Parameters
    ----------
    schedule : Schedule
    source : Indexable or Streamed
    outcome : Outcome
    func : callable
    initializer : callable or None
        Called without arguments in each thread before its first item.
    ticks : Ticks, optional
        The watchers of the run.
    by_mail : bool
        True if only the calling thread may collect results.
    """

    def __init__(
        self,
        schedule: Schedule,
        source: Indexable | Streamed,
        outcome: Outcome,
        func: Callable[[Any], Any],
        initializer: Callable[[], object] | None = None,
        ticks: Ticks | None = None,
        *,
        by_mail: bool = False,
        records: Records | None = None,
        news: News | None = None,
    ) -> None:
        super().__init__(schedule, source, outcome, ticks, records=records, news=news)
        # Listeners are called in the calling thread, so the results are passed to it too. It must also hear of an item
        # that is set aside, or it would sleep too long.
        by_mail = by_mail or news is not None or schedule.repeats.base_s > 0.0
        self.func = func
        self.initializer = initializer
        self._lock = threading.Lock()
        self._ended = Latch()
        self._stop = False
        # func sees the caller's context variables.
        self._context = copy_context()
        self._broken: BaseException | None = None
        self._mail: SimpleQueue[_Report | None] | None = SimpleQueue() if by_mail or not source.indexable else None
        # Until when the calling thread waits, if nothing happens.
        self._waits_until_s = inf
        self._inboxes: dict[int, SimpleQueue[tuple[int, Any] | None]] = {}
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        if self.ticks.stop is not None:
            self.ticks.stop.wake(self.finish)

    def begun(self) -> None:
        self._ready_s = time.perf_counter() - self._began

    def over(self) -> None:
        if self.ticks.stop is not None:
            self.ticks.stop.check()

    def abort(self, exc: BaseException) -> None:
        self._dismiss()
        # After Ctrl-C the items that run cannot be stopped, and the caller does not wait for them.
        if isinstance(exc, Exception | GeneratorExit):
            self._join()

    def close(self) -> None:
        self._dismiss()
        self._join()
        if self._broken is not None:
            raise self._broken

    def wait_s(self, now_s: float) -> float | None:
        wait_s = super().wait_s(now_s)
        self._waits_until_s = inf if wait_s is None else now_s + wait_s
        return wait_s

    def receive(self, wait_s: float | None) -> None:
        if self._mail is None:
            self._ended.wait(wait_s)
            return
        try:
            report = self._mail.get(timeout=wait_s) if wait_s != 0.0 else self._mail.get_nowait()
            while report is not None:
                self._take(report)
                report = self._mail.get_nowait()
        except Empty:
            pass

    def is_over(self) -> bool:
        return self._ended.is_set

    def finish(self) -> None:
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

    # -- in any thread, under the lock; or in the calling thread ---------------------------------------------------

    def _take(self, report: _Report) -> None:
        """Keep the results of a chunk, and carry out the instructions that follow."""
        self.records.take(report.records)
        done = self._keep(report.worker, report.start, report.results, report.failed, report.wall_s, report.cpu_s)
        if self.outcome.doomed:
            self.finish()
            return
        self._carry_out(self._handle(done))
        if self._mail is None and self.schedule.climb is not None:
            self._wake_in_time(time.perf_counter())

    def _wake_in_time(self, now_s: float) -> None:
        """Wake the calling thread if it waits too long: after failures, time alone may let more items begin."""
        wait_s = self.schedule.wait_s(now_s)
        if wait_s is not None and now_s + wait_s < self._waits_until_s:
            self._waits_until_s = now_s
            self._ended.nudge()

    def start(self, number: int) -> list[Instruction]:
        self._inboxes[number] = SimpleQueue()
        work = partial(self._context.copy().run, self._work, number)
        thread = threading.Thread(target=work, daemon=True, name=f"amorsize-{number}")
        try:
            with held_signals():
                thread.start()
                self._threads.append(thread)
        # The system allows no more threads: ulimit -u, pids.max, memory.
        except RuntimeError:
            return self._handle(Lost(number))
        if self.news is not None:
            self.news.worker_started(number)
        return self._handle(Ready(number))

    def retire(self, number: int) -> None:
        if number in self._inboxes:
            self._inboxes[number].put(None)
            if self.news is not None:
                self.news.worker_retired(number)

    def submit(self, number: int, start: int, items: Any) -> None:
        self._inboxes[number].put((start, items))

    # -- in each thread ------------------------------------------------------------------------------------------

    def _work(self, number: int) -> None:
        inbox = self._inboxes[number]
        meter = Meter(None)
        forks = nested.forks
        try:
            if self.initializer is not None:
                self.initializer()
                nested.leave_copy(forks)
            while (work := inbox.get()) is not None and not self._stop:
                start, items = work
                counts, wall_s, cpu_s = thread_counts(), time.perf_counter(), thread_cpu()
                results, failed = self._run(meter.over(self.func, start), items, start)
                wall_s, cpu_s = time.perf_counter() - wall_s, thread_cpu() - cpu_s
                cpu_s = busy_s(wall_s, cpu_s, counts, thread_counts())
                _, records = meter.report(start, len(results), wall_s, cpu_s)
                report = _Report(number, start, results, failed, wall_s, cpu_s, records)
                if self._mail is not None:
                    self._mail.put(report)
                    continue
                with self._lock:
                    if self._ended.is_set:
                        return
                    self._take(report)
        # Raised by the source or the initializer; the caller raises it again.
        except BaseException as exc:  # noqa: BLE001
            nested.leave_copy(forks, exc)
            self._broken = exc
            self.finish()

    def _run(self, func: Callable[[Any], Any], items: Any, start: int) -> tuple[list[Any], list[Failure]]:
        results: list[Any] = []
        failed: list[Failure] = []
        forks, walk = nested.forks, nested.walk_over(items)
        for index, item in enumerate(walk, start):
            if self._stop:
                break
            try:
                results.append(func(item))
            except BaseException as exc:  # noqa: BLE001
                nested.leave_copy(forks, exc)
                results.append(None)
                failed.append(failure_here(index, exc))
                goes_on = self.outcome.most_failures != 0 or self.schedule.repeats.covers(exc)
                if not (goes_on and isinstance(exc, Exception)):
                    break
        nested.leave_copy(forks)
        nested.walks.remove(walk)
        return results, failed
