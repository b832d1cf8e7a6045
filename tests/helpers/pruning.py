"""Made-up candidates, fits and histories for the tests of the pruner."""

from __future__ import annotations

import random
from dataclasses import asdict, replace

from amorsize.facts import Breakdown, Forecast, Sample
from amorsize.history.history import Run
from amorsize.learn.features import NAMES, Case, engine_of, shares
from amorsize.learn.fitting import Example
from amorsize.learn.pruner import Pruner, Region
from amorsize.learn.trees import Trees
from amorsize.testing import a_machine

HERE = a_machine(2)
WORK = Sample(n_sampled=5, item_s=1e-3, item_cpu_s=1e-3, item_std_s=1e-4, error_s=5e-5, gil_held=1.0)


def candidate(backend="processes", workers=2, total_s=0.5, chunksize=10, refused=None):
    return Forecast(
        backend=backend,
        workers=workers,
        chunksize=chunksize,
        start_method="fork" if backend == "processes" else None,
        total_s=total_s,
        low_s=0.9 * total_s,
        high_s=1.1 * total_s,
        breakdown=Breakdown(start_s=0.1 * total_s, compute_s=0.9 * total_s),
        refused=refused,
    )


def case(one, sample=WORK, n=1000):
    return Case(sample, HERE, n, engine_of(one.backend), one)


def fit_of(residuals, *, is_open=True, reach=1e9):
    """Return a pruner with one correction for each engine; ``reach``: the size of its ranges."""
    width = len(NAMES)
    regions = {
        engine: Region(is_open, Trees(residual, ()), (-reach,) * width, (reach,) * width, -0.1, 0.1)
        for engine, residual in residuals.items()
    }
    return Pruner(regions, 100, 10)


def examples(functions=12, each=12, *, truth=lambda one: 0.6 if one.forecast.workers > 2 else -0.4, noise=0.03, seed=0):
    """Return cases of several functions on pools, with residuals that follow a rule."""
    draw = random.Random(seed)
    found = []
    for number in range(functions):
        item_s = 10 ** draw.uniform(-4, -2)
        sample = replace(WORK, item_s=item_s, item_cpu_s=item_s)
        for _ in range(each):
            backend = draw.choice(["processes", "threads"])
            one = candidate(backend, draw.choice([1, 2, 4, 8]), draw.uniform(0.1, 1.0), draw.choice([1, 10, 50]))
            this = case(one, sample)
            found.append(Example(this, truth(this) + draw.gauss(0, noise), f"function {number}"))
    return found


def run_of(example):
    """Return the row of history that gives an example."""
    this, residual, function = example
    one = this.forecast
    return Run(
        function=function,
        name=function,
        n_items=this.n_items,
        backend=one.backend,
        n_jobs=one.workers,
        chunksize=one.chunksize,
        start_method=one.start_method,
        predicted_s=one.total_s,
        clock_s=one.total_s * 2.718281828459045**residual,
        sample=asdict(this.sample),
        machine=asdict(this.machine),
        source="tune",
        extra={"parts": shares(one.breakdown)},
    )
