from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import statistics

times = st.lists(st.floats(1e-4, 1e3), min_size=2, max_size=9)


def test_median_and_spread_of_known_values():
    assert statistics.median([3.0, 1.0, 2.0]) == 2.0
    assert statistics.iqr([1.0, 2.0, 3.0, 4.0, 5.0]) == 2.0
    assert statistics.percentile([0.0, 10.0], 90) == pytest.approx(9.0)


@given(times)
def test_interval_encloses_its_median_and_lies_within_the_values(values):
    found = statistics.estimate(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    assert found.n == len(values)


@given(times)
def test_same_values_give_the_same_interval(values):
    assert statistics.estimate(values) == statistics.estimate(values)


def test_one_value_has_no_interval_and_none_has_no_median():
    assert statistics.estimate([2.0]) == statistics.Estimate(2.0, None, None, 1)
    with pytest.raises(ValueError, match="no values"):
        statistics.estimate([])


def test_interval_covers_the_true_median_about_as_often_as_it_says():
    import numpy as np

    samples = np.random.default_rng(3).normal(10.0, 1.0, size=(300, 15))
    found = [statistics.estimate(list(sample)) for sample in samples]
    assert 0.88 <= sum(each.low <= 10.0 <= each.high for each in found) / len(found) <= 1.0


def test_ratios_pair_within_rounds_and_cancel_what_hits_a_whole_round():
    calm, disturbed = [1.0, 1.0, 1.0], [1.0, 5.0, 2.0]
    ours = [2 * factor for factor in disturbed]
    assert statistics.paired_ratios(ours, disturbed) == [2.0, 2.0, 2.0]
    assert statistics.paired_ratios([2.0, None, 4.0], [1.0, 1.0, None]) == [2.0]
    assert statistics.paired_ratios([None, None, None], calm) == []


def test_ratios_need_equal_numbers_of_rounds():
    with pytest.raises(ValueError, match="shorter"):
        statistics.paired_ratios([1.0, 2.0], [1.0])


def test_geometric_mean_treats_twice_and_half_alike():
    assert statistics.geometric_mean([2.0, 0.5]) == pytest.approx(1.0)
    assert statistics.geometric_mean([4.0, 1.0, 2.0]) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("seconds", "loop_s", "slower"),
    [(1.031, 1.0, False), (1.033, 1.0, True), (0.003, 0.0015, False), (0.0040, 0.0015, True)],
)
def test_slower_than_loop_needs_both_a_share_and_milliseconds(seconds, loop_s, slower):
    assert statistics.slower_than_loop(seconds, loop_s) is slower


def test_log_error_is_symmetric():
    assert statistics.log_error(2.0, 1.0) == pytest.approx(math.log(2))
    assert statistics.log_error(1.0, 2.0) == pytest.approx(math.log(2))


def test_differences_pair_within_rounds():
    assert statistics.paired_differences([2.0, None, 4.0], [1.5, 1.0, 1.0]) == [0.5, 3.0]


def test_the_lower_end_of_one_value_is_itself():
    assert statistics.lower(statistics.estimate([2.0])._asdict()) == 2.0
    assert statistics.lower(statistics.estimate([1.0, 2.0, 3.0])._asdict()) == 1.0


def test_best_of_all_and_among_some():
    medians = {"a": 2.0, "b": 1.0, "c": 3.0}
    assert statistics.best(medians) == "b"
    assert statistics.best(medians, lambda name: name != "b") == "a"
