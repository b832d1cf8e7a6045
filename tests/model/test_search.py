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
