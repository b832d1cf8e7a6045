"""The plain loop and the tasks of an event loop set items aside as the schedule does, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_loop import VirtualLoop

from amorsize.backends import coroutines
from amorsize.backends.coroutines import Tasks
from amorsize.backends.results import Flow, Outcome
from amorsize.backends.source import source_of
from amorsize.facts import Failure
from amorsize.options import check
from amorsize.run import map_state
from amorsize.run.map_state import MapState
from amorsize.schedule.failures import Repeats, backoff_s
from amorsize.schedule.rate_limit import Pace
from amorsize.system.clock import Clock

ITEM_S = 0.5
ROUNDING_S = 1e-9


class World:
    """A virtual clock, and a function whose items fail so often."""

    def __init__(self, raises, *, retries, base_s, seed=0):
        self.now_s = 0.0
        self.slept = []
        self.raises = raises
        self.begins = defaultdict(list)
        self.ends = defaultdict(list)
        self.order = []
        self.repeats = Repeats(retries, base_s=base_s, draw=random.Random(seed).random)

    def clock(self):
        return self.now_s

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now_s += seconds

    def begin(self, x):
        self.begins[x].append(self.now_s)
        self.order.append(x)

    def end(self, x):
        self.ends[x].append(self.now_s)
        if len(self.begins[x]) <= self.raises.get(x, 0):
            raise ValueError(x)
        return x

    def call(self, x):
        self.begin(x)
        self.now_s += ITEM_S
        return self.end(x)

    def is_right(self, found, n):
        """Assert that these are the results of all items, and that none was repeated too early or too often."""
        retries = self.repeats.retries
        failed = [x for x in range(n) if self.raises.get(x, 0) > retries]
        assert [x for x in range(n) if isinstance(found[x], Failure)] == failed
        assert all(found[x] == x for x in range(n) if x not in failed)
        assert self.repeats.tries == {}
        assert self.repeats.aside == []
        for x in range(n):
            assert len(self.begins[x]) == min(self.raises.get(x, 0), retries) + 1
            waits = [b - e for b, e in zip(self.begins[x][1:], self.ends[x], strict=False)]
            assert all(wait_s >= 0.0 for wait_s in waits)


class Longest(World):
    """Each item waits for as long as it may."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.repeats.draw = None


def looped(world, data, monkeypatch, outcome=None, window=None, **asked):
    """Return a map in the plain loop of this world."""
    request = check(world.call, data, backend="serial", retries=world.repeats.retries, on_error="collect", **asked)
    state = MapState(request, outcome, window=window)
    state.repeats = state.loop.repeats = world.repeats
    state.loop.clock = Clock(world.clock, world.clock, world.clock)
    monkeypatch.setattr(map_state, "perf_counter", world.clock)
    monkeypatch.setattr(map_state, "sleep", world.sleep)
    return state


cases = given(
    n=st.integers(1, 40),
    retries=st.integers(0, 3),
    base_s=st.sampled_from([0.0, 1e-3, 2.0, 100.0]),
    seed=st.integers(0, 2**32),
    share=st.sampled_from([0.1, 1.0]),
    rate=st.sampled_from([None, 1.5]),
)


@cases
@settings(max_examples=60, deadline=None)
def test_the_loop_repeats_each_item_when_it_is_due(n, retries, base_s, seed, share, rate):
    chance = random.Random(seed)
    raises = {x: chance.randrange(1, 6) for x in range(n) if chance.random() < share}
    world = World(raises, retries=retries, base_s=base_s, seed=seed)
    with pytest.MonkeyPatch.context() as monkeypatch:
        state = looped(world, iter(range(n)), monkeypatch, rate=rate)
        while not state.is_done():
            due = [one for one in state.repeats.aside[:1] if one[0] <= world.now_s]
            state.advance(chance.randrange(1, 6))
            # An item that is due comes before new ones.
            assert not due or due[0] not in state.repeats.aside
        world.is_right(state.outcome.finish(), n)
    if rate is None and base_s == 0.0:
        assert world.order == [x for x in range(n) for _ in range(min(raises.get(x, 0), retries) + 1)]
    if rate is not None:
        begins = sorted(at_s for times in world.begins.values() for at_s in times)
        assert all(
            later - sooner >= (k - 1) / rate - ROUNDING_S
            for at, sooner in enumerate(begins)
            for k, later in enumerate(begins[at:])
        )


