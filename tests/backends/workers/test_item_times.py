"""Times and memory of single items: the slowest and the hungriest are named after the run."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace

import engine_functions as ef
import modes
import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure_functions import busy, hungry_at, slow_at
from modes import over

from amorsize.backends.loop import Loop
from amorsize.backends.results import Outcome
from amorsize.backends.source import source_of
from amorsize.backends.workers import item_times
from amorsize.backends.workers.item_times import LONG_S, MEASURE_S, TOP, Meter, Peak, Records
from amorsize.facts import ItemRecord

pytestmark = pytest.mark.alone

EACH = [modes.SERIAL, modes.THREADS, *modes.PROCESSES, modes.TO_THREADS, *modes.TO_PROCESSES]
MB = 1 << 20


class TestRuns:
    @over(*EACH)
    def test_the_slowest_are_named(self, run):
        found, plan = run(partial(slow_at, (7, 30, 41)), range(60), return_plan=True)
        assert found == list(range(60))
        assert len(plan.slowest) <= TOP
        walls = [record.wall_s for record in plan.slowest]
        assert {7, 30, 41} <= places_of(plan.slowest) or all_as_slow(plan.slowest, 60e-3)
        assert walls == sorted(walls, reverse=True)
        assert all(r.wall_s >= 60e-3 and r.cpu_s > 0 for r in plan.slowest if r.index in (7, 30, 41))

    @over(*modes.PROCESSES)  # in the caller the peak of the whole process counts, which other tests have raised
    @pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
    def test_the_hungriest_are_named(self, run):
        _, plan = run(partial(hungry_at, (33,)), range(60), return_plan=True)
        assert plan.hungriest[0].index == 33
        assert plan.hungriest[0].growth_bytes > 40 * MB
        assert plan.hungriest[0].rss_bytes > 80 * MB

    @over(*EACH)
    def test_short_items_are_not_looked_at(self, run):
        _, plan = run(ef.square, range(1000), return_plan=True)
        assert all(record.wall_s >= LONG_S for record in plan.slowest)  # a hiccup of the machine may show

    @over(*EACH)
    def test_items_that_raise_count_too(self, run):
        _, plan = run(partial(slow_and_bad, 30), range(50), on_error="collect", return_plan=True)
        assert 30 in places_of(plan.slowest) or all_as_slow(plan.slowest, 50e-3)

    @over(modes.PROCESSES[0])
    def test_they_are_in_what_a_plan_says(self, run):
        _, plan = run(partial(slow_at, (7,)), range(20), return_plan=True)
        assert 7 in places_of(plan.slowest) or all_as_slow(plan.slowest, 60e-3)
        assert f"slowest    item {plan.slowest[0].index} (" in plan.explain()
        assert plan.to_dict()["slowest"][0]["index"] == plan.slowest[0].index
        assert json.loads(plan.to_json())["slowest"][0]["wall_s"] == plan.slowest[0].wall_s

    def test_a_plan_that_was_not_run_has_none(self):
        import amorsize

        plan = amorsize.optimize(busy, range(10))
        assert (plan.slowest, plan.hungriest) == ((), ())
        assert "slowest" not in plan.explain()


def places_of(records):
    return {record.index for record in records}


def all_as_slow(records, seconds):
    """Return True if as many items as are named took so long: on a busy machine any item may."""
    return len(records) == TOP and all(record.wall_s >= seconds for record in records)


def slow_and_bad(place, x):
    busy(x, 50e-3 if x == place else 3e-3)
    if x == place:
        raise ValueError(x)
    return x


def test_a_record_is_frozen():
    with pytest.raises(AttributeError):
        ItemRecord(1, 0.1, 0.1).index = 2


class TestMeter:
    def test_in_the_first_span_one_short_item_is_enough(self, monkeypatch):
        calls, readings = [], itertools.count()
        monkeypatch.setattr(item_times, "time", SimpleNamespace(perf_counter=lambda: next(readings) * 1e-6))
        meter = Meter(Peak())
        func = meter.over(calls.append, 0)
        for x in range(5):
            func(x)
        assert meter._skips
        assert calls == [0, 1, 2, 3, 4]
        assert meter.report(0, 5, 1e-6, 0.0)[1] == []
        assert meter.over(ef.square, 5) is ef.square

    def test_in_the_first_span_long_items_are_measured(self):
        meter = Meter(Peak())
        func = meter.over(partial(busy, seconds=2e-3), 0)
        assert [func(x) for x in range(3)] == [0, 1, 2]
        assert [record[0] for record in meter.report(0, 3, 6e-3, 0.0)[1]] == [0, 1, 2]

    def test_long_items_are_measured_from_the_next_span_on(self):
        meter = Meter(Peak())
        meter.report(0, 10, 10 * MEASURE_S, 0.0)
        func = meter.over(partial(busy, seconds=2e-3), 10)
        assert [func(x) for x in range(3)] == [0, 1, 2]
        _, records = meter.report(10, 3, 6e-3, 6e-3)
        assert [record[0] for record in records] == [10, 11, 12]
        assert all(record[1] >= 2e-3 and record[3] > MB for record in records)
        assert meter.report(13, 3, 6e-3, 6e-3)[1] == []  # told only once

    def test_and_not_any_more_when_they_are_short_again(self):
        meter = Meter(Peak())
        meter.report(0, 10, 10 * MEASURE_S, 0.0)
        meter.report(0, 10, 1e-5, 0.0)
        assert meter.over(ef.square, 0) is ef.square

    def test_a_span_of_one_item_is_its_record(self):
        meter = Meter(None)
        meter.report(0, 5, 0.0, 0.0)
        assert meter.report(5, 1, 0.5, 0.25) == (0, [(5, 0.5, 0.25, 0, 0)])  # threads share their memory

    def test_what_raises_is_measured(self):
        meter = Meter(Peak())
        meter.measures = True
        func = meter.over(partial(slow_and_bad, 3), 3)
        with pytest.raises(ValueError, match="3"):
            func(3)
        assert meter.report(3, 1, 50e-3, 0.0)[1][0][0] == 3

    def test_only_what_is_among_its_own_first_travels(self):
        meter = Meter(None)
        sent = []
        for k in range(100):
            meter.measures = False
            sent.append(meter.report(k, 1, 1.0 / (k + 1), 0.0)[1])
        assert [len(records) for records in sent] == [1] * TOP + [0] * 90


@given(walls=st.lists(st.tuples(st.floats(0, 10), st.integers(0, 10)), max_size=60))
def test_the_first_ten(walls):
    records = Records()
    records.take((k, wall, 0.0, 0, growth) for k, (wall, growth) in enumerate(walls))
    assert [r[1] for r in records.slowest] == sorted((w for w, _ in walls), reverse=True)[:TOP]
    assert [r[4] for r in records.hungriest] == sorted((g for _, g in walls if g), reverse=True)[:TOP]
    assert len({r[0] for r in records.slowest}) == len(records.slowest)


@given(walls=st.lists(st.sampled_from([0.1e-3, 0.9e-3, LONG_S, 5e-3]), min_size=1, max_size=20))
def test_items_that_compute_are_told_their_wall_time(walls):
    now = [0.0]
    meter = Meter(None)
    meter.measures, meter._is_first = True, False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_times, "time", SimpleNamespace(perf_counter=lambda: now[0]))
        patch.setattr(item_times, "thread_cpu", lambda: now[0])
        func = meter.over(lambda wall_s: now.__setitem__(0, now[0] + wall_s), 0)
        for wall_s in walls:
            func(wall_s)
    for index, wall_s, cpu_s, _, _ in meter.report(0, len(walls), sum(walls), sum(walls))[1]:
        assert wall_s == pytest.approx(walls[index]) == cpu_s


@given(st.lists(st.tuples(st.sampled_from([0.3e-3, 1e-3, 5e-3]), st.booleans()), min_size=1, max_size=30))
def test_the_cpu_time_of_an_item_is_wrong_by_that_of_a_short_one_at_most(items):
    """Which waited, while it is taken to have computed."""
    now, cpu = [0.0], [0.0]

    def run(item):
        now[0] += item[0]
        cpu[0] += item[0] * item[1]

    meter = Meter(None)
    meter.measures, meter._is_first = True, False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_times, "time", SimpleNamespace(perf_counter=lambda: now[0]))
        patch.setattr(item_times, "thread_cpu", lambda: cpu[0])
        func = meter.over(run, 0)
        for item in items:
            func(item)
    for index, wall_s, cpu_s, _, _ in meter.report(0, len(items), now[0], cpu[0])[1]:
        assert abs(cpu_s - wall_s * items[index][1]) < LONG_S


def test_after_an_item_that_could_not_be_made_the_others_keep_their_numbers():
    taken = []
    loop = Loop(partial(busy, seconds=3e-3), source_of(Lacking()), Outcome("collect"))
    loop.meter, loop.took_long = Meter(None), taken.extend
    loop.run(0, 8)
    assert sorted(record[0] for record in taken) == [0, 1, 2, 5, 6, 7]


class Lacking(Sequence):
    """Eight numbers, of which two cannot be made."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index in (3, 4):
            raise ValueError(index)
        if index >= 8:
            raise IndexError
        return index


