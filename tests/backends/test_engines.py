"""What an engine costs, measured with tasks that do nothing: here with an engine that has a clock of its own."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from amorsize.backends import engines
from amorsize.backends.engines import Engine, facts_of


class Clock:
    now_s = 0.0

    def perf_counter(self):
        return self.now_s


class Slow(Engine):
    """Takes 2 ms to submit a task, and moves a million bytes a second in each direction."""

    lazy = False

    def __init__(self, clock):
        super().__init__(object())
        self.clock = clock
        self.sent = []

    def places(self):
        return 2

    def submit(self, key=None, func=None, items=None):
        self.sent.append(items)
        self.clock.now_s += 2e-3 + 2 * sum(map(len, items or ())) / 1e6
        future = Future()
        future.set_result(("hello", (), items))
        return future


@pytest.fixture
def slow(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(engines, "time", clock)
    made = Slow(clock)
    monkeypatch.setattr(engines, "engine_of", lambda _: made)
    return made


def test_what_a_task_and_its_bytes_cost(slow):
    facts = facts_of(object(), lambda: None)
    assert facts.places == 2
    assert facts.round_trip_s == pytest.approx(2e-3)
    assert facts.per_task_s == pytest.approx(2e-3)
    assert facts.bytes_per_s == pytest.approx(1e6)


def test_it_is_measured_with_few_tasks(slow):
    facts_of(object(), lambda: None)
    assert sum(items is None for items in slow.sent) == 2 * engines.LEAST_PROBES
    assert sum(items is not None for items in slow.sent) == 2


def test_an_engine_that_fails_leaves_it_to_the_first_task_to_say_why(slow):
    def submit(*_):
        raise OSError("gone")

    slow.submit = submit
    assert facts_of(object(), lambda: None).places == 2
