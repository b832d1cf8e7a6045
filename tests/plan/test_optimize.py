"""``optimize()``: the items that it runs, its plan, and the pool that the plan opens."""

from __future__ import annotations

import json
import math
import multiprocessing.pool
import os
import threading
from decimal import Decimal
from fractions import Fraction
from functools import partial
from itertools import count, islice

import engine_functions as ef
import numpy as np
import pytest

import amorsize

BACKENDS = ["auto", "serial", "threads", "processes", ("serial", "processes"), ("threads", "processes")]
METHODS = ["fork", "forkserver", "spawn"]

DATA = {
    "list": lambda: list(range(50)),
    "range": lambda: range(50),
    "set": lambda: set(range(50)),
    "dict": lambda: dict.fromkeys(range(50)),
    "array": lambda: np.arange(50),
    "generator": lambda: (x for x in range(50)),
    "Sequence without slices": lambda: ef.Unsliceable(50),
    "one item": lambda: [7],
    "generator of one item": lambda: iter([7]),
    "nothing": list,
    "generator of nothing": lambda: iter(()),
}


@pytest.mark.parametrize("backend", BACKENDS, ids=str)
@pytest.mark.parametrize("kind", DATA)
def test_the_plans_pool_and_data_give_what_map_gives(backend, kind):
    plan = amorsize.optimize(ef.square, DATA[kind](), backend=backend, max_workers=2)
    with plan.pool() as pool:
        assert pool.map(ef.square, plan.data) == list(map(ef.square, DATA[kind]()))


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_the_backend_that_was_asked_for_is_planned(backend):
    plan = amorsize.optimize(ef.spin, range(50), backend=backend, max_workers=2)
    assert plan.backend == backend
    assert 1 <= plan.n_jobs <= 2
    assert 1 <= plan.chunksize <= 50
    assert (plan.start_method is None) == (backend != "processes")


@pytest.mark.parametrize("backend", ["auto", ("serial", "threads"), ("serial", "processes"), ("threads", "processes")])
def test_one_of_those_allowed_is_planned(backend):
    plan = amorsize.optimize(ef.spin, range(300), backend=backend, max_workers=3)
    assert plan.backend in (("serial", "threads", "processes") if backend == "auto" else backend)
    assert plan.n_jobs <= 3
    # Each item spins for a millisecond by the clock. The time in which other programs had the core does not count.
    assert plan.serial_s > 0.0
    low, high = plan.predicted_interval_s
    assert 0 < low <= plan.predicted_s <= high
    assert plan.estimated_speedup == pytest.approx(plan.serial_s / plan.predicted_s)
    assert {f.backend for f in plan.alternatives} <= {"serial", "threads", "processes"}


@pytest.mark.parametrize("method", METHODS)
def test_the_start_method_asked_for_is_planned(method):
    plan = amorsize.optimize(ef.spin, range(50), backend="processes", start_method=method, max_workers=2)
    assert plan.start_method == method
    with plan.pool() as pool:
        assert pool.map(ef.square, plan.data) == [x * x for x in range(50)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["list", "generator", "Sequence without slices"])
def test_processes_never_call_func_here(tmp_path, method, kind):
    func = partial(ef.note_call, str(tmp_path))
    plan = amorsize.optimize(func, DATA[kind](), backend="processes", start_method=method)
    assert plan.backend == "processes"
    pids = {int(each.name.split("-")[0]) for each in tmp_path.iterdir()}
    assert os.getpid() not in pids


def test_auto_samples_here(tmp_path):
    amorsize.optimize(partial(ef.note_call, str(tmp_path)), range(50))
    assert os.getpid() in {int(each.name.split("-")[0]) for each in tmp_path.iterdir()}


def test_pools_are_the_real_ones():
    for backend, kind in [("processes", multiprocessing.pool.Pool), ("threads", multiprocessing.pool.ThreadPool)]:
        with amorsize.optimize(ef.spin, range(50), backend=backend, max_workers=2).pool() as pool:
            assert isinstance(pool, kind)


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_every_method_of_the_pool(backend):
    plan = amorsize.optimize(ef.spin, range(20), backend=backend, max_workers=2)
    squares = [x * x for x in range(20)]
    with plan.pool() as pool:
        assert pool.map(ef.square, range(20)) == squares
        assert pool.map(ef.square, range(20), chunksize=3) == squares
        assert list(pool.imap(ef.square, range(20))) == squares
        assert sorted(pool.imap_unordered(ef.square, range(20))) == squares
        assert pool.starmap(pow, [(x, 2) for x in range(20)]) == squares