def test_growth_of_memory_is_told_once(monkeypatch):
    """The first long item makes the meter; one alone and those of a batch are told by the same peak."""
    peaks = iter([*[10 * MB] * 3, *[90 * MB] * 40])
    monkeypatch.setattr(Peak, "_asked", staticmethod(lambda: next(peaks)))
    taken = []
    loop = Loop(partial(busy, seconds=3e-3), source_of(range(20)), Outcome("raise"))
    loop.meter, loop.took_long = Meter(Peak(execs=False)), taken.extend
    for start, stop in ((0, 1), (1, 2), (2, 6), (6, 7)):
        loop.run(start, stop)
    assert [record[0] for record in taken] == list(range(7))
    assert [record[4] for record in taken if record[4]] == [80 * MB]


def test_a_repeat_that_takes_long_is_named():
    import amorsize

    _, plan = amorsize.execute(slow_again, range(8), backend="serial", retries=1, return_plan=True)
    assert plan.slowest[0].index == 3 or all_as_slow(plan.slowest, 0.1)


@pytest.mark.parametrize("measures", [True, False])
def test_a_repeat_in_a_batch_runs_func(measures):
    raises = [3]

    def square(x):
        if x in raises:
            raise ValueError(raises.pop())
        return x * x

    outcome = Outcome("raise")
    loop = Loop(square, source_of(range(8)), outcome, 1)
    loop.meter = Meter(None)
    loop.meter.measures = measures
    loop.run(0, 8)
    assert outcome.results == [x * x for x in range(8)]


tried = []


def slow_again(x):
    if x == 3 and x not in tried:
        tried.append(x)
        raise ValueError(x)
    return busy(x, 0.1 if x == 3 else 3e-3)


def test_the_loop_names_slow_items_of_its_batches():
    taken = []
    loop = Loop(partial(slow_and_bad, 5), source_of(range(20)), Outcome("collect"))
    loop.meter, loop.took_long = Meter(None), taken.extend
    loop.run(0, 8)
    assert sorted(record[0] for record in taken) == list(range(8))
    loop.run(8, 12)
    assert {record[0] for record in taken} - set(range(8)) <= set(range(8, 12))
    assert max(taken, key=lambda record: record[1])[0] == 5 or all_as_slow([ItemRecord(*r) for r in taken], 50e-3)
