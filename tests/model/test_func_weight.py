"""The function's own weight in forecasts: with every chunk of a plain Pool, once per worker of ours, nowhere else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amorsize.facts import Costs, Sample
from amorsize.frozen import replace
from amorsize.model.cost import HANDED_BYTES, NO_WEIGHT, Candidates, weight_of_func
from amorsize.model.default_costs import recorded
from amorsize.model.search import choose
from amorsize.testing import a_machine

LIGHT = Sample(n_sampled=10, item_s=5e-3, item_cpu_s=5e-3, func_bytes=100.0)
HEAVY = replace(LIGHT, func_bytes=10e6, func_pickle_s=40e-3, func_unpickle_s=100e-3)
TWO = a_machine(cores=2)


def of(engine, method, sample=HEAVY, *, plain=False, n=200):
    costs = Costs(processes=recorded(engine, method))
    return Candidates(sample, costs, TWO, "processes", n_items=n, plain=plain)


def chosen(engine, method, sample=HEAVY, *, shrinking=False):
    costs = Costs(processes=recorded(engine, method))
    backends = ("serial", "processes")
    return choose(sample, costs, TWO, n_items=200, backends=backends, shrinking=shrinking)[0]


def test_a_plain_pool_sends_the_function_with_every_chunk():
    few, many = (of("pool", "fork", plain=True).seconds(2, c) for c in (100, 5))
    assert many - few > 38 * HEAVY.func_pickle_s - HEAVY.func_unpickle_s
    few, many = (of("pool", "fork").seconds(2, c) for c in (100, 5))
    assert abs(many - few) < 0.05


def test_forked_workers_inherit_it():
    assert of("pool", "fork").weight == of("team", "fork").weight == NO_WEIGHT
    assert weight_of_func(HEAVY, recorded("threads", None)) == NO_WEIGHT


@pytest.mark.parametrize("engine", ["pool", "team"])
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_workers_of_ours_get_it_once(engine, method):
    light, heavy = of(engine, method, LIGHT), of(engine, method)
    for chunksize in (1, 10, 100):
        more_s = heavy.seconds(2, chunksize) - light.seconds(2, chunksize)
        once_s = HEAVY.func_pickle_s + HEAVY.func_unpickle_s
        assert once_s * 0.99 < more_s < 2 * once_s
        told = heavy.forecast(2, chunksize)
        assert told.breakdown.start_s - light.forecast(2, chunksize).breakdown.start_s == pytest.approx(
            more_s, abs=1e-3
        )


def test_an_executor_sends_it_with_every_task_but_pickles_it_once():
    weight = weight_of_func(HEAVY, recorded("executor", "executor"))
    assert weight.once_s == HEAVY.func_pickle_s
    assert 0 < weight.send_s < HEAVY.func_pickle_s
    assert weight.load_s > HEAVY.func_unpickle_s


def test_a_light_function_goes_with_every_chunk_of_a_plans_pool_too():
    light = replace(HEAVY, func_bytes=HANDED_BYTES)
    assert of("pool", "fork", light).weight == of("pool", "fork", light, plain=True).weight != NO_WEIGHT


def test_chunks_are_the_best_for_a_plain_pool_and_the_forecast_is_of_ours():
    light, heavy = chosen("pool", "fork", LIGHT), chosen("pool", "fork")
    assert heavy.backend == light.backend == "processes"
    assert heavy.chunksize > 2 * light.chunksize or heavy.chunksize == 100
    plain = of("pool", "fork", plain=True)
    assert plain.seconds(2, heavy.chunksize) == min(plain.seconds(2, c) for c in range(1, 101))
    assert heavy.total_s == of("pool", "fork").seconds(2, heavy.chunksize)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_execute_stays_in_the_loop_where_sending_the_function_costs_more_than_it_gains(method):
    assert chosen("team", method, LIGHT, shrinking=True).backend == "processes"
    heavier = replace(HEAVY, func_bytes=60e6, func_pickle_s=0.3, func_unpickle_s=0.6)
    assert chosen("team", method, heavier, shrinking=True).backend == "serial"
    assert chosen("team", "fork", heavier, shrinking=True).backend == "processes"


@settings(deadline=None)
@given(
    st.sampled_from([("pool", "fork"), ("pool", "spawn"), ("team", "spawn"), ("executor", "executor")]),
    st.booleans(),
    st.floats(1.0, 1e9),
    st.floats(1.0, 10.0),
    st.integers(1, 8),
    st.integers(1, 200),
)
def test_a_heavier_function_never_takes_less(engine, plain, size, times, workers, chunksize):
    light = replace(LIGHT, func_bytes=size, func_pickle_s=4e-9 * size, func_unpickle_s=10e-9 * size)
    heavy = replace(light, func_bytes=times * size, func_pickle_s=4e-9 * times * size)
    # Beyond `HANDED_BYTES` a plan sends it once.
    if not plain and (size > HANDED_BYTES) != (times * size > HANDED_BYTES):
        return
    one, other = (of(*engine, sample, plain=plain).seconds(workers, chunksize) for sample in (light, heavy))
    assert one <= other * (1 + 1e-9)
