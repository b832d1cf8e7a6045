"""Beside programs that use all cores, computing items look like waiting ones: their workers must not become more."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import amorsize
from amorsize import events
from amorsize.facts import Observation
from amorsize.measure.gil import Canary
from amorsize.model.evidence import Evidence
from amorsize.system import clock


@pytest.fixture
def burners():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * cores)]
    yield
    for one in running:
        one.kill()
        one.wait()


def spin(x):
    return sum(range(100_000 + x))


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not count context switches of a thread here")
@pytest.mark.parametrize("backend", ["processes", "auto"])
def test_computing_items_get_no_more_workers_than_cores(burners, backend):
    def workers_of_a_run():
        seen = []
        found = amorsize.execute(spin, range(120), backend=backend, on_event=seen.append)
        assert found == [spin(x) for x in range(120)]
        return sum(isinstance(event, events.WorkerStarted) for event in seen)

    # An item that waits for a page of memory gives its core up, and looks like one that waits: one quiet try must do.
    most = max(1, round(amorsize.machine().usable_cores))
    assert any(workers_of_a_run() <= most for _ in range(5))


@pytest.mark.skipif(not os.path.exists("/proc/thread-self/schedstat"), reason="no such account of a thread here")
def test_waits_for_a_core_beside_the_canary_are_told(burners):
    """The items wait with the canary, which is the next to have the lock and has no core: they gave theirs up."""
    with Canary() as canary:
        # Not before: a core that was waited for while the canary started is none of its waits.
        before_s = clock.late_s()
        # More than the burners' turns on all cores: this one has been waited for.
        while clock.late_s() == before_s:
            spin(0)
    assert canary.late_s > 0.0


def test_items_that_were_late_compute():
    evidence = Evidence(None)
    evidence.saw(Observation(0, 1, 0.025, 0.003, 0.003))
    assert evidence.sample().waits > 0.5
    evidence.were_late(0.021)
    assert evidence.sample().waits < 0.1
    evidence.were_late(1.0)
    assert evidence.cpu_s == evidence.wall_s
