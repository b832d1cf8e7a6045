"""The memory of one process: for which functions, over which data, for how long."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.facts import Sample
from amorsize.history import this_process
from amorsize.history.shape import ALIKE, Shape, shape_of
from amorsize.history.this_process import MOST, NEWEST, REST, SURPRISE, Memory

MILLI = Sample(n_sampled=5, item_s=1e-3, item_cpu_s=1e-3)
ITEMS = [1, 2, 3, 4]


def plain(x):
    return x + 1


def adder(n):
    return lambda x: x + n


def with_default(n):
    def add(x, n=n):
        return x + n

    return add


class Model:
    def predict(self, x):
        return x


class Lazy(Sequence):
    """A sequence that makes an item when it is indexed, which may be expensive."""

    def __init__(self) -> None:
        self.asked = 0

    def __len__(self) -> int:
        return 100

    def __getitem__(self, place):
        self.asked += 1
        return place


class LazyList(list):
    def __getitem__(self, place):
        raise AssertionError("indexed")

    def __iter__(self) -> Iterator[int]:
        raise AssertionError("iterated")


class Touchy:
    @property
    def nbytes(self):
        raise RuntimeError("nobody may ask")


class TestShapes:
    @pytest.mark.parametrize(
        ("data", "shape"),
        [
            ([], Shape("list", "", None)),
            ((1.0, -3.0), Shape("tuple", "float", 2.0)),
            (range(10, 12), Shape("range", "int", 10.5)),
            ([b"ab", b"abcd"], Shape("list", "bytes", 3.0)),
            ([[1], [1, 2, 3]], Shape("list", "list", 2.0)),
            ([1, "a"], Shape("list", "several", None)),
            ([None, None], Shape("list", "NoneType", None)),
            ([np.zeros(4), np.zeros(8)], Shape("list", "ndarray", 48.0)),
            ([object()], Shape("list", "object", None)),
            (np.arange(3), Shape("ndarray", "", None)),
            ({1: 2}, Shape("dict", "", None)),
            (iter([1]), Shape("list_iterator", "", None)),
            ([10**400], Shape("list", "int", None)),
            ([math.nan, 1.0], Shape("list", "float", None)),
            ([math.inf], Shape("list", "float", None)),
            ([Touchy()], Shape("list", "Touchy", None)),
        ],
    )
    def test_kinds(self, data, shape):
        assert shape_of(data) == shape

    def test_sequences_of_the_users_are_not_looked_into(self):
        lazy = Lazy()
        assert shape_of(lazy) == Shape("Lazy", "", None)
        assert lazy.asked == 0
        assert shape_of(LazyList([1, 2])) == Shape("LazyList", "", None)

    def test_sizes_are_taken_from_all_over_the_data(self):
        assert shape_of(["a"] * 1000 + ["a" * 101] * 1000).size == pytest.approx(51.0)

    @given(st.floats(0, 1e300), st.floats(0, 1e300))
    def test_alike_means_within_a_factor_and_the_same_both_ways(self, one, other):
        a, b = Shape("list", "int", one), Shape("list", "int", other)
        assert a.resembles(b) == b.resembles(a) == (one == other or max(one, other) <= ALIKE * min(one, other))

    def test_kind_items_and_whether_a_size_is_known_count(self):
        shape = Shape("list", "int", 4.0)
        assert shape.resembles(shape)
        for other in (Shape("tuple", "int", 4.0), Shape("list", "str", 4.0), Shape("list", "int", None)):
            assert not shape.resembles(other)
            assert not other.resembles(shape)
        assert Shape("set", "", None).resembles(Shape("set", "", None))


class TestFunctions:
    @staticmethod
    def knows(kept, asked):
        memory = Memory()
        memory.keep(kept, ITEMS, MILLI)
        return memory.recall(asked, ITEMS) is not None

    def test_the_same_function(self):
        assert self.knows(plain, plain)
        assert self.knows(len, len)
        assert not self.knows(len, abs)
        assert not self.knows(plain, len)

    def test_the_same_body_written_once_and_made_twice(self):
        made = {}
        source = "def func(x):\n    return x + {}\n"
        for name, number in (("one", 1), ("again", 1), ("other", 2)):
            space = {"__name__": "somewhere"}
            exec(compile(source.format(number), "<cell>", "exec"), space)
            made[name] = space["func"]
        assert self.knows(made["one"], made["again"])
        assert not self.knows(made["one"], made["other"])

    @pytest.mark.parametrize(
        "make", [adder, with_default, partial(partial, pow)], ids=["closure", "default", "partial"]
    )
    def test_values_that_a_function_holds_count(self, make):
        assert self.knows(make(1), make(1))
        assert not self.knows(make(1), make(2))

    def test_a_closure_that_changes_is_another_function(self):
        n = 1

        def add(x):
            return x + n

        memory = Memory()
        memory.keep(add, ITEMS, MILLI)
        assert memory.recall(add, ITEMS) is not None
        n = 2
        assert memory.recall(add, ITEMS) is None

    def test_methods(self):
        assert self.knows(Model().predict, Model().predict)
        assert not self.knows("a".upper, "a".lower)
        assert self.knows(str.upper, str.upper)

    def test_other_data_is_not_spoken_for(self):
        memory = Memory()
        memory.keep(plain, ["a" * 10], MILLI)
        assert memory.recall(plain, ["a" * 15]).sample == MILLI
        assert memory.recall(plain, ["a" * 100]) is None
        assert memory.recall(plain, ("a" * 10,)) is None

    def test_what_is_forgotten_is_gone(self):
        memory = Memory()
        for func in (plain, len, adder(1)):
            memory.keep(func, ITEMS, MILLI)
        memory.forget(len)
        assert memory.recall(len, ITEMS) is None
        assert memory.recall(plain, ITEMS) is not None
        assert memory.recall(adder(1), ITEMS) is not None
        memory.forget()
        assert memory.recall(plain, ITEMS) is None
        memory.forget(plain)  # nothing is known of it


class TestRuns:
    def test_means_are_blended_and_the_newest_counts_most(self):
        memory = Memory()
        memory.keep(plain, ITEMS, replace(MILLI, worker_s=1e-3))
        memory.keep(plain, ITEMS, replace(MILLI, item_s=2e-3, item_cpu_s=1e-3, n_sampled=9, gil_held=0.5))
        sample = memory.recall(plain, ITEMS).sample
        assert sample.item_s == pytest.approx(1e-3 + NEWEST * 1e-3)
        assert sample.item_cpu_s == pytest.approx(sample.item_s / 2)  # half of the newest run's time
        assert sample.worker_s == 1e-3  # which the newest run says nothing of
        assert (sample.n_sampled, sample.gil_held) == (9, 0.5)
        memory.keep(plain, ITEMS, replace(MILLI, worker_s=2e-3))
        assert memory.recall(plain, ITEMS).sample.worker_s == pytest.approx(1e-3 + NEWEST * 1e-3)

    @pytest.mark.parametrize("item_s", [1.01e-3 * SURPRISE, 0.99e-3 / SURPRISE])
    def test_a_surprise_takes_the_place_of_the_mean(self, item_s):
        memory = Memory()
        memory.keep(plain, ITEMS, MILLI)
        memory.keep(plain, ITEMS, replace(MILLI, item_s=item_s))
        assert memory.recall(plain, ITEMS).sample.item_s == item_s

    def test_other_data_takes_the_place_of_what_was_known(self):
        memory = Memory()
        memory.keep(plain, ["a"], MILLI, lost="threads")
        memory.keep(plain, ["a" * 100], replace(MILLI, item_s=2e-3))
        assert memory.recall(plain, ["a"]) is None
        known = memory.recall(plain, ["a" * 100])
        assert (known.sample.item_s, known.lost, known.rest) == (2e-3, (), 0)

    @pytest.mark.parametrize(("losses", "maps"), [(1, 1), (2, 3), (3, 7), (4, REST + 1), (9, REST + 1)])
    def test_a_backend_that_lost_sits_out_for_longer_each_time(self, losses, maps):
        memory = Memory()
        for _ in range(losses):
            memory.keep(plain, ITEMS, MILLI, lost="processes")
        sat_out = 0
        while memory.recall(plain, ITEMS).lost:
            assert memory.recall(plain, ITEMS).lost == ("processes",)
            memory.keep(plain, ITEMS, MILLI)
            sat_out += 1
        assert sat_out == maps

    def test_who_has_won_since_begins_anew(self):
        memory = Memory()
        for _ in range(3):
            memory.keep(plain, ITEMS, MILLI, lost="processes")
        memory.keep(plain, ITEMS, MILLI, won="processes")
        memory.keep(plain, ITEMS, MILLI, lost="processes")
        assert memory.recall(plain, ITEMS).losses == 1

    def test_two_backends_may_rest_each_of_them_once(self):
        memory = Memory()
        for backend in ("processes", "threads", "threads", "processes", "threads"):
            memory.keep(plain, ITEMS, MILLI, lost=backend)
        assert sorted(memory.recall(plain, ITEMS).lost) == ["processes", "threads"]

    def test_a_trials_result_is_that_of_the_newest_run(self):
        memory = Memory()
        memory.keep(plain, ITEMS, MILLI, 1.9)
        assert memory.recall(plain, ITEMS).threads_gain == 1.9
        memory.keep(plain, ITEMS, MILLI)
        assert memory.recall(plain, ITEMS).threads_gain is None


class TestBounds:
    def test_the_functions_mapped_longest_ago_are_forgotten(self):
        memory = Memory()
        for n in range(MOST):
            memory.keep(adder(n), ITEMS, MILLI)
        memory.keep(adder(0), ITEMS, MILLI)  # mapped again
        memory.keep(adder(MOST), ITEMS, MILLI)
        assert len(memory._known) == MOST
        assert memory.recall(adder(0), ITEMS) is not None
        assert memory.recall(adder(1), ITEMS) is None
        assert memory.recall(adder(MOST), ITEMS) is not None

    def test_many_threads_at_once(self):
        memory, wrong = Memory(), []

        def work(first):
            try:
                for n in range(first, first + 120):
                    memory.keep(adder(n % 400), ITEMS, MILLI)
                    memory.recall(adder(n % 400), ITEMS)
                    if n % 20 == 0:
                        memory.forget(adder(n))
            except BaseException as exc:
                wrong.append(exc)
                raise

        threads = [threading.Thread(target=work, args=(60 * n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert 0 < len(memory._known) <= MOST


def test_what_is_settled_is_asked_again_after_more_maps_each_time():
    memory, asked = Memory(), []
    for n in range(40):
        known = memory.recall(len, ["b"])
        rests = known is not None and known.settled > 0
        memory.keep(len, ["a"], MILLI, settled=None if rests else True)
        if not rests:
            asked.append(n)
    assert asked == [0, 2, 6, 14, 14 + REST + 1, 14 + 2 * (REST + 1)]


def test_what_is_no_more_settled_begins_anew():
    memory = Memory()
    for _ in range(4):
        memory.keep(len, ["a"], MILLI, settled=True)
    memory.keep(len, ["a"], MILLI, won="threads")
    assert memory.recall(len, ["a"]).settled == 0
    memory.keep(len, ["a"], MILLI, settled=True)
    assert memory.recall(len, ["a"]).settled == 1


def test_a_short_map_is_not_looked_up(monkeypatch):
    memory = Memory()
    func = partial(max, 3)
    memory.keep(func, [1, 2, 3], Sample(n_sampled=3, item_s=1e-5))
    assert memory.recall(func, [1] * 1000) is not None
    monkeypatch.setattr(this_process, "fingerprint", None)  # it takes 30 to 150 µs
    assert memory.recall(func, [1] * 10) is None
    assert memory.recall(lambda x: x, [1] * 1000) is None, "its code is not known"
