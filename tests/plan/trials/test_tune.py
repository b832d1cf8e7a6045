"""``tune()``: a plan like that of ``optimize()``, with its evidence."""

from __future__ import annotations

import json
import os
from functools import partial
from itertools import count, islice

import engine_functions as ef
import numpy as np
import pytest

import amorsize
from amorsize.facts import Breakdown, Forecast
from amorsize.options import check
from amorsize.plan.trials.subset import Subset
from amorsize.plan.trials.tune import Field, measured, spread

BRIEF = {"max_seconds": 0.5}
# Far longer than the trials take, also where an item has stood still.
LONG_S = 600.0


def test_the_plan_comes_with_its_trials():
    plan = amorsize.tune(ef.spin, range(40), max_workers=2, **BRIEF)
    assert plan.trials
    assert {trial.rung for trial in plan.trials} == set(range(plan.trials[-1].rung + 1))
    assert any(trial.backend == "serial" for trial in plan.trials)
    for trial in plan.trials:
        assert trial.seconds > 0
        assert trial.forecast_s > 0
        assert 1 <= trial.items <= 40
    low, high = plan.predicted_interval_s
    assert low < plan.predicted_s < high
    assert plan.estimated_speedup == pytest.approx(plan.serial_s / plan.predicted_s)
    ours = [
        t for t in plan.trials if (t.backend, t.workers, t.chunksize) == (plan.backend, plan.n_jobs, plan.chunksize)
    ]
    assert plan.predicted_s == pytest.approx(ours[-1].total_s)
    parts = plan.breakdown
    assert sum(getattr(parts, name) for name in parts.__dataclass_fields__) == pytest.approx(plan.predicted_s)


def test_what_ran_on_everything_is_the_clocks_own():
    plan = amorsize.tune(ef.square, range(50), backend="serial", max_seconds=LONG_S)
    (trial,) = plan.trials
    assert (trial.items, trial.total_s) == (50, trial.seconds)
    assert plan.predicted_s == trial.seconds


def test_it_is_told_and_stored():
    plan = amorsize.tune(ef.square, range(50), **BRIEF)
    assert "rung 0, " in plan.explain()
    assert "trial" in plan.reason
    stored = json.loads(plan.to_json())["trials"]
    assert [trial["seconds"] for trial in stored] == [trial.seconds for trial in plan.trials]


DATA = {
    "list": lambda: list(range(20)),
    "set": lambda: set(range(20)),
    "array": lambda: np.arange(20),
    "generator": lambda: (x for x in range(20)),
    "Sequence without slices": lambda: ef.Unsliceable(20),
    "one item": lambda: [7],
    "nothing": list,
    "generator of nothing": lambda: iter(()),
}


@pytest.mark.parametrize("kind", DATA)
def test_the_plans_pool_and_data_give_what_map_gives(kind):
    plan = amorsize.tune(ef.square, DATA[kind](), max_workers=2, **BRIEF)
    with plan.pool() as pool:
        assert pool.map(ef.square, plan.data) == list(map(ef.square, DATA[kind]()))


def test_an_endless_iterator_keeps_all_its_items():
    plan = amorsize.tune(ef.spin, count(), max_workers=2, max_seconds=0.2)
    assert (plan.predicted_s, plan.serial_s, plan.estimated_speedup, plan.predicted_interval_s) == (None,) * 4
    assert list(islice(plan.data, 2000)) == list(range(2000))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_never_call_func_here(tmp_path, method):
    func = partial(ef.note_call, str(tmp_path))
    plan = amorsize.tune(func, range(8), backend="processes", start_method=method, max_workers=1, **BRIEF)
    assert (plan.backend, plan.start_method) == ("processes", method)
    assert plan.trials
    assert os.getpid() not in {int(each.name.split("-")[0]) for each in tmp_path.iterdir()}


def test_where_nothing_can_be_tried_the_plan_says_so():
    plan = amorsize.tune(lambda x: x, range(20), backend="processes", **BRIEF)
    assert not plan.trials
    assert any("nothing was tried" in warning for warning in plan.warnings)
    func = partial(ef.die_at, os.getpid(), "SIGKILL", range(20))
    plan = amorsize.tune(func, range(20), backend="processes", **BRIEF)
    assert not plan.trials
    assert any("nothing could be sampled" in warning for warning in plan.warnings)


def test_what_func_raises_reaches_the_user():
    with pytest.raises(ef.Refused) as caught:
        amorsize.tune(partial(ef.refuse, range(10)), range(10), **BRIEF)
    assert any(note.startswith("amorsize: raised at item ") for note in caught.value.__notes__)
    with pytest.raises(ef.Refused) as caught:
        amorsize.tune(refuse_again({}), range(10), backend="serial", max_seconds=LONG_S)
    assert "amorsize: raised while optimize(): a plain loop was being timed" in caught.value.__notes__


def refuse_again(seen):
    """Return a function that raises at the second run of an item."""

    def func(x):
        if x in seen:
            raise ef.Refused(x)
        seen[x] = True
        return x

    return func


@pytest.mark.parametrize("n", [1, 3, 40, 1000])
def test_trials_are_at_most_half_the_grid(n):
    request = check(ef.spin, range(n), max_workers=2)
    tuned = amorsize.tune(ef.spin, range(n), max_workers=2, max_seconds=0.3)
    # The grid of the same sample.
    field = Field(request, Subset(plan=tuned, items=range(n), n_items=n))
    assert len(tuned.trials) <= max(1, len(field.grid) // 2)


@pytest.mark.parametrize("bad", [0, -1, float("inf")])
def test_a_bad_budget_is_named(bad):
    with pytest.raises(ValueError, match=r"^max_seconds: "):
        amorsize.tune(ef.refuse_all, [1], max_seconds=bad)


def test_the_less_was_run_the_wider_the_interval():
    assert spread(1.0, 2.0, None) < spread(0.5, 2.0, None) < spread(0.1, 2.0, None)
    assert spread(0.5, 2.0, 2.0) < spread(0.5, 2.0, 1.0)


def test_the_clocks_figure_takes_the_models_place():
    one = Forecast(
        backend="threads", workers=2, chunksize=1, start_method=None, total_s=1.0, low_s=0.9, high_s=1.1,
        breakdown=Breakdown(start_s=0.25, compute_s=0.75),
    )  # fmt: skip
    found = measured(one, 2.0, 0.1)
    assert (found.total_s, found.breakdown.start_s, found.breakdown.compute_s) == (2.0, 0.5, 1.5)
    assert found.low_s < 2.0 < found.high_s
