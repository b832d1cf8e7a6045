"""The interval around a forecast that rests on no history: its width follows from what was sampled."""

from __future__ import annotations

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize.facts import Sample
from amorsize.model.intervals import FEW, WIDTHS, interval, may_queue, sample_error
from benchmarks import cells

engines = st.sampled_from([*WIDTHS, "executor"])
counts = st.integers(1, 10_000)


@given(engines, st.floats(1e-6, 1e6), st.floats(0, 1), counts, counts, st.floats(0, 10), st.booleans())
def test_an_interval_holds_its_forecast(engine, total_s, share, n_sampled, n, error_s, queue):
    sample = Sample(n_sampled=n_sampled, item_s=1.0, error_s=error_s)
    low_s, high_s = interval(total_s, share * total_s, 0.25, sample, n, engine, queue)
    assert 0 < low_s < total_s < high_s


@given(engines, counts, counts)
def test_more_sampled_items_of_the_same_error_never_widen_it(engine, a, b):
    few, many = sorted((a, b))
    if (few <= FEW) == (many <= FEW):
        assert wide(engine, Sample(n_sampled=many, item_s=1.0)) <= wide(engine, Sample(n_sampled=few, item_s=1.0))


@given(engines, counts, st.floats(0, 2), st.floats(0, 2))
def test_an_error_that_the_sample_tells_never_narrows_it(engine, n, a, b):
    small, large = sorted((a, b))
    one, other = (Sample(n_sampled=n, item_s=1.0, error_s=error) for error in (small, large))
    assert wide(engine, one) <= wide(engine, other)


def wide(engine, sample):
    low_s, high_s = interval(1.0, 0.0, 0.0, sample, 1_000_000, engine)
    return log(high_s / low_s)


def test_where_all_items_were_sampled_only_noise_is_left():
    assert sample_error(Sample(n_sampled=50, item_s=1.0, error_s=0.5), 50) == 0.0
    low_s, high_s = interval(1.0, 0.0, 0.0, Sample(n_sampled=50, item_s=1.0, error_s=0.5), 50, "loop")
    assert (low_s, high_s) == (pytest.approx(0.9, abs=0.01), pytest.approx(1.11, abs=0.01))


def test_many_that_wait_for_one_service_may_take_longer():
    waits = Sample(n_sampled=10, item_s=1.0, item_cpu_s=0.01)
    assert may_queue(waits, 64, 2)
    assert not may_queue(waits, 4, 2)
    alone, queued = (interval(1.0, 0.0, 0.0, waits, 1000, "threadpool", queue) for queue in (False, True))
    assert alone[0] == queued[0]
    assert queued[1] > alone[1]


@pytest.mark.parametrize("few", [True, False])
def test_the_recorded_corpus_lies_within(few):
    inside = [
        forecast.low_s <= clock_s <= forecast.high_s
        for one in cells.read(cells.newest(simulated=False))
        if (one.sample.n_sampled <= FEW) == few
        for cell in one.cells
        for forecast in [one.expected(cell)]
        for clock_s in cell.clocks_s
    ]
    assert 0.75 <= sum(inside) / len(inside) <= 0.85
