"""The corpus of runs: a written corpus is read back the same, and the evaluation's figures are right."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pruning import HERE, WORK, fit_of

from amorsize.facts import Costs, Sample
from amorsize.learn.pruner import Pruner
from amorsize.model.default_costs import recorded
from benchmarks import cells
from benchmarks.cells import Cell, Place, Slice
from benchmarks.shapes import SHAPES, drawn, sampled

PLACE = Place(
    name="2 cores",
    machine=HERE,
    costs={
        "pool": recorded("pool", "fork"),
        "threadpool": recorded("threadpool", None),
        "team": recorded("team", "fork"),
        "threads": recorded("threads", None),
    },
    scaling=Costs().scaling,
    facts={"cpu": "one"},
)
CELLS = (
    Cell("loop", "serial", 1, 100, None, (0.11, 0.12, 0.1)),
    Cell("pool", "processes", 2, 10, "fork", (0.09, 0.08, 0.1)),
    Cell("threads", "threads", 2, 5, None, (0.13, 0.12, 0.1)),
)
SLICE = Slice(
    place=PLACE,
    function="f",
    n_items=100,
    sample=WORK,
    caller_rss_bytes=1 << 20,
    plan=("processes", 2, 10),
    cells=CELLS,
)


def test_what_is_written_comes_back(tmp_path):
    other = Slice(**{name: getattr(SLICE, name) for name in SLICE.__slots__} | {"function": "g"})
    path = tmp_path / "corpus.jsonl.gz"
    cells.write(path, [SLICE, other])
    first, second = cells.read(path)
    assert first.place is second.place
    assert first.place == replace(PLACE, machine=replace(HERE, sources={}))
    assert (first.function, second.function) == ("f", "g")
    assert (first.sample, first.cells, first.plan) == (WORK, CELLS, SLICE.plan)
    assert [first.expected(cell) for cell in CELLS] == [SLICE.expected(cell) for cell in CELLS]


def test_each_engine_is_forecast_as_whoever_runs_it_would():
    loop, pool, threads = (SLICE.expected(cell) for cell in CELLS)
    assert loop.total_s == pytest.approx(0.1)
    assert pool.start_method == "fork"
    assert threads.backend == "threads"


def test_simulated_jobs_are_the_same_each_time_and_of_one_kind_everywhere():
    for number in range(5):
        jobs = [drawn(number, box.usable) for box in SHAPES]
        assert jobs == [drawn(number, box.usable) for box in SHAPES]
        assert len({job.name for job in jobs}) == 1
        sample = sampled(jobs[0])
        assert isinstance(sample, Sample)
        assert 1 <= sample.n_sampled <= 8


def test_recorded_settings_hold_the_plan_and_differ():
    from amorsize.plan.plan import Plan
    from benchmarks.recording import settings_of

    plan = Plan(backend="processes", n_jobs=3, chunksize=7, start_method="fork", sample=WORK)
    found = list(dict.fromkeys(settings_of(plan, 100)))
    assert Cell("pool", "processes", 3, 7, "fork", ()) in found
    assert {cell.engine for cell in found} == {"loop", "pool", "threadpool", "team", "threads"}
    nowhere = replace(plan, backend="serial", sample=replace(WORK, transfer_error="no"))
    assert {cell.engine for cell in settings_of(nowhere, 100)} == {"loop", "threadpool", "threads"}


def test_figures_without_and_with():
    from benchmarks import pruning

    pruners = {"f": fit_of({"pool": 0.6})}
    found = pruning.held([SLICE], pruners, lambda one: one.function)
    assert len(found) == 9
    for one in found:
        assert (one.errors[0] == one.errors[1]) == (one.engine != "pool")
        assert one.sampled == "more sampled"
    assert pruning.summary(found)["runs"] == 9
    own = pruning.with_own_rows([SLICE], {"f": Pruner()}, lambda one: one.function)
    assert {one.engine for one in own} == {"another engine"}
    for known in (False, True):
        told = pruning.regrets([SLICE], pruners, lambda one: one.function, own=known)
        assert told["by_function"]["f"][0] >= 1.0
    tuned = pruning.tuned(SLICE, None)
    assert 1 <= tuned.trials <= max(1, tuned.settings / 2)
    assert tuned.regret >= 1.0


def test_poison_is_what_it_says():
    from benchmarks import pruning

    rows = pruning.examples([SLICE])
    poisons = pruning.poisons(rows[:1])
    assert [a.clock_s / b.clock_s for a, b in zip(poisons["all x100"](rows), rows, strict=True)] == pytest.approx(
        [100.0] * len(rows)
    )
    only = poisons["processes x100"](rows)
    assert sum(a != b for a, b in zip(only, rows, strict=True)) == 3
    assert poisons["other machines' rows"](rows) == rows[:1]
