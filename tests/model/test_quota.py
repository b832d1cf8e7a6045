"""The loop's forecast under a quota below the cores that it uses, against the loop in virtual time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amorsize.facts import Costs, Sample
from amorsize.model.cost import forecast
from amorsize.model.default_costs import recorded
from amorsize.model.search import choose
from amorsize.schedule.simulation.simulate import simulate
from amorsize.testing import a_machine

COSTS = Costs(threads=recorded("threadpool", None), processes=recorded("pool", "fork"))
BURN = Sample(n_sampled=8, item_s=5e-3, item_cpu_s=5e-3, own_threads=1.0, gil_held=0.95)


def loop(sample, cores, n):
    return forecast(sample, COSTS, a_machine(cores), "serial", 1, 1, n_items=n)


@pytest.mark.parametrize("quota", [0.1, 0.25, 0.5, 0.8])
@pytest.mark.parametrize("n", [2, 9, 50, 400])
def test_a_quota_below_one_core_slows_the_loop_as_in_virtual_time(quota, n):
    clock_s = simulate([5e-3] * n, 1, quota=quota).makespan_s
    assert loop(BURN, quota, n).total_s == pytest.approx(clock_s, rel=0.05, abs=5e-3)


def test_the_interval_is_about_the_slower_loop():
    found = loop(BURN, 0.5, 200)
    assert found.total_s == pytest.approx(2.0, rel=0.05)
    assert found.low_s < 2.0 < found.high_s


def test_no_workers_are_started_for_a_share_of_one_core():
    best, others = choose(BURN, COSTS, a_machine(0.5), n_items=400, backends=("serial", "threads", "processes"))
    assert best.backend == "serial"
    assert all(one.total_s > 0.9 * best.total_s for one in others)


def test_a_sample_that_stood_still_is_not_slowed_down_twice():
    """Eight items of 5 ms and one stall of 50 ms; a robbed thread counts as busy, the process's CPU time does not."""
    stalled = replace(BURN, item_s=11.25e-3, item_cpu_s=11.25e-3, own_threads=5 / 11.25)
    assert loop(stalled, 0.5, 200).total_s == pytest.approx(2.0, rel=0.05)
    one_item = replace(BURN, n_sampled=1, item_s=55e-3, item_cpu_s=55e-3, own_threads=5 / 55)
    assert loop(one_item, 0.5, 200).total_s == pytest.approx(2.0, rel=0.05)


def test_a_stall_in_the_first_call_is_taken_off_once():
    """Three items of 10 ms; a stall of 50 ms in the first one is its excess. The forecast was 0.3 of the clock."""
    first = replace(BURN, n_sampled=3, item_s=10e-3, item_cpu_s=10e-3, first_call_s=50e-3, own_threads=30 / 80)
    assert loop(first, 0.5, 150).total_s == pytest.approx(3.0, rel=0.05)


def test_items_that_wait_are_not_slowed_down_by_a_quota_that_they_do_not_use_up():
    waits = Sample(n_sampled=8, item_s=5e-3, item_cpu_s=1e-3, own_threads=0.2)
    assert loop(waits, 0.5, 100).total_s == pytest.approx(0.5)


def test_a_function_with_two_threads_of_its_own_is_slowed_down_by_a_quota_of_one_and_a_half():
    """In a sample of some milliseconds both ran."""
    blas = Sample(n_sampled=1, item_s=10e-3, item_cpu_s=10e-3, own_threads=2.0)
    assert loop(blas, 1.5, 200).total_s == pytest.approx(2.0 * 2 / 1.5, rel=0.05)
    assert loop(blas, 2, 200).total_s == pytest.approx(2.0)


@settings(deadline=None)
@given(st.floats(0.05, 2.0), st.floats(1e-5, 0.3), st.floats(0, 1), st.floats(0, 3), st.integers(1, 2000))
def test_a_quota_never_makes_the_loop_faster(quota, item_s, share, own_threads, n):
    work = Sample(n_sampled=4, item_s=item_s, item_cpu_s=share * item_s, own_threads=max(share, own_threads))
    found = loop(work, quota, n)
    assert 0 < found.low_s <= found.total_s <= found.high_s
    assert found.total_s <= loop(work, quota / 2, n).total_s * (1 + 1e-9) + 0.1
