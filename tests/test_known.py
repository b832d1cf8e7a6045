"""The second map of a function begins with what the first has shown, and its results are the same."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from functools import partial

import engine_functions as ef
import pytest

import amorsize
from amorsize.engine import Execution
from amorsize.learn.memory import MEMORY

MAIN = threading.main_thread().ident
forks = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers take too long to start for a short map")


def nap_where(x, seconds=10e-3):
    """What `ef.nap` does, and where it was done."""
    return ef.nap(x, seconds), os.getpid(), threading.get_ident()


def spin_where(x, seconds=20e-3):
    return ef.spin(x, seconds), os.getpid()


def in_caller(results):
    return [value for value, _, thread in results if thread == MAIN]


class TestSecondMaps:
    def test_known_waiting_begins_on_threads(self):
        first = amorsize.execute(nap_where, range(100))
        second, plan = amorsize.execute(nap_where, range(100), return_plan=True)
        assert in_caller(first)  # somebody had to look
        assert not in_caller(second)
        assert [one[0] for one in first] == [one[0] for one in second] == [x * x for x in range(100)]
        assert plan.backend == "threads"
        assert plan.sample.waits > 0.5
        assert "waiting" in plan.reason

    @forks
    @pytest.mark.skipif(amorsize.machine().usable_cores < 2, reason="one core")
    def test_known_computing_begins_in_processes(self):
        first = amorsize.execute(spin_where, range(24))
        known = MEMORY.recall(spin_where, range(24))
        assert known is not None
        if known.lost:
            pytest.skip("the machine is too busy: the loop was faster")
        second, plan = amorsize.execute(spin_where, range(24), return_plan=True)
        assert os.getpid() in {pid for _, pid in first}
        assert os.getpid() not in {pid for _, pid in second}
        assert [value for value, _ in second] == [x * x for x in range(24)]
        assert plan.backend == "processes"

    def test_its_plan_counts_every_item_for_the_loop(self):
        """None of them has run in the caller, however many the memory is made of."""
        for _ in range(3):
            _, plan = amorsize.execute(nap_where, range(100), return_plan=True)
        assert plan.backend == "threads"
        assert plan.serial_s == pytest.approx(100 * plan.sample.item_s)
        assert plan.estimated_speedup > 2

    def test_data_of_another_size_begins_anew(self):
        amorsize.execute(nap_where, range(100))
        assert in_caller(amorsize.execute(nap_where, range(1000, 1100)))

    def test_a_closure_that_holds_something_else_is_another_function(self):
        def napping(seconds):
            return lambda x: nap_where(x, seconds)

        amorsize.execute(napping(10e-3), range(100))
        assert not in_caller(amorsize.execute(napping(10e-3), range(100)))
        assert in_caller(amorsize.execute(napping(11e-3), range(100)))

    def test_short_maps_leave_nothing_behind(self):
        amorsize.execute(ef.square, range(100))
        assert MEMORY.recall(ef.square, range(100)) is None


class TestMishaps:
    def test_an_exception_leaves_what_is_known_as_it_was(self):
        amorsize.execute(nap_where, range(100))
        known = MEMORY.recall(nap_where, range(100))

        with pytest.raises(TypeError):
            amorsize.execute(nap_where, [*range(99), None])
        assert MEMORY.recall(nap_where, range(100)) == known
        assert [one[0] for one in amorsize.execute(nap_where, range(100))] == [x * x for x in range(100)]

    def test_a_function_that_raised_is_not_known(self):
        fails = partial(ef.raise_at, 0, ef.Refused)
        with pytest.raises(ef.Refused):
            amorsize.execute(fails, range(100))
        assert MEMORY.recall(fails, range(100)) is None

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
        known = MEMORY.recall(nap_where, range(100))
        with amorsize.Executor() as executor:
            assert [one[0] for one in executor.map(nap_where, range(100))] == [x * x for x in range(100)]
        assert MEMORY.recall(nap_where, range(100)) == known

    def test_optimize_neither_asks_nor_tells(self, monkeypatch):
        def refuse(*_):
            raise AssertionError("nobody may ask")

        monkeypatch.setattr(MEMORY, "recall", refuse)
        monkeypatch.setattr(MEMORY, "keep", refuse)
        assert amorsize.optimize(nap_where, range(100)).sample.n_sampled > 0

    def test_a_request_for_the_loop_stays_there(self):
        assert len(in_caller(amorsize.execute(nap_where, range(20), backend="serial"))) == 20


def test_an_opening_is_told_before_its_first_item(monkeypatch):
    told = []
    monkeypatch.setattr(Execution, "_recall", lambda self: told.append(self.job.story.opening.items))
    amorsize.execute(ef.square, range(10))
    assert told == [0]
