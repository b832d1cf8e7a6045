"""The search forecasts some numbers of workers only, with nearly the result of a full search."""

from __future__ import annotations

import random
from dataclasses import replace
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amorsize.facts import Costs, Machine, Sample
from amorsize.model.default_costs import recorded
from amorsize.model.search import FASTEST, choose, may_pay
from amorsize.schedule.simulation.simulate import simulate

MACHINE = Machine(
    system="Linux", logical_cores=8, physical_cores=8, affinity_cores=8, quota_cores=None, usable_cores=8.0,
    memory_total_bytes=1 << 40, memory_limit_bytes=None, memory_available_bytes=1 << 39, load=0.0,
    start_methods=("fork",), default_start_method="fork", python="CPython 3.11.0", gil_enabled=True,
)  # fmt: skip


def drawn(chance):
    item_s = 10 ** chance.uniform(-5, -0.5)
    computes, size = chance.choice([1.0, 1.0, 0.3, 0.02]), 10 ** chance.uniform(1, 5)
    sample = Sample(
        n_sampled=9, item_s=item_s, item_cpu_s=item_s * computes, item_std_s=item_s * chance.choice([0.0, 0.1, 1.0]),
        item_max_s=item_s * chance.choice([1.0, 3.0]), gil_held=chance.choice([1.0, 0.1]) * computes,
        arg_bytes=size / 3, result_bytes=size, result_pickle_s=size * 1e-9, arg_pickle_s=size * 1e-9,
    )  # fmt: skip
    cores = chance.choice([2, 4, 16, 64])
    here = replace(MACHINE, usable_cores=float(cores), logical_cores=cores, physical_cores=cores, affinity_cores=cores)
    return sample, here, chance.choice([7, 30, 200, 1_000, 20_000])


@pytest.mark.parametrize("seed", range(4))
def test_its_best_is_hardly_worse(seed):
    chance, ratios = random.Random(seed), []
    costs = Costs(threads=recorded("threadpool", None), processes=recorded("pool", "fork"))
    for _ in range(40):
        sample, here, n_items = drawn(chance)
        options = {"n_items": n_items, "backends": ("serial", "threads", "processes")}
        best = choose(sample, costs, here, **options)[0]
        with mock.patch("amorsize.model.search.COUNTS", 1000):
            ratios.append(best.total_s / choose(sample, costs, here, **options)[0].total_s)
    ratios.sort()
    assert ratios[-1] < 1.1
    assert ratios[-3] < 1.02


def few_items(cores, n_items, item_max_s=0.25, **limits):
    """Return the best number of workers for some items of 0.25 s that compute."""
    here = replace(MACHINE, usable_cores=float(cores), logical_cores=cores, physical_cores=cores, affinity_cores=cores)
    sample = Sample(n_sampled=1, item_s=0.25, item_cpu_s=0.25, item_max_s=item_max_s)
    costs = Costs(processes=recorded("team", "fork"))
    backends = ("serial", "processes")
    return choose(sample, costs, here, n_items=n_items, backends=backends, shrinking=True, **limits)[0].workers


@pytest.mark.parametrize(("cores", "n_items"), [(2, 3), (2, 5), (4, 5), (4, 9), (8, 10), (64, 65)])
def test_a_few_more_items_than_cores_run_all_at_once(cores, n_items):
    workers = few_items(cores, n_items)
    assert workers == n_items
    in_turns = simulate([0.25] * n_items, cores, fixed=1, cores=cores).makespan_s
    assert simulate([0.25] * n_items, workers, fixed=1, cores=cores).makespan_s < 0.9 * in_turns


@pytest.mark.parametrize(("cores", "n_items"), [(2, 4), (2, 6), (2, 7), (4, 8), (8, 21)])
def test_where_that_gains_nothing_each_worker_has_a_core(cores, n_items):
    assert few_items(cores, n_items) <= cores


def test_under_a_limit_of_memory_no_more_items_run_than_cores():
    """A sample does not show the memory that an item frees again."""
    assert few_items(2, 3, memory_limit_bytes=1 << 30) == 2


def test_an_item_that_takes_far_longer_has_a_core_of_its_own():
    assert few_items(2, 5, item_max_s=0.75) <= 2


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    total_s=st.floats(-4.0, 0.0),
    error=st.floats(0.0, 0.5),
    faster=st.floats(FASTEST, 3.0),
    method=st.sampled_from(["fork", "forkserver", "spawn"]),
)
def test_where_workers_cannot_pay_no_costs_make_them_the_choice(seed, total_s, error, faster, method):
    """The costs of a pool are no cheaper than the bound assumes, and the mean is within two errors of what was seen."""
    sample, here, n_items = drawn(random.Random(seed))
    scale = 10**total_s / (n_items * sample.item_s)
    times = {name: getattr(sample, name) * scale for name in ("item_s", "item_cpu_s", "item_std_s", "item_max_s")}
    sample = replace(sample, **times)
    seen = replace(sample, error_s=error * sample.item_s)
    backends = ("serial", "threads", "processes")
    if may_pay(seen, here, n_items=n_items, backends=backends, start_method=method):
        return
    costs = {
        name: recorded(engine, by)
        for name, engine, by in (("threads", "threadpool", None), ("processes", "pool", method))
    }
    for name, cost in costs.items():
        start = {part: getattr(cost.start, part) * faster for part in ("base_s", "per_worker_s", "boot_s")}
        costs[name] = replace(cost, start=replace(cost.start, **start))
    for factor in (1.0, 1 + 2 * error):
        dearer = replace(sample, **{name: value * factor for name, value in times.items()})
        assert choose(dearer, Costs(**costs), here, n_items=n_items, backends=backends)[0].backend == "serial"


def test_a_bound_holds_back_nothing_that_was_asked_for():
    sample = Sample(n_sampled=9, item_s=1e-6, item_cpu_s=1e-6)
    assert may_pay(sample, MACHINE, n_items=3, backends=("threads", "processes"), start_method="fork")
    assert not may_pay(sample, MACHINE, n_items=3, backends=("serial", "threads", "processes"), start_method="fork")


def test_more_work_may_pay_where_less_does_not():
    def pays(item_s, **options):
        sample = Sample(n_sampled=9, item_s=item_s, item_cpu_s=item_s)
        way = {"n_items": 100, "backends": ("serial", "processes"), "start_method": "fork", **options}
        return may_pay(sample, MACHINE, **way)

    assert not pays(50e-6)
    assert pays(0.5e-3)
    assert not pays(0.5e-3, max_workers=1)
    assert not pays(0.5e-3, start_method="spawn")
    assert not pays(0.5e-3, load_s=0.1)
