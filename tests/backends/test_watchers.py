"""Memory: items of killed workers run again alone, tight memory means fewer workers, leaking workers are replaced."""

from __future__ import annotations

import itertools
import sys
import time

import engine_functions as ef
import groups
import pytest
from measure_functions import leak

import amorsize
from amorsize import events
from amorsize.backends import watchers
from amorsize.backends.memory_guard import Guard
from amorsize.backends.ticks import Later, OomCount
from amorsize.backends.workers.child import Setup
from amorsize.backends.workers.team import Team
from amorsize.errors import WorkerLostError
from amorsize.schedule import memory_pressure
from amorsize.schedule.messages import Lost, Ready, Recycle, Resize, Send, Span, Start
from amorsize.schedule.schedule import Schedule

PATIENCE_S = 60
MB = 1 << 20
METHODS = ["fork", "spawn", "forkserver"]
in_groups = [pytest.mark.cgroup, pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")]

ONE_THAT_NEVER_FITS = """
import json, sys, amorsize
from amorsize.errors import WorkerLostError
def func(x):
    if x == 3:
        whole = b"x" * (600 << 20)
    return x
try:
    amorsize.execute(func, range(12), backend="processes", start_method=sys.argv[1], max_workers=2)
except WorkerLostError as exc:
    print(json.dumps([exc.index, exc.signal, exc.oom, str(exc)]))
"""

ALL_BUT_ONE = """
import json, sys, amorsize
def func(x):
    if x == 3:
        whole = b"x" * (600 << 20)
    return x
found = amorsize.execute(
    func, range(12), backend="processes", start_method=sys.argv[1], max_workers=2, on_error="collect"
)
print(json.dumps([x if isinstance(x, int) else x.exception.oom for x in found]))
"""

TWO_AT_A_TIME_DO_NOT_FIT = """
import json, os, sys, time, amorsize
from amorsize.system.cgroups import oom_kills
def func(x):
    whole, fast = [], sys.argv[2] == "fast"
    for _ in range(1 if fast else 36):
        whole.append(b"x" * ((150 if fast else 4) << 20))
        if not fast:
            time.sleep(0.02)
    time.sleep(0.2)
    return x
seen = []
found, plan = amorsize.execute(
    func, range(6), backend="processes", start_method=sys.argv[1], max_workers=3, on_event=seen.append,
    return_plan=True,
)
print(json.dumps([found, oom_kills(), [str(e) for e in seen], plan.warnings]))
"""


class TestKilledByTheKernel:
    pytestmark = in_groups

    @pytest.mark.parametrize("method", METHODS)
    def test_the_item_is_named_and_memory_too(self, method):
        with groups.limited(300 * MB) as group:
            index, signal, oom, text = groups.run(group, ONE_THAT_NEVER_FITS, method)
        assert (index, signal, oom) == (3, 9, True)
        assert "memory" in text

    @pytest.mark.parametrize("method", METHODS)
    def test_all_others_are_kept(self, method):
        with groups.limited(300 * MB) as group:
            found = groups.run(group, ALL_BUT_ONE, method)
        assert found == [0, 1, 2, True, *range(4, 12)]

    @pytest.mark.parametrize("method", METHODS)
    def test_what_fits_alone_is_done(self, method):
        """Memory grows between two looks of the guard: the kernel kills, and each item hit is repeated alone."""
        with groups.limited(300 * MB) as group:
            found, _, _, _ = groups.run(group, TWO_AT_A_TIME_DO_NOT_FIT, method, "fast")
        assert found == list(range(6))

    @pytest.mark.parametrize("method", METHODS)
    def test_what_grows_slowly_is_seen_in_time(self, method):
        with groups.limited(300 * MB) as group:
            found, kills, seen, warnings = groups.run(group, TWO_AT_A_TIME_DO_NOT_FIT, method, "slowly")
        assert found == list(range(6))
        assert any("WorkersResized" in text for text in seen)
        assert kills or any("memory" in text for text in warnings)


def test_a_worker_that_is_killed_by_somebody_else_was_not_short_of_memory():
    counts = iter([4, 4, 5, 5, 7, 7, 7])
    count = OomCount(lambda: next(counts))
    assert [count.struck() for _ in range(6)] == [False, True, False, True, True, False]


def test_a_count_that_cannot_be_read_says_nothing():
    assert not OomCount(lambda: None).struck()


class FakeTeam:
    """A team with handles only."""

    start_method = "fork"

    def __init__(self, items):
        self.handles = {n: FakeHandle(n, item) for n, item in enumerate(items)}
        self.ended = []

    def end(self, number):
        self.ended.append(number)
        del self.handles[number]


class FakeHandle:
    def __init__(self, number, item):
        self.pid, self.was_at = 100 + number, item

    def item_and_start(self):
        return self.was_at, 0


def a_guard(items, available, resident, **options):
    schedule = Schedule([(0, 100)], len(items))
    schedule.begin()
    return Guard(FakeTeam(items), schedule, memory=lambda: (available * MB, 1000 * MB), resident=resident, **options)


class TestGuard:
    def test_without_room_there_are_fewer(self):
        notes = []
        guard = a_guard([1, 2, 3, 4], 50, lambda pid: 200 * MB, note=notes.append)
        assert guard.tick(0.25) == [Resize(2)]
        assert "4 worker processes became 2" in notes[0]

    def test_what_is_shared_with_the_caller_does_not_count(self):
        guard = a_guard([1, 2, 3, 4], 50, lambda pid: 200 * MB, shared_bytes=199 * MB)
        assert guard.tick(0.25) == []

    def test_the_heaviest_is_ended_and_its_item_is_suspected(self):
        guard = a_guard([1, 2, -1], 5, lambda pid: {100: 300, 101: 600, 102: 50}[pid] * MB)
        assert guard.tick(0.25) == [Lost(1, 2, oom=True, shed=True), Resize(1)]
        assert guard.team.ended == [1]

    def test_workers_that_nobody_can_look_at_are_passed_over(self):
        assert a_guard([1, 2], 5, lambda pid: None).tick(0.25) == []

    def test_a_machine_that_does_not_tell(self):
        guard = a_guard([1, 2], 5, lambda pid: 100 * MB)
        guard.memory = lambda: (0, 0)
        assert guard.tick(0.25) == []

    def test_it_is_made_only_later(self):
        made = []

        class Ticker:
            def tick(self, now_s, pids=()):
                return [Recycle(1)]

        later = Later(lambda: made.append(1) or Ticker())
        assert [list(later.tick(t)) for t in (5.0, 5.1, 5.2)] == [[], [], []]
        assert not made
        assert list(later.tick(5.25)) == [Recycle(1)]
        assert list(later.tick(5.5)) == [Recycle(1)]
        assert made == [1]


def test_a_schedule_that_was_made_smaller_is_not_made_larger_by_its_crew():
    schedule = Schedule([(0, 100)], 8)
    schedule.begin()
    schedule.handle(Resize(3))
    assert (schedule.wanted, schedule.ceiling) == (3, 3)


def test_an_item_whose_worker_was_ended_to_make_room_is_not_to_blame():
    """A worker that the guard ended does not count as lost by its item."""
    schedule = Schedule([(0, 1)], 1, fixed=1)
    schedule.begin()
    schedule.handle(Ready(0))
    for number in range(5):
        replaced = schedule.handle(Lost(number, 0, oom=True, shed=True))
        assert replaced == [Start(number + 1)]
        assert schedule.handle(Ready(number + 1)) == [Send(number + 1, Span(0, 1, alone=True, quiet=True))]


def test_real_workers_are_seen():
    """The figures read of each process are its own."""
    team = Team(Setup(abs), range(4), "fork")
    try:
        for number in range(2):
            team.start(number)
        guard = watchers._memory_guard(team, Schedule([(0, 4)], 2), print)
        assert {held.worker for held in guard._held()} == {0, 1}
        available, capacity = guard.memory()
        assert 0 < available <= capacity
        assert all(guard.resident(handle.pid) > MB for handle in team.handles.values())
        seconds = watchers.tree_cpu_seconds([handle.pid for handle in team.handles.values()])
        assert len(seconds) == 3
        assert all(s >= 0 for s in seconds.values())
    finally:
        team.close()


def test_nothing_is_known_of_a_process_that_has_gone():
    assert watchers.resident_bytes_of(2**22 + 1) is None
    assert watchers.cpu_seconds(2**22 + 1) is None


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_that_leaks_is_replaced(method, monkeypatch):
    monkeypatch.setattr(memory_pressure, "LEAK_BYTES", 2 * MB)
    monkeypatch.setattr(memory_pressure, "LEAK_SHARE", 0.0)
    monkeypatch.setattr(memory_pressure, "WINDOW_LOOKS", 1)
    monkeypatch.setattr(memory_pressure, "WINDOW_ITEMS", 1)
    seen: list[object] = []
    results = amorsize.stream(
        leak, itertools.count(), backend="processes", start_method=method, max_workers=2, on_event=seen.append
    )
    deadline = time.monotonic() + PATIENCE_S
    for expected, found in enumerate(results):
        assert found == expected
        if any(isinstance(e, events.WorkerRetired) for e in seen) or time.monotonic() > deadline:
            break
    results.close()
    assert sum(isinstance(e, events.WorkerStarted) for e in seen) > 2
    assert any(isinstance(e, events.WorkerRetired) for e in seen)
    assert not any(isinstance(e, events.WorkerLost) for e in seen)


def test_the_guard_is_gone_with_its_team():
    from amorsize.options import check
    from amorsize.run.execute import Execution

    execution = Execution(check(ef.square, range(50), backend="processes", start_method="fork", max_workers=2))
    assert execution.run() == [x * x for x in range(50)]
    assert execution.state.ticks.tickers == []


def test_an_ordinary_death_is_not_called_want_of_memory():
    with pytest.raises(WorkerLostError) as caught:
        amorsize.execute(kill_oneself, range(4), backend="processes", start_method="fork")
    assert (caught.value.signal, caught.value.oom) == (9, False)


def kill_oneself(x):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
