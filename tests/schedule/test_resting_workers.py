"""Workers that wait climb: some of them rest while a server bears no more calls."""

from __future__ import annotations

import pytest

from amorsize.schedule.messages import Done, Finish, Lost, Ready, Retire, Send, SourceEnded, Start, Tick
from amorsize.schedule.schedule import Schedule
from amorsize.schedule.task_count import RAMP_S, START, Concurrency

ITEM_S = 20e-3


def begun(workers=16, items=200, most=64):
    """Return a schedule whose workers are ready, and which of them got an item."""
    climb = Concurrency(most, alone_s=ITEM_S, sure=workers)
    schedule = Schedule([(0, items)], workers, item_s=ITEM_S, evidence=10, fixed=1, climb=climb)
    out = schedule.begin(0.0)
    assert sum(isinstance(one, Start) for one in out) == workers
    for number in range(workers):
        out += schedule.handle(Ready(number), 0.0)
    return schedule, sent(out)


def sent(out):
    return [one.worker for one in out if isinstance(one, Send)]


def test_at_first_a_few_run_and_the_others_rest():
    schedule, busy = begun()
    assert len(busy) == START
    assert schedule.wait_s(0.0) == pytest.approx(RAMP_S)


def test_time_lets_more_run_up_to_the_forecast():
    schedule, _ = begun()
    assert sent(schedule.handle(Tick(), RAMP_S / 2)) == []
    assert len(sent(schedule.handle(Tick(), RAMP_S))) == 16 - START
    assert schedule.wait_s(RAMP_S) is None


def test_failures_let_half_of_them_rest_and_end_none():
    schedule, busy = begun()
    out = []
    for k, number in enumerate(busy):
        out += schedule.handle(Done(number, 1e-3, failed=(k,)), 1e-3)
        if k == 2:
            assert sent(out) == []
    assert not any(isinstance(one, Retire) for one in out)
    assert schedule.workers.in_flight <= START // 2


def test_more_than_the_forecast_are_started_if_they_pay():
    schedule, busy = begun(items=5000)
    now, flying = 0.0, [(ITEM_S, number) for number in busy]
    for _ in range(3000):
        flying.sort()
        now, number = flying.pop(0)
        todo = schedule.handle(Done(number, ITEM_S), now)
        while todo:
            match todo.pop(0):
                case Start(worker):
                    todo += schedule.handle(Ready(worker), now)
                case Send(worker, _):
                    flying.append((now + ITEM_S, worker))
        assert schedule.workers.in_flight == schedule.climb.in_flight
    assert len(schedule.workers) > 16


def test_all_items_are_run_and_all_workers_retired():
    schedule, busy = begun(items=40)
    queue, now, done, retired = list(busy), 0.0, 0, 0
    while queue:
        now += 1e-3
        done += 1
        for one in schedule.handle(Done(queue.pop(0), ITEM_S), now):
            if isinstance(one, Send):
                queue.append(one.worker)
            retired += isinstance(one, Retire)
            finished = isinstance(one, Finish)
    assert done == 40
    assert retired == 16
    assert finished
    assert schedule.counts() == (0, 0, 40)


def test_a_span_that_never_ran_is_no_longer_counted():
    schedule, _ = begun()
    schedule.handle(SourceEnded(5), 0.0)
    assert schedule.climb.in_flight == schedule.workers.in_flight == 5


def test_where_no_thread_can_be_started_no_more_are_asked_for():
    climb = Concurrency(64, alone_s=ITEM_S, sure=16)
    schedule = Schedule([(0, 200)], 16, item_s=ITEM_S, evidence=10, fixed=1, climb=climb)
    schedule.begin(0.0)
    for number in range(4):
        schedule.handle(Ready(number), 0.0)
    out = []
    for number in range(4, 16):
        out += schedule.handle(Lost(number), 0.0)
    assert schedule.wanted == 4
    for step in range(1, 20):
        out += schedule.handle(Tick(), step * RAMP_S)
    assert not any(isinstance(one, Start) for one in out)