class TestIterators:
    def test_of_unknown_length_nothing_is_foretold(self):
        plan = amorsize.optimize(ef.square, count(), backend="serial")
        assert (plan.predicted_s, plan.serial_s, plan.estimated_speedup, plan.predicted_interval_s) == (None,) * 4
        assert list(islice(plan.data, 100)) == list(range(100))

    def test_an_endless_one_is_read_no_further_than_needed(self):
        read = count()
        amorsize.optimize(ef.spin, read)
        assert next(read) < 10_000

    def test_one_that_raises_tells_the_user(self):
        def broken():
            yield 1
            raise ef.Refused("the data")

        with pytest.raises(ef.Refused, match="the data"):
            amorsize.optimize(ef.square, broken())

    def test_containers_without_order_of_indices_are_read_once(self):
        data = ef.CountedDict(dict.fromkeys(range(30)))
        plan = amorsize.optimize(ef.square, data)
        assert data.iterated == 1
        assert list(plan.data) == list(range(30))


class TestErrors:
    @pytest.mark.parametrize("data", [range(1), iter([0])], ids=["range", "generator"])
    def test_what_func_raises_on_the_sample_reaches_the_user(self, data):
        with pytest.raises(ef.Refused) as caught:
            amorsize.optimize(partial(ef.refuse, (0,)), data)
        assert "amorsize: raised at item 0: 0" in caught.value.__notes__

    @pytest.mark.parametrize("method", METHODS)
    def test_also_from_a_child(self, method):
        with pytest.raises(ef.Refused) as caught:
            amorsize.optimize(partial(ef.refuse, range(50)), range(50), backend="processes", start_method=method)
        assert caught.value.code == 7

    @pytest.mark.parametrize("method", METHODS)
    def test_a_sample_that_kills_its_child_is_a_warning(self, method):
        func = partial(ef.die_at, os.getpid(), "SIGKILL", range(50))
        plan = amorsize.optimize(func, range(50), backend="processes", start_method=method)
        assert plan.backend == "processes"
        assert any("SIGKILL" in warning for warning in plan.warnings)


class TestTransfer:
    @pytest.mark.parametrize("method", METHODS)
    def test_a_func_that_cannot_be_pickled_is_not_planned_for_processes(self, method):
        lock = threading.Lock()
        plan = amorsize.optimize(
            lambda x: lock and ef.spin(x), range(30_000), backend=("serial", "processes"), start_method=method
        )
        assert plan.backend == "serial"
        assert any("cannot be pickled" in warning for warning in plan.warnings)

    def test_results_that_cannot_be_pickled_are_not_either(self):
        plan = amorsize.optimize(ef.spin_stuck, range(30_000), backend=("serial", "processes"))
        assert plan.backend == "serial"
        assert any("results cannot be pickled" in warning for warning in plan.warnings)


NUMBERS = {
    "huge": 10**200,
    "beyond-floats": -(10**400),
    "largest": 1e308,
    "subnormal": 5e-324,
    "inf": math.inf,
    "nan": math.nan,
    "fraction": Fraction(10**300, 7),
    "decimal": Decimal("1e999"),
    "signalling-nan": Decimal("sNaN"),
    "float64": np.float64(1e300),
    "float32": np.float32("inf"),
    "int64": np.int64(2**62),
    "longdouble": np.longdouble("1e300"),
    "complex": 1e300 + 1j,
}


@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS)
def test_a_number_of_any_size_may_be_among_the_items(number):
    """A size of 10**200 was squared, which raised OverflowError."""
    for data in ([number, 1, 2, 3] * 100, [1, 2, 3, number] * 100, [number] * 100 + [1] * 100):
        plan = amorsize.optimize(type, data)
        assert plan.backend
        assert plan.explain()
        assert amorsize.execute(type, data) == list(map(type, data))


def test_a_plan_can_be_told_shown_and_stored():
    plan = amorsize.optimize(ef.spin, range(50), max_workers=2)
    assert plan.backend in str(plan)
    assert plan.reason in plan.explain()
    assert "<" in plan._repr_html_()
    stored = json.loads(plan.to_json())
    assert stored["n_jobs"] == plan.n_jobs
    assert stored["breakdown"].keys() == {"start_s", "compute_s", "transfer_s", "dispatch_s", "tail_s"}
    assert "data" not in stored


def test_a_plan_is_frozen():
    plan = amorsize.optimize(abs, [1])
    with pytest.raises(AttributeError):
        plan.n_jobs = 3


def test_a_backend_that_the_environment_rules_out_is_not_called_left_out(monkeypatch):
    """The advice was to leave backend= out, which would not have allowed processes."""
    monkeypatch.setenv("AMORSIZE_BACKENDS", "serial,threads")
    off = amorsize.History("off")
    assert amorsize.optimize(abs, [-2, 1], backend="threads", history=off).basis.excluded == ("serial",)
    monkeypatch.delenv("AMORSIZE_BACKENDS")
    assert amorsize.optimize(abs, [-2, 1], backend="threads", history=off).basis.excluded == ("serial", "processes")
