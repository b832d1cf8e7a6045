"""Managers whose workers are not those of an `Executor`: kept warm, with a runner of their own, or ended at once."""

from __future__ import annotations

import os
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from amorsize.backends.workers import warm
from amorsize.executor.calls import NO_KEYWORDS, run
from amorsize.executor.opening import Special, manager_of
from amorsize.options import check


def twice(call):
    return 2 * run(call)


def manager(**special):
    made = manager_of(check(callable, ()), "forkserver", 1, 1.0, strict=False, special=Special(**special))
    made.begin()
    return made


def ended(one):
    one.shut()
    one.join()


def test_workers_stay_warm_for_the_next():
    pids = []
    for _ in range(2):
        one = manager(keeps_warm=True)
        pids.append(one.add_call((os.getpid, (), NO_KEYWORDS)).result())
        ended(one)
    assert pids[0] == pids[1]
    assert warm.count("forkserver") == 1


def test_a_runner_of_its_own():
    one = manager(run=twice)
    assert one.add_call((abs, (-4,), NO_KEYWORDS)).result() == 8
    ended(one)


def test_a_worker_that_still_imports_does_not_delay_the_end():
    one = manager(keeps_warm=True)
    hello = one.add_call((os.getpid, (), NO_KEYWORDS))
    one.shut(cancel=True)
    one.join()
    assert hello.done()
    warm.dismiss()
    assert warm.count("forkserver") == 0


def test_end_now_ends_what_runs():
    one = manager()
    pid = one.add_call((os.getpid, (), NO_KEYWORDS)).result()
    running, waiting = (one.add_call((time.sleep, (60,), NO_KEYWORDS)) for _ in range(2))
    one.end_now()
    one.join()
    for future in (running, waiting):
        with pytest.raises(BrokenProcessPool, match="killed on demand"):
            future.result()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(BrokenProcessPool):
        one.add_call((abs, (1,), NO_KEYWORDS))
