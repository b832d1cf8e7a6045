"""The search forecasts some numbers of workers only, with nearly the result of a full search."""

from __future__ import annotations

import random
from dataclasses import replace
from unittest import mock

import pytest

from amorsize.facts import Costs, Machine, Sample
from amorsize.model.default_costs import recorded
from amorsize.model.search import choose

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
