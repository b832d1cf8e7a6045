"""What is learnt of starts: bounds before the first one, and the imports that explain when a worker was ready."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure_trees import patient

from amorsize.facts import Costs, Sample, StartCost
from amorsize.frozen import replace
from amorsize.model.cost import forecast
from amorsize.model.default_costs import PLAUSIBLE, recorded
from amorsize.model.starts import MODULE_S, OWN_CPU_S, import_bound_s, imports_seen, imports_unseen, ready_s
from amorsize.testing import a_machine

METHODS = ["spawn", "forkserver"]
SOME = StartCost(base_s=0.1, per_worker_s=0.01, boot_s=0.2)
seconds = st.floats(1e-3, 1e3)


def start_of(method):
    return recorded("team", method).start


# -- the formula ------------------------------------------------------------------------------------------------------


@patient
@given(st.integers(1, 200), st.floats(0.5, 200.0), st.floats(0.0, 10.0), st.floats(0.0, 1.0))
def test_imports_are_made_at_the_same_time_as_far_as_there_are_cores(workers, cores, import_s, load_s):
    start = replace(SOME, import_s=import_s, load_s=load_s)
    more_s = start.total_s(workers, cores=cores) - SOME.total_s(workers, cores=cores)
    assert more_s == pytest.approx(load_s + import_s * max(1.0, workers / cores))


def test_the_forecast_counts_modules_to_load_and_imports():
    work = Sample(n_sampled=5, item_s=10e-3, item_cpu_s=10e-3)
    cost = recorded("team", "spawn")
    dear = replace(cost, start=replace(cost.start, load_s=0.25, import_s=1.0))

    def total_s(cost):
        return forecast(work, Costs(processes=cost), a_machine(2), "processes", 2, 1, n_items=100).total_s

    assert total_s(dear) - total_s(cost) == pytest.approx(1.25)


# -- before the first start -------------------------------------------------------------------------------------------


@patient
@given(st.floats(0.0, 1e4), st.integers(0, 5000))
def test_a_worker_imports_no_more_than_the_caller_has_done_and_loaded(cpu_s, modules):
    bound_s = import_bound_s(cpu_s, modules)
    assert 0.0 <= bound_s <= max(0.0, cpu_s - OWN_CPU_S)
    assert bound_s <= MODULE_S * modules
    assert bound_s <= import_bound_s(None, modules)
    assert bound_s <= import_bound_s(cpu_s + 1.0, modules + 10)


# -- from starts ------------------------------------------------------------------------------------------------------


@patient
@given(st.sampled_from(METHODS), st.integers(1, 64), st.floats(0.5, 64.0), st.floats(0.0, 20.0), st.floats(0.0, 20.0))
def test_imports_explain_when_a_worker_was_ready(method, workers, cores, import_s, before_s):
    truth = replace(start_of(method), import_s=import_s)
    found = imports_seen(replace(truth, import_s=before_s), workers, cores, ready_s(truth, workers, cores))
    assert found.import_s == pytest.approx(import_s, abs=1e-6)
    assert ready_s(found, workers, cores) == pytest.approx(ready_s(truth, workers, cores))


@patient
@given(st.sampled_from(METHODS), st.integers(1, 64), st.floats(0.5, 64.0), seconds)
def test_a_start_is_learnt_as_it_was(method, workers, cores, seen_s):
    before = start_of(method)
    found = imports_seen(before, workers, cores, seen_s)
    least_s = ready_s(before, workers, cores) / PLAUSIBLE
    assert ready_s(found, workers, cores) == pytest.approx(max(seen_s, least_s))


@patient
@given(st.sampled_from(METHODS), seconds, seconds)
def test_later_starts_count_half(method, one_s, other_s):
    first = imports_seen(start_of(method), 2, 2.0, one_s)
    both = imports_seen(first, 2, 2.0, other_s, again=True)
    low, high = sorted((ready_s(first, 2, 2.0), max(other_s, ready_s(first, 2, 2.0) / PLAUSIBLE)))
    assert low * 0.999 <= ready_s(both, 2, 2.0) <= high * 1.001


@pytest.mark.parametrize("seen_s", [0.0, -1.0, math.nan, math.inf])
def test_nonsense_teaches_nothing(seen_s):
    assert imports_seen(SOME, 2, 2.0, seen_s) is SOME
    assert imports_unseen(SOME, 2, 2.0, seen_s) is SOME


@patient
@given(seconds)
def test_a_worker_that_was_never_ready_takes_longer_than_the_wait(waited_s):
    found = imports_unseen(SOME, 2, 2.0, waited_s)
    expected_s = ready_s(SOME, 2, 2.0)
    assert ready_s(found, 2, 2.0) == pytest.approx(2 * waited_s if waited_s > expected_s else expected_s)
