from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import items

times = st.lists(st.floats(1e-5, 10.0), min_size=1, max_size=50)


def test_each_item_is_timed_and_its_result_kept():
    results: list = []
    seconds = items.timed_items(abs, iter([-1, 2]), results)
    assert len(seconds) == 2
    assert all(each >= 0 for each in seconds)
    assert results == [1, 2]


@given(times)
def test_a_disturbance_that_hits_an_item_once_does_not_count(seconds):
    disturbed = [s + 5.0 * (i % 7 == 0) for i, s in enumerate(seconds)]
    assert items.undisturbed(disturbed, seconds) == seconds
    assert items.undisturbed(seconds, disturbed) == seconds


# No unit makes items so short that several are taken together.
@given(times, st.floats(0.25, 10.0))
def test_variation_does_not_depend_on_the_unit(seconds, factor):
    assert items.variation([s * factor for s in seconds]) == pytest.approx(items.variation(seconds), abs=1e-6)


def test_one_giant_among_many_is_more_than_the_mean_and_alike_items_are_not():
    assert items.variation([1.0] * 299 + [53.0]) > 1.0
    assert items.variation([1.0] * 300) == 0.0
    assert items.variation([0.0]) == 0.0


def test_items_shorter_than_the_clock_can_tell_are_taken_together():
    assert items.variation([0.0, 2e-7] * 1000) < 0.1
    assert items.variation([0.0, 2e-4] * 1000) == pytest.approx(1.0)


def test_the_first_call_counts_only_where_it_is_forgotten():
    first, second = [1.0, 0.1], [0.1, 0.1]
    assert items.item_facts(first, second)["first_call_s"] == 0.0
    assert items.item_facts(first, second, forgets=True)["first_call_s"] == pytest.approx(0.9)
    assert items.item_facts(first, second)["longest_s"] == 0.1
