"""The second map of a function begins with the sample of the first, and its results are the same."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from functools import partial

import engine_functions as ef
import hands
import pytest
from disturbed import again_if_disturbed

import amorsize
from amorsize.facts import Breakdown, Forecast, Observation, Ran, Sample
from amorsize.history.this_process import THIS_PROCESS
from amorsize.model.decide import Decider
from amorsize.run.deciding import Deciding
from amorsize.run.run_summary import RunSummary

pytestmark = pytest.mark.alone

MAIN = threading.main_thread().ident
forks = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers take too long to start for a short map")


def nap_where(x, seconds=10e-3):
    """Return the result of `ef.nap`, and the process and thread that ran it."""
    return ef.nap(x, seconds), os.getpid(), threading.get_ident()


def spin_where(x, seconds=20e-3):
    return ef.spin(x, seconds), os.getpid()


def in_caller(results):
    return [value for value, _, thread in results if thread == MAIN]


class TestSecondMaps:
    @again_if_disturbed
    def test_known_waiting_begins_on_threads(self):
        first = amorsize.execute(nap_where, range(100))
        second, plan = amorsize.execute(nap_where, range(100), return_plan=True)
        assert in_caller(first)  # the first map takes a sample
        assert not in_caller(second)
        assert [one[0] for one in first] == [one[0] for one in second] == [x * x for x in range(100)]
        assert plan.backend == "threads"
        assert plan.sample.waits > 0.5
        assert "waiting" in plan.reason

    NO_THREADS = ("serial", "processes")  # where the cores are busy, threads would be worth a look at the lock first

    @forks
    @pytest.mark.skipif(amorsize.machine().usable_cores < 2, reason="one core")
    def test_known_computing_begins_in_processes(self):
        began_here = 0
        for _ in range(3):  # other programs may have the cores for a moment, and then the loop is as good
            THIS_PROCESS.forget()
            first = amorsize.execute(spin_where, range(24), backend=self.NO_THREADS)
            known = THIS_PROCESS.recall(spin_where, range(24))
            assert known is not None
            second, plan = amorsize.execute(spin_where, range(24), backend=self.NO_THREADS, return_plan=True)
            assert [value for value, _ in second] == [x * x for x in range(24)]
            if known.lost or {pid for _, pid in first} == {os.getpid()}:
                continue
            assert os.getpid() in {pid for _, pid in first}
            if second[0][1] != os.getpid():  # later ones may have come back to it
                assert plan.backend == "processes"
                return
            began_here += 1
        if not began_here:
            pytest.skip("the machine is too busy: the loop was faster each time")
        pytest.fail(f"{began_here} known maps began in the caller")

    @again_if_disturbed
    def test_its_plan_counts_every_item_for_the_loop(self):
        """No item ran in the caller, however many items the memory rests on."""
        for _ in range(3):
            _, plan = amorsize.execute(nap_where, range(100), return_plan=True)
        assert plan.backend == "threads"
        assert plan.serial_s == pytest.approx(100 * plan.sample.item_s)
        assert plan.estimated_speedup > 2

    def test_data_of_another_size_begins_anew(self):
        amorsize.execute(nap_where, range(100))
        assert in_caller(amorsize.execute(nap_where, range(1000, 1100)))

    @again_if_disturbed
    def test_a_closure_that_holds_something_else_is_another_function(self):
        def napping(seconds):
            return lambda x: nap_where(x, seconds)

        amorsize.execute(napping(10e-3), range(100))
        assert not in_caller(amorsize.execute(napping(10e-3), range(100)))
        assert in_caller(amorsize.execute(napping(11e-3), range(100)))

    def test_short_maps_leave_nothing_behind(self, monkeypatch):
        with hands.virtual_time(monkeypatch):
            amorsize.execute(ef.square, range(100))
        assert THIS_PROCESS.recall(ef.square, range(100)) is None


class TestMishaps:
    def test_an_exception_leaves_what_is_known_as_it_was(self):
        amorsize.execute(nap_where, range(100))
        known = THIS_PROCESS.recall(nap_where, range(100))

        with pytest.raises(TypeError):
            amorsize.execute(nap_where, [*range(99), None])
        assert THIS_PROCESS.recall(nap_where, range(100)) == known
        assert [one[0] for one in amorsize.execute(nap_where, range(100))] == [x * x for x in range(100)]

    def test_a_function_that_raised_is_not_known(self):
        fails = partial(ef.raise_at, 0, ef.Refused)
        with pytest.raises(ef.Refused):
            amorsize.execute(fails, range(100))
        assert THIS_PROCESS.recall(fails, range(100)) is None

    def test_an_item_that_raises_where_it_was_not_expected(self):
        amorsize.execute(nap_where, range(100))
        got = amorsize.execute(nap_where, [*range(50), "bad", *range(51, 100)], on_error="collect")
        assert isinstance(got[50], amorsize.Failure)
        with pytest.raises(TypeError):
            amorsize.execute(nap_where, ["bad"] * 3)

    def test_what_is_known_and_wrong_does_no_harm(self):
        """The same function and data, whose items have become a hundred times shorter."""
        state = {"seconds": 10e-3}

        def changing(x):
            return nap_where(x, state["seconds"])

        amorsize.execute(changing, range(100))
        state["seconds"] = 1e-4
        for _ in range(3):
            assert [one[0] for one in amorsize.execute(changing, range(100))] == [x * x for x in range(100)]


class TestOthers:
    @pytest.fixture(autouse=True)
    def _known(self):
        amorsize.execute(nap_where, range(100))

    def test_stream(self):
        assert [one[0] for one in amorsize.stream(nap_where, range(100))] == [x * x for x in range(100)]

    def test_async(self):
        got = asyncio.run(amorsize.execute_async(nap_where, range(100)))
        assert [one[0] for one in got] == [x * x for x in range(100)]

    def test_executor(self):
        known = THIS_PROCESS.recall(nap_where, range(100))
        with amorsize.Executor() as executor:
            assert [one[0] for one in executor.map(nap_where, range(100))] == [x * x for x in range(100)]
        assert THIS_PROCESS.recall(nap_where, range(100)) == known

    def test_optimize_neither_asks_nor_tells(self, monkeypatch):
        def refuse(*_):
            raise AssertionError("nobody may ask")

        monkeypatch.setattr(THIS_PROCESS, "recall", refuse)
        monkeypatch.setattr(THIS_PROCESS, "keep", refuse)
        assert amorsize.optimize(nap_where, range(100)).sample.n_sampled > 0

    def test_a_request_for_the_loop_stays_there(self):
        assert len(in_caller(amorsize.execute(nap_where, range(20), backend="serial"))) == 20


class TestWhatARunShows:
    """`RunSummary` alone: a parallel part after one item, and the times of its workers."""

    @staticmethod
    def story(backend="processes", *, rate=None, total_s=1.0, cpu=1.0, first_call_s=0.0, method="fork", **ran):
        opening = Decider(101, indexable=True, most_cores=2, rate=rate)
        opening.saw(Observation(0, 1, first_call_s + 10e-3, cpu * 10e-3, cpu * 10e-3))
        sample = Sample(n_sampled=1, item_s=10e-3, item_cpu_s=cpu * 10e-3, first_call_s=first_call_s)
        go = Forecast(
            backend=backend, workers=2, chunksize=1, start_method=None if backend == "threads" else method,
            total_s=total_s, low_s=0.9, high_s=1.1, breakdown=Breakdown(),
        )  # fmt: skip
        story = RunSummary(opening)
        story.go, story.sample, story.ran = go, sample, Ran(items=100, **ran)
        story.loop_s, story.loop_items = opening.wall_s, 1
        return story

    def test_who_is_slower_than_the_loop_has_lost(self):
        assert not self.story(wall_s=0.94).unprofitable
        assert self.story(wall_s=0.96).unprofitable  # nothing gained
        assert self.story(wall_s=0.5).unprofitable is False
        first = self.story(wall_s=1.5)
        first.is_first = True  # half of it may have been loading modules
        assert not first.unprofitable
        withdrew = self.story(wall_s=0.5)
        withdrew.attempts.append(withdrew.attempt(withdrew.go, 0.5, None))
        assert withdrew.unprofitable

    def test_a_rate_is_not_the_workers_fault(self):
        assert not self.story(rate=10.0, wall_s=10.0).unprofitable

    def test_nor_is_a_backoff(self):
        waited = self.story(wall_s=10.0)
        waited.was_held_back = True
        assert not waited.unprofitable

    def test_who_was_not_compared_has_not_lost(self):
        blind = self.story(wall_s=9.0)
        blind.unsampled = True
        assert not blind.unprofitable

    def test_what_items_took_in_processes_is_kept_apart(self):
        found = self.story(wall_s=0.6, work_s=1.2).found()
        assert (found.item_s, found.worker_s) == (10e-3, pytest.approx(12e-3))

    def test_what_waiting_items_took_in_threads_is_part_of_the_mean(self):
        found = self.story("threads", cpu=0.1, wall_s=0.6, work_s=1.21, work_cpu_s=0.1).found()
        assert (found.n_sampled, found.worker_s) == (101, None)
        assert found.item_s == pytest.approx((10e-3 + 1.21) / 101)
        assert found.item_cpu_s == pytest.approx(0.101 / 101)

    def test_a_dear_first_call_is_no_part_of_it(self):
        found = self.story("threads", cpu=0.0, first_call_s=0.5, wall_s=0.6, work_s=1.0).found()
        assert found.item_s == pytest.approx(10e-3)
        assert found.first_call_s == 0.0  # it has been paid, as far as this process and its forks go
        assert self.story(first_call_s=0.5, method="spawn", wall_s=0.6, work_s=1.0).found().first_call_s == 0.5

    def test_what_computing_items_took_in_threads_is_not_what_they_take_alone(self):
        found = self.story("threads", wall_s=0.6, work_s=1.9).found()
        assert (found.item_s, found.n_sampled) == (10e-3, 1)

    def test_a_run_that_was_far_slower_than_forecast_says_nothing_of_its_items(self):
        story = self.story(wall_s=2.1, work_s=4.0)
        assert story.slowed
        assert story.found().worker_s is None
        assert not self.story(wall_s=1.9).slowed

    def test_a_loop_that_ran_to_the_end_shows_what_it_saw_and_not_what_it_was_told(self):
        opening = Decider(10, indexable=True, most_cores=2)
        assert RunSummary(opening).found() is None
        opening.recall(Sample(n_sampled=9, item_s=10e-3))
        opening.saw(Observation(0, 1, 10e-3, 10e-3, 10e-3))
        assert RunSummary(opening).found() is None
        opening.saw(Observation(1, 3, 30e-3, 30e-3, 30e-3))
        assert RunSummary(opening).found().n_sampled == 4


def test_a_map_with_a_rate_does_not_keep_threads_out():
    amorsize.execute(partial(nap_where, seconds=15e-3), range(12), rate=50.0)
    known = THIS_PROCESS.recall(partial(nap_where, seconds=15e-3), range(12))
    assert known is None or known.lost == ()


def test_an_opening_is_told_before_its_first_item(monkeypatch):
    told = []
    monkeypatch.setattr(Deciding, "_recall", lambda self: told.append(self.decider.items))
    amorsize.execute(ef.square, range(10))
    assert told == [0]
