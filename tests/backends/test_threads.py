"""Threads that carry out a schedule."""

from __future__ import annotations

import threading

from amorsize.backends.results import Outcome
from amorsize.backends.source import Indexable
from amorsize.backends.threads import ThreadDriver
from amorsize.schedule.schedule import Schedule
from amorsize.schedule.task_count import Concurrency


def test_items_that_fail_while_the_caller_waits_for_others_leave_nothing_waiting():
    """A failed item keeps its place for a while; when that is over, somebody must look."""
    n, first_failed = 40, threading.Event()
    climb = Concurrency(4, sure=4)

    def func(x):
        if x < 8:
            # A typical item takes this long, so that one that fails at once keeps its place.
            threading.Event().wait(5e-3)
            return x
        if x == 8:
            # By now the calling thread waits without a limit.
            threading.Event().wait(50e-3)
        first_failed.set()
        raise LookupError(x)

    outcome = Outcome("collect")
    schedule = Schedule([(0, n)], 4, climb=climb, fixed=1)
    driver = ThreadDriver(schedule, Indexable(range(n)), outcome, func)
    runner = threading.Thread(target=driver.run, daemon=True)
    runner.start()
    runner.join(60)
    assert not runner.is_alive(), schedule.counts()
    assert sorted(outcome.failures) == list(range(8, n))
