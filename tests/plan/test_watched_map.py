"""A watched map, in virtual time: the results of a map, and an early end if items take longer than forecast."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.plan.watched_map import GROWTH, SECOND_S, batches, loop_while, pool_while


class Pool:
    """Runs batches one after the other, each on all workers, when their results are requested."""

    def __init__(self, item_s, workers, start_s=0.0):
        self.item_s, self.workers, self.now = item_s, workers, start_s
        self.sent, self.flying, self.most = [], 0, 0

    def clock(self):
        return self.now

    def start(self, items, chunksize):
        assert chunksize >= 1
        self.sent.append(len(items))
        self.flying += 1
        self.most = max(self.most, self.flying)
        return Subset(self, list(items))


class Subset:
    def __init__(self, pool, items):
        self.pool, self.items = pool, items

    def get(self):
        self.pool.flying -= 1
        self.pool.now += self.pool.item_s * len(self.items) / self.pool.workers
        return [x * x for x in self.items]


def run(n, told_s, item_s, *, workers=4, start_s=0.01, chunksize=16):
    pool, results = Pool(item_s, workers, start_s), []
    held = pool_while(
        pool.start, range(n), results, workers=workers, chunksize=chunksize, item_s=told_s,
        total_s=start_s + told_s * n / workers, start_s=start_s, clock=pool.clock,
    )  # fmt: skip
    assert results == [x * x for x in range(len(results))]
    assert held == (len(results) == n)
    assert pool.flying == 0
    return held, len(results), pool


class TestPools:
    @pytest.mark.parametrize("n", [1, 4, 5, 16, 1_000])
    @pytest.mark.parametrize("told_s", [1e-6, 1e-3, 1.0])
    def test_as_told(self, n, told_s):
        held, _, pool = run(n, told_s, told_s)
        assert held
        assert pool.most <= 2
        assert sum(pool.sent) == n

    @pytest.mark.parametrize("n", [16, 1_000])
    def test_faster_than_told(self, n):
        assert run(n, 1e-2, 1e-4)[0]

    def test_slower_by_a_little(self):
        assert run(1_000, 1e-3, 2e-3)[0]

    @pytest.mark.parametrize("told_s", [5e-5, 1e-3, 1e-1])
    def test_slower_by_a_hundred_times(self, told_s):
        held, done, pool = run(1_000, told_s, 100 * told_s)
        assert not held
        assert done <= 4 + 4 * max(1, round(SECOND_S / told_s)) * (1 + GROWTH)
        assert len(pool.sent) <= 3

    def test_what_costs_nothing_may_cost_a_little(self):
        assert run(1_000, 0.0, 1e-5)[0]


@given(st.integers(1, 10_000), st.integers(1, 64), st.floats(0.0, 10.0))
def test_batches_are_all_items_and_grow(n, workers, item_s):
    sizes = batches(n, workers, item_s)
    assert sum(sizes) == n
    assert all(size > 0 for size in sizes)
    assert sizes[0] <= workers
    assert all(later >= before for before, later in pairwise(sizes[:-1]))


class TestLoops:
    def looped(self, told_s, item_s, n=1_000):
        now, results = [0.0], []

        def func(x):
            now[0] += item_s
            return x

        held = loop_while(func, range(n), results, told_s, clock=lambda: now[0])
        assert results == list(range(len(results)))
        return held, len(results), now[0]

    @pytest.mark.parametrize("factor", [0.01, 1.0, 2.9])
    def test_about_as_told(self, factor):
        assert self.looped(1e-3, factor * 1e-3)[:2] == (True, 1_000)

    @pytest.mark.parametrize("item_s", [1e-4, 1e-2, 1.0])
    def test_slower_by_a_hundred_times(self, item_s):
        held, _, spent_s = self.looped(item_s / 100, item_s)
        assert not held
        assert spent_s <= 3 * max(item_s, 1e-3)

    def test_nothing_to_do(self):
        assert self.looped(1.0, 1.0, n=0) == (True, 0, 0.0)
