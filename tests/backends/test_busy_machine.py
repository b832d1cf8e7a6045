"""Beside programs that use all cores, computing items look like waiting ones: their workers must not become more."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import amorsize
from amorsize import events


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
@pytest.mark.parametrize("backend", ["processes"])
def test_computing_items_get_no_more_workers_than_cores(burners, backend):
    started = []

    def note(event):
        if isinstance(event, events.WorkerStarted):
            started.append(event.worker)

    found = amorsize.execute(spin, range(300), backend=backend, on_event=note)
    assert found == [spin(x) for x in range(300)]
    assert len(started) <= max(1, round(amorsize.machine().usable_cores))
