"""One contract for every backend and start method: the results, and the process that runs each item."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import Counter, UserList, deque
from functools import partial
from itertools import count

import disturbed
import engine_functions as ef
import modes
import numpy as np
import pytest
from modes import Mode, over

import amorsize


@pytest.fixture(autouse=True)
def _no_state():
    yield
    ef.state = None


DATA = {
    "list": (ef.square, lambda: list(range(40))),
    "tuple": (ef.square, lambda: tuple(range(40))),
    "range": (ef.square, lambda: range(40)),
    "range with a step": (ef.square, lambda: range(100, -100, -7)),
    "dict": (ef.text, lambda: dict.fromkeys("abcdefghij", 1)),
    "dict items": (ef.text, lambda: dict.fromkeys("abcdefghij", 1).items()),
    "set": (ef.text, lambda: set("abcdefghij")),
    "str": (str.upper, lambda: "some text of many letters"),
    "bytes": (ef.square, lambda: b"some text of many letters"),
    "generator": (ef.square, lambda: (x for x in range(40))),
    "iterator": (ef.text, lambda: zip(range(40), "a" * 40, strict=True)),
    "deque": (ef.square, lambda: deque(range(40))),
    "memoryview": (ef.square, lambda: memoryview(b"some text")),
    "UserList": (ef.square, lambda: UserList(range(40))),
    "array": (ef.square, lambda: np.arange(40)),
    "array of floats": (math.sqrt, lambda: np.linspace(0, 9, 40)),
    "rows of an array": (ef.total, lambda: np.arange(120).reshape(40, 3)),
    "array of objects": (ef.text, lambda: np.array(["a", None, 3, {}] * 9, dtype=object)),
    "Sequence without slices": (ef.square, lambda: ef.Unsliceable(40)),
    "__getitem__ alone": (ef.square, lambda: ef.OldStyle(40)),
    "large items": (len, lambda: [bytes(300_000 + i) for i in range(12)]),
    "nothing": (ef.square, list),
    "generator of nothing": (ef.square, lambda: iter(())),
    "empty array": (ef.square, lambda: np.empty(0)),
    "one item": (ef.square, lambda: [7]),
    "generator of one item": (ef.square, lambda: iter([7])),
    "Nones": (ef.text, lambda: [None] * 40),
}


class TestResults:
    @pytest.mark.parametrize("kind", DATA)
    def test_equal_those_of_map(self, run, kind):
        func, data = DATA[kind]
        assert run(func, data()) == list(map(func, data()))

    @over(*modes.PROCESSES)
    @pytest.mark.parametrize("kind", DATA)
    def test_a_time_limit_changes_none(self, run, kind):
        func, data = DATA[kind]
        # More items than fit into chunks of one.
        assert run(func, data(), timeout=600.0, max_workers=2) == list(map(func, data()))

    def test_of_many_items(self, run):
        assert run(ef.square, range(20_000)) == [x * x for x in range(20_000)]

    def test_of_many_items_of_a_generator(self, run):
        assert run(ef.square, iter(range(20_000))) == [x * x for x in range(20_000)]

    def test_that_are_large(self, run):
        found = run(ef.big, range(6))
        assert [(len(array), array[0], array[-1]) for array in found] == [(500_000, x, x) for x in range(6)]
        assert all((array == x).all() for x, array in enumerate(found))

    def test_of_items_that_take_long(self, run):
        assert run(ef.spin, range(60)) == [x * x for x in range(60)]

    def test_of_items_that_wait(self, run):
        assert run(ef.nap, range(60)) == [x * x for x in range(60)]

    def test_none_is_a_result_as_any_other(self, run):
        assert run([].append, range(10)) == [None] * 10

    @pytest.mark.parametrize("kind", [ef.CountedDict, ef.CountedSet])
    def test_data_is_iterated_once(self, run, kind):
        data = kind(dict.fromkeys(range(30)))
        assert run(ef.square, data) == [x * x for x in range(30)]
        assert data.iterated == 1

    def test_data_is_left_alone(self, run):
        data = [[i] for i in range(30)]
        run(len, data)
        assert data == [[i] for i in range(30)]

    def test_threads_and_many_calls_in_a_row(self, run):
        for n in range(5):
            assert run(ef.square, range(n)) == [x * x for x in range(n)]


FUNCS = {
    "lambda": lambda x: x + 1,
    "closure": (lambda n: lambda x: x + n)(3),
    "bound method": ef.Adder(3).add,
    "static method": ef.Adder.double,
    "class method": ef.Adder.named,
    "callable object": ef.Adder(3),
    "partial": partial(pow, 3),
    "partial of a lambda": partial(lambda x, y: (x, y), 3),
    "builtin": abs,
    "class": str,
    "method of a builtin": "abc".__mul__,
    "unbound method": int.bit_length,
    "numpy ufunc": np.square,
    "module function": ef.square,
}


@pytest.mark.parametrize("kind", FUNCS)
def test_any_callable_will_do(run, kind):
    assert run(FUNCS[kind], range(12)) == list(map(FUNCS[kind], range(12)))


class TestWhereFuncRuns:
    def test_processes_never_call_it_here(self, run, mode):
        for data in (range(30), iter(range(30)), [0]):
            # A map in which items have stood still would let the next one begin elsewhere.
            disturbed.forget()
            pids = {pid for pid, _ in run(ef.where, data)}
            if mode.in_caller:
                assert os.getpid() in pids
            else:
                assert os.getpid() not in pids

    @over(modes.SERIAL)
    def test_serial_is_this_very_thread(self, run):
        assert set(run(ef.where, range(30))) == {(os.getpid(), threading.get_ident())}

    @over(modes.THREADS, modes.TO_THREADS)
    def test_threads_stay_in_this_process(self, run):
        assert {pid for pid, _ in run(ef.where, range(30))} == {os.getpid()}

    @over(*modes.TO_PROCESSES, *modes.PROCESSES)
    def test_workers_are_no_more_than_asked_for(self, run):
        found = run(ef.where, range(200), max_workers=1)
        assert len({pid for pid, _ in found} - {os.getpid()}) <= 1

    @over(Mode("processes", "fork"))
    def test_a_map_within_a_worker_keeps_to_its_share(self, run, monkeypatch):
        from amorsize.system import machine
        from amorsize.testing import a_machine

        monkeypatch.setattr(machine, "machine", lambda: a_machine(cores=2))
        monkeypatch.setattr(machine, "_latest", [])
        for outer, inner in run(ef.nested, range(4)):
            assert outer not in inner
            assert len(set(inner)) == 1


class TestInitializer:
    def test_is_called_wherever_func_runs(self, run):
        found = run(ef.tell_state, range(40), initializer=ef.set_state, initargs=("set", 1))
        assert found == [(("set", 1), x) for x in range(40)]

    @over(*modes.PROCESSES)
    def test_once_in_each_worker(self, run, tmp_path):
        found = run(ef.where, range(40), initializer=ef.note_process, initargs=(str(tmp_path),))
        called = Counter(int(each.name.split("-")[0]) for each in tmp_path.iterdir())
        assert {pid for pid, _ in found} <= set(called)
        assert set(called.values()) == {1}

    @over(*modes.PROCESSES)
    def test_is_not_called_here_for_processes(self, run):
        run(ef.square, range(4), initializer=ef.set_state, initargs=(1,))
        assert ef.state is None

    def test_that_raises_ends_the_call(self, run):
        with pytest.raises(ef.Refused, match="initializer"):
            run(ef.square, range(40), initializer=ef.raise_in_initializer)

    def test_may_be_a_lambda(self, run):
        assert run(ef.square, range(9), initializer=lambda: None) == [x * x for x in range(9)]


class TestData:
    """Data with unusual behaviour."""

    @staticmethod
    def broken(n: int):
        yield from range(n)
        raise ef.Refused("the data")

    @pytest.mark.parametrize("n", [0, 1, 25, 3000])
    def test_a_generator_that_raises(self, run, n):
        with pytest.raises(ef.Refused, match="the data"):
            run(ef.square, self.broken(n))

    def test_a_sequence_that_raises(self, run):
        with pytest.raises(LookupError, match="torn"):
            run(ef.square, ef.Torn(40, 17))

    def test_a_slow_generator(self, run):
        def slow():
            for i in range(30):
                time.sleep(1e-3)
                yield i

        assert run(ef.square, slow()) == [x * x for x in range(30)]

    def test_an_endless_generator_is_read_no_further_than_to_the_error(self, run):
        read = count()

        def slow_at_last():
            for x in read:
                if x > 100_000:
                    # The worker with the item that raises may stand still.
                    time.sleep(1e-3)
                yield x

        with pytest.raises(ef.Refused):
            run(partial(ef.refuse, (2000,)), slow_at_last())
        assert next(read) < 1_000_000

    def test_a_generator_is_closed_to_nobody_elses_harm(self, run):
        data = iter(range(50))
        run(ef.square, data)
        assert next(data, "end") == "end"


@over(Mode("processes", "fork"))
def test_forked_workers_draw_different_numbers(run, tmp_path):
    np.random.random()
    found = run(partial(ef.draw, str(tmp_path)), range(12))
    assert len({pid for pid, _ in found}) >= 2
    assert len({number for _, number in found}) == 12


class TestPlan:
    def test_comes_with_the_results(self, run, mode):
        found, plan = run(ef.square, range(300), return_plan=True)
        assert found == [x * x for x in range(300)]
        assert isinstance(plan, amorsize.Plan)
        assert plan.n_jobs <= 2
        assert plan.data == range(300)
        if mode.turns is not None:
            assert plan.backend == mode.turns
        elif isinstance(mode.backend, tuple):
            assert plan.backend in mode.backend
        elif mode.backend != "auto":
            assert plan.backend == mode.backend
        if mode.backend == "processes":
            assert plan.start_method == mode.start_method

    def test_of_nothing(self, run):
        found, plan = run(ef.square, [], return_plan=True)
        assert found == []
        assert isinstance(plan, amorsize.Plan)

    def test_can_be_told_and_stored(self, run):
        import json

        _, plan = run(ef.square, range(300), return_plan=True)
        assert plan.reason
        assert plan.backend in plan.explain()
        assert json.loads(plan.to_json())["n_jobs"] == plan.n_jobs
