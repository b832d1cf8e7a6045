"""The tail of a forecast against the tails of maps in virtual time."""

from __future__ import annotations

import random
from math import log
from statistics import fmean, median, pstdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amorsize.facts import Costs, Sample
from amorsize.model.cost import _chunks_tail, _expected_max, _left_s, _tail, forecast
from amorsize.model.default_costs import recorded
from amorsize.schedule.simulation.chunk_rules import simulate_pool
from amorsize.testing import a_machine

MS = 1e-3


def simulated_s(p: int, rounds: float, c: int, variation: float, seed: int) -> float:
    """Return the mean tail of maps of 1 ms items whose times are drawn from a gamma distribution."""
    draw, n = random.Random(seed), round(rounds * p * c)
    shape = 1 / variation**2
    tails = []
    for _ in range(max(6, 3000 // n)):
        items = [draw.gammavariate(shape, MS / shape) for _ in range(n)]
        tails.append(simulate_pool(items, p, c).makespan_s - sum(items) / p)
    return fmean(tails)


@pytest.mark.parametrize("p", [2, 8, 32, 64])
def test_the_tail_is_within_a_fifth_of_that_in_virtual_time(p):
    """Half a chunk added to the normal's limit was 1.5 times too long at the median, and up to 4 times."""
    ratios = []
    for number, (rounds, c, variation) in enumerate(
        [
            (1, 1, 0.3),
            (1, 1, 1.0),
            (1, 8, 0.5),
            (1.5, 2, 0.7),
            (2, 1, 0.5),
            (4, 1, 1.0),
            (4, 4, 0.7),
            (8, 1, 0.3),
            (8, 2, 0.5),
        ]
    ):
        work = Sample(n_sampled=8, item_s=MS, item_std_s=variation * MS, last_s=MS)
        tail_s = _chunks_tail(round(rounds * p * c), p, c, MS, work, shrinking=False)
        ratios.append(tail_s / simulated_s(p, rounds, c, variation, number))
    assert 0.9 < median(ratios) < 1.15
    assert sum(0.8 <= ratio <= 1.2 for ratio in ratios) >= 8, ratios
    assert max(abs(log(ratio)) for ratio in ratios) < log(1.5), ratios


def seen(items: list[float]) -> Sample:
    """Return a sample of all items."""
    last = items[-max(1, len(items) // 20) :]
    return Sample(
        n_sampled=len(items), item_s=fmean(items), item_std_s=pstdev(items), item_max_s=max(items), last_s=fmean(last)
    )


def rising(n: int, falls: bool = False) -> list[float]:
    """Return costs along a straight line from nearly nothing."""
    return sorted((2 * MS * (k + 0.5) / n for k in range(n)), reverse=falls)


@pytest.mark.parametrize(
    ("p", "chunks", "falls"), [(2, 2, False), (2, 2, True), (5, 5, False), (5, 5, True), (2, 4, False), (4, 16, False)]
)
def test_where_costs_rise_or_fall_one_worker_has_the_dear_end(p, chunks, falls):
    """As if each chunk held items from everywhere, a chunk for each worker was forecast 30 % too low, and chosen."""
    items = rising(20 * chunks, falls)
    makespan_s = simulate_pool(items, p, 20).makespan_s
    forecast_s = sum(items) / p + _tail(len(items), p, 20, fmean(items), seen(items), shrinking=False)
    assert forecast_s == pytest.approx(makespan_s, rel=0.15)


@pytest.mark.parametrize("p", [2, 8, 64])
def test_nobody_helps_the_worker_that_has_the_longest_item_in_its_only_chunk(p):
    items = [MS] * (10 * p)
    items[3] = 30 * MS
    makespan_s = simulate_pool(items, p, 10).makespan_s
    forecast_s = sum(items) / p + _tail(len(items), p, 10, fmean(items), seen(items), shrinking=False)
    assert forecast_s == pytest.approx(makespan_s, rel=0.1)


@pytest.mark.parametrize(("p", "quota"), [(2, 1.5), (2, 1.25), (5, 4.5), (3, 2.5)])
def test_under_a_quota_the_last_worker_is_alone_for_part_of_the_tail(p, quota):
    """The cores' bound held no tail: 18 % too low with two chunks of rising costs and 1.5 cores."""
    items = rising(20 * p)
    makespan_s = simulate_pool(items, p, 20, cores=8, quota=quota).makespan_s
    tail_s = _tail(len(items), p, 20, fmean(items), seen(items), shrinking=False)
    assert sum(items) / quota + _left_s(tail_s, p, 1.0, quota) == pytest.approx(makespan_s, rel=0.15)


@pytest.mark.parametrize("p", [2, 3, 8, 64])
def test_the_longest_of_one_chunk_each_is_the_expected_maximum(p):
    """Source of the figures: the integral of 1 - Φ(x)**p."""
    exact = {2: 0.5642, 3: 0.8463, 8: 1.4236, 64: 2.3437}[p]
    assert _expected_max(p) == pytest.approx(exact, rel=2e-3)


def test_no_longest_item_adds_nothing():
    """A sample without a longest item is no sample whose longest item is a second shorter than the mean."""
    two = Sample(n_sampled=2, item_s=1.0, item_cpu_s=1.0)
    costs = Costs(processes=recorded("team", "fork"))
    one = forecast(two, costs, a_machine(2), "processes", 2, 1, n_items=2)
    assert one.total_s < 1.1


@settings(deadline=None)
@given(st.integers(2, 500), st.floats(0, 2))
def test_more_workers_have_a_longer_last_one(p, variation):
    assert 0 < _expected_max(p, variation) < _expected_max(p + 1, variation)


@settings(deadline=None)
@given(
    n=st.integers(1, 5000), p=st.integers(2, 64), c=st.integers(1, 200), item_s=st.floats(1e-7, 1.0),
    variation=st.floats(0, 3), shrinking=st.booleans(),
)  # fmt: skip
def test_a_tail_is_never_negative_nor_longer_than_its_chunks_can_be(n, p, c, item_s, variation, shrinking):
    work = Sample(n_sampled=8, item_s=item_s, item_std_s=variation * item_s, last_s=item_s)
    p = min(p, -(-n // c))
    tail_s = _chunks_tail(n, p, c, item_s, work, shrinking) if p > 1 else 0.0
    assert 0.0 <= tail_s <= c * item_s * (1 + 12 * (1 + variation) ** 3)
