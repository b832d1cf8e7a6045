"""What earlier runs of the same map tell of its forecast."""

from __future__ import annotations

from math import log

import pytest

from amorsize.facts import Costs, Sample
from amorsize.history.history import History
from amorsize.history.shape import shape_of
from amorsize.model.cost import forecast
from amorsize.model.default_costs import recorded
from amorsize.options import check
from amorsize.plan.past_runs import past_runs, pruner_for
from amorsize.system.machine import lately
from amorsize.system.start_methods import share_of

DATA = list(range(1000))
WORK = Sample(n_sampled=2, item_s=1e-3, item_cpu_s=1e-3, gil_held=1.0)
COSTS = Costs(threads=recorded("threadpool", None), processes=recorded("pool", "fork"))


def work(x):
    raise AssertionError("no item may run")


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "history.sqlite")


def remember(history, clock_s, backend="serial", source="execute", data=DATA, **others):
    history.record({
        "function": work, "shape": shape_of(data), "n_items": len(data), "backend": backend, "source": source,
        "start_method": "fork" if backend == "processes" else None, "n_jobs": 1 if backend == "serial" else 2,
        "chunksize": 10, "clock_s": clock_s, "machine": share_of(lately()), **others,
    })  # fmt: skip


def found(history, data=DATA, sample=WORK, costs=COSTS, **options):
    request, here = check(work, data, history=history), share_of(lately())
    return pruner_for(request, past_runs(request, here), sample, costs, here, len(data), **options)


def test_without_rows_there_is_none(history):
    assert found(history) is None


def test_each_row_is_held_against_todays_forecast_of_what_it_ran(history):
    remember(history, 1.5)
    remember(history, 1.5, "processes", "optimize")
    remember(history, 1.5, "processes")
    remember(history, 1.5, "threads", "tune")
    own = dict(found(history).own)
    assert set(own) == {"loop", "pool", "team", "threadpool"}
    assert own["loop"] == pytest.approx(log(1.5))
    assert own["team"] > own["pool"]


def test_the_nearer_sample_is_not_corrected_for_the_error_of_an_older_one(history):
    remember(history, 1.5, sample=WORK, predicted_s=1.0)
    ((_, off),) = found(history, sample=Sample(n_sampled=2, item_s=1.5e-3, item_cpu_s=1.5e-3)).own
    assert off == pytest.approx(0.0)


def test_rows_that_made_the_sample_tell_of_the_engine_that_they_ran_on_only(history):
    remember(history, 1.5)
    remember(history, 1.5, "processes", "optimize")
    known = found(history, is_known=True)
    assert [engine for engine, _ in known.own] == ["pool"]
    loop, pool = (forecast(WORK, COSTS, share_of(lately()), backend, 2, 10, n_items=1000) for backend in
                  ("serial", "processes"))  # fmt: skip
    assert known.correct(loop, "loop", 2) is loop
    assert known.correct(pool, "pool", 2).total_s > 1.2 * pool.total_s


def test_other_data_and_what_came_before_a_surprise_tell_nothing(history):
    remember(history, 1.5, data=[2.5] * 1000)
    remember(history, 1.5)
    assert len(list(past_runs(check(work, DATA, history=history), share_of(lately())))) == 1
    remember(history, 1.5, extra={"surprise": True})
    remember(history, 1.2)
    assert [run.clock_s for run in past_runs(check(work, DATA, history=history), share_of(lately()))] == [1.2]


def test_where_history_is_not_asked_it_says_nothing(history):
    remember(history, 1.5)
    assert found(history) is not None
    assert not list(past_runs(check(work, DATA, history=history, sample="head"), share_of(lately())))
    assert not list(past_runs(check(work, iter(DATA), history=history), share_of(lately())))
    assert not list(past_runs(check(work, [], history=history), share_of(lately())))
    assert not list(past_runs(check(work, DATA, history=History("off")), share_of(lately())))


def test_rows_that_cannot_be_forecast_are_passed_over(history):
    remember(history, 1.5, "tasks")
    remember(history, 1.5, "executor")
    remember(history, 1.5, "threads", "optimize")
    assert found(history, costs=Costs(processes=recorded("pool", "fork"))).own == ()
