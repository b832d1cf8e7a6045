"""Plans for the user's executor: some items run there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

import amorsize


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as made:
        yield made


def refuse(item):
    raise KeyError(item)


def test_a_plan_has_a_forecast_and_the_engines_places(pool):
    plan = amorsize.optimize(abs, range(1000), backend=pool)
    assert (plan.backend, plan.n_jobs) == ("executor", 2)
    assert plan.chunksize >= 1
    assert plan.serial_s > 0
    low_s, high_s = plan.predicted_interval_s
    assert low_s < plan.predicted_s < high_s
    assert plan.sample.n_sampled <= 1000
    assert amorsize.optimize(abs, range(1000), backend=pool, max_workers=1).n_jobs == 1


def test_only_a_few_items_run_and_those_of_an_iterator_are_given_back(pool):
    ran = []
    data = (number for number in count())
    plan = amorsize.optimize(ran.append, data, backend=pool)
    assert 0 < len(set(ran)) < 100
    assert plan.predicted_s is None
    assert [next(plan.data) for _ in range(100)] == list(range(100))


def test_few_items_and_none(pool):
    plan = amorsize.optimize(abs, iter([1, 2]), backend=pool)
    assert list(plan.data) == [1, 2]
    assert plan.predicted_s > 0
    assert amorsize.optimize(abs, [], backend=pool).predicted_s == 0
    assert amorsize.optimize(abs, iter([]), backend=pool).predicted_s == 0


def test_what_func_raises_is_raised(pool):
    with pytest.raises(KeyError):
        amorsize.optimize(refuse, range(9), backend=pool)


def test_its_pool_is_refused(pool):
    plan = amorsize.optimize(abs, range(9), backend=pool)
    with pytest.raises(ValueError, match=r"executor or cluster.*execute"):
        plan.pool()


def test_plans_beside_the_pools_of_this_machine_are_refused(pool):
    for call in (amorsize.optimize, amorsize.validate, amorsize.tune):
        with pytest.raises(ValueError, match="backend: an executor can be planned for alone"):
            call(abs, range(9), backend=("serial", pool))
