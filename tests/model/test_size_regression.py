"""Forecasts of costs from sizes."""

from math import isclose, isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.facts import Sample
from amorsize.model.size_regression import Sizes, fitted, guessed, half_way, straightened, vary
from amorsize.system.looks import LEAST_SIZE, MOST_SIZE

positive = st.floats(min_value=1.0, max_value=1e6)
any_size = st.floats(min_value=LEAST_SIZE, max_value=MOST_SIZE)
ONE = Sample(n_sampled=3, item_s=1e-3, item_cpu_s=0.5e-3)


@given(st.lists(positive, min_size=3, max_size=30), st.floats(0.0, 1.0), st.floats(1e-9, 1e-3))
def test_a_line_is_found(sizes, base_s, per_size_s):
    if not vary(sizes):
        return
    a, b = fitted(sizes, [base_s + per_size_s * size for size in sizes])
    assert a >= 0
    assert b >= 0
    for size in sizes:
        assert isclose(a + b * size, base_s + per_size_s * size, rel_tol=1e-3)


@given(st.lists(positive, min_size=2, max_size=12), st.lists(positive, min_size=2, max_size=12))
def test_it_never_makes_nonsense(sizes, seconds):
    n = min(len(sizes), len(seconds))
    everything = Sizes.of(sizes, max(sizes))
    found = straightened(ONE, sizes[:n], [1e-6 * s for s in seconds[:n]], everything)
    assert found.item_s > 0
    assert found.item_cpu_s == pytest.approx(found.item_s / 2)
    assert found.error_s >= 0
    assert found.item_max_s >= 0


@given(st.lists(any_size, min_size=2, max_size=12), st.lists(positive, min_size=12, max_size=12))
def test_sizes_however_far_apart_can_be_reckoned_with(sizes, seconds):
    everything = Sizes.of(sizes, min(sizes))
    for found in (straightened(ONE, sizes, seconds[: len(sizes)], everything), guessed(ONE, sizes[0], everything)):
        assert found.item_s > 0
        assert all(isfinite(one) for one in (found.item_s, found.item_std_s, found.item_max_s, found.error_s))


def test_costs_that_do_not_go_with_sizes_stay_as_sampled():
    everything = Sizes.of([1.0, 10.0, 100.0, 1000.0], 1000.0)
    assert straightened(ONE, [1.0, 10.0, 100.0], [1e-3, 0.9e-3, 1.1e-3], everything) is ONE


def test_sizes_that_hardly_differ_say_nothing():
    assert straightened(ONE, [100.0, 101.0], [1e-3, 2e-3], Sizes.of([100.0, 400.0], 101.0)) is ONE


def test_a_base_cost_is_told_from_the_cost_of_size():
    sizes = [5_000.0, 27_000.0, 21_000.0, 750.0]  # reading and hashing files: 10 µs and 5 ns a byte
    found = straightened(ONE, sizes, [10e-6 + 5e-9 * size for size in sizes], Sizes.of([21_000.0], 27_000.0))
    assert found.item_s == pytest.approx(115e-6)


def test_what_lies_far_beyond_the_sample_makes_it_unsure():
    near = straightened(ONE, [10.0, 20.0], [1e-3, 2e-3], Sizes.of([15.0, 25.0], 20.0))
    far = straightened(ONE, [10.0, 20.0], [1e-3, 2e-3], Sizes.of([15.0, 25.0, 2000.0], 20.0))
    assert near.error_s < 0.1 * near.item_s
    assert far.error_s > 0.4 * far.item_s
    assert far.item_max_s == pytest.approx(0.2)


@given(positive, st.lists(positive, min_size=1, max_size=20))
def test_a_guess_lies_between_both_hypotheses(size, sizes):
    everything = Sizes.of(sizes, size)
    found = guessed(ONE, size, everything).item_s
    either, other = sorted((ONE.item_s, ONE.item_s * everything.mean / size))
    assert either * 0.999 <= found <= other * 1.001


@given(st.lists(positive, min_size=1, max_size=50))
def test_half_of_the_sum_lies_on_either_side(sizes):
    ranked = sorted(sizes)
    at = half_way(ranked)
    assert sum(ranked[:at]) <= sum(ranked) / 2 * 1.000001
    assert sum(ranked[: at + 1]) >= sum(ranked) / 2 * 0.999999
