"""Cost curves: the mean of all items from the times of a few."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.model.size_regression import STEEPEST, Curve, spread, vary
from amorsize.system.looks import LEAST_SIZE, MOST_SIZE

any_size = st.floats(min_value=LEAST_SIZE, max_value=MOST_SIZE) | st.just(0.0)
positive = st.floats(min_value=1.0, max_value=1e6)
exponents = st.floats(min_value=0.0, max_value=4.0)
seconds = st.floats(min_value=1e-7, max_value=10.0)


def points_of(cost, sizes):
    return [(float(size), cost(size)) for size in sizes]


def mean_of(cost, sizes):
    return sum(map(cost, sizes)) / len(sizes)


@given(st.lists(positive, min_size=2, max_size=20), st.lists(positive, min_size=1, max_size=50), exponents)
def test_a_power_law_is_found(sampled, every, exponent):
    ranked = sorted(every)
    # Little that they differ is no power law, but chance.
    if not vary(sampled, 2.0) or 0 < exponent < 0.3:
        return
    found = Curve(points_of(lambda x: 1e-6 * x**exponent, sampled)).over(ranked, ranked[-1])
    assert found.mean_s == pytest.approx(mean_of(lambda x: 1e-6 * x**exponent, ranked), rel=1e-3)
    assert found.last_s == pytest.approx(1e-6 * ranked[-1] ** exponent, rel=1e-3)


@given(st.lists(st.tuples(any_size, seconds), min_size=1, max_size=30), st.lists(any_size, min_size=1, max_size=50))
def test_it_never_makes_nonsense(points, every):
    ranked = sorted(every)
    for powers in (True, False):
        found = Curve(points, powers).over(ranked, ranked[0])
        assert all(math.isfinite(value) and value >= 0 for value in (found.mean_s, found.std_s, found.error_s))
        assert found.max_s >= max(s for _, s in points) * 0.999 / len(points)
        assert 0 <= Curve(points, powers).exponent <= STEEPEST


@given(st.lists(st.tuples(positive, seconds), min_size=1, max_size=20), st.randoms())
def test_the_order_of_the_points_does_not_matter(points, source):
    mixed = list(points)
    source.shuffle(mixed)
    here, there = Curve(points), Curve(mixed)
    assert here.sizes == there.sizes
    assert here.seconds == pytest.approx(there.seconds)


@given(st.lists(positive, min_size=1, max_size=12), st.lists(positive, min_size=1, max_size=40), seconds)
def test_costs_that_do_not_go_with_sizes_stay_as_they_are(sampled, every, item_s):
    if len(sampled) < 2 or not vary(sampled):
        return
    found = Curve(points_of(lambda _: item_s, sampled)).over(sorted(every), every[-1])
    assert found.mean_s == pytest.approx(item_s)


@pytest.mark.parametrize(
    "cost",
    [
        lambda n: 5e-6 + 1e-8 * n * n,
        lambda n: 1e-4 if n > 1_000 else 1e-7,
        lambda n: 1e-6 * 1.002**n,
        lambda n: 1e-6 * n * math.log(n + 1),
    ],
)
def test_a_bend_is_found_where_points_lie(cost):
    ranked = [float(n) for n in range(2_000)]
    found = Curve(points_of(cost, range(100, 2_000, 150))).over(ranked, 1_999.0)
    assert found.mean_s == pytest.approx(mean_of(cost, ranked), rel=0.15)


def test_a_base_cost_does_not_flatten_the_dear_end():
    curve = Curve(points_of(lambda n: 1e-3 + 1e-7 * n * n, [1, 2, 4, 8, 16, 400, 800, 1_600]))
    assert curve.exponent > 1.7


def test_what_lies_beyond_the_points_makes_it_unsure():
    ranked = [float(n) for n in range(1, 1_001)]
    near = Curve(points_of(lambda n: n * 1e-6, [500, 700, 900])).over(ranked, 1_000.0)
    far = Curve(points_of(lambda n: n * 1e-6, [50, 70, 90])).over(ranked, 1_000.0)
    assert near.error_s < 0.05 * near.mean_s
    assert far.error_s > 0.4 * far.mean_s


def test_one_point_is_a_guess_between_both_hypotheses():
    found = Curve([(400.0, 40e-3)]).over([100.0], 100.0)
    assert found.mean_s == pytest.approx(20e-3)


def test_the_error_falls_with_the_points():
    source = random.Random(1)
    costs = [source.uniform(0.5, 1.5) for _ in range(1_000)]
    ranked = [float(at) for at in range(1_000)]
    errors = []
    for stride in (250, 60, 15):
        found = Curve([(float(at), costs[at]) for at in range(0, 1_000, stride)], powers=False)
        errors.append(found.error_s(ranked))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.06


def test_by_position_lines_are_straight():
    curve = Curve([(0.0, 1.0), (10.0, 3.0)], powers=False)
    assert (curve.at(5.0), curve.at(20.0), curve.exponent) == (2.0, 3.0, 0.0)


@given(st.integers(1, 70))
def test_positions_are_spread_wherever_they_are_cut(n):
    order = spread(n)
    assert sorted(order) == list(range(n))
    assert order[0] == n - 1
    for cut in range(1, n + 1):
        gaps = [b - a for a, b in zip([-1, *sorted(order[:cut])], [*sorted(order[:cut]), n], strict=False)]
        assert max(gaps) <= 4 * n / cut + 1