def test_the_loop_goes_on_while_items_are_set_aside_and_then_sleeps(monkeypatch):
    world = Longest({0: 2, 5: 1}, retries=2, base_s=4.0)
    state = looped(world, range(8), monkeypatch)
    while not state.is_done():
        state.advance(1)
    assert state.outcome.finish() == list(range(8))
    # Item 0 raises after 0.5 and after 5 s, item 5 after 3 s.
    assert world.order == [*range(8), 0, 5, 0]
    assert world.begins[0][1:] == [4.5, 13.0]
    assert world.slept == [0.5, 2.0, 5.5]


@pytest.mark.parametrize("ordered", [True, False])
def test_an_endless_stream_in_the_loop_runs_no_further_ahead_than_allowed(monkeypatch, ordered):
    world = Longest(dict.fromkeys([3, 4, 5, 6, 7], 1), retries=1, base_s=60.0)
    flow = Flow("collect", ordered=ordered)
    state = looped(world, count(), monkeypatch, outcome=flow, window=6)
    found = []
    while len(found) < 200:
        state.advance(100)
        found += flow.take()
        begun = len({*world.order})
        assert begun - len(found) <= 6
    assert (found if ordered else sorted(found))[:200] == list(range(200))
    assert found[3] == (3 if ordered else 8)


def test_an_exception_that_waits_for_its_turn_ends_the_loop_at_once_then(monkeypatch):
    world = Longest({1: 1, 2: 1, 3: 9}, retries=1, base_s=20.0)
    flow = Flow("raise")
    state = looped(world, count(), monkeypatch, outcome=flow, window=100)
    state.loop.repeats.kinds = ValueError
    real = world.end

    def end(x):
        if x == 3:
            raise KeyError(x)
        return real(x)

    world.end = end
    found = []
    while not state.is_done():
        state.advance(1)
        found += flow.take()
    with pytest.raises(KeyError):
        flow.finish()
    assert found == [0, 1, 2]
    assert world.order == [0, 1, 2, 3, 1, 2]


def test_the_loop_waits_for_nothing_while_the_reader_has_results(monkeypatch):
    world = Longest({0: 1}, retries=1, base_s=20.0)
    state = looped(world, range(1), monkeypatch)
    state.advance(1)
    state.ticks.poll = True
    assert state.advance(1).items == 0
    assert world.slept == []
    assert not state.is_done()


def in_tasks(world, data, monkeypatch, most=4, pace=None):
    async def func(x):
        world.begin(x)
        await asyncio.sleep(ITEM_S)
        return world.end(x)

    monkeypatch.setattr(coroutines, "perf_counter", world.clock)
    tasks = Tasks(func, source_of(data), Outcome("collect"), most, retries=world.repeats, pace=pace)
    loop = VirtualLoop(world)
    try:
        return loop.run_until_complete(tasks.run())
    finally:
        loop.close()


@cases
@settings(max_examples=60, deadline=None)
def test_tasks_repeat_each_item_when_it_is_due(n, retries, base_s, seed, share, rate):
    chance = random.Random(seed)
    raises = {x: chance.randrange(1, 6) for x in range(n) if chance.random() < share}
    world = World(raises, retries=retries, base_s=base_s, seed=seed)
    with pytest.MonkeyPatch.context() as monkeypatch:
        found = in_tasks(world, iter(range(n)), monkeypatch, pace=None if rate is None else Pace(rate))
        world.is_right(found, n)
    if rate is None:
        # One timer for each item that is set aside or run.
        assert len([s for s in world.slept if s > 0.0]) <= 3 * len(world.order)


def test_tasks_go_on_while_items_are_set_aside(monkeypatch):
    world = Longest({0: 1}, retries=1, base_s=4.0)
    assert in_tasks(world, range(12), monkeypatch, most=1) == list(range(12))
    assert world.order == [*range(9), 0, 9, 10, 11]


def test_waits_are_drawn_between_nothing_and_the_backoff(monkeypatch):
    world = World(dict.fromkeys(range(200), 1), retries=1, base_s=10.0)
    state = looped(world, range(200), monkeypatch)
    due = []
    for _ in range(200):
        state.loop.run(len(due), len(due) + 1)
        due.append(next(at_s for at_s, x, _ in world.repeats.aside if x == len(due)) - world.now_s)
    assert all(0.0 <= wait_s <= backoff_s(1, 10.0) for wait_s in due)
    assert min(due) < 1.0
    assert max(due) > 9.0
    assert 4.0 < sum(due) / 200 < 6.0
