"""``validate()`` on real functions: the contenders run, their items, and the reports of errors."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, pairwise

import engine_functions as ef
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import amorsize
from amorsize.facts import Sample
from amorsize.plan.plan import Plan
from amorsize.plan.trials.same_results import same_results
from amorsize.plan.trials.subset import spread_index
from amorsize.plan.trials.validate import LEAST, Sameness, affordable_items
from amorsize.plan.trials.ways import MOST_ROUNDS, Way, interleaved
from amorsize.system.clock import Clock
from amorsize.system.other_programs import Reading, share_between

METHODS = multiprocessing.get_all_start_methods()
# So many seconds are a limit that leaves no item out, though this process stands still.
ONCE = {"rounds": 1, "max_seconds": 6000.0}


def run_names(validation):
    return [one.name for one in validation.contenders if one.times_s]


DATA = {
    "list": lambda: list(range(20)),
    "set": lambda: set(range(20)),
    "dict": lambda: dict.fromkeys(range(20)),
    "array": lambda: np.arange(20),
    "generator": lambda: (x for x in range(20)),
    "Sequence without slices": lambda: ef.Unsliceable(20),
    "iterable by indices alone": lambda: ef.OldStyle(20),
    "one item": lambda: [7],
    "generator of one item": lambda: iter([7]),
}


@pytest.mark.parametrize("kind", DATA)
def test_any_data_will_do(kind):
    found = amorsize.validate(ef.square, DATA[kind](), **ONCE)
    n = 1 if "one item" in kind else 20
    assert (found.n_used, found.n_items, found.rounds) == (n, n, 1)
    assert found.same_results is True
    assert {"loop", "plan", "execute", "pool"} <= set(run_names(found))


@pytest.mark.parametrize("data", [[], iter(()), {}], ids=["list", "iterator", "dict"])
def test_nothing(data):
    found = amorsize.validate(ef.square, data)
    assert (found.n_used, found.contenders, found.ok) == (0, (), True)


def test_all_take_part_and_agree():
    found = amorsize.validate(ef.spin, range(30), rounds=2, max_seconds=5)
    assert run_names(found) == ["loop", "plan", "execute", "pool", "threads"]
    assert all(len(one.times_s) == 2 and min(one.times_s) > 0 for one in found.contenders)
    assert found.same_results is True
    assert found.regret_execute > 0
    assert found.clock_s > 0
    assert found.predicted_s > 0


@pytest.mark.parametrize("method", METHODS)
def test_processes_never_call_func_here(tmp_path, method):
    func = partial(ef.note_call, str(tmp_path))
    found = amorsize.validate(func, range(20), backend="processes", start_method=method, max_workers=2, **ONCE)
    assert run_names(found) == ["plan", "execute", "pool"]
    assert "may not be called in this process" in found["loop"].why_not
    assert os.getpid() not in {int(each.name.split("-")[0]) for each in tmp_path.iterdir()}
    assert found.same_results is True
    assert found.slower_than_loop is None


def test_what_backend_rules_out_is_not_run():
    found = amorsize.validate(ef.spin, range(10), backend=("serial", "threads"), max_workers=2, **ONCE)
    assert run_names(found) == ["loop", "plan", "execute", "threads"]
    assert found["pool"].why_not == "backend= rules processes out"
    found = amorsize.validate(ef.spin, range(10), backend="processes", max_workers=2, **ONCE)
    assert found["threads"].why_not == "backend= rules threads out"
    found = amorsize.validate(ef.spin, range(10), backend="threads", max_workers=2, **ONCE)
    assert (found["loop"].allowed, found["plan"].allowed) == (False, True)
    assert found.best.name != "loop"


@pytest.mark.parametrize("method", METHODS)
def test_a_lambda_runs_where_it_can(method):
    found = amorsize.validate(lambda x: x * x, range(50), start_method=method, **ONCE)
    assert "pickled" in found["pool"].why_not
    assert {"loop", "plan", "execute"} <= set(run_names(found))
    assert found.same_results is True


def test_a_plan_that_cannot_be_run_is_named():
    found = amorsize.validate(lambda x: x * x, range(50), backend="processes", max_workers=2, **ONCE)
    assert run_names(found) == ["execute"]
    assert "pickled" in found["plan"].why_not
    assert found.forecast_error is None
    assert "not run" in found.verdict


def test_a_sample_that_kills_its_worker_lets_no_pool_wait_for_ever():
    func = partial(ef.die_at, os.getpid(), "SIGKILL", range(5))
    with pytest.raises(amorsize.AmorsizeError):  # of execute(), the only one that can tell
        amorsize.validate(func, range(5), backend="processes", max_workers=1, **ONCE)


def test_rivals_may_be_left_out():
    found = amorsize.validate(ef.square, range(10), rivals=(), **ONCE)
    assert [one.name for one in found.contenders] == ["loop", "plan", "execute"]


class TestWhatFuncRaises:
    def test_while_sampling(self):
        with pytest.raises(ef.Refused) as caught:
            amorsize.validate(partial(ef.refuse, (0,)), range(10))
        assert "amorsize: raised at item 0: 0" in caught.value.__notes__

    def test_while_being_timed(self):
        with pytest.raises(ef.Refused) as caught:
            amorsize.validate(RefusesLater(0), range(1000), sample="head", **ONCE)
        assert any(note.startswith("amorsize: raised while a plain loop was") for note in caught.value.__notes__)
        assert any(note.startswith("amorsize: raised at item ") for note in caught.value.__notes__)

    def test_also_from_a_child(self):
        with pytest.raises(ef.Refused):
            amorsize.validate(partial(ef.refuse, range(10)), range(10), backend="processes", max_workers=1)

    def test_an_iterator_that_raises(self):
        def broken():
            yield from range(5)
            raise ef.Refused("the data")

        with pytest.raises(ef.Refused, match="the data"):
            amorsize.validate(ef.square, broken())


class RefusesLater:
    """Returns at an item once, as for the sample, and raises later."""

    def __init__(self, bad):
        self.bad, self.seen = bad, 0

    def __call__(self, x):
        self.seen += x == self.bad
        if x == self.bad and self.seen > 1:
            raise ef.Refused(x)
        return x


class TestResults:
    def test_that_differ_by_process_are_noticed(self):
        found = amorsize.validate(partial(ef.tell_pid_but, os.getpid()), range(10), rivals=("pool",), **ONCE)
        assert found["pool"].same is False
        assert not found.ok
        assert "The results differ" in found.verdict

    def test_that_are_never_the_same_tell_nothing(self):
        found = amorsize.validate(ef.now, range(10), rivals=(), rounds=2)
        assert found.same_results is None
        assert "The results differ" not in found.verdict

    def test_sameness_takes_back_what_it_said_when_the_first_varies(self):
        same = {"loop": [], "plan": []}
        saw = Sameness(same)
        loop, plan = (Way(name=name, what=name, run=list) for name in same)
        saw(loop, [1])
        saw(plan, [2])
        assert same == {"loop": [True], "plan": [False]}
        saw(plan, [1])
        saw(loop, [3])
        assert same == {"loop": [None, None], "plan": [None, None]}


class TestItems:
    def test_of_an_endless_iterator_only_some_are_read(self):
        data = count()
        found = amorsize.validate(ef.spin, data, max_seconds=0.3, rounds=1, rivals=())
        assert found.n_items is None
        assert 1 <= found.n_used < 1000
        assert next(data) <= 2 * found.n_used + 1000

    def test_of_much_data_a_part_is_used(self):
        found = amorsize.validate(ef.spin, range(100_000), max_seconds=0.3, rounds=1, rivals=())
        assert found.n_items == 100_000
        assert LEAST <= found.n_used < 1000
        assert "evenly spread" in str(found)
        assert len(found.plan.data) == found.n_used

    def test_a_container_is_iterated_once(self):
        data = ef.CountedDict(dict.fromkeys(range(30)))
        amorsize.validate(ef.square, data, rivals=(), **ONCE)
        assert data.iterated == 1

    @given(st.integers(1, 500), st.data())
    def test_a_part_lies_evenly(self, n, data):
        k = data.draw(st.integers(1, n))
        where = [spread_index(at, k, n) for at in range(k)]
        assert where == sorted(set(where))
        assert where[0] >= 0
        assert where[-1] < n
        gaps = {b - a for a, b in pairwise(where)}
        assert max(gaps, default=1) - min(gaps, default=1) <= 1

    @given(st.floats(1e-3, 100), st.floats(1e-6, 1), st.floats(1, 64))
    def test_a_round_fits(self, round_s, item_s, speedup):
        sample = Sample(n_sampled=1, item_s=item_s, item_cpu_s=item_s)
        plan = Plan(backend="processes", n_jobs=2, chunksize=1, estimated_speedup=speedup, sample=sample)
        items = affordable_items(round_s, plan)
        took = items * item_s * (1 + 3 / speedup + 1)
        assert took <= round_s * (1 + 1e-9) or items == LEAST


class FakeTime:
    """A clock that only runs advance."""

    def __init__(self):
        self.now = 0.0
        self.clock = Clock(lambda: self.now, lambda: self.now, lambda: self.now)

    def way(self, name, seconds, log):
        def run():
            self.now += seconds
            log.append(name)
            return []

        return Way(name=name, what=name, run=run)


class TestRounds:
    def test_go_forwards_and_backwards(self):
        time, log = FakeTime(), []
        ways = [time.way(name, took, log) for name, took in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
        times = interleaved(ways, 1.0, 3, lambda way, results: None, time.clock)
        assert "".join(log) == "abccbaabc"
        assert times == [[1.0] * 3, [2.0] * 3, [3.0] * 3]

    @given(st.floats(0.001, 100), st.floats(0.001, 10))
    def test_are_as_many_as_fit(self, budget_s, took):
        time, log = FakeTime(), []
        interleaved([time.way("a", took, log)], budget_s, None, lambda way, results: None, time.clock)
        assert 1 <= len(log) <= MOST_ROUNDS
        assert time.now <= budget_s * (1 + 1e-9) or len(log) == 1
        assert len(log) == MOST_ROUNDS or time.now + took > budget_s * (1 - 1e-9)

    def test_what_looks_at_the_results_is_not_timed(self):
        time, log = FakeTime(), []

        def look(way, results):
            time.now += 100.0

        assert interleaved([time.way("a", 1.0, log)], 1.0, 2, look, time.clock) == [[1.0, 1.0]]


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ([np.arange(3), np.ones(2)], [np.arange(3), np.ones(2)], True),
        ([np.arange(3)], [np.arange(4)], False),
        ([np.array([1.0, np.nan])], [np.array([1.0 + 1e-15, np.nan])], True),
        ([np.float64("nan"), float("nan")], [np.float64("nan"), float("nan")], True),
        ([{"a": np.ones(2)}], [{"a": np.ones(2)}], True),
        ([{"a": np.ones(2)}], [{"a": np.zeros(2)}], False),
        ([(1, [0.1 + 0.2])], [(1, [0.3])], True),
        ([1], [1.5], False),
        ([1, 2], [1], False),
        ([ef.Adder(3)], [ef.Adder(3)], True),
        ([ef.Adder(3)], [ef.Adder(4)], None),
        (["a"], ["b"], False),
        ([], [], True),
    ],
)
def test_same_results(ours, theirs, same):
    assert same_results(ours, theirs) is same


def test_what_others_had():
    before = Reading(100.0, 50.0, 10.0)
    assert share_between(before, Reading(110.0, 55.0, 15.0)) == 0.0
    assert share_between(before, Reading(110.0, 50.0, 15.0)) == 0.5
    assert share_between(before, Reading(110.0, 55.0, 99.0)) == 0.0
    assert share_between(before, Reading(100.1, 50.0, 10.0)) is None


@pytest.mark.parametrize(
    ("name", "error", "bad"),
    [
        ("max_seconds", ValueError, {"max_seconds": 0}),
        ("max_seconds", TypeError, {"max_seconds": None}),
        ("max_seconds", TypeError, {"max_seconds": "10"}),
        ("rounds", ValueError, {"rounds": 0}),
        ("rounds", TypeError, {"rounds": 1.5}),
        ("rivals", TypeError, {"rivals": "pool"}),
        ("rivals", ValueError, {"rivals": ("joblib",)}),
        ("rivals", TypeError, {"rivals": 3}),
    ],
)
def test_bad_arguments_are_named(name, error, bad):
    with pytest.raises(error, match=rf"^{name}: "):
        amorsize.validate(ef.refuse_all, [1, 2], **bad)


@pytest.mark.parametrize("call", [amorsize.validate, amorsize.tune])
def test_an_executor_beside_others_is_refused(call):
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match=r"^backend: "):
        call(ef.square, [1, 2], backend=(executor, "serial"))
