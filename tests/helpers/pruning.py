"""Made-up candidates, fits and histories for the tests of the pruner."""

from __future__ import annotations

import random
from dataclasses import asdict, replace
from math import exp

from amorsize.facts import Breakdown, Forecast, Sample
from amorsize.history.history import Run
from amorsize.learn.fitting import Example
from amorsize.learn.parts import PARTS, engine_of, shares
from amorsize.learn.pruner import Fit, Pruner
from amorsize.model.intervals import interval
from amorsize.testing import a_machine

HERE = a_machine(2)
WORK = Sample(n_sampled=5, item_s=1e-3, item_cpu_s=1e-3, item_std_s=1e-4, error_s=5e-5, gil_held=1.0)


def candidate(backend="processes", workers=2, total_s=0.5, chunksize=10, refused=None, start=0.1):
    """Return a forecast whose share ``start`` is the start of workers."""
    low_s, high_s = interval(total_s, start * total_s, 0.25, WORK, 1000, engine_of(backend))
    return Forecast(
        backend=backend,
        workers=workers,
        chunksize=chunksize,
        start_method="fork" if backend == "processes" else None,
        total_s=total_s,
        low_s=low_s,
        high_s=high_s,
        breakdown=Breakdown(start_s=start * total_s, compute_s=(1 - start) * total_s),
        refused=refused,
    )


def fit_of(factors):
    """Return a pruner with one factor for each engine, of all parts."""
    fits = {engine: Fit((factor,) * len(PARTS), (1.0, 2.0), (0.5, 0.7)) for engine, factor in factors.items()}
    return Pruner(fits, 100, 10)


def examples(functions=12, each=12, *, truth=lambda one: 2 * one.start_s + one.compute_s, noise=0.03, seed=0):
    """Return runs of several functions on pools, whose clocks follow a rule from the parts of the forecast."""
    draw = random.Random(seed)
    found = []
    for number in range(functions):
        for _ in range(each):
            backend = draw.choice(["processes", "threads"])
            one = candidate(backend, draw.choice([1, 2, 4, 8]), draw.uniform(0.1, 1.0), start=draw.uniform(0.05, 0.9))
            clock_s = truth(one.breakdown) * exp(draw.gauss(0, noise))
            found.append(Example(engine_of(backend), one, WORK.n_sampled, clock_s, f"function {number}"))
    return found


def run_of(example):
    """Return the row of history that gives an example."""
    one = example.forecast
    return Run(
        function=example.function,
        name=example.function,
        n_items=1000,
        backend=one.backend,
        n_jobs=one.workers,
        chunksize=one.chunksize,
        start_method=one.start_method,
        predicted_s=one.total_s,
        clock_s=example.clock_s,
        sample=asdict(replace(WORK, n_sampled=example.n_sampled)),
        machine=asdict(HERE),
        source="tune",
        extra={"parts": shares(one.breakdown)},
    )
