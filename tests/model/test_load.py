"""The load of another machine: programs there that compute beside the map."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amorsize.facts import Costs, Sample
from amorsize.model.default_costs import recorded
from amorsize.model.search import choose
from amorsize.testing import a_machine

BURN = Sample(n_sampled=8, item_s=5e-3, item_cpu_s=5e-3, own_threads=1.0, gil_held=1.0)
COSTS = Costs(threads=recorded("threadpool", None), processes=recorded("pool", "fork"))


def best_of(load, cores=8, backends=("serial", "processes")):
    return choose(BURN, COSTS, a_machine(cores), n_items=4000, backends=backends, load=load)[0]


def test_cores_that_others_use_are_shared():
    """Eight workers and eight other programs on eight cores."""
    assert best_of(8.0).total_s == pytest.approx(2 * best_of(0.0).total_s, rel=0.1)


def test_idle_cores_are_used_first():
    two = choose(BURN, COSTS, a_machine(8), n_items=4000, backends=("processes",), max_workers=2, load=6.0)[0]
    assert two.total_s == pytest.approx(10.0, rel=0.1)


def test_the_loop_shares_its_core_too():
    assert best_of(15.0, backends=("serial",)).total_s == pytest.approx(40.0)


@settings(deadline=None)
@given(st.floats(0, 100), st.floats(0, 100))
def test_more_load_never_makes_a_map_faster(one, other):
    less, more = sorted((one, other))
    assert best_of(less).total_s <= best_of(more).total_s * (1 + 1e-9)


def test_threads_that_share_a_lock_gain_nothing_beside_other_programs():
    """A share of the cores for each of two threads would be two shares, but only one of them may run."""
    assert best_of(15.0, cores=2, backends=("serial", "threads")).backend == "serial"
