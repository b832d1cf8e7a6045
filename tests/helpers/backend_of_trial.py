"""A whole backend in one file, which runs all items in the caller. It needs only a row in the table besides."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager

from amorsize.backends.driver import Driver
from amorsize.backends.loop import Loop
from amorsize.schedule.messages import Done, Ready


class Inline:
    """Passed as ``backend=``: an executor that runs all items in the caller."""

    max_workers = 2


class InlineDriver(Driver):
    def __init__(self, schedule, work):
        super().__init__(schedule, work.source, work.outcome, work.ticks, records=work.records, news=work.news)
        self.loop = Loop(work.func, work.source, work.outcome, schedule.repeats)
        self.waiting = deque()

    def start(self, number):
        return self._handle(Ready(number))

    def submit(self, number, start, items):
        self.waiting.append((number, start, start + len(items)))

    def receive(self, wait_s):
        if not self.waiting:
            return
        number, start, stop = self.waiting.popleft()
        seen, raised = self.loop.report(start, stop)
        self._chunks += 1
        self._items += seen.items
        failed = self.outcome.take_errors(raised)
        if not self.outcome.doomed:
            done = Done(number, seen.wall_s, failed, seen.items, final=self._final(raised))
            self._carry_out(self._handle(done))


@contextmanager
def open_driver(work, chosen, schedule_for):
    yield InlineDriver(schedule_for(chosen), work)
