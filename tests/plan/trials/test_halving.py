"""Successive halving in simulated time: the candidates tried, the length of trials, and the winner."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.facts import Breakdown, Forecast
from amorsize.plan.trials.halving import MOST, Halving, cut, rungs, shortlist

AMPLE_S = 1e9


def candidate(backend="processes", workers=2, chunksize=10, total_s=1.0, spread=0.1, refused=None):
    return Forecast(
        backend=backend,
        workers=workers,
        chunksize=chunksize,
        start_method=None,
        total_s=total_s,
        low_s=total_s * (1 - spread),
        high_s=total_s * (1 + spread),
        breakdown=Breakdown(),
        refused=refused,
    )


class Contest:
    """Candidates with known start and seconds per item; the model is wrong about each by a factor."""

    def __init__(self, real, wrong, n_items):
        self.real, self.wrong, self.n_items = real, wrong, n_items
        self.halving = Halving(len(real), n_items, self.expect)
        self.rungs = []
        self.spent_s = 0.0

    def took(self, candidate, items):
        start, per_item = self.real[candidate]
        return start + per_item * items

    def expect(self, candidate, items):
        return self.took(candidate, items) / self.wrong[candidate]

    def hold(self, noise=lambda: 1.0, budget_s=AMPLE_S):
        while (rung := self.halving.next(budget_s - self.spent_s)) is not None:
            self.rungs.append(rung)
            for candidate in rung.candidates:
                seconds = self.took(candidate, rung.items) * noise()
                self.spent_s += seconds
                self.halving.saw(candidate, seconds)
        return self.halving.best

    @property
    def totals(self):
        return [self.took(candidate, self.n_items) for candidate in range(len(self.real))]


costs = st.tuples(st.floats(0, 0.1), st.floats(1e-6, 1e-2))
fields = st.integers(1, 16).flatmap(
    lambda k: st.tuples(
        st.lists(costs, min_size=k, max_size=k),
        st.lists(st.floats(0.5, 2), min_size=k, max_size=k),
        st.integers(1, 9999),
    )
)


@given(fields)
def test_without_noise_the_best_is_found_however_wrong_the_model(field):
    contest = Contest(*field)
    best = contest.hold()
    assert contest.totals[best] == pytest.approx(min(contest.totals))


@given(fields, st.floats(0, 0.1), st.randoms(use_true_random=False))
def test_noise_costs_no_more_than_itself(field, size, chance):
    contest = Contest(*field)
    best = contest.hold(lambda: 1 + chance.uniform(-size, size))
    assert contest.totals[best] <= min(contest.totals) * (1 + size) / (1 - size) * (1 + 1e-9)


@given(fields)
def test_half_go_on_to_twice_as_much_and_the_last_two_to_everything(field):
    contest = Contest(*field)
    contest.hold()
    assert [len(rung.candidates) for rung in contest.rungs] == rungs(len(field[0]))
    for before, after in pairwise(contest.rungs):
        assert set(after.candidates) < set(before.candidates)
        assert after.items == min(2 * before.items, field[2])
    last = contest.rungs[-1]
    assert last.items > field[2] / 2 or field[2] < 2 ** len(contest.rungs)
    assert [rung.number for rung in contest.rungs] == list(range(len(contest.rungs)))


@given(fields, st.floats(0.01, 10))
def test_the_budget_holds_where_the_model_does(field, budget_s):
    real, _, n = field
    contest = Contest(real, [1.0] * len(real), n)
    contest.hold(budget_s=budget_s)
    one_item_each = sum(contest.took(candidate, 1) for candidate in range(len(real)))
    assert contest.spent_s <= max(budget_s, one_item_each) * (1 + 1e-9)


def test_where_everything_takes_longer_than_forecast_slices_stay_short():
    contest = Contest([(0.0, 1e-3)] * 8, [4.0] * 8, 1000)
    contest.hold(budget_s=1.0)
    assert contest.spent_s < 8 * 4 * 1.0  # as it would have been without looking at the clock
    assert contest.rungs[-1].items < 1000


def test_a_start_that_is_dear_on_a_slice_is_not_held_against_a_candidate():
    contest = Contest([(0.0, 1e-3), (0.05, 0.5e-3), (0.0, 2e-3)], [1.0, 1.0, 1.0], 1000)
    assert contest.hold() == 1
    assert contest.took(1, contest.rungs[0].items) > contest.took(0, contest.rungs[0].items) / 2


@given(st.integers(1, 64))
def test_trials_are_fewer_than_twice_the_candidates(k):
    assert sum(rungs(k)) <= 2 * k + k.bit_length()


# -- the candidates tried --------------------------------------------------------------------------------------------

grids = st.lists(
    st.builds(
        candidate,
        backend=st.sampled_from(["serial", "threads", "processes"]),
        workers=st.integers(1, 8),
        chunksize=st.integers(1, 500),
        total_s=st.floats(0.01, 10),
        spread=st.floats(0, 0.5),
        refused=st.sampled_from([None, None, "too large"]),
    ),
    min_size=1,
    max_size=80,
)


@given(grids)
def test_the_shortlist_is_short_and_holds_whom_it_must(grid):
    found = shortlist(grid)
    allowed = [one for one in grid if one.refused is None]
    if any(one.backend == "serial" for one in allowed):  # one worker alone gains nothing over the loop
        allowed = [one for one in allowed if one.backend == "serial" or one.workers > 1]
    assert bool(found) == bool(allowed)
    assert all(one.refused is None for one in found)
    assert len(found) <= MOST
    assert sum(rungs(len(found))) <= max(1, len(grid) // 2) or not found
    if found:
        assert found[0].total_s == min(one.total_s for one in allowed)
        assert found == sorted(found, key=lambda one: one.total_s)
    if len(grid) >= 12:  # room for one of each
        assert {one.backend for one in found} == {one.backend for one in allowed}


def test_who_cannot_win_is_left_out_but_not_the_loop():
    grid = [candidate(workers=2, chunksize=1 << k, total_s=1.0) for k in range(10)]
    grid += [candidate(workers=1, chunksize=5, total_s=0.9)]
    grid += [candidate(workers=3, chunksize=1 << k, total_s=5.0) for k in range(10)]
    grid.append(candidate("serial", 1, 1000, total_s=9.0))
    found = shortlist(grid)
    assert [one.total_s for one in found if one.backend == "processes"] == [1.0] * (len(found) - 1)
    assert [one.backend for one in found][-1] == "serial"


def test_who_hardly_differs_is_tried_once():
    grid = [candidate(chunksize=size) for size in range(10, 50)]
    sizes = [one.chunksize for one in shortlist(grid)]
    assert sizes == [10, 20, 40]


@given(st.integers(1, 16), st.integers(1, 1000), st.integers(1, 2000), st.data())
def test_chunks_of_a_slice(workers, chunksize, n, data):
    items = data.draw(st.integers(1, n))
    one = candidate(workers=workers, chunksize=chunksize)
    found = cut(one, items, n)
    assert 1 <= found.chunksize <= chunksize
    chunks, whole = -(-items // found.chunksize), -(-n // chunksize)
    assert chunks >= min(whole, 4 * workers, items) / 2  # so many, as far as dividing by whole numbers allows
