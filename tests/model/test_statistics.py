"""Medians of few rounds and their exact bootstrap interval."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.model.statistics import estimate, median, noticeably_slower, ratio

times = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=15)


@given(times)
def test_the_interval_holds_the_median_and_lies_within_the_values(values):
    found = estimate(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    assert found.median == median(values)
    assert found.n == len(values)


@given(times, st.floats(0.1, 0.9), st.floats(0.01, 0.09))
def test_more_certainty_takes_a_wider_interval(values, level, more):
    narrow, wide = estimate(values, level), estimate(values, level + more)
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


@given(times, st.randoms(use_true_random=False))
def test_the_order_of_rounds_does_not_matter(values, chance):
    shuffled = list(values)
    chance.shuffle(shuffled)
    assert estimate(shuffled) == estimate(values)


@pytest.mark.parametrize("n", [5, 9, 11])
def test_it_is_the_interval_that_drawing_resamples_finds(n):
    chance = random.Random(7)
    values = [chance.random() for _ in range(n)]
    medians = sorted(median(chance.choices(values, k=n)) for _ in range(20_000))
    found, ordered = estimate(values), sorted(values)
    for exact, drawn in ((found.low, medians[500]), (found.high, medians[-501])):
        assert abs(ordered.index(exact) - ordered.index(drawn)) <= 1  # where the tail lies just at a value


@given(times)
def test_nobody_is_slower_than_himself(values):
    assert ratio(values, values).median == 1.0
    assert not noticeably_slower(values, values)


@given(times.filter(lambda values: min(values) > 0.1), st.floats(1.3, 10))
def test_what_takes_much_longer_in_every_round_is_slower(values, factor):
    slower = [value * factor for value in values]
    assert noticeably_slower(slower, values)
    assert not noticeably_slower(values, slower)


@pytest.mark.parametrize(
    ("ours", "theirs", "slower"),
    [
        ([1.06] * 5, [1.0] * 5, True),
        ([1.04] * 5, [1.0] * 5, False),  # not by enough
        ([10e-3] * 5, [9e-3] * 5, False),  # a millisecond
        ([1.2], [1.0], False),  # one round only
        ([1.3], [1.0], True),
        ([1.1, 0.9, 1.1, 1.1, 0.9], [1.0] * 5, False),  # noise
    ],
)
def test_noticeably(ours, theirs, slower):
    assert noticeably_slower(ours, theirs) is slower
